"""A service that contradicts itself from one answer to the next: no picture is lost, doubled or bought again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from emulator import Fault
from weshop_api import commands
from weshop_api.errors import DownloadError, RunFailedError, RunTimeoutError
from weshop_api.progress import Phase, Progress
from weshop_api.weshop import WeShop

from .http_servers import RawServer, Received, reply
from .shops import Desk, Shops, Told, error_of, loaded, pro, run

ID = "0123456789abcdef01234567"
Answer = tuple[str, Sequence[str]]


class Script:
    """Answers the polls of the one run it has with one status and list of pictures after the other, the last for ever.

    A picture is the bytes of its own name; ``gone`` are the names that are forbidden.
    """

    def __init__(self, *answers: Answer, execution_id: str = ID) -> None:
        self.execution_id = execution_id
        self.gone: set[str] = set()
        self.polls = 0
        self.submits = 0
        self._answers = answers
        self._origin = ""

    @asynccontextmanager
    async def shop(self, shops: Shops) -> AsyncIterator[WeShop]:
        """A service at work, and the library that talks to it."""
        async with RawServer(self._behave) as server:
            self._origin = server.origin
            async with shops.open(base_url=f"{server.origin}/openapi") as shop:
                yield shop

    async def _behave(self, received: Received, writer: Any) -> None:  # noqa: ANN401 - an asyncio.StreamWriter
        name = received.target.rpartition("/")[2]
        if received.target.startswith("/pictures/"):
            writer.write(reply(status="403 Forbidden") if name in self.gone else reply(name.encode()))
        elif received.method == "POST":
            self.submits += 1
            writer.write(_success({"executionId": self.execution_id}))
        else:
            status, pictures = self._answers[min(self.polls, len(self._answers) - 1)]
            self.polls += 1
            writer.write(_success({"executions": [self._execution(status, pictures)]}))

    def _execution(self, status: str, pictures: Sequence[str]) -> dict[str, object]:
        results = [{"status": "Success", "image": f"{self._origin}/pictures/{name}"} for name in pictures]
        return {"executionId": self.execution_id, "status": status, "result": results}


def _success(data: object) -> bytes:
    return reply(json.dumps({"success": True, "data": data}).encode())


def pictures(desk: Desk) -> list[str]:
    return [desk.pictures[index].decode() for index in sorted(desk.pictures)]


def acting_out(shops: Shops, script: Script, test: Callable[[WeShop], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with script.shop(shops) as shop:
            await test(shop)

    run(whole)


# Which picture is which --------------------------------------------------------------------------------------------


def test_a_list_that_changes_its_order_while_the_run_goes_on_loses_and_doubles_no_picture(shops: Shops) -> None:
    async def test(shop: WeShop) -> None:
        early: list[asyncio.Task[bytes]] = []

        def fetch_early(progress: Progress) -> None:
            if progress.phase is Phase.WATCHING and len(progress.results) == 1 and not early:
                early.append(asyncio.create_task(shop.fetch_early(progress.execution_id, progress.results[0])))

        made = await shop.generate(pro(batch_count=2), report=fetch_early)

        assert await early[0] == b"b"
        assert pictures(await loaded(shop, made)) == ["a", "b"]

    acting_out(shops, Script(("Running", "b"), ("Running", "b"), ("Success", "ab")), test)


@pytest.mark.parametrize("fresh", [("y",), ("b", "a"), ("x", "y", "z")], ids=["shorter", "another order", "longer"])
def test_the_address_of_another_picture_is_not_taken_for_a_fresh_one(shops: Shops, fresh: Sequence[str]) -> None:
    script = Script(("Success", "ab"), ("Success", fresh))
    script.gone = {"a"}

    async def test(shop: WeShop) -> None:
        desk = Desk()
        error = await error_of(shop.load(await shop.generate(pro(batch_count=2)), desk), DownloadError)

        assert (error.missing, pictures(desk)) == ((1,), ["b"])

    acting_out(shops, script, test)


def test_a_list_without_what_failed_still_tells_which_address_is_fresh(shops: Shops) -> None:
    script = Script(("Success", "ab"), ("Success", "xy"))
    script.gone = {"a"}

    async def test(shop: WeShop) -> None:
        assert pictures(await loaded(shop, await shop.generate(pro(batch_count=2)))) == ["x", "b"]

    acting_out(shops, script, test)


# Pictures that come and go -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("left", ["", "a"])
def test_pictures_that_were_listed_before_the_success_are_not_lost(shops: Shops, left: str) -> None:
    script = Script(("Running", "abc"), ("Success", left))

    async def test(shop: WeShop) -> None:
        made = await shop.generate(pro(batch_count=4))

        assert pictures(await loaded(shop, made)) == ["a", "b", "c"]
        assert (made.missing_count, script.submits) == (1, 1)

    acting_out(shops, script, test)


def test_pictures_that_are_listed_long_after_the_success_come_with_the_next_click(shops: Shops) -> None:
    script = Script(*[("Success", "a")] * 3, ("Success", "ab"))

    async def test(shop: WeShop) -> None:
        first = await shop.generate(pro(batch_count=2))
        second = await shop.generate(pro(batch_count=2))
        by_id = await shop.fetch(ID)

        assert [len(it.usable) for it in (first, second, by_id)] == [1, 2, 2]
        assert (script.submits, script.polls) == (1, 4)

    acting_out(shops, script, test)


def test_a_missing_picture_keeps_nobody_from_the_others_when_the_service_is_gone(shops: Shops) -> None:
    async def test() -> None:
        shops.emulator.order("submit", Fault.outcome(missing=(2,), missing_as="left out"))
        async with shops.open() as shop:
            await shop.generate(pro(batch_count=2))
            shops.emulator.stop()
            again = await shop.generate(pro(batch_count=2))

        assert len(again.usable) == 1

    run(test)


# A run that was called failed --------------------------------------------------------------------------------------


@pytest.mark.parametrize("failure", [("Failed", ""), ("Success", "")], ids=["failed", "success without a picture"])
@pytest.mark.parametrize("later", [("Success", "a"), ("Running", "")], ids=["done", "going"])
def test_a_run_that_has_not_failed_after_all_is_not_bought_again(shops: Shops, failure: Answer, later: Answer) -> None:
    script = Script(*[failure] * (1 if failure[0] == "Failed" else 3), later, ("Success", "a"))

    async def test(shop: WeShop) -> None:
        await error_of(shop.generate(pro()), RunFailedError)
        made = await shop.generate(pro())

        assert pictures(await loaded(shop, made)) == ["a"]
        assert script.submits == 1

    acting_out(shops, script, test)


@pytest.mark.parametrize("later", [("Failed", ""), ("Pending", ""), ("Success", "")])
def test_a_run_that_stays_without_a_picture_is_followed_by_a_new_one(shops: Shops, later: Answer) -> None:
    script = Script(("Failed", ""), later, ("Success", "a"))

    async def test(shop: WeShop) -> None:
        await error_of(shop.generate(pro()), RunFailedError)
        await shop.generate(pro())

        assert script.submits == 2

    acting_out(shops, script, test)


# Words nobody has heard of -----------------------------------------------------------------------------------------


def test_all_pictures_under_an_unheard_of_status_are_handed_out_when_the_wait_ends(shops: Shops) -> None:
    async def test(shop: WeShop) -> None:
        made = await shop.generate(pro(batch_count=2), timeout_seconds=0.3)

        assert pictures(await loaded(shop, made)) == ["a", "b"]

    acting_out(shops, Script(("Accomplished", "ab")), test)


@pytest.mark.parametrize("answer", [("Accomplished", "a"), ("Running", "ab")])
def test_a_run_that_may_still_be_going_is_waited_for(shops: Shops, answer: Answer) -> None:
    async def test(shop: WeShop) -> None:
        await error_of(shop.generate(pro(batch_count=2), timeout_seconds=0.3), RunTimeoutError)

    acting_out(shops, Script(answer), test)


@pytest.mark.parametrize("execution_id", ["a/b", "C:b", "a?b"])
def test_an_odd_id_makes_an_ordinary_file_name(shops: Shops, tmp_path: Path, execution_id: str) -> None:
    async def test(shop: WeShop) -> None:
        out = tmp_path / "out"
        await commands._save(shop, await shop.generate(pro()), out, commands._ProgressLine())

        (file,) = (path for path in out.rglob("*") if path.is_file())
        assert (file.parent, file.read_bytes()) == (out, b"a")
        assert not set(file.name) & set("/:?")

    acting_out(shops, Script(("Success", "a"), execution_id=execution_id), test)


# How long a run took -----------------------------------------------------------------------------------------------


def test_the_age_of_a_run_does_not_count_the_wait_for_its_acceptance(shops: Shops) -> None:
    async def test() -> None:
        shops.emulator.order("submit", Fault.refuse(429, "40005", retry_after_seconds=0.3), times=4)
        shops.emulator.order("poll", Fault.shows_status("Running"))
        told = Told()
        async with shops.open() as shop:
            made = await shop.generate(pro(), report=told)

        assert made.seconds is not None
        assert made.seconds < 1
        assert shops.emulator.unused_faults == ()

    run(test)
