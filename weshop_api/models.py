"""What the service says and what travels between layers: frozen, typed, without behaviour of its own."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class RunStatus(str, Enum):
    """Where a run stands. Spellings the service does not document are ``UNKNOWN`` and mean "keep watching"."""

    PENDING = "Pending"
    SEGMENTING = "Segmenting"
    RUNNING = "Running"
    SUCCESS = "Success"
    FAILED = "Failed"
    CANCELLED = "Cancelled"
    UNKNOWN = "Unknown"

    @property
    def is_terminal(self) -> bool:
        """Whether the run can no longer change."""
        return self in (RunStatus.SUCCESS, RunStatus.FAILED, RunStatus.CANCELLED)


@dataclass(frozen=True)
class Answer:
    """One HTTP answer. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def header(self, name: str) -> str:
        """The header's value, empty when it is not there."""
        return self.headers.get(name.lower(), "")


@dataclass(frozen=True)
class Picture:
    """An encoded picture ready for upload: ``width`` x ``height`` pixels; ``note`` says what had to be changed."""

    data: bytes
    media_type: str
    width: int
    height: int
    note: str = ""


@dataclass(frozen=True)
class Reference:
    """A picture the prompt may name "image 1", "image 2", ...

    ``content_hash`` identifies the picture itself and is empty for a URL that the user gave;
    ``width`` and ``height`` are 0 then.
    """

    url: str
    width: int = 0
    height: int = 0
    content_hash: str = ""

    @property
    def identity(self) -> str:
        """What makes two references the same picture, wherever they were uploaded to."""
        return self.content_hash or self.url


@dataclass(frozen=True)
class References:
    """An ordered list of references; the order is the numbering in the prompt."""

    items: tuple[Reference, ...] = ()

    @property
    def urls(self) -> tuple[str, ...]:
        """The addresses, in order."""
        return tuple(item.url for item in self.items)


@dataclass(frozen=True)
class Charge:
    """Points as the service reported them at submission; None where it said nothing."""

    charged_points: float | None = None
    remaining_points: float | None = None


@dataclass(frozen=True)
class Submission:
    """An accepted run."""

    execution_id: str
    charge: Charge = Charge()


@dataclass(frozen=True)
class Result:
    """One produced picture. ``url`` is empty when there is none (yet); ``status`` is the service's own word."""

    number: int
    url: str
    status: str


@dataclass(frozen=True)
class Execution:
    """One answer to a poll. ``status_text`` is the service's own spelling."""

    execution_id: str
    status: RunStatus
    status_text: str
    results: tuple[Result, ...] = ()

    @property
    def usable(self) -> tuple[Result, ...]:
        """The results that have a picture."""
        return tuple(result for result in self.results if result.url)


@dataclass(frozen=True)
class Estimate:
    """What the service expects a request to cost; None where it said nothing."""

    points: float | None
    affordable: bool | None
