"""However many wait for a run, it is asked about seldom and once for all, and each of them waits in its own way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

import pytest

from emulator import ByPolls, BySeconds, Emulator, Fault
from weshop_api.client import WeShopClient
from weshop_api.errors import NotFoundError, RunFailedError, RunTimeoutError
from weshop_api.models import RunStatus
from weshop_api.progress import Progress
from weshop_api.retry import RetryPolicy
from weshop_api.watching import Watch, Watches
from weshop_api.weshop import WeShop

from .shops import Shops, Told, body, error_of, loaded, poll_soon, pro, run, until

# What leaves a second apart arrives a little less apart. The contract says 0.4 s.
LEAST_GAP_SECONDS = 0.6


@asynccontextmanager
async def polite(shops: Shops) -> AsyncIterator[WeShop]:
    """A service with the waits and the rhythm that users have."""
    async with WeShop(shops.client(RetryPolicy()), shops.folder) as shop:
        yield shop


def gaps(shops: Shops) -> list[float]:
    """The times between the polls that arrived."""
    at = [record.at_seconds for record in shops.emulator.requests if record.operation == "poll"]
    return [later - earlier for earlier, later in pairwise(at)]


async def elsewhere(shops: Shops, batch_count: int = 1) -> str:
    """The id of a run that was not submitted from here, and that nobody has asked about."""
    client = shops.client()
    submission = await client.submit(body(batch_count=batch_count), str(uuid4()))
    await client.aclose()
    return submission.execution_id


# Seldom ------------------------------------------------------------------------------------------------------------


def test_equal_nodes_ask_about_their_run_no_more_often_than_one(shops: Shops) -> None:
    async def test() -> None:
        shops.emulator.order("submit", Fault.outcome(pace=BySeconds(3, 1)))
        async with polite(shops) as shop:
            made = await asyncio.gather(*(shop.generate(pro()) for _ in range(4)))

        assert len({it.execution_id for it in made}) == len(shops.emulator.runs) == 1
        assert len(gaps(shops)) >= 2
        assert min(gaps(shops)) >= LEAST_GAP_SECONDS

    run(test)


def test_a_run_that_is_brought_back_from_elsewhere_is_asked_about_once(shops: Shops) -> None:
    async def test() -> None:
        shops.emulator.order("poll", Fault.late(0.3))
        execution_id = await elsewhere(shops, batch_count=2)
        async with polite(shops) as shop:
            fetched, twin = await asyncio.gather(shop.fetch(execution_id), shop.fetch(execution_id))

        assert (len(fetched.usable), fetched.urls) == (2, twin.urls)
        assert shops.count("poll") == 1

    run(test)


def test_a_run_from_elsewhere_that_is_still_going_is_asked_about_seldom(shops: Shops) -> None:
    async def test() -> None:
        shops.emulator.order("submit", Fault.outcome(pace=BySeconds(1.5, 0.5)))
        execution_id = await elsewhere(shops)
        async with polite(shops) as shop:
            fetched = await shop.fetch(execution_id)

        assert fetched.seconds is not None
        assert len(gaps(shops)) >= 1
        assert min(gaps(shops)) >= LEAST_GAP_SECONDS

    run(test)


def test_a_known_run_that_is_collected_at_once_is_not_asked_about_at_once(shops: Shops) -> None:
    async def test() -> None:
        shops.emulator.order("submit", Fault.outcome(pace=BySeconds(60, 60)))
        async with polite(shops) as shop:
            late = await error_of(shop.generate(pro(), timeout_seconds=1.3), RunTimeoutError)
            shops.emulator.finish_runs()
            await shop.fetch(late.execution_id)

        assert len(gaps(shops)) == 1
        assert min(gaps(shops)) >= LEAST_GAP_SECONDS

    run(test)


def test_equal_nodes_look_once_after_a_run_that_failed(shops: Shops) -> None:
    async def test() -> None:
        shops.emulator.order("poll", Fault.shows_status("Failed"))
        async with polite(shops) as shop:
            await error_of(shop.generate(pro()), RunFailedError)
            made = await asyncio.gather(*(shop.generate(pro()) for _ in range(4)))

        assert {it.execution_id for it in made} == {shops.emulator.runs[0].execution_id}
        assert len(shops.emulator.runs) == 1
        assert len(gaps(shops)) == 1
        assert min(gaps(shops)) >= LEAST_GAP_SECONDS

    run(test)


def test_a_run_that_lives_on_is_watched_from_the_look_on(shops: Shops) -> None:
    async def test() -> None:
        shops.emulator.order("poll", Fault.shows_status("Failed"))
        shops.emulator.order("poll", Fault.shows_status("Running"))
        async with polite(shops) as shop:
            await error_of(shop.generate(pro()), RunFailedError)
            await shop.generate(pro())

        assert len(gaps(shops)) == 2
        assert min(gaps(shops)) >= LEAST_GAP_SECONDS

    run(test)


def test_a_poll_that_failed_is_not_repeated_at_once(shops: Shops) -> None:
    async def test() -> None:
        shops.emulator.order("poll", Fault.refuse(500))
        execution_id = await elsewhere(shops)
        async with WeShop(shops.client(RetryPolicy(jitter=lambda: 0.999)), shops.folder) as shop:
            await shop.fetch(execution_id)

        assert len(gaps(shops)) == 1
        assert min(gaps(shops)) >= LEAST_GAP_SECONDS

    run(test)


def test_fresh_addresses_are_not_asked_for_at_once(shops: Shops) -> None:
    async def test() -> None:
        async with polite(shops) as shop:
            made = await shop.generate(pro(batch_count=2))
            shops.emulator.expire_results()
            desk = await loaded(shop, made)

        assert len(desk.pictures) == 2
        assert len(gaps(shops)) == 1
        assert min(gaps(shops)) >= LEAST_GAP_SECONDS

    run(test)


def test_different_runs_do_not_wait_for_each_other(shops: Shops) -> None:
    async def test() -> None:
        ids = [await elsewhere(shops) for _ in range(3)]
        async with polite(shops) as shop:
            for execution_id in ids:
                await shop.fetch(execution_id)

        assert max(gaps(shops)) < LEAST_GAP_SECONDS

    run(test)


def test_an_error_that_two_share_says_everything_once(shops: Shops) -> None:
    async def test() -> None:
        shops.emulator.order("poll", Fault.late(0.3))
        async with shops.open() as shop:
            one, other = (error_of(shop.fetch("0" * 24), NotFoundError) for _ in range(2))
            errors = await asyncio.gather(one, other)

        assert [str(error).count("The id asked for was") for error in errors] == [1, 1]
        assert shops.count("poll") == 1

    run(test)


# Each in its own way -----------------------------------------------------------------------------------------------

Follow = Callable[[Watches, Watch], Awaitable[None]]


def watching(
    tmp_path: Path, polls: int, follow: Follow, delay: Callable[[float, Sequence[float]], float] = poll_soon
) -> Shops:
    """Watch a run that ends with so many polls; returns what its emulator has seen."""
    with Emulator(pictures="small", pace=ByPolls(polls)) as emulator:
        shops = Shops(emulator, tmp_path)

        async def test() -> None:
            client: WeShopClient = shops.client()
            execution_id = await elsewhere(shops, batch_count=4)
            await follow(Watches(client, delay), Watch(execution_id, 10.0, batch_count=4))
            assert [task for task in asyncio.all_tasks() if "_follow" in repr(task)] == []
            await client.aclose()

        run(test)
        return shops


def test_all_who_wait_are_told_of_the_same_polls(tmp_path: Path) -> None:
    told = Told(), Told()

    async def follow(watches: Watches, what: Watch) -> None:
        first = asyncio.ensure_future(watches.follow(what, told[0]))
        await until(lambda: any(it.done for it in told[0].progress))
        one, other = await asyncio.gather(first, watches.follow(what, told[1]))

        assert one is other
        assert [it.progress[-1].status_text for it in told] == ["Success", "Success"]

    shops = watching(tmp_path, 6, follow)
    assert shops.count("poll") == 6


def test_who_joins_later_sees_at_once_how_far_the_run_is_without_asking(tmp_path: Path) -> None:
    polls = iter([0.0, 0.0, 0.0, 60.0])
    told, late = Told(), Told()

    async def follow(watches: Watches, what: Watch) -> None:
        first = asyncio.ensure_future(watches.follow(what, told))
        await until(lambda: any(it.done == 3 for it in told.progress))
        second = asyncio.ensure_future(watches.follow(replace(what, is_new=False), late))
        await asyncio.sleep(0.1)

        assert [(it.status_text, it.done, len(it.results)) for it in late.progress] == [("Running", 3, 3)]
        for task in (first, second):
            task.cancel()
        await asyncio.wait({first, second})

    shops = watching(tmp_path, 4, follow, lambda _age, _known: next(polls))
    assert shops.count("poll") == 3


def test_one_who_stops_waiting_does_not_end_the_watch_of_the_others(tmp_path: Path) -> None:
    async def follow(watches: Watches, what: Watch) -> None:
        first = asyncio.ensure_future(watches.follow(what, Told()))
        second = asyncio.ensure_future(watches.follow(replace(what, timeout_seconds=0.05), Told()))
        third = asyncio.ensure_future(watches.follow(what, Told()))
        await asyncio.sleep(0.02)
        first.cancel()

        late = await error_of(second, RunTimeoutError)
        assert "had not ended after 0.000833 minutes" in str(late)
        assert (await third).execution.status is RunStatus.SUCCESS
        assert first.cancelled()

    shops = watching(tmp_path, 20, follow)
    assert shops.count("poll") == 20


def test_a_listener_that_fails_is_its_own_affair(tmp_path: Path) -> None:
    def fail(progress: Progress) -> None:
        if progress.status_text == "Running":
            raise ValueError(str(progress))

    async def follow(watches: Watches, what: Watch) -> None:
        first = asyncio.ensure_future(watches.follow(what, fail))
        second = asyncio.ensure_future(watches.follow(what, Told()))

        assert (await second).execution.status is RunStatus.SUCCESS
        with pytest.raises(ValueError, match="2 of 4 done"):
            await first

    watching(tmp_path, 3, follow)


def test_the_last_one_who_leaves_ends_the_watch_and_the_next_begins_another(tmp_path: Path) -> None:
    counts: list[int] = []

    async def follow(watches: Watches, what: Watch) -> None:
        told = Told()
        leaving = [asyncio.ensure_future(watches.follow(what, told)) for _ in range(2)]
        await until(lambda: any(it.status_text == "Running" for it in told.progress))
        for task in leaving:
            task.cancel()
        next_one = asyncio.ensure_future(watches.follow(what, Told()))
        await asyncio.wait(leaving)
        counts.append(len([task for task in asyncio.all_tasks() if "_follow" in repr(task)]))

        assert all(task.cancelled() for task in leaving)
        assert (await next_one).execution.status is RunStatus.SUCCESS

    watching(tmp_path, 6, follow)
    assert counts == [1]
