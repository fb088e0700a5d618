"""How many runs go on at once: the others wait for a slot and say so, and the limit follows the service."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from emulator import BySeconds, Emulator, Fault
from weshop_api import (
    InvalidRequestError,
    Limits,
)

from .shops import Shops, Told, pro, run, until


def test_more_runs_than_the_limit_wait_for_a_slot_and_say_so(shops: Shops) -> None:
    async def test() -> None:
        told = Told()
        async with shops.open(limits=Limits(runs=1)) as shop:
            await asyncio.gather(shop.generate(pro(), 1), shop.generate(pro(), 2), shop.generate(pro(), 3, report=told))

        assert told.sentences[:2] == ["waiting for a slot, 1 ahead", "waiting for a slot, next in line"]
        assert len(shops.emulator.runs) == 3

    run(test)


def test_a_burst_beyond_what_the_plan_allows_comes_to_its_end(tmp_path: Path) -> None:
    with Emulator(pictures="small", pace=BySeconds(0.1, 0.1), max_runs_at_once=2) as emulator:
        shops = Shops(emulator, tmp_path)

        async def test() -> None:
            async with shops.open(limits=Limits(runs=6)) as shop:
                made = await asyncio.gather(*(shop.generate(pro(), seed) for seed in range(6)))

            assert len({it.execution_id for it in made}) == len(emulator.runs) == 6
            assert shops.count("submit") > 6

        run(test)


def test_refusals_because_of_the_limit_lower_it_and_acceptances_raise_it(shops: Shops) -> None:
    async def test() -> None:
        shops.emulator.order("submit", Fault.refuse(429, "40005"), times=4)
        async with shops.open(limits=Limits(runs=4)) as shop:
            clicks = [asyncio.ensure_future(shop.generate(pro(), seed)) for seed in range(4)]
            await until(lambda: shop._runs.current < 4)
            await asyncio.gather(*clicks)
            await asyncio.gather(*(shop.generate(pro(), seed) for seed in range(4, 14)))

            assert shop._runs.current == 4
        assert len(shops.emulator.runs) == 14
        assert shops.emulator.unused_faults == ()

    run(test)


def test_a_reused_run_needs_no_slot(shops: Shops) -> None:
    async def test() -> None:
        async with shops.open(limits=Limits(runs=1)) as shop:
            known = await shop.generate(pro(), seed=1)
            shops.emulator.order("submit", Fault.outcome(pace=BySeconds(60, 60)))
            going = asyncio.ensure_future(shop.generate(pro(), seed=2))
            await until(lambda: len(shops.emulator.runs) == 2)
            again = await shop.generate(pro(), seed=1)
            going.cancel()

        assert again.execution_id == known.execution_id

    run(test)


@pytest.mark.parametrize("text", ["0", "-1", "many", "1001", "1" * 5000, "\u0663", "1.5"])
def test_a_number_of_runs_that_is_none_is_refused_with_the_name_of_the_variable(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="WESHOP_MAX_RUNS must be a whole number from 1 to 1000"):
        Limits.from_environment({"WESHOP_MAX_RUNS": text})


def test_the_number_of_runs_comes_from_the_environment() -> None:
    assert Limits.from_environment({"WESHOP_MAX_RUNS": " 12 "}).runs == 12
    assert Limits.from_environment({}) == Limits()
