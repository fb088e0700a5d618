"""The limit shrinks when the service refuses, and recovers."""

from __future__ import annotations

from weshop_api.limits import AdaptiveLimit

from .holders import end, run, settle, start


def test_a_refusal_halves_the_limit() -> None:
    limit = AdaptiveLimit(9)
    limit.refused()

    assert limit.current == 4


def test_the_limit_never_falls_below_one() -> None:
    limit = AdaptiveLimit(3)
    for _ in range(5):
        limit.refused()

    assert limit.current == 1


def test_a_burst_of_refusals_halves_the_limit_once() -> None:
    async def test() -> None:
        limit = AdaptiveLimit(8)
        holders = await start(limit, 8)
        for _ in holders:
            limit.refused()

        assert limit.current == 4
        await end(holders)

    run(test)


def test_a_refusal_counts_again_once_the_load_has_come_down() -> None:
    async def test() -> None:
        limit = AdaptiveLimit(8)
        holders = await start(limit, 8)
        limit.refused()
        await end(holders[:4])
        limit.refused()

        assert limit.current == 2
        await end(holders)

    run(test)


def test_a_small_burst_brings_the_limit_below_its_own_load() -> None:
    """Three in flight were refused, so a limit of four would change nothing."""

    async def test() -> None:
        limit = AdaptiveLimit(8)
        holders = await start(limit, 3)
        for _ in holders:
            limit.refused()

        assert limit.current == 2
        await end(holders)

    run(test)


def test_after_a_cut_slots_are_not_given_until_the_load_is_below_the_limit() -> None:
    async def test() -> None:
        limit = AdaptiveLimit(4)
        holders = await start(limit, 6)
        limit.refused()
        holding = []
        for holder in holders[:4]:
            holder.leave.set()
            await settle()
            holding.append(limit.in_use)

        assert holding == [3, 2, 2, 2]
        await end(holders)

    run(test)


def test_the_limit_recovers_by_one_after_as_many_acceptances_as_it_allows() -> None:
    limit = AdaptiveLimit(8)
    limit.refused()
    seen = []
    for _ in range(4 + 5):
        limit.accepted()
        seen.append(limit.current)

    assert seen == [4, 4, 4, 5, 5, 5, 5, 5, 6]


def test_the_limit_never_recovers_beyond_where_it_started() -> None:
    limit = AdaptiveLimit(4)
    limit.refused()
    for _ in range(100):
        limit.accepted()

    assert limit.current == 4


def test_a_refusal_forgets_the_acceptances_before_it() -> None:
    limit = AdaptiveLimit(4)
    limit.refused()
    limit.accepted()
    limit.refused()
    limit.accepted()
    limit.refused()

    assert limit.current == 1


def test_acceptances_counted_before_a_cut_do_not_speed_up_the_recovery() -> None:
    limit = AdaptiveLimit(16)
    limit.refused()
    for _ in range(7):
        limit.accepted()
    limit.refused()
    for _ in range(3):
        limit.accepted()

    assert limit.current == 4


def test_an_acceptance_from_before_the_load_came_down_is_no_recovery() -> None:
    async def test() -> None:
        limit = AdaptiveLimit(4)
        holders = await start(limit, 4)
        limit.refused()
        for _ in range(10):
            limit.accepted()

        assert limit.current == 2
        await end(holders)

    run(test)


def test_a_recovered_slot_goes_to_the_next_waiter_at_once() -> None:
    async def test() -> None:
        limit = AdaptiveLimit(2)
        limit.refused()
        holders = await start(limit, 2)
        limit.accepted()
        await settle()

        assert [holder.holds for holder in holders] == [True, True]
        await end(holders)

    run(test)
