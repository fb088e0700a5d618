"""A first-come-first-served limit on how much is in flight at once, which shrinks when the service refuses.

It belongs to one event loop: all methods are called from tasks or callbacks of that loop, so it needs no lock.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


class AdaptiveLimit:
    """At most ``current`` holders of a slot at once; the others wait in order of arrival.

    A refusal halves the limit, but only while the limit still allows what is in flight. A refusal at a load of four
    says that four are too many. Once the limit is two, the other refusals of that burst, and those of repeated
    attempts while the four are still there, say nothing new; they count again when the load has come down to two. So
    one burst is one cut, without guessing from a clock which refusals belong together. Acceptances are weighed alike.

    Tell ``refused`` and ``accepted`` while holding the slot, and hold it while repeating a refused submission.
    A limit that is never told of refusals stays fixed.
    """

    def __init__(self, limit: int) -> None:
        """Start with ``limit`` slots, which is also the most it will ever allow. Raise ValueError below 1."""
        if limit < 1:
            raise ValueError(f"a limit must allow at least 1 at a time, not {limit}")
        self._most = limit
        self._current = limit
        self._accepted_since_change = 0
        self._in_use = 0
        self._queue: deque[_Waiter] = deque()

    @property
    def current(self) -> int:
        """How many slots there are now."""
        return self._current

    @property
    def in_use(self) -> int:
        """How many slots are held; more than ``current`` for a while after a cut."""
        return self._in_use

    @property
    def waiting(self) -> int:
        """How many wait for a slot."""
        return len(self._queue)

    @asynccontextmanager
    async def slot(self, on_wait: Callable[[int], None] | None = None) -> AsyncIterator[None]:
        """Hold one slot inside the ``async with`` block.

        ``on_wait(ahead)`` is called in the waiter's own task, at the start of a wait and whenever the number of waiters
        ahead changes (0 = next); changes in quick succession may be told as one. What it raises ends the wait.
        """
        await self._acquire(on_wait)
        try:
            yield
        finally:
            self._release()

    def refused(self) -> None:
        """Halve the limit (never below 1), unless more is in flight than an earlier cut allows."""
        if self._in_use <= self._current:
            self._accepted_since_change = 0
            self._current = max(1, self._current // 2)

    def accepted(self) -> None:
        """Raise the limit by 1, up to where it started, after as many acceptances as the limit allows at once."""
        if self._in_use > self._current or self._current == self._most:
            return
        self._accepted_since_change += 1
        if self._accepted_since_change >= self._current:
            self._accepted_since_change = 0
            self._current += 1
            self._hand_out()

    async def _acquire(self, on_wait: Callable[[int], None] | None) -> None:
        # A free slot means an empty queue, because every change that frees one ends in _hand_out.
        if self._in_use < self._current:
            self._in_use += 1
            return
        waiter = _Waiter(len(self._queue))
        self._queue.append(waiter)
        try:
            await waiter.wait(on_wait)
        except BaseException:
            # The slot may have been handed over in the very moment in which the wait was ended.
            if waiter.holds_slot:
                self._release()
            else:
                self._queue.remove(waiter)
                self._tell_places()
            raise

    def _release(self) -> None:
        self._in_use -= 1
        self._hand_out()

    def _hand_out(self) -> None:
        """Give free slots to the first in the queue; a slot counts as used from here on, so that nobody can jump in."""
        while self._queue and self._in_use < self._current:
            self._in_use += 1
            self._queue.popleft().take_slot()
        self._tell_places()

    def _tell_places(self) -> None:
        for ahead, waiter in enumerate(self._queue):
            waiter.move_to(ahead)


class _Waiter:
    """A place in the queue. It is told of changes, and tells its owner of them in the owner's own task."""

    def __init__(self, ahead: int) -> None:
        self.holds_slot = False
        self._ahead = ahead
        self._changed = asyncio.Event()

    def take_slot(self) -> None:
        self.holds_slot = True
        self._changed.set()

    def move_to(self, ahead: int) -> None:
        if ahead != self._ahead:
            self._ahead = ahead
            self._changed.set()

    async def wait(self, on_wait: Callable[[int], None] | None) -> None:
        while not self.holds_slot:
            self._changed.clear()
            if on_wait is not None:
                on_wait(self._ahead)
            await self._changed.wait()
