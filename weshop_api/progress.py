"""How far things are, as plain events that any screen can show."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .models import Result


class Phase(str, Enum):
    """What is being done, in the order in which it happens."""

    UPLOADING = "uploading"
    WAITING_FOR_SLOT = "waiting for a slot"
    SUBMITTING = "submitting"
    WATCHING = "watching"
    DOWNLOADING = "downloading"


@dataclass(frozen=True)
class Progress:
    """One moment of one piece of work.

    ``done`` of ``total`` pictures are finished; ``ahead`` runs wait for a slot before this one; ``status_text`` is
    the service's word for the run; ``age_seconds`` and ``expected_seconds`` tell how long it has been going and how
    long such runs took lately (None: not known); ``results`` are the pictures that are there already.
    """

    phase: Phase
    done: int = 0
    total: int = 0
    ahead: int = 0
    status_text: str = ""
    age_seconds: float = 0.0
    expected_seconds: float | None = None
    execution_id: str = ""
    results: tuple[Result, ...] = ()
    note: str = ""

    @property
    def fraction(self) -> float:
        """How much of this phase is done, 0 to 1. A guess while a run is being watched."""
        counted = self.done / self.total if self.total else 0.0
        if self.phase is not Phase.WATCHING or not self.expected_seconds:
            return counted
        return max(counted, min(0.95, self.age_seconds / self.expected_seconds))

    @property
    def farewell(self) -> str:
        """What goes on without somebody who stops waiting now, and how to get it; empty where nothing does."""
        if self.phase is Phase.WATCHING:
            return (
                f"Run {self.execution_id} goes on at WeShop. Queue again with the same seed to collect it; nothing is "
                "charged for that."
            )
        if self.phase is Phase.SUBMITTING:
            return (
                "If WeShop has accepted the run by now, it goes on there. Queue again with the same seed to collect "
                "it; it is charged once at the most."
            )
        return ""

    def __str__(self) -> str:
        """The phase in words, without addresses or secrets."""
        return f"{self._sentence()} ({self.note})" if self.note else self._sentence()

    def _sentence(self) -> str:
        if self.phase is Phase.WAITING_FOR_SLOT:
            return f"waiting for a slot, {self.ahead} ahead" if self.ahead else "waiting for a slot, next in line"
        if self.phase is Phase.SUBMITTING:
            return "submitting"
        if self.phase is Phase.WATCHING:
            return self._watched()
        if self.done >= self.total:
            return f"{self.phase.value} done"
        return f"{self.phase.value} {self.done + 1} of {self.total}"

    def _watched(self) -> str:
        if self.done and self.total > 1:
            return f"{self.done} of {self.total} done, {self.age_seconds:.0f} s"
        if self.expected_seconds:
            return f"{self.status_text} {self.age_seconds:.0f} s of about {self.expected_seconds:.0f} s"
        return f"{self.status_text} {self.age_seconds:.0f} s"


def silent(progress: Progress) -> None:
    """Report to nobody."""
