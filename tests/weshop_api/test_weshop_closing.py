"""What becomes of work under way when the library is closed, and of work that is asked for afterwards."""

from __future__ import annotations

import asyncio

from emulator import Fault
from weshop_api import NotSentError, WeShopError
from weshop_api.ledger import RunState

from .shops import Shops, error_of, pro, run, states, until


def test_closing_completes_a_submit_that_is_under_way(shops: Shops) -> None:
    async def test() -> None:
        shops.emulator.order("submit", Fault.late(0.3))
        async with shops.open() as shop:
            click = asyncio.ensure_future(shop.generate(pro()))
            await until(lambda: len(shops.emulator.runs) == 1)
            click.cancel()
        assert states(shops) == [RunState.RUNNING]

        async with shops.open() as shop:
            made = await shop.generate(pro())
        assert made.execution_id == shops.emulator.runs[0].execution_id
        assert shops.count("submit") == 1

    run(test)


def test_closing_does_not_wait_for_ever(shops: Shops) -> None:
    async def test() -> None:
        shops.emulator.order("submit", Fault.refuse(429, "40005"), forever=True)
        async with shops.open() as shop:
            click = asyncio.ensure_future(shop.generate(pro()))
            await until(lambda: shops.count("submit") >= 2)
            started = asyncio.get_running_loop().time()
            await shop.aclose()
            waited = asyncio.get_running_loop().time() - started
            await error_of(click, NotSentError)

        assert waited < 1
        assert shops.emulator.runs == ()
        assert states(shops) == [RunState.REFUSED]

    run(test)


def test_what_is_asked_of_a_closed_service_fails_instead_of_waiting_for_ever(shops: Shops) -> None:
    async def test() -> None:
        async with shops.open() as shop:
            made = await shop.generate(pro())

        for work in (shop.generate(pro()), shop.fetch(made.execution_id)):
            assert "has been closed" in str(await error_of(work, WeShopError))

    run(test)
