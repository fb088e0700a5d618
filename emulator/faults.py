"""Misbehaviour that can be ordered: one small frozen class a kind, made by the static methods of `Fault`.

- before the request is carried out: Answer, Stall, Reset("before");
- after it was carried out: the same with accepted=True, Reset("after");
- to the answer on its way: Reset("during"), Truncate, Late, Slow;
- to what a good answer says: Ids and Outcome (submit), ReshapePoll (poll), PixelSize (download).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from .replies import Envelope, Refusal, Reply
from .runs import ENDINGS, SUCCESS, Ending, MissingAs, Pace

OPERATIONS = ("upload", "submit", "poll", "download", "estimate", "info")
ALL_OPERATIONS = frozenset(OPERATIONS)
CREATING = frozenset({"upload", "submit"})
OTHER_ID = "f" * 24
"""The second id of an answer that carries two different ones; no run has it."""


class Fault:
    """An ordered misbehaviour. Its static methods are the menu."""

    __slots__ = ()
    operations: ClassVar[frozenset[str]] = ALL_OPERATIONS

    @property
    def unread(self) -> bool:
        """Whether it strikes before the body of the request is read."""
        return False

    @property
    def accepted(self) -> bool:
        """Whether the request is carried out first (a submit has then created its run)."""
        return True

    @property
    def needs_success(self) -> bool:
        """Whether it can only happen to a request that is carried out; until then it stays ordered."""
        return False

    @property
    def needs_ended_run(self) -> bool:
        """Whether it waits for the poll that shows the end of a run."""
        return False

    def reply(self, normal: Reply | None) -> Reply | None:
        """Return the answer to give instead of the normal one (None: there is no answer at all)."""
        return normal

    def reshape(self, document: dict[str, Any]) -> bool:  # noqa: ARG002 - most faults leave it alone
        """Change the document of a good answer in place; return False when that is impossible, and leave it alone."""
        return True

    @staticmethod
    def refuse(  # noqa: PLR0913 - each part of a refusal can be chosen
        status: int = 500,
        code: str = "50001",
        message: str = "ordered refusal",
        *,
        retryable: bool | None = None,
        envelope: Envelope = "documented",
        retry_after_seconds: float | None = None,
        accepted: bool = False,
    ) -> Fault:
        """Refuse with an envelope, or a gateway's page (`envelope="none"`); status 200 gives HTTP 200, success false.

        `accepted=True` (upload, submit): the request is carried out all the same and only the answer is an error.
        """
        _demand(200 <= status <= 599, "refuse: status must be 200 to 599")  # noqa: PLR2004 - HTTP's range
        _demand(envelope in {"documented", "legacy", "none"}, f"refuse: unknown envelope {envelope!r}")
        headers = () if retry_after_seconds is None else (("Retry-After", f"{retry_after_seconds:g}"),)
        return Answer(Refusal(status, code, message, retryable).as_reply(envelope, headers), accepted)

    @staticmethod
    def answer(
        body: bytes,
        *,
        status: int = 200,
        content_type: str = "application/json",
        headers: tuple[tuple[str, str], ...] = (),
        accepted: bool = False,
    ) -> Fault:
        """Answer literally this: unreadable JSON, a wrong shape, a file of your own making."""
        return Answer(Reply(status, body, content_type, headers), accepted)

    @staticmethod
    def redirect(url: str, status: int = 302) -> Fault:
        """Answer with a redirect to the given URL."""
        return Answer(Reply(status, b"", "text/plain", (("Location", url),)), is_accepted=False)

    @staticmethod
    def reset(when: Literal["before", "after", "during"] = "before") -> Fault:
        """Reset the connection: before the body is read, after the request was carried out, or amid the answer."""
        return Reset(when)

    @staticmethod
    def truncate(share: float = 0.5) -> Fault:
        """Declare the whole length, send this share of the body, close the connection in good order."""
        return Truncate(share)

    @staticmethod
    def stall(seconds: float | None = None, *, accepted: bool = False) -> Fault:
        """Never answer; the connection is closed after so many seconds, or when the emulator stops."""
        return Stall(seconds, accepted)

    @staticmethod
    def late(seconds: float) -> Fault:
        """Carry the request out at once, answer well, but so many seconds later."""
        return Late(seconds)

    @staticmethod
    def slow(bytes_per_second: float) -> Fault:
        """Answer well, a few bytes at a time."""
        return Slow(bytes_per_second)

    @staticmethod
    def without_id() -> Fault:
        """Submit: accepted, but the answer names no execution id."""
        return Ids("nowhere")

    @staticmethod
    def id_only_in(place: Literal["data", "meta"]) -> Fault:
        """Submit: the execution id stands in one of its two places only."""
        return Ids(place)

    @staticmethod
    def two_ids() -> Fault:
        """Submit: `meta` names another execution id than `data`."""
        return Ids("different")

    @staticmethod
    def outcome(
        status: str = SUCCESS,
        *,
        missing: tuple[int, ...] = (),
        missing_as: MissingAs = "failed",
        pace: Pace | None = None,
    ) -> Fault:
        """Submit: the run will end like this, and advance at this pace (None: the emulator's)."""
        return Outcome(Ending(status, missing, missing_as), pace)

    @staticmethod
    def no_executions() -> Fault:
        """Poll: `executions` is empty."""
        return ReshapePoll(executions="none")

    @staticmethod
    def several_executions(wanted: Literal["first", "last", "absent"] = "first") -> Fault:
        """Poll: other executions stand beside the polled one, or in its place."""
        return ReshapePoll(executions=wanted)

    @staticmethod
    def shows_status(status: str) -> Fault:
        """Poll: the run is said to have this status, known or not."""
        return ReshapePoll(status=status)

    @staticmethod
    def null_results() -> Fault:
        """Poll of an ended run: `result` is null."""
        return ReshapePoll(without_results=True)

    @staticmethod
    def results_without_image(*numbers: int) -> Fault:
        """Poll of an ended run: these results (from 1) have status Success but no `image`."""
        return ReshapePoll(without_image=numbers)

    @staticmethod
    def failed_results(*numbers: int) -> Fault:
        """Poll of an ended run: these results (from 1) have status Failed and no `image`."""
        return ReshapePoll(failed=numbers)

    @staticmethod
    def fewer_results(count: int) -> Fault:
        """Poll of an ended run: only the first `count` results are listed."""
        return ReshapePoll(at_most=count)

    @staticmethod
    def pixel_size(width: int, height: int) -> Fault:
        """Download: the picture has another size than the others."""
        return PixelSize(width, height)


@dataclass(frozen=True, slots=True)
class Answer(Fault):
    """A literal answer."""

    literal: Reply
    is_accepted: bool

    @property
    def accepted(self) -> bool:
        """As ordered."""
        return self.is_accepted

    @property
    def needs_success(self) -> bool:
        """An accepted request that is answered unreadably must have been acceptable."""
        return self.is_accepted

    def reply(self, normal: Reply | None) -> Reply | None:  # noqa: ARG002 - the normal answer is dropped
        """Answer the literal."""
        return self.literal


@dataclass(frozen=True, slots=True)
class Reset(Fault):
    """A connection reset (TCP RST)."""

    when: Literal["before", "after", "during"]

    def __post_init__(self) -> None:
        """Refuse misspelled moments."""
        _demand(self.when in {"before", "after", "during"}, f"reset: unknown moment {self.when!r}")

    @property
    def unread(self) -> bool:
        """Only the early one."""
        return self.when == "before"

    @property
    def accepted(self) -> bool:
        """All but the early one."""
        return self.when != "before"

    @property
    def needs_success(self) -> bool:
        """The late ones are about a request that was carried out."""
        return self.accepted

    def reply(self, normal: Reply | None) -> Reply | None:
        """Answer nothing, unless the reset comes amid the answer."""
        return normal if self.when == "during" else None


@dataclass(frozen=True, slots=True)
class Truncate(Fault):
    """A body that ends early."""

    share: float

    def __post_init__(self) -> None:
        """Refuse a share that truncates nothing."""
        _demand(0 <= self.share < 1, "truncate: share must be at least 0 and less than 1")


@dataclass(frozen=True, slots=True)
class Stall(Fault):
    """No answer at all, with the connection kept open."""

    seconds: float | None
    is_accepted: bool

    @property
    def unread(self) -> bool:
        """The early one leaves the request unread."""
        return not self.is_accepted

    @property
    def accepted(self) -> bool:
        """As ordered."""
        return self.is_accepted

    @property
    def needs_success(self) -> bool:
        """The late one is about a request that was carried out."""
        return self.is_accepted

    def reply(self, normal: Reply | None) -> Reply | None:  # noqa: ARG002 - nothing is ever answered
        """Answer nothing."""
        return None


@dataclass(frozen=True, slots=True)
class Late(Fault):
    """A good answer that comes late."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Slow(Fault):
    """A good answer that trickles."""

    bytes_per_second: float

    def __post_init__(self) -> None:
        """Refuse a speed that never ends; that is a stall."""
        _demand(self.bytes_per_second > 0, "slow: bytes_per_second must be more than 0; order a stall instead")


class FaultOfSuccess(Fault):
    """A fault that changes what a carried-out request leads to, so it waits for one."""

    __slots__ = ()

    @property
    def needs_success(self) -> bool:
        """It does."""
        return True


@dataclass(frozen=True, slots=True)
class Ids(FaultOfSuccess):
    """Where an accepted submit names its execution id."""

    operations: ClassVar[frozenset[str]] = frozenset({"submit"})
    place: Literal["nowhere", "data", "meta", "different"]

    def __post_init__(self) -> None:
        """Refuse misspelled places."""
        _demand(self.place in {"nowhere", "data", "meta", "different"}, f"id_only_in: unknown place {self.place!r}")

    def reshape(self, document: dict[str, Any]) -> bool:
        """Remove or change the ids."""
        if self.place in {"nowhere", "meta"}:
            document["data"].pop("executionId", None)
            document["data"].pop("taskId", None)
        if self.place in {"nowhere", "data"}:
            document["meta"].pop("executionId", None)
        if self.place == "different":
            document["meta"]["executionId"] = OTHER_ID
        return True


@dataclass(frozen=True, slots=True)
class Outcome(FaultOfSuccess):
    """How the submitted run will end, and how fast."""

    operations: ClassVar[frozenset[str]] = frozenset({"submit"})
    ending: Ending
    pace: Pace | None

    def __post_init__(self) -> None:
        """Refuse endings that are none, and misspelled ways to be missing."""
        _demand(self.ending.status in ENDINGS, f"outcome: a run ends as one of {', '.join(ENDINGS)}")
        ways = ("failed", "without image", "left out")
        _demand(self.ending.missing_as in ways, f"outcome: missing_as is one of {', '.join(ways)}")


@dataclass(frozen=True, slots=True)
class ReshapePoll(FaultOfSuccess):
    """A poll that shows something else than the run is."""

    operations: ClassVar[frozenset[str]] = frozenset({"poll"})
    executions: Literal["none", "first", "last", "absent"] | None = None
    status: str | None = None
    without_results: bool = False
    without_image: tuple[int, ...] = ()
    failed: tuple[int, ...] = ()
    at_most: int | None = None

    def __post_init__(self) -> None:
        """Refuse numbers that count no result."""
        _demand(min((*self.without_image, *self.failed, 1)) >= 1, "results are numbered from 1")

    @property
    def needs_ended_run(self) -> bool:
        """Changed results can be seen only where there are results."""
        return self.without_results or bool(self.without_image or self.failed) or self.at_most is not None

    def reshape(self, document: dict[str, Any]) -> bool:
        """Change the executions, the status or the results; impossible where a numbered result is not there."""
        data = document["data"]
        execution = data["executions"][0]
        results = execution["result"]
        if max((*self.without_image, *self.failed, 0)) > len(results):
            return False
        if self.status is not None:
            execution["status"] = self.status
        for number in (*self.without_image, *self.failed):
            results[number - 1].pop("image", None)
        for number in self.failed:
            results[number - 1]["status"] = "Failed"
        if self.at_most is not None:
            del results[self.at_most :]
        if self.without_results:
            execution["result"] = None
        others = [{**execution, "executionId": f"{digit * 24}", "status": "Failed", "result": []} for digit in "ab"]
        shown = {"none": [], "first": [execution, *others], "last": [*others, execution], "absent": others}
        data["executions"] = [execution] if self.executions is None else shown[self.executions]
        return True


@dataclass(frozen=True, slots=True)
class PixelSize(FaultOfSuccess):
    """A result of another pixel size."""

    operations: ClassVar[frozenset[str]] = frozenset({"download"})
    width: int
    height: int


def _demand(condition: bool, message: str) -> None:  # noqa: FBT001 - a plain assertion with a sentence
    if not condition:
        raise ValueError(message)
