"""The limit on what is in flight: order, places, and cancellation at the worst moments."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given, settings, strategies as st

from weshop_api.limits import AdaptiveLimit

from .holders import Holder, end, run, settle, start


def test_no_more_than_the_limit_hold_a_slot() -> None:
    async def test() -> None:
        limit = AdaptiveLimit(2)
        holders = await start(limit, 5)

        assert [holder.holds for holder in holders] == [True, True, False, False, False]
        assert (limit.current, limit.in_use, limit.waiting) == (2, 2, 3)
        await end(holders)

    run(test)


def test_slots_are_given_in_order_of_arrival() -> None:
    async def test() -> None:
        limit = AdaptiveLimit(1)
        holders = await start(limit, 4)
        order = []
        for _ in holders:
            order += [index for index, holder in enumerate(holders) if holder.holds]
            holders[order[-1]].leave.set()
            await settle()

        assert order == [0, 1, 2, 3]

    run(test)


def test_a_newcomer_cannot_take_a_slot_that_was_just_handed_over() -> None:
    async def test() -> None:
        limit = AdaptiveLimit(1)
        holding = limit.slot()
        await holding.__aenter__()
        first = (await start(limit, 1))[0]
        await holding.__aexit__(None, None, None)
        newcomer = limit.slot()
        entering = asyncio.ensure_future(newcomer.__aenter__())
        await settle()

        assert first.holds
        assert not entering.done()
        first.leave.set()
        await entering
        await newcomer.__aexit__(None, None, None)

    run(test)


def test_a_free_slot_is_taken_without_a_word_about_waiting() -> None:
    async def test() -> None:
        holders = await start(AdaptiveLimit(1), 1)

        assert holders[0].places == []
        await end(holders)

    run(test)


def test_every_waiter_is_told_its_place_at_the_start_and_at_each_change() -> None:
    async def test() -> None:
        holders = await start(AdaptiveLimit(1), 4)
        for holder in holders:
            holder.leave.set()
            await settle()

        assert [holder.places for holder in holders] == [[], [0], [1, 0], [2, 1, 0]]

    run(test)


def test_those_behind_a_cancelled_waiter_move_up() -> None:
    async def test() -> None:
        limit = AdaptiveLimit(1)
        holders = await start(limit, 4)
        holders[1].task.cancel()
        await settle()

        assert [holder.places for holder in holders] == [[], [0], [1, 0], [2, 1]]
        assert limit.waiting == 2
        await end(holders)

    run(test)


def test_an_error_of_the_callback_ends_only_its_own_wait() -> None:
    async def test() -> None:
        limit = AdaptiveLimit(1)
        holders = await start(limit, 2)

        def fail(ahead: int) -> None:
            raise LookupError(ahead)

        with pytest.raises(LookupError):
            await limit.slot(on_wait=fail).__aenter__()

        assert limit.waiting == 1
        holders[0].leave.set()
        await settle()
        assert holders[1].holds
        await end(holders)

    run(test)


def test_a_holder_that_is_cancelled_gives_its_slot_to_the_next() -> None:
    async def test() -> None:
        limit = AdaptiveLimit(1)
        holders = await start(limit, 2)
        holders[0].task.cancel()
        await settle()

        assert holders[1].holds
        assert limit.in_use == 1
        await end(holders)

    run(test)


def test_an_error_inside_the_block_gives_the_slot_back() -> None:
    async def test() -> None:
        limit = AdaptiveLimit(1)
        with pytest.raises(LookupError):
            async with limit.slot():
                raise LookupError

        assert limit.in_use == 0

    run(test)


def test_a_waiter_cancelled_in_the_moment_of_hand_over_passes_the_slot_on() -> None:
    """The slot is already its own when the cancellation arrives, but it has not run since."""

    async def test() -> None:
        limit = AdaptiveLimit(1)
        holding = limit.slot()
        await holding.__aenter__()
        cancelled, behind = await start(limit, 2)
        await holding.__aexit__(None, None, None)
        cancelled.task.cancel()
        await settle()

        assert not cancelled.holds
        assert behind.holds
        assert limit.in_use == 1
        await end([cancelled, behind])

        assert (limit.in_use, limit.waiting) == (0, 0)

    run(test)


def test_a_waiter_cancelled_just_before_the_hand_over_is_passed_over() -> None:
    """Cancellation was asked for, but the waiter still stands in the queue when the slot becomes free."""

    async def test() -> None:
        limit = AdaptiveLimit(1)
        holding = limit.slot()
        await holding.__aenter__()
        cancelled, behind = await start(limit, 2)
        cancelled.task.cancel()
        await holding.__aexit__(None, None, None)
        await settle()

        assert behind.holds
        assert limit.in_use == 1
        await end([cancelled, behind])

        assert (limit.in_use, limit.waiting) == (0, 0)

    run(test)


def test_all_waiters_cancelled_at_once_leave_nothing_behind() -> None:
    async def test() -> None:
        limit = AdaptiveLimit(2)
        holders = await start(limit, 50)
        await end(holders)

        assert (limit.in_use, limit.waiting) == (0, 0)

    run(test)


def test_a_limit_below_one_is_not_accepted() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        AdaptiveLimit(0)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["arrive", "leave", "cancel", "refused", "accepted", "pass time"]),
        st.integers(min_value=0, max_value=30),
    ),
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(most=st.integers(min_value=1, max_value=5), steps=STEPS)
def test_no_order_of_events_loses_a_slot_or_lends_one_too_many(most: int, steps: list[tuple[str, int]]) -> None:
    """Time passes only at some of the steps, so cancellations and hand-overs meet in every possible way."""

    async def test() -> None:
        limit = AdaptiveLimit(most)
        holders: list[Holder] = []
        for step, number in steps:
            await take(step, number, limit, holders)

            assert limit.in_use <= most
            assert 1 <= limit.current <= most
            assert limit.waiting == 0 or limit.in_use >= limit.current
        await settle()
        assert Counter(holder.holds for holder in holders)[True] == limit.in_use
        assert all(holder.places == sorted(set(holder.places), reverse=True) for holder in holders)
        await end(holders)
        assert (limit.in_use, limit.waiting) == (0, 0)

    run(test)


async def take(step: str, number: int, limit: AdaptiveLimit, holders: list[Holder]) -> None:
    if step == "arrive":
        holders.append(Holder(limit))
    elif step == "pass time":
        await asyncio.sleep(0)
    elif step == "refused":
        limit.refused()
    elif step == "accepted":
        limit.accepted()
    elif holders and step == "leave":
        holders[number % len(holders)].leave.set()
    elif holders:
        holders[number % len(holders)].task.cancel()
