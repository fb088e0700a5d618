"""What one node of one prompt shows: its single item, or all items of its list input as one text and one bar.

Part of ``host``, which is the only module that imports it. Pure: what to show and when, and nothing about how.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from ..weshop_api import Phase, Progress

# The host sends the state of every node of the prompt with each movement of one bar.
SHOW_INTERVAL_SECONDS = 0.2
SHOW_INTERVAL_PER_NODE_SECONDS = 0.05
SMALLEST_STEP = 0.01

STOPPED, FAILED = "stopped", "failed"
"""The last word of what ended early and leaves nothing that goes on, so that no phase stays on the page."""

_WORDS = {Phase.WATCHING: "running"}


@dataclass(frozen=True)
class Shown:
    """A text, how much is done, 0 to 1, and a preview. None stands for what has not changed."""

    text: str | None
    fraction: float | None
    picture: object = None


class NodeItems:
    """The items of one node, by their place in the list input, and the first failure among them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._going: set[int] = set()
        self._done: set[int] = set()
        # Written by the background loop; everything else belongs to the thread of the prompt.
        self._latest: dict[int, Progress] = {}
        self._failure: Exception | None = None
        self._origin: TracebackType | None = None
        self._text = ""
        self._has_said_farewell = False
        self._fraction = 0.0
        self._picture: object = None
        self._next_show_seconds = clock()

    def begin(self, index: int) -> None:
        """An item begins, or goes on with its next piece of work."""
        self._done.discard(index)
        self._latest.pop(index, None)
        self._going.add(index)

    def put(self, index: int, progress: Progress) -> None:
        """Note how far an item is. What comes after its end is not shown. May be called from any thread."""
        self._latest[index] = progress

    def put_picture(self, picture: object) -> None:
        """Keep a preview until it is shown; a newer one replaces it. May be called from any thread."""
        self._picture = picture

    @property
    def fraction(self) -> float:
        """How much the page was told to be done."""
        return self._fraction

    def end(self, index: int, failure: Exception | None = None) -> None:
        """An item has ended. The first failure is kept for those that still go."""
        self._going.discard(index)
        self._done.add(index)
        if failure is not None and self._failure is None:
            self._failure, self._origin = failure, failure.__traceback__
        if not self._going:
            # Nobody needs it any more, and its traceback would keep pictures in memory.
            self._failure = self._origin = None

    def raise_failure(self) -> None:
        """Raise the failure of another item, with the traceback of where it happened and not of each who passed it."""
        if self._failure is not None:
            raise self._failure.with_traceback(self._origin)

    def news(self, nodes: int, *, is_end: bool = False) -> Shown | None:
        """What has to be shown now, when ``nodes`` nodes share the page. None when nothing, or not yet.

        ``is_end`` says that the work of an item is done. The preview that the last one leaves does not wait for the
        end of a pause, because nobody would look again.
        """
        now = self._clock()
        going = [self._latest[index] for index in sorted(self._going) if index in self._latest]
        is_last_picture = is_end and len(self._going) == 1 and self._picture is not None
        if not going or (now < self._next_show_seconds and not is_last_picture):
            return None
        text = self._summary(going)
        fraction = self._done_share(going)
        shown = Shown(
            text if text != self._text else None,
            fraction if abs(fraction - self._fraction) >= SMALLEST_STEP else None,
            self._picture,
        )
        if shown == Shown(None, None):
            return None
        self._picture = None
        self._text = text
        self._fraction = self._fraction if shown.fraction is None else fraction
        self._next_show_seconds = now + max(SHOW_INTERVAL_SECONDS, SHOW_INTERVAL_PER_NODE_SECONDS * nodes)
        return shown

    def farewell(self) -> str:
        """What goes on without the items that still go, when all end at once, or that they are stopped.

        Asked again, there is nothing to add.
        """
        if self._has_said_farewell:
            return ""
        self._has_said_farewell = True
        going = (self._latest[index] for index in sorted(self._going) if index in self._latest)
        return " ".join(dict.fromkeys(progress.farewell for progress in going if progress.farewell)) or STOPPED

    def last_word(self, text: str) -> str:
        """``text`` of an item that has ended, with the count where there are several items."""
        count = len(self._done) + len(self._going)
        return text if count <= 1 else f"{len(self._done)} of {count} done, the latest: {text}"

    def _summary(self, going: list[Progress]) -> str:
        count = len(self._done) + len(self._going)
        if count == 1:
            return str(going[0])
        phases = Counter(progress.phase for progress in going)
        parts = [f"{phases[phase]} {_WORDS.get(phase, phase.value)}" for phase in Phase if phases[phase]]
        return ", ".join([f"{len(self._done)} of {count} done", *parts])

    def _done_share(self, going: list[Progress]) -> float:
        parts = sum(progress.fraction for progress in going)
        return (len(self._done) + parts) / (len(self._done) + len(self._going))
