"""What the service takes: the two models as a table, and the check of a request against it.

Pixel sizes are those ByteDance recommends for each tier and ratio; the service may differ. Strict checking
refuses whatever the service does not document; lenient checking ignores it and guesses where it must.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from .replies import refuse_parameter

PRO = "Seedream_50_Pro"
LITE = "Seedream_50_Lite"
AUTO = "auto"
RATIOS = ("1:1", "2:3", "3:2", "4:3", "3:4", "16:9", "9:16", "21:9")
FORMATS = ("jpeg", "png")
MAX_BATCH_COUNT = 16

_FIELDS = {
    "the body": frozenset({"agent", "input", "params", "callbackUrl", "safeGenerate"}),
    "agent": frozenset({"name", "version"}),
    "input": frozenset({"taskName", "images", "originalImage"}),
    "params": frozenset(
        {"modelName", "textDescription", "images", "imageSize", "aspectRatio", "outputFormat", "tools", "batchCount"}
    ),
}


@dataclass(frozen=True, slots=True)
class Model:
    """One model of the agent: what it offers, what it assumes when a field is left out."""

    name: str
    title: str
    pixel_sizes: Mapping[str, tuple[tuple[int, int], ...]]
    """For each image size, (width, height) in the order of `RATIOS`."""
    default_ratio: str
    max_references: int
    tools: frozenset[str]

    @property
    def default_size(self) -> str:
        """The smaller tier is what both models assume."""
        return next(iter(self.pixel_sizes))

    @property
    def ratios(self) -> tuple[str, ...]:
        """The aspect ratios this model is documented to take."""
        return (AUTO, *RATIOS) if self.default_ratio == AUTO else RATIOS

    def pixels(self, size: str, ratio: str, first_reference: tuple[int, int] | None = None) -> tuple[int, int]:
        """Return (width, height) of a result.

        `auto` follows the first reference's proportions at the area of the tier's square, in steps of 16 pixels;
        without a reference of known size it is the square (synthetic, the service's choice is unknown).
        """
        table = dict(zip(RATIOS, self.pixel_sizes[size], strict=True))
        if ratio != AUTO:
            return table[ratio]
        side = table["1:1"][0]
        if first_reference is None:
            return side, side
        proportion = min(16.0, max(1 / 16, first_reference[0] / first_reference[1]))
        width = max(16, round(side * proportion**0.5 / 16) * 16)
        height = max(16, round(side / proportion**0.5 / 16) * 16)
        return width, height


_SIZE_2K_LITE = (
    (2048, 2048), (1664, 2496), (2496, 1664), (2304, 1728), (1728, 2304), (2848, 1600), (1600, 2848), (3136, 1344),
)  # fmt: skip
_SIZE_3K_LITE = (
    (3072, 3072), (2496, 3744), (3744, 2496), (3456, 2592), (2592, 3456), (4096, 2304), (2304, 4096), (4704, 2016),
)  # fmt: skip
_SIZE_1K_PRO = (
    (1024, 1024), (832, 1248), (1248, 832), (1152, 864), (864, 1152), (1424, 800), (800, 1424), (1568, 672),
)  # fmt: skip
_SIZE_2K_PRO = (
    (2048, 2048), (1664, 2496), (2496, 1664), (2368, 1776), (1776, 2368), (2816, 1584), (1584, 2816), (3136, 1344),
)  # fmt: skip

MODELS: Mapping[str, Model] = {
    PRO: Model(PRO, "Seedream 5.0 Pro", {"1K": _SIZE_1K_PRO, "2K": _SIZE_2K_PRO}, AUTO, 10, frozenset()),
    LITE: Model(
        LITE, "Seedream 5.0 Lite", {"2K": _SIZE_2K_LITE, "3K": _SIZE_3K_LITE}, "3:4", 14, frozenset({"web_search"})
    ),
}


@dataclass(frozen=True, slots=True)
class Generation:
    """A checked request with every default filled in."""

    model: Model
    prompt: str
    size: str
    ratio: str
    output_format: str
    batch_count: int
    references: tuple[str, ...]
    tools: tuple[str, ...]
    task_name: str | None
    original_image: str | None
    callback_url: str | None


def read_generation(document: object, *, strict: bool = True) -> Generation:
    """Check a submitted document and fill in the defaults; raise `RefusedError` on the first fault found."""
    if not isinstance(document, dict):
        raise refuse_parameter("the body must be a JSON object", 400)
    body = _Part("the body", document, strict=strict)
    _check_agent(body.part("agent"))
    given, params = body.part("input"), body.part("params")
    body.choice("safeGenerate", ("on", "off"), "on")
    model = _model(params, strict=strict)
    prompt = params.text("textDescription")
    if prompt is None or not prompt.strip():
        raise refuse_parameter("params.textDescription is required and must not be blank")
    ratios = model.ratios if strict else (AUTO, *RATIOS)
    ratio = params.choice("aspectRatio", ratios, model.default_ratio)
    return Generation(
        model=model,
        prompt=prompt,
        size=params.choice("imageSize", tuple(model.pixel_sizes), model.default_size),
        ratio=ratio if ratio in model.ratios else model.default_ratio,
        output_format=params.choice("outputFormat", FORMATS, "jpeg"),
        batch_count=_batch_count(params),
        references=_references(given, params, model, strict=strict),
        tools=_tools(params, model),
        task_name=given.text("taskName"),
        original_image=given.text("originalImage"),
        callback_url=_callback_url(body),
    )


class _Part:
    """One object of the request, read field by field with complaints that name the field."""

    def __init__(self, name: str, fields: dict[str, Any], *, strict: bool) -> None:
        self._name, self._fields, self._strict = name, fields, strict
        unknown = sorted(set(fields) - _FIELDS[name])
        if unknown and strict:
            raise refuse_parameter(f"unknown field in {name}: {', '.join(unknown)}")

    def part(self, name: str) -> _Part:
        value = self._fields.get(name)
        if not isinstance(value, dict):
            raise refuse_parameter(f"{name} is required and must be an object")
        return _Part(name, value, strict=self._strict)

    def path(self, name: str) -> str:
        return name if self._name == "the body" else f"{self._name}.{name}"

    def has(self, name: str) -> bool:
        return name in self._fields

    def raw(self, name: str) -> object:
        return cast("object", self._fields.get(name))

    def text(self, name: str) -> str | None:
        value = self.raw(name)
        if not self.has(name):
            return None
        if not isinstance(value, str):
            raise refuse_parameter(f"{self.path(name)} must be a string")
        return value

    def choice(self, name: str, allowed: tuple[str, ...], default: str) -> str:
        value = self.text(name)
        if value is None:
            return default
        if value not in allowed:
            raise refuse_parameter(f"{self.path(name)} must be one of {', '.join(allowed)}")
        return value

    def texts(self, name: str) -> tuple[str, ...] | None:
        if not self.has(name):
            return None
        value = self.raw(name)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise refuse_parameter(f"{self.path(name)} must be a list of strings")
        if not value and self._strict:
            raise refuse_parameter(f"{self.path(name)} must not be an empty list; leave the field out")
        return tuple(value)


def _check_agent(agent: _Part) -> None:
    if agent.text("name") != "seedream" or agent.text("version") != "v1.0":
        raise refuse_parameter('agent must be {"name": "seedream", "version": "v1.0"}; nothing else is emulated')


def _model(params: _Part, *, strict: bool) -> Model:
    if not strict and not params.has("modelName") and params.raw("imageSize") == "3K":
        return MODELS[LITE]
    return MODELS[params.choice("modelName", tuple(MODELS), PRO)]


def _callback_url(body: _Part) -> str | None:
    url = body.text("callbackUrl")
    if url is not None and not url.startswith(("http://", "https://")):
        raise refuse_parameter("callbackUrl must be a URL")
    return url


def _batch_count(params: _Part) -> int:
    value = params.raw("batchCount") if params.has("batchCount") else 1
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_BATCH_COUNT:
        raise refuse_parameter(f"params.batchCount must be an integer from 1 to {MAX_BATCH_COUNT}")
    return value


def _tools(params: _Part, model: Model) -> tuple[str, ...]:
    tools = params.texts("tools") or ()
    for tool in tools:
        if tool not in model.tools:
            raise refuse_parameter(f"params.tools: {model.name} does not offer {tool!r}")
    return tools


def _references(given: _Part, params: _Part, model: Model, *, strict: bool) -> tuple[str, ...]:
    """Accept `params.images`, else `input.images`, else `[input.originalImage]`; several must agree."""
    in_params, in_input, original = params.texts("images"), given.texts("images"), given.text("originalImage")
    references = in_params or in_input or (() if original is None else (original,))
    if strict and in_params is not None and in_input is not None and in_params != in_input:
        raise refuse_parameter("params.images and input.images differ")
    if strict and original is not None and original != references[0]:
        raise refuse_parameter("input.originalImage must repeat the first reference")
    if len(references) > model.max_references:
        raise refuse_parameter(f"params.images: {model.name} takes at most {model.max_references} images")
    return references
