"""What a row of the fault table is: what goes wrong when, and what must come of it all the same."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from emulator import Fault, Where

WANTED_PICTURES = 3
UNKNOWN_OUTCOME = "It is not known whether WeShop accepted the run"


class Phase(str, Enum):
    """The way of a run through the pack."""

    UPLOAD = "upload"
    SUBMIT = "submit"
    REPLAY = "replay"
    """A submit after one whose answer was lost."""
    WATCH = "watch"
    DOWNLOAD = "download"

    @property
    def operation(self) -> str:
        """The emulator's word for its requests."""
        return {"replay": "submit", "watch": "poll"}.get(self.value, self.value)


class Blow(str, Enum):
    """What strikes from elsewhere than the answer to a request."""

    INTERRUPT = "interrupted"
    SIBLING = "a sibling node fails"
    KILL = "ComfyUI is killed and started again"
    OFFLINE = "the service is gone for three seconds"
    DISK_FULL = "the disk becomes full"
    READ_ONLY = "the ledger becomes read-only"


class End(str, Enum):
    """How a queueing ends for the user."""

    SUCCESS = "success"
    ERROR = "error"
    INTERRUPTED = "interrupted"
    KILLED = "killed"


@dataclass(frozen=True)
class Order:
    """A fault for the emulator; ``times`` None means for ever."""

    operation: str
    fault: Fault
    times: int | None = 1
    where: Where = Where()  # noqa: RUF009 - a frozen value


@dataclass(frozen=True)
class Moment:
    """A point in the life of a run, recognised at the service: so many requests have arrived, or been answered.

    ``orders`` make it last until the blow has been struck, ``is_accepted`` says whether the run exists by then (None:
    perhaps), and ``after_seconds`` is waited in addition.
    """

    name: str
    phase: Phase
    operation: str
    count: int = 1
    answered: bool = False
    orders: tuple[Order, ...] = ()
    is_accepted: bool | None = True
    after_seconds: float = 0.0


@dataclass(frozen=True)
class Strike:
    """A blow at a moment."""

    blow: Blow
    moment: Moment


@dataclass(frozen=True)
class Row:
    """One row: a request is queued, goes wrong as told, and is queued once more.

    ``says`` are parts of the message of the first end, with ``{id}`` for the execution id; ``shows`` is a part of what
    a node shows. ``runs`` is how many runs the service has after the first queueing and after the second, ``submits``
    how many requests it could have billed by then, ``fetched_again`` which results the second queueing downloads; None
    where that depends on the moment. ``faults_stay`` keeps what is ordered for ever also for the second queueing,
    ``results_expire`` makes the addresses of results expire between the two, and ``disk_is_mended`` lets the ledger
    find its way back to a disk that was full. ``twins`` is how many equal nodes the prompt has. ``seconds`` is about
    how long the row takes, so that long ones are begun first.
    """

    phase: Phase
    fault: str
    orders: tuple[Order, ...] = ()
    strike: Strike | None = None
    file_trouble: str = ""
    first: End = End.SUCCESS
    says: tuple[str, ...] = ()
    shows: str = ""
    again: End = End.SUCCESS
    runs: tuple[int | None, int] = (1, 1)
    submits: int | None = 1
    pictures: int = WANTED_PICTURES
    fetched_again: tuple[int, ...] | None = None
    faults_stay: bool = False
    results_expire: bool = False
    disk_is_mended: bool = False
    twins: int = 1
    timeout_minutes: int = 15
    seconds: float = 3.0

    @property
    def name(self) -> str:
        """The row in words; unique in the table."""
        return f"{self.phase.value}, {self.fault}"
