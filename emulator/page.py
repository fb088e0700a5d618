"""What the emulator imitates, what it assumes, what it leaves out: one source for its page and its documentation."""

from __future__ import annotations

import html

IMITATED = (
    "`POST /openapi/agent/assets/images`: multipart, one file in the part `image`; the answer names its URL.",
    "`POST /openapi/agent/runs` for the agent `seedream` `v1.0`, both models, every documented parameter.",
    "`GET /openapi/agent/runs/{executionId}`: Pending, Running with the pictures finished so far, Success or Failed.",
    "`POST /openapi/agent/power-estimates`, `GET /openapi/v1/agent/info` and `GET /openapi/agent/openapi.yaml`.",
    "The envelopes of success and error, the published codes 40000, 40001 and 40005, the raw key in `Authorization`.",
    "Uploaded and generated files on another origin, which wants no key.",
    "Result files of the pixel size ByteDance recommends for model, size and ratio, as JPEG or PNG.",
    "References in `params.images`, in `input.images`, or one in `input.originalImage`.",
)

ASSUMED = (
    "HTTP statuses: 400 unreadable, 401 key, 402 points, 404 unknown, 409 and 422 parameters, 413 size, 429 limit.",
    "The codes NOT_FOUND and INSUFFICIENT_POINTS: none are published for these cases.",
    "Both `data.executionId` and `meta.executionId` are given; faults can leave out either.",
    "The same Idempotency-Key with the same body answers the first run, with another body an error; keys never expire.",
    "Points and prices: 100,000 points, 10 a picture, taken when a run is created and never given back.",
    "Limits of uploads: ByteDance's for Seedream 5.0 Lite (10 MB, 36 megapixels, sides over 14 pixels, ratio to 16).",
    "Strictness: unknown fields, empty lists, `auto` on Lite and lists of references that disagree are refused.",
    "`auto` on Pro: the proportions of the first reference at the area of the tier's square; the square without one.",
    "A failed run has no results, and a missing picture is an item with status Failed.",
    "The shape of the answer of `GET /openapi/v1/agent/info`: empty lists.",
)

LEFT_OUT = (
    "Pictures as Seedream makes them: the emulator draws the prompt, the parameters and the references it was sent.",
    "Moderation, web search and `safeGenerate`: accepted, without effect.",
    "Callbacks: the URL is recorded with the run and never called.",
    "References at public https URLs: accepted, never fetched.",
    "Other agents, the older v1 task calls, cancelling, deleting, the listing of runs.",
    "TLS, rate limits, and the service's real speed.",
)

_TITLE = "WeShop OpenAPI emulator"
_SECTIONS = (("Imitated", IMITATED), ("Assumed", ASSUMED), ("Not imitated", LEFT_OUT))
_STYLE = (
    "body{font:16px/1.6 system-ui,sans-serif;max-width:46rem;margin:4rem auto;padding:0 1.5rem;color:#23262d;"
    "background:#faf8f5}h1{font-weight:600;letter-spacing:-.02em}h2{margin-top:2.4rem;font-size:1.1rem}"
    "li{margin:.35rem 0}code{background:#ece7df;border-radius:4px;padding:.1em .35em;font-size:.88em}"
)


def as_markdown() -> str:
    """Return the three lists as they stand in docs/emulator.md."""
    return "\n".join(f"### {title}\n\n" + "".join(f"- {line}\n" for line in lines) for title, lines in _SECTIONS)


def as_html() -> str:
    """Return the page shown at the emulator's root."""
    sections = "".join(
        f"<h2>{title}</h2><ul>{''.join(f'<li>{_with_code(line)}</li>' for line in lines)}</ul>"
        for title, lines in _SECTIONS
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{_TITLE}</title><style>{_STYLE}</style>'
        f"<h1>{_TITLE}</h1><p>A stand-in on the loopback address. It is not the service: nothing is generated, "
        f"nothing is charged.</p>{sections}</html>\n"
    )


def _with_code(line: str) -> str:
    pieces = html.escape(line).split("`")
    return "".join(f"<code>{piece}</code>" if index % 2 else piece for index, piece in enumerate(pieces))
