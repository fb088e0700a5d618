"""The whole library against the emulator: a click is charged once, and what was paid for arrives."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from emulator import BySeconds, Emulator, Fault
from weshop_api import (
    Charge,
    DownloadError,
    InvalidRequestError,
    NotFoundError,
    Phase,
    RunFailedError,
    RunStatus,
    RunTimeoutError,
    WeShop,
)
from weshop_api.ledger import RunState

from .shops import Desk, Shops, Told, error_of, lite, loaded, pro, run, states

# One click, one run ------------------------------------------------------------------------------------------------


def test_a_run_is_generated_and_its_pictures_arrive(shops: Shops) -> None:
    async def test() -> None:
        told = Told()
        async with shops.open() as shop:
            made = await shop.generate(pro(batch_count=2), report=told)
            desk = await loaded(shop, made)

        (record,) = shops.emulator.runs
        assert (made.execution_id, made.status, made.missing_count) == (record.execution_id, RunStatus.SUCCESS, 0)
        assert (made.charge, made.reused_from) == (Charge(20.0, 99_980.0), "")
        assert desk.sizes == [(256, 256)] * 2
        assert [it.phase for it in told.progress][:2] == [Phase.SUBMITTING, Phase.WATCHING]
        assert states(shops) == [RunState.SUCCESS]

    run(test)


def test_two_identical_requests_at_once_are_one_run(shops: Shops) -> None:
    async def test() -> None:
        shops.emulator.order("submit", Fault.late(0.2))
        async with shops.open() as here, shops.open() as there:
            made = await asyncio.gather(here.generate(pro()), here.generate(pro()), there.generate(pro()))
            desks = await asyncio.gather(*(loaded(here, it) for it in made))

        assert len(shops.emulator.runs) == 1
        assert shops.count("submit") == 1
        assert len({it.execution_id for it in made}) == 1
        assert [len(desk.pictures) for desk in desks] == [1, 1, 1]
        assert shops.emulator.unused_faults == ()

    run(test)


def test_the_same_request_and_seed_is_the_same_run_also_after_a_restart(shops: Shops) -> None:
    async def test() -> None:
        async with shops.open() as shop:
            first = await shop.generate(pro(), seed=7)
            second = await shop.generate(pro(), seed=7)
        async with shops.open() as shop:
            third = await shop.generate(pro(), seed=7)
            desk = await loaded(shop, third)

        assert first.execution_id == second.execution_id == third.execution_id
        assert (first.reused_from, len(second.reused_from), len(third.reused_from)) == ("", 5, 5)
        assert third.charge == first.charge
        assert len(desk.pictures) == 1
        assert (shops.count("submit"), shops.count("poll")) == (1, 1)

    run(test)


def test_a_new_seed_is_a_new_run_with_a_new_key(shops: Shops) -> None:
    async def test() -> None:
        async with shops.open() as shop:
            await asyncio.gather(shop.generate(pro(), seed=1), shop.generate(pro(), seed=2))

        first, second = shops.emulator.runs
        assert first.body == second.body
        assert first.idempotency_key != second.idempotency_key

    run(test)


def test_a_service_without_a_folder_remembers_beyond_its_own_life(shops: Shops) -> None:
    async def test() -> None:
        async with shops.open(in_default_folder=True) as shop:
            first = await shop.generate(pro())
        async with shops.open(in_default_folder=True) as shop:
            second = await shop.generate(pro())
            await loaded(shop, second)

        assert first.execution_id == second.execution_id
        assert not shops.folder.exists()

    run(test)


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


@pytest.mark.parametrize("status", ["Failed", "Cancelled", "Canceled"])
def test_a_run_that_ends_without_success_is_told_with_its_id_and_the_way_on(shops: Shops, status: str) -> None:
    async def test() -> None:
        shops.emulator.order("submit", Fault.outcome(status))
        async with shops.open() as shop:
            failure = await error_of(shop.generate(pro()), RunFailedError)

        assert str(failure).startswith(f"Run {failure.execution_id} ended with the status {status} ")
        assert "queue again as they are to make a new run" in str(failure)
        assert states(shops) == [RunState.FAILED]

    run(test)


def test_what_the_model_does_not_offer_is_refused_before_anything_is_sent(shops: Shops) -> None:
    async def test() -> None:
        async with shops.open() as shop:
            await error_of(shop.generate(lite(" ")), InvalidRequestError)
            await error_of(shop.generate(lite(image_size="1K")), InvalidRequestError)
            await error_of(shop.estimate(lite(batch_count=17)), InvalidRequestError)

        assert shops.emulator.requests == ()

    run(test)


def test_an_estimate_is_asked_with_the_same_body(shops: Shops) -> None:
    async def test() -> None:
        async with shops.open() as shop:
            estimate = await shop.estimate(pro(batch_count=3))
            await shop.generate(pro(batch_count=3))

        assert estimate is not None
        assert estimate.points == 30.0
        assert shops.emulator.requests[0].body == shops.emulator.requests[1].body

    run(test)


# Partial results ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing_as", ["failed", "without image", "left out"])
def test_a_success_with_fewer_pictures_delivers_those_and_says_how_many_are_missing(
    shops: Shops, missing_as: str
) -> None:
    async def test() -> None:
        shops.emulator.order("submit", Fault.outcome(missing=(1, 4), missing_as=missing_as))  # type: ignore[arg-type]  # one of the three
        async with shops.open() as shop:
            made = await shop.generate(pro(batch_count=4))
            desk = await loaded(shop, made)

        assert (made.missing_count, len(made.usable)) == (2, 2)
        assert sorted(desk.pictures) == [0, 1]
        assert states(shops) == [RunState.SUCCESS]
        assert shops.emulator.unused_faults == ()

    run(test)


@pytest.mark.parametrize("missing_as", ["failed", "without image", "left out"])
def test_a_success_without_a_usable_picture_is_a_failure(shops: Shops, missing_as: str) -> None:
    async def test() -> None:
        shops.emulator.order("submit", Fault.outcome(missing=(1, 2), missing_as=missing_as))  # type: ignore[arg-type]  # one of the three
        async with shops.open() as shop:
            failure = await error_of(shop.generate(pro(batch_count=2)), RunFailedError)

        assert "without a usable picture" in str(failure)
        assert failure.execution_id in str(failure)
        assert shops.emulator.unused_faults == ()

    run(test)


@pytest.mark.parametrize(
    "fault",
    [Fault.null_results(), Fault.fewer_results(1), Fault.results_without_image(2), Fault.fewer_results(0)],
    ids=lambda fault: repr(fault)[:80],
)
def test_pictures_that_are_listed_a_moment_after_the_success_are_not_lost(shops: Shops, fault: Fault) -> None:
    async def test() -> None:
        shops.emulator.order("poll", fault)
        async with shops.open() as shop:
            made = await shop.generate(pro(batch_count=2))

        assert made.missing_count == 0
        assert len(shops.emulator.runs) == 1
        assert shops.emulator.unused_faults == ()

    run(test)


# Waiting ends before the run does ----------------------------------------------------------------------------------


def test_a_run_that_outlasts_the_wait_is_named_and_collected_by_the_next_call(shops: Shops) -> None:
    async def test() -> None:
        shops.emulator.order("submit", Fault.outcome(pace=BySeconds(60, 60)))
        async with shops.open() as shop:
            late = await error_of(shop.generate(pro(), timeout_seconds=0.2), RunTimeoutError)
            shops.emulator.finish_runs()
            made = await shop.generate(pro())

        (record,) = shops.emulator.runs
        assert late.execution_id == made.execution_id == record.execution_id
        assert late.execution_id in str(late)
        assert "queue again with the same seed to collect it" in str(late)
        assert shops.emulator.unused_faults == ()

    run(test)


def test_a_run_the_service_does_not_know_is_told_and_not_submitted_again(shops: Shops) -> None:
    async def test() -> None:
        shops.emulator.order("poll", Fault.refuse(404, "NOT_FOUND"), forever=True)
        async with shops.open() as shop:
            lost = [await error_of(shop.generate(pro()), NotFoundError) for _ in range(2)]
            shops.emulator.withdraw_faults()
            made = await shop.generate(pro())

        assert all(made.execution_id in str(error) and "was not submitted again" in str(error) for error in lost)
        assert (shops.count("submit"), len(shops.emulator.runs)) == (1, 1)

    run(test)


# Fetching by id ----------------------------------------------------------------------------------------------------


def test_a_run_from_elsewhere_is_brought_back_by_its_id(shops: Shops, tmp_path: Path) -> None:
    async def test() -> None:
        elsewhere = Shops(shops.emulator, tmp_path / "elsewhere")
        async with elsewhere.open() as other, shops.open() as shop:
            made = await other.generate(pro(batch_count=2))
            fetched = await shop.fetch(f" {made.execution_id}\n")
            desk = await loaded(shop, fetched)
            again = await shop.fetch(made.execution_id)

        assert (fetched.execution_id, fetched.request) == (made.execution_id, None)
        assert (fetched.urls, again.urls) == (made.urls, made.urls)
        assert len(desk.pictures) == 2
        assert shops.count("submit") == 1

    run(test)


@pytest.mark.parametrize("missing_as", ["failed", "without image", "left out"])
@pytest.mark.parametrize("status", ["Success", "Failed"])
def test_a_partial_run_that_is_brought_back_says_how_many_pictures_are_missing(
    shops: Shops, tmp_path: Path, missing_as: str, status: str
) -> None:
    async def test() -> None:
        shops.emulator.order("submit", Fault.outcome(missing=(1, 4, 6), missing_as=missing_as))  # type: ignore[arg-type]  # one of the three
        shops.emulator.order("poll", Fault.shows_status(status), forever=True)
        async with shops.open() as shop:
            ended = await asyncio.gather(shop.generate(pro(batch_count=7)), return_exceptions=True)
            (emulated,) = shops.emulator.runs
            fetched = await shop.fetch(emulated.execution_id)
        async with Shops(shops.emulator, tmp_path / "elsewhere").open() as other:
            foreign = await other.fetch(emulated.execution_id)

        assert isinstance(ended[0], RunFailedError) == (status == "Failed")
        assert (len(fetched.usable), fetched.missing_count) == (4, 3)
        assert foreign.missing_count == (0 if missing_as == "left out" else 3)

    run(test)


def test_a_run_that_is_still_going_is_waited_for(shops: Shops) -> None:
    async def test() -> None:
        shops.emulator.order("submit", Fault.outcome(pace=BySeconds(0.3, 0.1)))
        async with shops.open() as shop:
            late = await error_of(shop.generate(pro(), timeout_seconds=0.1), RunTimeoutError)
            fetched = await shop.fetch(late.execution_id)

        assert fetched.status is RunStatus.SUCCESS

    run(test)


def test_an_id_that_nobody_knows_is_told_as_such(shops: Shops) -> None:
    async def test() -> None:
        async with shops.open() as shop:
            error = await error_of(shop.fetch("0" * 24), NotFoundError)
            await error_of(shop.fetch("not an id"), InvalidRequestError)

        assert "The id asked for was 000000000000000000000000." in str(error)
        assert states(shops) == []

    run(test)


@pytest.mark.parametrize(("count", "words"), [(1, "1 picture"), (2, "2 pictures")])
def test_the_pictures_of_a_failed_run_are_brought_back_by_its_id(shops: Shops, count: int, words: str) -> None:
    async def test() -> None:
        shops.emulator.order("poll", Fault.shows_status("Failed"), forever=True)
        async with shops.open() as shop:
            failure = await error_of(shop.generate(pro(batch_count=count)), RunFailedError)
            fetched = await shop.fetch(failure.execution_id)
            desk = await loaded(shop, fetched)

        assert f"after {words}. WeShop Load Result loads what there is" in str(failure)
        assert (fetched.status, len(desk.pictures)) == (RunStatus.FAILED, count)

    run(test)


def test_pictures_that_cannot_be_had_leave_the_run_undelivered(shops: Shops) -> None:
    async def test() -> None:
        async with shops.open() as shop:
            made = await shop.generate(pro())
            shops.emulator.order("download", Fault.refuse(500), forever=True)
            await error_of(shop.load(made, Desk()), DownloadError)
            assert [record.delivered for record in shop.ledger.recent_runs()] == [False]

            shops.emulator.withdraw_faults()
            await loaded(shop, made)
            assert [record.delivered for record in shop.ledger.recent_runs()] == [True]

    run(test)


def test_a_service_connects_as_the_environment_says(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WESHOP_BASE_URL", emulator.base_url)

    async def test() -> None:
        async with WeShop() as shop:
            assert await shop.estimate(pro()) is not None

    run(test)
