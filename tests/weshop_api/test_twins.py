"""Equal requests that are under way at once are one click: what befalls one is told to all, and none buys again."""

from __future__ import annotations

import asyncio
import time

import pytest

from emulator import Fault
from weshop_api.errors import OutcomeUnknownError, RunFailedError
from weshop_api.http import Timeouts
from weshop_api.seedream import Run
from weshop_api.submitting import LEASE_SECONDS
from weshop_api.weshop import Limits

from .shops import Shops, Told, error_of, pro, run, until

# With one slot the second waits for the slot, with two it waits for the row that the first has reserved.
WAYS_TO_WAIT = pytest.mark.parametrize("slots", [1, 2])


async def outcomes(shops: Shops, slots: int) -> list[Run | BaseException]:
    async with shops.open(limits=Limits(runs=slots)) as shop:
        return list(await asyncio.gather(shop.generate(pro()), shop.generate(pro()), return_exceptions=True))


@WAYS_TO_WAIT
@pytest.mark.parametrize("fault", [Fault.reset("before"), Fault.reset("after")])
def test_an_unknown_outcome_is_told_to_both_and_repeated_by_neither(shops: Shops, slots: int, fault: Fault) -> None:
    async def test() -> None:
        shops.emulator.order("submit", fault)
        ended = await outcomes(shops, slots)

        assert [type(it) for it in ended] == [OutcomeUnknownError, OutcomeUnknownError]
        assert shops.count("submit") == 1
        assert shops.emulator.unused_faults == ()

    run(test)


@WAYS_TO_WAIT
def test_a_run_that_fails_is_told_to_both_and_no_other_one_is_bought(shops: Shops, slots: int) -> None:
    async def test() -> None:
        shops.emulator.order("submit", Fault.outcome("Failed"))
        ended = await outcomes(shops, slots)

        assert [type(it) for it in ended] == [RunFailedError, RunFailedError]
        assert len(shops.emulator.runs) == 1
        assert shops.emulator.unused_faults == ()

    run(test)


def test_a_lease_that_could_not_be_renewed_in_time_brings_no_twin_to_submit_as_well(shops: Shops) -> None:
    """A slow disk or a computer that slept is the reason; the first request is still on its way."""

    async def test() -> None:
        told = Told()
        shops.emulator.order("submit", Fault.late(LEASE_SECONDS + 4))
        async with shops.open(timeouts=Timeouts()) as shop:
            first = asyncio.ensure_future(shop.generate(pro()))
            await until(lambda: bool(shops.emulator.runs))
            twin = asyncio.ensure_future(shop.generate(pro(), report=told))
            await until(lambda: any("another node" in sentence for sentence in told.sentences))
            await shop._background.call(time.sleep, LEASE_SECONDS + 1)
            ended = await asyncio.gather(first, twin)

        assert len({it.execution_id for it in ended}) == 1
        assert shops.count("submit") == 1
        assert shops.emulator.unused_faults == ()

    run(test)


def test_who_asks_after_the_outcome_was_told_repeats_although_a_twin_still_waits(shops: Shops) -> None:
    async def test() -> None:
        told = Told()
        shops.emulator.order("submit", Fault.stall(accepted=True))
        async with shops.open() as shop:
            first = asyncio.ensure_future(shop.generate(pro()))
            twin = asyncio.ensure_future(shop.generate(pro(), report=told))
            await until(lambda: any("another node" in sentence for sentence in told.sentences))
            await error_of(first, OutcomeUnknownError)
            made = await shop.generate(pro())
            await error_of(twin, OutcomeUnknownError)

        (record,) = shops.emulator.runs
        assert (record.execution_id, record.submits) == (made.execution_id, 2)

    run(test)


def test_a_failure_from_before_the_click_does_not_answer_it(shops: Shops) -> None:
    async def test() -> None:
        shops.emulator.order("submit", Fault.outcome("Failed"))
        async with shops.open() as shop:
            await error_of(shop.generate(pro()), RunFailedError)
            ended = await asyncio.gather(shop.generate(pro()), shop.generate(pro()))

        assert len({it.execution_id for it in ended}) == 1
        assert len(shops.emulator.runs) == 2

    run(test)
