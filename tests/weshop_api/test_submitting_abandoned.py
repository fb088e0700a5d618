"""Whoever stops waiting for a submit costs nobody a second run: what is under way is completed, the rest given back."""

from __future__ import annotations

import asyncio
import time
from contextlib import closing

import pytest

from emulator import Fault
from weshop_api.ledger import Ledger, RunState
from weshop_api.progress import Phase
from weshop_api.retry import RetryPolicy
from weshop_api.weshop import Limits

from .shops import Shops, Told, pro, rows, run, states, submits, until


def test_a_cancellation_while_waiting_for_a_slot_submits_nothing(shops: Shops) -> None:
    async def test() -> None:
        told = Told()
        async with shops.open(limits=Limits(runs=1)) as shop:
            shops.emulator.order("submit", Fault.late(0.2))
            first = asyncio.ensure_future(shop.generate(pro(), 1))
            second = asyncio.ensure_future(shop.generate(pro(), 2, report=told))
            await until(lambda: bool(told.progress))
            second.cancel()
            await asyncio.wait({first, second})

        assert second.cancelled()
        assert [it.phase for it in told.progress] == [Phase.WAITING_FOR_SLOT]
        assert (len(shops.emulator.runs), len(rows(shops))) == (1, 1)

    run(test)


def test_a_cancellation_during_a_submit_completes_it_in_the_background(shops: Shops) -> None:
    async def test() -> None:
        shops.emulator.order("submit", Fault.late(0.3))
        async with shops.open() as shop:
            click = asyncio.ensure_future(shop.generate(pro()))
            await until(lambda: len(shops.emulator.runs) == 1)
            click.cancel()
            await asyncio.wait({click})
            assert states(shops) == [RunState.SUBMITTING]

            made = await shop.generate(pro())

        assert click.cancelled()
        assert made.execution_id == shops.emulator.runs[0].execution_id
        assert made.reused_from
        assert (shops.count("submit"), len(shops.emulator.runs)) == (1, 1)
        assert shops.emulator.unused_faults == ()

    run(test)


def test_a_cancelled_submit_whose_answer_never_comes_is_repeated_identically(shops: Shops) -> None:
    async def test() -> None:
        shops.emulator.order("submit", Fault.stall(accepted=True))
        async with shops.open() as shop:
            click = asyncio.ensure_future(shop.generate(pro()))
            await until(lambda: len(shops.emulator.runs) == 1)
            click.cancel()
            made = await shop.generate(pro())

        (record,) = shops.emulator.runs
        assert (made.execution_id, record.submits) == (record.execution_id, 2)

    run(test)


def test_a_cancellation_between_two_attempts_gives_the_submission_back(shops: Shops) -> None:
    async def test() -> None:
        told = Told()
        shops.emulator.order("submit", Fault.refuse(429, "40005", retry_after_seconds=30))
        slow = RetryPolicy(first_wait_seconds=30)
        async with shops.open(policy=slow) as shop:
            click = asyncio.ensure_future(shop.generate(pro(), report=told))
            await until(lambda: any("next attempt in 30 s" in sentence for sentence in told.sentences))
            count = len(told.progress)
            click.cancel()
            made = await shop.generate(pro())

        assert len(told.progress) == count
        assert made.reused_from == ""
        assert states(shops) == [RunState.SUCCESS, RunState.REFUSED]
        assert len(shops.emulator.runs) == 1
        assert shops.emulator.unused_faults == ()

    run(test)


def test_of_two_equal_clicks_the_second_submits_when_the_first_is_given_up(shops: Shops) -> None:
    async def test() -> None:
        told = Told()
        shops.emulator.order("submit", Fault.refuse(429, "40005", retry_after_seconds=30))
        async with shops.open(policy=RetryPolicy(first_wait_seconds=30)) as shop:
            first = asyncio.ensure_future(shop.generate(pro()))
            await until(lambda: shops.count("submit") == 1)
            second = asyncio.ensure_future(shop.generate(pro(), report=told))
            await until(lambda: any("another node is submitting" in sentence for sentence in told.sentences))
            first.cancel()
            made = await second

        assert made.execution_id == shops.emulator.runs[0].execution_id
        assert len(shops.emulator.runs) == 1

    run(test)


def test_a_click_that_has_lost_its_lease_sends_nothing_while_another_process_is_at_it(shops: Shops) -> None:
    async def test() -> None:
        shops.emulator.order("submit", Fault.refuse(429, "40005", retry_after_seconds=0.3))
        async with shops.open() as shop:
            click = asyncio.ensure_future(shop.generate(pro()))
            await until(lambda: shops.count("submit") == 1)
            # As after a sleep of this machine: to the other process the lease has long run out.
            with closing(_ledger(shops, ahead_seconds=20)) as other:
                taken = other.claim(other.recent_runs(1)[0], "another process", lease_seconds=30)
                await asyncio.sleep(0.8)
                sent_meanwhile = shops.count("submit")
                other.outcome_unknown(taken.record)
            made = await click

        assert sent_meanwhile == 1
        assert made.execution_id == shops.emulator.runs[0].execution_id
        assert len(set(submits(shops.emulator))) == 1
        assert shops.emulator.unused_faults == ()

    run(test)


def _ledger(shops: Shops, ahead_seconds: float) -> Ledger:
    return Ledger(shops.folder / "ledger.sqlite3", warn=pytest.fail, clock=lambda: time.time() + ahead_seconds)


def test_a_cancellation_while_watching_leaves_the_run_to_the_next_call(shops: Shops) -> None:
    async def test() -> None:
        told = Told()
        shops.emulator.order("poll", Fault.shows_status("Running"), times=3)
        async with shops.open() as shop:
            click = asyncio.ensure_future(shop.generate(pro(), report=told))
            await until(lambda: bool(told.progress) and told.progress[-1].status_text == "Running")
            click.cancel()
            await asyncio.wait({click})
            made = await shop.generate(pro())

        assert click.cancelled()
        assert made.execution_id == shops.emulator.runs[0].execution_id
        assert (shops.count("submit"), made.reused_from != "") == (1, True)
        assert shops.emulator.unused_faults == ()

    run(test)


@pytest.mark.parametrize("delay_seconds", [0.0, 0.002, 0.005, 0.01, 0.02, 0.05])
def test_a_cancellation_at_any_moment_leaves_one_run_at_most(shops: Shops, delay_seconds: float) -> None:
    async def test() -> None:
        async with shops.open() as shop:
            for seed in range(4):
                click = asyncio.ensure_future(shop.generate(pro(), seed))
                await asyncio.sleep(delay_seconds * (1 + seed))
                click.cancel()
                await asyncio.wait({click})
            made = await asyncio.gather(*(shop.generate(pro(), seed) for seed in range(4)))

        assert len({it.execution_id for it in made}) == len(shops.emulator.runs) == 4
        assert all(record.submits == 1 for record in shops.emulator.runs)

    run(test)
