"""Pictures are brought to the service once each, whoever asks and however often."""

from __future__ import annotations

import asyncio

import pytest

from emulator import Fault
from weshop_api.errors import InvalidRequestError, NoAnswerError
from weshop_api.models import Reference
from weshop_api.weshop import Limits

from .shops import CountedSource, Shops, Told, error_of, run, until

COLOURS = ("red", "green", "blue", "white")


def test_pictures_become_references_in_their_order(shops: Shops) -> None:
    async def test() -> None:
        told = Told()
        shops.emulator.order("upload", Fault.late(0.1))
        async with shops.open() as shop:
            uploaded = await shop.upload([CountedSource(colour).source for colour in COLOURS], told)

        arrived = {upload.url: upload.sha256 for upload in shops.emulator.uploads}
        assert [it.content_hash for it in uploaded.references.items] == [f"hash of {colour}" for colour in COLOURS]
        assert set(uploaded.references.urls) == set(arrived)
        assert (uploaded.references.items[0].width, uploaded.references.items[0].height) == (60, 40)
        assert told.sentences[0] == "uploading 1 of 4"
        assert told.sentences[-1] == "uploading done"
        assert shops.emulator.unused_faults == ()

    run(test)


def test_identical_pictures_are_uploaded_once(shops: Shops) -> None:
    async def test() -> None:
        pictures = [CountedSource("red") for _ in range(4)]
        async with shops.open() as shop:
            uploaded, again = await asyncio.gather(
                shop.upload([it.source for it in pictures[:3]]), shop.upload([pictures[3].source])
            )

        assert len(set(uploaded.references.urls + again.references.urls)) == 1
        assert sum(it.encoded for it in pictures) == 1
        assert len(shops.emulator.uploads) == 1

    run(test)


def test_an_upload_is_remembered_after_a_restart(shops: Shops) -> None:
    async def test() -> None:
        async with shops.open() as shop:
            first = await shop.upload([CountedSource("red").source])
        later = CountedSource("red")
        async with shops.open() as shop:
            second = await shop.upload([later.source])

        assert second.references == first.references
        assert later.encoded == 0

    run(test)


def test_an_upload_that_failed_is_not_remembered(shops: Shops) -> None:
    async def test() -> None:
        shops.emulator.order("upload", Fault.reset("after"), times=5)
        async with shops.open() as shop:
            await error_of(shop.upload([CountedSource("red").source]), NoAnswerError)
            uploaded = await shop.upload([CountedSource("red").source])

        assert uploaded.references.urls == (shops.emulator.uploads[-1].url,)
        assert shops.emulator.unused_faults == ()

    run(test)


def test_a_picture_that_the_service_refuses_is_named(shops: Shops) -> None:
    async def test() -> None:
        broken = CountedSource("blue", data=b"no picture at all")
        async with shops.open() as shop:
            error = await error_of(shop.upload([CountedSource("red").source, broken.source]), InvalidRequestError)

        assert "not a readable picture" in str(error)
        assert str(error).endswith("This is about picture 2.")
        assert shops.count("upload") == 2

    run(test)


def test_what_had_to_be_changed_is_noted_with_the_number_of_the_picture(shops: Shops) -> None:
    async def test() -> None:
        async with shops.open() as shop:
            uploaded = await shop.upload([CountedSource("red").source, CountedSource("blue", "made smaller").source])

        assert uploaded.notes == ("picture 2: made smaller",)

    run(test)


def test_no_pictures_are_no_references(shops: Shops) -> None:
    async def test() -> None:
        async with shops.open() as shop:
            assert (await shop.upload([])).references.items == ()

        assert shops.emulator.requests == ()

    run(test)


def test_no_more_uploads_than_the_limit_go_on_at_once(shops: Shops) -> None:
    async def test() -> None:
        shops.emulator.order("upload", Fault.late(0.6), times=2)
        async with shops.open(limits=Limits(uploads=2)) as shop:
            uploading = asyncio.ensure_future(shop.upload([CountedSource(colour).source for colour in COLOURS]))
            await until(lambda: shops.count("upload") == 2)
            await asyncio.sleep(0.05)
            assert shops.count("upload") == 2
            await uploading

        assert shops.count("upload") == 4
        assert shops.emulator.unused_faults == ()

    run(test)


def test_a_failing_upload_ends_the_others(shops: Shops) -> None:
    async def test() -> None:
        shops.emulator.order("upload", Fault.stall())
        async with shops.open() as shop:
            slow = asyncio.ensure_future(shop.upload([CountedSource("red").source]))
            await until(lambda: shops.count("upload") == 1)
            broken = CountedSource("blue", data=b"no picture at all")
            await error_of(shop.upload([CountedSource("green").source, broken.source]), InvalidRequestError)
            uploaded = await slow

        assert uploaded.references.items[0].content_hash == "hash of red"
        assert shops.emulator.unused_faults == ()

    run(test)


@pytest.mark.parametrize("delay_seconds", [0.0, 0.005, 0.02, 0.1])
def test_a_cancelled_upload_does_not_lock_its_picture(shops: Shops, delay_seconds: float) -> None:
    async def test() -> None:
        shops.emulator.order("upload", Fault.late(0.05))
        async with shops.open() as shop:
            first = asyncio.ensure_future(shop.upload([CountedSource("red").source]))
            await asyncio.sleep(delay_seconds)
            first.cancel()
            second = await shop.upload([CountedSource("red").source])

        assert isinstance(second.references.items[0], Reference)
        assert shops.emulator.unused_faults == ()

    run(test)
