"""What the emulator says: one whole answer as a value, and the two envelopes of the service.

Nothing here knows about sockets. A handler makes a `Reply`, a fault may replace or reshape it, and only the
delivery writes it to a connection.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

Envelope = Literal["documented", "legacy", "none"]

JSON_TYPE = "application/json"

PARAMETER_ERROR = "40000"
"""Published: parameter error."""
WRONG_KEY = "40001"
"""Published: the API key is wrong."""
TOO_MANY_AT_ONCE = "40005"
"""Published: the plan's limit of simultaneous executions is exceeded."""
NOT_FOUND = "NOT_FOUND"
"""Synthetic: no code for an unknown run or path is published."""
NOT_ENOUGH_POINTS = "INSUFFICIENT_POINTS"
"""Synthetic: no code is published; clients go by the wording or by HTTP 402."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer: HTTP status, body, media type and further headers."""

    status: int
    body: bytes
    content_type: str = JSON_TYPE
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def is_success(self) -> bool:
        """Whether the request was carried out."""
        return self.status < 400  # noqa: PLR2004 - the boundary of HTTP errors


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is refused: HTTP status, code, message, and whether to try again (None: not said)."""

    status: int
    code: str
    message: str
    retryable: bool | None = False

    def as_reply(self, envelope: Envelope = "documented", headers: tuple[tuple[str, str], ...] = ()) -> Reply:
        """Wrap the refusal in the documented envelope, the legacy one, or none (a gateway's page)."""
        if envelope == "none":
            page = f"<html><head><title>{self.status}</title></head><body>{self.message}</body></html>\n"
            return Reply(self.status, page.encode(), "text/html", headers)
        document: dict[str, Any]
        if envelope == "legacy":
            code = int(self.code) if self.code.isdecimal() else self.code
            document = {"success": False, "code": code, "msg": self.message}
        else:
            error: dict[str, Any] = {"code": self.code, "message": self.message}
            if self.retryable is not None:
                error["retryable"] = self.retryable
            document = {"success": False, "error": error}
        return Reply(self.status, json.dumps(document).encode(), JSON_TYPE, headers)


class RefusedError(Exception):
    """Raised where a check fails; carries the refusal that becomes the answer."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


def refuse_parameter(message: str, status: int = 422) -> RefusedError:
    """Make the refusal of a wrong parameter (published code 40000, not retryable)."""
    return RefusedError(Refusal(status, PARAMETER_ERROR, message))


def success(data: dict[str, Any], execution_id: str | None = None) -> Reply:
    """Wrap data in the documented envelope of a success."""
    meta = {} if execution_id is None else {"executionId": execution_id}
    return Reply(200, json.dumps({"success": True, "data": data, "meta": meta}).encode())
