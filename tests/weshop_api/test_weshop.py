"""The whole library against the emulator: a click is charged once, and what was paid for arrives."""

from __future__ import annotations

from emulator import Fault
from weshop_api import RunFailedError

from .shops import Shops, error_of, pro, run


def test_a_failed_run_is_followed_by_a_new_one(shops: Shops) -> None:
    async def test() -> None:
        shops.emulator.order("submit", Fault.outcome("Failed"))
        async with shops.open() as shop:
            failure = await error_of(shop.generate(pro()), RunFailedError)
            second = await shop.generate(pro())

        first_run, second_run = shops.emulator.runs
        assert (failure.execution_id, second.execution_id) == (first_run.execution_id, second_run.execution_id)
        assert first_run.idempotency_key != second_run.idempotency_key
        assert first_run.execution_id in str(failure)
        assert shops.emulator.unused_faults == ()

    run(test)
