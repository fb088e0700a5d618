"""Pictures are fetched one by one: what arrived is kept, what is missing is named and fetched next time."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from emulator import Fault, Where
from weshop_api.errors import DownloadError, ExpiredAddressError, UndeliveredError
from weshop_api.seedream import Run
from weshop_api.weshop import LEDGER_FILE, Limits, WeShop, default_folder

from .shops import Desk, Shops, Told, error_of, loaded, pro, run, until


def downloads(shops: Shops) -> Counter[str]:
    """Return how often each file was asked for, by the number that its name begins with."""
    paths = [it.path.split("/")[-1] for it in shops.emulator.requests if it.operation == "download"]
    return Counter(path.split("_")[0] for path in paths)


def kept(shops: Shops) -> list[Path]:
    """Return the files that wait for their delivery."""
    return [path for path in (shops.folder / "undelivered").rglob("*") if path.is_file()]


async def four(shop: WeShop) -> Run:
    return await shop.generate(pro(batch_count=4))


def test_each_picture_is_handed_over_once_with_its_place(shops: Shops) -> None:
    async def test() -> None:
        told = Told()
        shops.emulator.order("download", Fault.late(0.6), where=Where(result=1))
        shops.emulator.order("download", Fault.pixel_size(40, 20), where=Where(result=3))
        async with shops.open() as shop:
            desk = Desk()
            await shop.load(await four(shop), desk, told)

        assert sorted(desk.pictures) == [0, 1, 2, 3]
        assert desk.sizes[2] == (40, 20)
        assert list(desk.pictures)[-1] == 0
        assert told.sentences == [*(f"downloading {number} of 4" for number in (1, 2, 3, 4)), "downloading done"]
        assert kept(shops) == []
        assert shops.emulator.unused_faults == ()

    run(test)


def test_when_one_of_four_fails_the_others_are_kept_and_the_next_call_fetches_only_the_missing_one(
    shops: Shops,
) -> None:
    async def test() -> None:
        shops.emulator.order("download", Fault.refuse(500), forever=True, where=Where(result=3))
        async with shops.open() as shop:
            made = await four(shop)
            first = Desk()
            error = await error_of(shop.load(made, first), DownloadError)
        assert (sorted(first.pictures), len(kept(shops))) == ([0, 1, 3], 3)

        shops.emulator.withdraw_faults()
        async with shops.open() as shop:
            second = await loaded(shop, await four(shop))

        assert error.missing == (3,)
        assert error.execution_id == made.execution_id
        assert str(error) == (
            f"Picture 3 of run {made.execution_id} could not be fetched: The file server answered HTTP 500 instead of "
            "the picture. The other 3 are kept. Queue again to fetch only what is missing; nothing is charged for that."
        )
        assert second.pictures.keys() == {0, 1, 2, 3}
        assert {index: second.pictures[index] for index in (0, 1, 3)} == first.pictures
        assert downloads(shops) == {"1": 1, "2": 1, "3": 6, "4": 1}
        assert kept(shops) == []

    run(test)


def test_pictures_are_called_kept_only_where_they_could_be_kept(shops: Shops) -> None:
    async def test() -> None:
        shops.emulator.order("download", Fault.refuse(400), where=Where(result=3))
        async with shops.open() as shop:
            made = await four(shop)
            (shops.folder / "undelivered").write_text("in the way")
            error = await error_of(shop.load(made, Desk()), DownloadError)

        assert "kept" not in str(error)
        assert "Queue again to fetch the pictures of this run; nothing is charged for that." in str(error)
        assert shops.emulator.unused_faults == ()

    run(test)


def test_several_missing_pictures_are_all_named(shops: Shops) -> None:
    async def test() -> None:
        for number in (4, 2, 1):
            shops.emulator.order("download", Fault.refuse(400), where=Where(result=number))
        async with shops.open() as shop:
            error = await error_of(shop.load(await four(shop), Desk()), DownloadError)

        assert error.missing == (1, 2, 4)
        assert str(error).startswith("Pictures 1, 2, 4 of run ")
        assert "The other 1 is kept." in str(error)
        assert shops.emulator.unused_faults == ()

    run(test)


def test_the_number_of_a_missing_picture_counts_the_results_of_the_run(shops: Shops) -> None:
    async def test() -> None:
        shops.emulator.order("submit", Fault.outcome(missing=(1,)))
        shops.emulator.order("download", Fault.refuse(400), where=Where(result=3))
        async with shops.open() as shop:
            desk = Desk()
            error = await error_of(shop.load(await four(shop), desk), DownloadError)

        assert (error.missing, sorted(desk.pictures)) == ((3,), [0, 2])
        assert shops.emulator.unused_faults == ()

    run(test)


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_an_expired_address_is_replaced_by_a_fresh_one(shops: Shops, status: int) -> None:
    async def test() -> None:
        shops.emulator.order("download", Fault.refuse(status, envelope="none"), where=Where(result=2))
        async with shops.open() as shop:
            desk = await loaded(shop, await four(shop))

        assert len(desk.pictures) == 4
        assert (downloads(shops), shops.count("poll")) == ({"1": 1, "2": 2, "3": 1, "4": 1}, 2)
        assert shops.emulator.unused_faults == ()

    run(test)


def test_when_all_addresses_have_expired_the_run_is_read_once(shops: Shops) -> None:
    async def test() -> None:
        async with shops.open() as shop:
            made = await four(shop)
            shops.emulator.expire_results()
            desk = await loaded(shop, made)

        assert len(desk.pictures) == 4
        assert shops.count("poll") == 2

    run(test)


def test_a_run_of_long_ago_is_loaded_although_its_addresses_have_expired(shops: Shops) -> None:
    async def test() -> None:
        async with shops.open() as shop:
            await four(shop)
        shops.emulator.expire_results()
        async with shops.open() as shop:
            desk = await loaded(shop, await four(shop))

        assert len(desk.pictures) == 4
        assert shops.count("submit") == 1

    run(test)


def test_a_picture_that_is_forbidden_for_ever_is_named(shops: Shops) -> None:
    async def test() -> None:
        shops.emulator.order("download", Fault.refuse(403, envelope="none"), forever=True, where=Where(result=1))
        async with shops.open() as shop:
            error = await error_of(shop.load(await four(shop), Desk()), DownloadError)

        assert error.missing == (1,)
        assert "no longer serves the picture (HTTP 403)" in str(error)
        assert str(error).endswith("WeShop may have deleted them: a new seed makes a new run.")
        assert downloads(shops)["1"] == 2
        assert shops.emulator.unused_faults == ()

    run(test)


def test_when_fresh_addresses_cannot_be_had_they_are_asked_for_once(shops: Shops) -> None:
    async def test() -> None:
        async with shops.open() as shop:
            made = await four(shop)
            shops.emulator.expire_results()
            shops.emulator.order("poll", Fault.refuse(500), times=5)
            error = await error_of(shop.load(made, Desk()), DownloadError)

        assert error.missing == (1, 2, 3, 4)
        assert "Its address has expired, and a fresh one could not be had: WeShop had a failure" in str(error)
        assert shops.count("poll") == 1 + 5
        assert shops.emulator.unused_faults == ()

    run(test)


def test_an_address_that_the_run_no_longer_lists_is_told(shops: Shops) -> None:
    async def test() -> None:
        async with shops.open() as shop:
            made = await four(shop)
            shops.emulator.expire_results()
            shops.emulator.order("poll", Fault.results_without_image(2))
            error = await error_of(shop.load(made, Desk()), DownloadError)

        assert (error.missing, "no longer has an address for the picture" in str(error)) == ((2,), True)
        assert shops.emulator.unused_faults == ()

    run(test)


@pytest.mark.parametrize("kind", [DownloadError, ValueError])
def test_a_picture_that_cannot_be_used_is_not_kept(shops: Shops, kind: type[Exception]) -> None:
    """Kept, it would fail again for ever."""

    async def test() -> None:
        shops.emulator.order("download", Fault.answer(b"no picture", content_type="image/png"), where=Where(result=2))
        async with shops.open() as shop:
            made = await four(shop)
            desk = Desk({1: kind("Picture 2 is damaged.")})
            with pytest.raises(kind, match="is damaged"):
                await shop.load(made, desk)
            again = await loaded(shop, made)

        assert len(again.pictures) == 4
        assert all(data.startswith(b"\xff\xd8") for data in again.pictures.values())
        assert downloads(shops)["2"] == 2
        assert shops.emulator.unused_faults == ()

    run(test)


def test_a_picture_for_which_there_was_no_room_is_kept_although_its_address_expires(shops: Shops) -> None:
    async def test() -> None:
        async with shops.open() as shop:
            made = await four(shop)
            desk = Desk({1: UndeliveredError("There is not enough memory for picture 2.")})
            error = await error_of(shop.load(made, desk), DownloadError)
            shops.emulator.order("download", Fault.refuse(403, envelope="none"), forever=True)
            again = await loaded(shop, made)

        assert error.missing == (2,)
        assert len(again.pictures) == 4
        assert downloads(shops)["2"] == 1

    run(test)


@pytest.mark.parametrize(
    "fault", [Fault.reset("during"), Fault.truncate(), Fault.stall(), Fault.slow(400)], ids=lambda it: repr(it)[:40]
)
def test_what_breaks_on_the_way_is_fetched_again(shops: Shops, fault: Fault) -> None:
    async def test() -> None:
        shops.emulator.order("download", fault, where=Where(result=1))
        async with shops.open() as shop:
            desk = await loaded(shop, await shop.generate(pro()))

        assert desk.sizes == [(256, 256)]
        assert shops.emulator.unused_faults == ()

    run(test)


def test_a_cancellation_keeps_what_has_arrived(shops: Shops) -> None:
    async def test() -> None:
        shops.emulator.order("download", Fault.late(5), where=Where(result=4))
        async with shops.open() as shop:
            made = await four(shop)
            desk = Desk()
            loading = asyncio.ensure_future(shop.load(made, desk))
            await until(lambda: len(desk.pictures) == 3)
            loading.cancel()
            await asyncio.wait({loading})
            again = await loaded(shop, made)

        assert loading.cancelled()
        assert len(again.pictures) == 4
        assert downloads(shops) == {"1": 1, "2": 1, "3": 1, "4": 2}

    run(test)


def test_no_more_downloads_than_the_limit_go_on_at_once(shops: Shops) -> None:
    async def test() -> None:
        shops.emulator.order("download", Fault.late(0.6), times=2)
        async with shops.open(limits=Limits(downloads=2)) as shop:
            loading = asyncio.ensure_future(loaded(shop, await four(shop)))
            await until(lambda: shops.count("download") == 2)
            await asyncio.sleep(0.05)
            assert shops.count("download") == 2
            await loading

        assert shops.count("download") == 4
        assert shops.emulator.unused_faults == ()

    run(test)


def test_without_a_folder_runs_are_remembered_in_the_default_one(shops: Shops) -> None:
    async def test() -> None:
        async with shops.open(in_default_folder=True) as shop:
            desk = await loaded(shop, await four(shop))

        assert len(desk.pictures) == 4
        assert (default_folder() / LEDGER_FILE).is_file()
        assert Path.home() in default_folder().parents

    run(test)


def test_a_picture_that_was_fetched_early_is_not_fetched_again(shops: Shops) -> None:
    async def test() -> None:
        async with shops.open() as shop:
            made = await four(shop)
            early = await shop.fetch_early(made.execution_id, made.results[1])
            desk = await loaded(shop, made)

        assert desk.pictures[1] == early
        assert downloads(shops) == {"1": 1, "2": 1, "3": 1, "4": 1}

    run(test)


def test_an_early_download_goes_on_when_nobody_waits_any_more_and_is_waited_for(shops: Shops) -> None:
    async def test() -> None:
        shops.emulator.order("download", Fault.late(0.6), where=Where(result=2))
        async with shops.open() as shop:
            made = await four(shop)
            impatient = asyncio.create_task(shop.fetch_early(made.execution_id, made.results[1]))
            await asyncio.sleep(0.1)
            impatient.cancel()
            desk = await loaded(shop, made)

        assert sorted(desk.pictures) == [0, 1, 2, 3]
        assert downloads(shops) == {"1": 1, "2": 1, "3": 1, "4": 1}

    run(test)


def test_an_early_download_that_fails_is_tried_again_by_the_delivery(shops: Shops) -> None:
    async def test() -> None:
        shops.emulator.order("download", Fault.refuse(403, envelope="none"), where=Where(result=2))
        async with shops.open() as shop:
            made = await four(shop)
            await error_of(shop.fetch_early(made.execution_id, made.results[1]), ExpiredAddressError)
            desk = await loaded(shop, made)

        assert sorted(desk.pictures) == [0, 1, 2, 3]

    run(test)
