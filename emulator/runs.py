"""The life of a run: Pending, Running, then its outcome, advanced by polls (tests) or by seconds (demo)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

PENDING = "Pending"
RUNNING = "Running"
SUCCESS = "Success"
FAILED = "Failed"
ENDINGS = (SUCCESS, FAILED, "Cancelled", "Canceled")

MissingAs = Literal["failed", "without image", "left out"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: not yet started, or `finished` of its pictures done, or ended."""

    phase: Literal["pending", "running", "ended"]
    finished: int


class Pace(Protocol):
    """How a run advances."""

    def progress(self, polls: int, age_seconds: float, pictures: int) -> Progress:
        """Return how far a run of `pictures` is after so many polls and seconds."""


@dataclass(frozen=True, slots=True)
class ByPolls:
    """A run that ends with its n-th poll; pictures finish evenly on the way. For tests."""

    polls: int = 3

    def __post_init__(self) -> None:
        """Refuse a pace that could never show an end."""
        if self.polls < 1:
            raise ValueError("ByPolls: a run is seen to end at its first poll at the earliest")

    def progress(self, polls: int, age_seconds: float, pictures: int) -> Progress:  # noqa: ARG002 - the common signature
        """Advance by polls only."""
        if polls >= self.polls:
            return Progress("ended", pictures)
        if polls <= 1 and self.polls > 2:  # noqa: PLR2004 - two polls leave no room for Pending
            return Progress("pending", 0)
        return Progress("running", pictures * max(polls, 0) // self.polls)


@dataclass(frozen=True, slots=True)
class BySeconds:
    """A run that waits, then finishes one picture after the other. For the demo."""

    pending_seconds: float = 1.0
    seconds_per_picture: float = 1.5

    def progress(self, polls: int, age_seconds: float, pictures: int) -> Progress:  # noqa: ARG002 - the common signature
        """Advance by time only."""
        if age_seconds < self.pending_seconds:
            return Progress("pending", 0)
        working_seconds = age_seconds - self.pending_seconds
        if working_seconds >= self.seconds_per_picture * pictures:
            return Progress("ended", pictures)
        return Progress("running", int(working_seconds / self.seconds_per_picture))


@dataclass(frozen=True, slots=True)
class Ending:
    """What a run comes to: its last status, and which pictures (numbered from 1) never come."""

    status: str = SUCCESS
    missing: tuple[int, ...] = ()
    missing_as: MissingAs = "failed"


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What a test may know about a run. Times are monotonic seconds."""

    number: int
    """Counted from 1 in the order of creation."""
    execution_id: str
    idempotency_key: str | None
    body: dict[str, Any]
    """The submitted document as it was received."""
    status: str
    model: str
    image_size: str
    aspect_ratio: str
    output_format: str
    batch_count: int
    prompt: str
    references: tuple[str, ...]
    pixel_size: tuple[int, int]
    power_consumption: int
    created_at_seconds: float
    submits: int
    """How many submits led to this run: 1, and one more for each replay with its Idempotency-Key."""
    polls: int
