"""The service's protocol without any I/O: build request bodies, read replies.

Every function here works on literal values. A reply that does not have the promised shape becomes
UnreadableReplyError with the part that was wrong; an error envelope becomes the matching ServiceError.
Source: the vendor's agent API documentation and what its own clients send and read.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from .errors import (
    API_KEY_PAGE,
    AuthenticationError,
    InsufficientPointsError,
    InvalidRequestError,
    LimitReachedError,
    NotFoundError,
    ServerError,
    ServiceError,
    UnreadableReplyError,
    WeShopError,
    clean_text,
)
from .models import Charge, Estimate, Execution, Result, RunStatus, Submission
from .seedream import AGENT_NAME, AGENT_VERSION, WEB_SEARCH_TOOL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .models import Answer
    from .seedream import SeedreamRequest

UPLOAD_PATH = "/agent/assets/images"
RUNS_PATH = "/agent/runs"
ESTIMATE_PATH = "/agent/power-estimates"
# The only known call that needs a key, costs nothing and creates nothing.
KEY_CHECK_PATH = f"/v1/agent/info?agentName={AGENT_NAME}&agentVersion={AGENT_VERSION}"

MAX_ID_LENGTH = 128
MAX_URL_LENGTH = 4096
MAX_RESULTS = 256

_KEY_CODES = frozenset({"40001", "40003", "40004"})
_CONCURRENCY_CODE = "40005"
_PARAMETER_CODES = frozenset({"40000", "INVALID_PARAMETER", "INVALID_ARGUMENT"})
_SERVER_CODE = re.compile(r"5000\d")
# These statuses leave open whether the request was worked on before the answer was written.
_INCONCLUSIVE_STATUSES = frozenset({408, 409, 425, 499})
_CONFLICT = 409
_TOO_FEW_POINTS = re.compile(
    r"(insufficient|not enough|too few)\W+(\w+\W+){0,3}(points?|credits?|balance|power)"
    r"|(points?|credits?|balance|power)\W+(\w+\W+){0,2}(insufficient|not enough)"
    "|(\u79ef\u5206|\u70b9\u6570|\u4f59\u989d|\u7b97\u529b)\u4e0d\u8db3",
    re.IGNORECASE,
)
_STATUSES = {status.value.lower(): status for status in RunStatus} | {"canceled": RunStatus.CANCELLED}


def submit_body(request: SeedreamRequest, reference_urls: tuple[str, ...], task_name: str) -> bytes:
    """The JSON of a run. Equal arguments give equal bytes, so that a replay is identical to the first attempt."""
    run_input: dict[str, Any] = {}
    params: dict[str, Any] = {
        "modelName": request.model.name,
        "textDescription": request.prompt,
        "imageSize": request.image_size,
        "aspectRatio": request.aspect_ratio,
        "outputFormat": request.output_format,
        "batchCount": request.batch_count,
    }
    if task_name:
        # As the ledger stores it, which knows no half surrogate pairs: a replay is made from there.
        run_input["taskName"] = task_name.encode("utf-8", "backslashreplace").decode("utf-8")
    if reference_urls:
        # The vendor's clients disagree about the place, and the documentation names both.
        run_input["images"] = list(reference_urls)
        params["images"] = list(reference_urls)
    if request.web_search:
        params["tools"] = [WEB_SEARCH_TOOL]
    return _json(
        {
            "agent": {"name": AGENT_NAME, "version": AGENT_VERSION},
            "input": run_input,
            "params": params,
            "safeGenerate": "on",
        }
    )


def fingerprint(request: SeedreamRequest, seed: int) -> str:
    """What names a run: everything that can change the pictures, and the seed. Hexadecimal SHA-256."""
    named = {
        "agent": [AGENT_NAME, AGENT_VERSION],
        "model": request.model.name,
        "prompt": request.prompt,
        "image_size": request.image_size,
        "aspect_ratio": request.aspect_ratio,
        "output_format": request.output_format,
        "batch_count": request.batch_count,
        "web_search": request.web_search,
        "references": [reference.identity for reference in request.references.items],
        "seed": seed,
    }
    return hashlib.sha256(_json(named)).hexdigest()


def body_hash(body: bytes) -> str:
    """Tells whether a replay would be identical. Hexadecimal SHA-256."""
    return hashlib.sha256(body).hexdigest()


def run_path(execution_id: str) -> str:
    """The path of one run."""
    return f"{RUNS_PATH}/{quote(check_execution_id(execution_id), safe='')}"


def check_execution_id(text: str) -> str:
    """The id without surrounding white space. Raises InvalidRequestError for what cannot be one."""
    execution_id = text.strip()
    if (
        not execution_id
        or len(execution_id) > MAX_ID_LENGTH
        or not _is_plain(execution_id)
        or set(execution_id) == {"."}
    ):
        raise InvalidRequestError(
            f"{clean_text(text, 40)!r} is not an execution id. Copy the id from the execution_id output of "
            "WeShop Seedream Generate, or from the list of runs."
        )
    return execution_id


def read_upload(answer: Answer) -> str:
    """The address of an uploaded picture."""
    data, _ = _read_envelope(answer)
    url = data.get("image") or data.get("imageUrl")
    if not isinstance(url, str) or not _is_address(url):
        raise _unreadable(answer, "data.image")
    return url


def read_submission(answer: Answer) -> Submission:
    """The accepted run. The id may stand in ``data`` or in ``meta``."""
    data, meta = _read_envelope(answer)
    given = [value for value in (data.get("executionId"), meta.get("executionId")) if value]
    if not given or not isinstance(given[0], str):
        raise _unreadable(answer, "executionId")
    if given[0] != given[-1]:
        raise _unreadable(answer, "executionId (two different ones)")
    try:
        execution_id = check_execution_id(given[0])
    except InvalidRequestError:
        raise _unreadable(answer, "executionId") from None
    charge = Charge(_number(data.get("powerConsumption")), _number(data.get("powerBalanceAmount")))
    return Submission(execution_id, charge)


def read_execution(answer: Answer, execution_id: str) -> Execution:
    """Where the run stands. No entry yet counts as pending; unknown spellings are kept and mean "keep watching"."""
    data, _ = _read_envelope(answer)
    entries = data.get("executions")
    if entries is None:
        entries = []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise _unreadable(answer, "data.executions")
    entry = _choose(entries, execution_id)
    status_text = clean_text(_text(entry.get("status")) or _text(data.get("status")) or RunStatus.PENDING.value, 40)
    status = _STATUSES.get(status_text.lower(), RunStatus.UNKNOWN)
    return Execution(execution_id, status, status_text, _read_results(answer, entry.get("result")))


def read_estimate(answer: Answer) -> Estimate:
    """What a request would cost."""
    data, _ = _read_envelope(answer)
    too_expensive = data.get("paidPowerNotEnough")
    affordable = not too_expensive if isinstance(too_expensive, bool) else None
    return Estimate(_number(data.get("totalPower")), affordable)


def read_success(answer: Answer) -> None:
    """Raise unless the answer is a success envelope."""
    _read_envelope(answer)


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")


def _read_envelope(answer: Answer) -> tuple[dict[str, Any], dict[str, Any]]:
    """``data`` and ``meta`` of a success; raises what the envelope or the status says otherwise."""
    envelope = _parse(answer.body)
    if not 200 <= answer.status < 300 or (envelope is not None and envelope.get("success") is False):
        raise _error_of(answer, envelope)
    if envelope is None:
        raise _unreadable(answer, "JSON object")
    if envelope.get("success") is not True:
        raise _unreadable(answer, "success")
    data, meta = envelope.get("data"), envelope.get("meta")
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise _unreadable(answer, "data")
    return data, meta if isinstance(meta, dict) else {}


def _parse(body: bytes) -> dict[str, Any] | None:
    """The JSON object, or None for anything else, however hostile."""
    try:
        value = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _error_of(answer: Answer, envelope: dict[str, Any] | None) -> WeShopError:
    if envelope is None and 300 <= answer.status < 400:
        return _unreadable(answer, "answer (a redirect)")
    envelope = envelope or {}
    nested = envelope.get("error")
    error: dict[str, Any] = nested if isinstance(nested, dict) else {}
    code = clean_text(_text(error.get("code")) or _text(envelope.get("code")), 60)
    message = clean_text(_text(error.get("message")) or _text(envelope.get("msg")))
    said = ", ".join(part for part in (f"HTTP {answer.status}", code, message) if part)
    complaint = _Complaint(answer.status, code, message)
    kind = next((kind for applies, kind in _RULES if applies(complaint)), ServiceError)
    flag = error.get("retryable")
    refused = _is_refusal(answer.status, envelope.get("success"))
    if issubclass(kind, InvalidRequestError):
        if refused and flag is not True:
            return InvalidRequestError(_ADVICE[kind].format(said=said), code=code)
        kind = ServiceError  # Not the request's fault, or not certainly refused: that class could not say so.
    advice = _ADVICE[kind]
    if not refused and kind in (ServiceError, InsufficientPointsError):
        kind, advice = ServiceError, _UNCLEAR  # Nobody can say that it was refused, and that nothing was charged.
    return kind(
        advice.format(said=said),
        status=answer.status,
        code=code,
        retryable=flag if isinstance(flag, bool) else None,
        retry_after_seconds=retry_after_seconds(answer),
        refused=refused,
    )


def _is_refusal(status: int, success: object) -> bool:
    """Whether it is certain that nothing was accepted."""
    if success is False:
        # What an Idempotency-Key is in conflict with may be an earlier attempt under the same key that was accepted.
        return status != _CONFLICT
    return success is not True and 400 <= status < 500 and status not in _INCONCLUSIVE_STATUSES


class _Complaint(NamedTuple):
    """What the service said went wrong."""

    status: int
    code: str
    message: str


# The first rule that applies decides. Codes come first, because some gateways answer every error with one status.
_RULES: tuple[tuple[Callable[[_Complaint], bool], type[ServiceError | InvalidRequestError]], ...] = (
    (lambda it: it.code in _KEY_CODES, AuthenticationError),
    (lambda it: it.status == 402 or bool(_TOO_FEW_POINTS.search(it.message)), InsufficientPointsError),
    (lambda it: it.status == 429 or it.code == _CONCURRENCY_CODE, LimitReachedError),
    (lambda it: it.code in _PARAMETER_CODES, InvalidRequestError),
    (lambda it: it.status in (401, 403), AuthenticationError),
    (lambda it: it.status == 404, NotFoundError),
    (lambda it: it.status >= 500 or bool(_SERVER_CODE.fullmatch(it.code)), ServerError),
    (lambda it: it.status >= 400 and it.status not in _INCONCLUSIVE_STATUSES, InvalidRequestError),
)

_ADVICE: Mapping[type[WeShopError], str] = {
    AuthenticationError: (
        "WeShop does not accept the API key ({said}). Check that the whole key was copied and that the plan is "
        f"active; keys are managed at {API_KEY_PAGE}"
    ),
    InsufficientPointsError: (
        "The WeShop account has too few points for this run ({said}). Nothing was charged. Top up the account, or ask "
        "for fewer or smaller pictures, then queue again."
    ),
    LimitReachedError: (
        "WeShop accepts no more runs or requests at the moment ({said}). Wait until other runs have ended, then queue "
        "again."
    ),
    InvalidRequestError: (
        "WeShop refused the request ({said}). Nothing was charged. Change what it names, then queue again."
    ),
    NotFoundError: "WeShop does not know this address or run ({said}).",
    ServerError: "WeShop had a failure of its own ({said}). Queue again in a few minutes.",
    ServiceError: "WeShop refused the request ({said}). Queue again later.",
}
_UNCLEAR = "WeShop's answer does not tell what became of the request ({said})."


def _choose(entries: list[dict[str, Any]], execution_id: str) -> dict[str, Any]:
    """The entry with the id; else the last one, because the clients of the vendor take that; else nothing."""
    matching = [entry for entry in entries if entry.get("executionId") == execution_id]
    return (matching or entries or [{}])[-1]


def _read_results(answer: Answer, items: object) -> tuple[Result, ...]:
    if items is None:
        return ()
    if not isinstance(items, list) or len(items) > MAX_RESULTS:
        raise _unreadable(answer, "data.executions[].result")
    return tuple(_read_result(number, item) for number, item in enumerate(items, start=1))


def _read_result(number: int, item: object) -> Result:
    entry = item if isinstance(item, dict) else {}
    status = clean_text(_text(entry.get("status")), 40)
    image = entry.get("image")
    usable = isinstance(image, str) and _is_address(image) and status.lower() != RunStatus.FAILED.value.lower()
    return Result(number, str(image) if usable else "", status)


def _unreadable(answer: Answer, part: str) -> UnreadableReplyError:
    return UnreadableReplyError(
        f"WeShop's answer could not be read: {part} is missing or not as promised (HTTP {answer.status}). "
        "If a proxy or firewall is in between, check that it passes requests to openapi.weshop.ai unchanged.",
        part=part,
        status=answer.status,
    )


def retry_after_seconds(answer: Answer) -> float | None:
    """``Retry-After`` in seconds. Where it is a date, as proxies send it, it counts from the date of the answer."""
    text = answer.header("retry-after")
    try:
        seconds = float(text)
    except ValueError:
        return _seconds_between(answer.header("date"), text)
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _seconds_between(earlier: str, later: str) -> float | None:
    """Between two dates of HTTP, never less than 0; None where either is none."""
    try:
        return max(0.0, (parsedate_to_datetime(later) - parsedate_to_datetime(earlier)).total_seconds())
    except (TypeError, ValueError, OverflowError):
        return None


def _text(value: object) -> str:
    """A string, or a number written as one: codes come in both forms."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    return value if isinstance(value, str) else str(value)[:60]


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < 1e12 else None


def _is_plain(text: str) -> bool:
    return text.isprintable() and text.isascii() and " " not in text


def _is_address(text: str) -> bool:
    fits = len(text) <= MAX_URL_LENGTH and text.isprintable() and " " not in text
    return fits and text.lower().startswith(("https://", "http://"))
