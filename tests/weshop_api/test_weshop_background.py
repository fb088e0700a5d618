"""Work side by side and in the background: nothing is left running, nothing is lost, no error goes unseen."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from weshop_api.background import Background, gather_or_cancel, within
from weshop_api.errors import NoAnswerError

from .shops import run, until


class Work:
    """Something that takes a while and remembers how it ended."""

    def __init__(self) -> None:
        self.ends: list[str] = []

    async def last(self, seconds: float, failure: Exception | None = None) -> float:
        """Take so many seconds."""
        try:
            await asyncio.sleep(seconds)
            if failure is not None:
                raise failure
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            self.ends.append("cancelled")
            raise
        self.ends.append("done")
        return seconds


def test_results_come_in_the_order_of_the_work() -> None:
    async def test() -> None:
        work = Work()

        assert await gather_or_cancel([work.last(0.03), work.last(0.01), work.last(0.02)]) == [0.03, 0.01, 0.02]
        assert await gather_or_cancel([]) == []

    run(test)


def test_the_first_error_ends_the_rest_before_it_is_raised() -> None:
    async def test() -> None:
        work, before = Work(), asyncio.all_tasks()
        with pytest.raises(NoAnswerError, match="first"):
            await gather_or_cancel(
                [work.last(5), work.last(0.01, NoAnswerError("first")), work.last(0.01, NoAnswerError("second"))]
            )

        assert work.ends == ["cancelled"]
        assert asyncio.all_tasks() == before

    run(test)


def test_a_cancellation_ends_everything_before_it_goes_on() -> None:
    async def test() -> None:
        work = Work()
        gathering = asyncio.ensure_future(gather_or_cancel([work.last(5), work.last(5)]))
        await asyncio.sleep(0.01)
        gathering.cancel()
        await asyncio.wait({gathering})

        assert gathering.cancelled()
        assert work.ends == ["cancelled", "cancelled"]

    run(test)


def test_a_blocking_call_that_has_begun_is_completed_although_its_caller_is_gone() -> None:
    async def test() -> None:
        background, begun, ends = Background(), threading.Event(), []

        def block() -> None:
            begun.set()
            time.sleep(0.05)
            ends.append("done")

        caller = asyncio.ensure_future(background.call(block))
        await until(begun.is_set)
        caller.cancel()
        await background.drain(1)

        assert ends == ["done"]

    run(test)


def test_draining_lets_work_come_to_its_end() -> None:
    async def test() -> None:
        background, work = Background(), Work()
        background.start(work.last(0.05))
        await background.drain(5)

        assert work.ends == ["done"]

    run(test)


def test_draining_ends_what_takes_too_long() -> None:
    async def test() -> None:
        background, work = Background(), Work()
        task = background.start(work.last(60))
        await background.drain(0.02)

        assert task.cancelled()
        assert work.ends == ["cancelled"]

    run(test)


def test_an_error_that_nobody_collects_makes_no_noise() -> None:
    async def test() -> None:
        background, work = Background(), Work()
        background.start(work.last(0.01, NoAnswerError("nobody looks")))
        await background.drain(1)

        assert work.ends == []

    run(test)


def test_what_takes_too_long_is_ended_and_told() -> None:
    async def test() -> None:
        work = Work()
        with pytest.raises(NoAnswerError, match="late"):
            await within(0.02, work.last(5), lambda: NoAnswerError("late"))

        assert work.ends == ["cancelled"]
        assert await within(1, work.last(0.0), lambda: NoAnswerError("late")) == 0.0

    run(test)
