"""Holders of slots, for the tests of the limit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from weshop_api.limits import AdaptiveLimit


class Holder:
    """A task that asks for a slot, notes what it is told, and keeps the slot until told to leave."""

    def __init__(self, limit: AdaptiveLimit) -> None:
        self.places: list[int] = []
        self.holds = False
        self.leave = asyncio.Event()
        self.task = asyncio.ensure_future(self._hold(limit))

    async def _hold(self, limit: AdaptiveLimit) -> None:
        async with limit.slot(on_wait=self.places.append):
            self.holds = True
            try:
                await self.leave.wait()
            finally:
                self.holds = False


async def settle() -> None:
    """Let everything that is ready run to where it waits next."""
    for _ in range(5):
        await asyncio.sleep(0)


async def start(limit: AdaptiveLimit, count: int) -> list[Holder]:
    holders = [Holder(limit) for _ in range(count)]
    await settle()
    return holders


async def end(holders: list[Holder]) -> None:
    for holder in holders:
        holder.task.cancel()
    await asyncio.gather(*(holder.task for holder in holders), return_exceptions=True)


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def within_ten_seconds() -> None:
        await asyncio.wait_for(test(), 10)

    asyncio.run(within_ten_seconds())
