"""A record of every request that arrived, for tests to assert on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

_KEPT_BODY_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request as it arrived. `at_seconds` is monotonic."""

    number: int
    operation: str
    """One of the operations faults can be ordered for, or "other"."""
    origin: str
    """"api" or "files": which of the two servers received it."""
    method: str
    path: str
    """With the query, as sent."""
    headers: tuple[tuple[str, str], ...]
    body: bytes
    """Empty where it was left unread, and where it is larger than 1 MiB."""
    body_size: int
    at_seconds: float
    answered_status: int | None
    """None while unanswered, and for ever when the connection was reset or stalled instead."""

    def header(self, name: str) -> str | None:
        """Return the first header of this name, whatever its case."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


class RequestLog:
    """All requests in the order of arrival. Every method may be called from any thread."""

    def __init__(self, clock: Callable[[], float], tell: Callable[[str], None] | None) -> None:
        """Start empty; `tell` is given one line for each answer."""
        self._lock = threading.Lock()
        self._clock, self._tell = clock, tell
        self._records: list[RequestRecord] = []

    def open(self, operation: str, origin: str, method: str, path: str, headers: tuple[tuple[str, str], ...]) -> int:
        """Note a request that has just arrived; return its number."""
        with self._lock:
            number = len(self._records)
            at_seconds = self._clock()
            self._records.append(
                RequestRecord(number, operation, origin, method, path, headers, b"", 0, at_seconds, None)
            )
            return number

    def read(self, number: int, body: bytes) -> None:
        """Note the body of a request."""
        kept = body if len(body) <= _KEPT_BODY_BYTES else b""
        with self._lock:
            self._records[number] = replace(self._records[number], body=kept, body_size=len(body))

    def close(self, number: int, status: int | None) -> None:
        """Note what was answered."""
        with self._lock:
            record = self._records[number] = replace(self._records[number], answered_status=status)
        if self._tell is not None:
            self._tell(f"{record.method} {record.path.partition('?')[0]} -> {status or 'no answer'}")

    @property
    def records(self) -> tuple[RequestRecord, ...]:
        """All requests so far."""
        with self._lock:
            return tuple(self._records)
