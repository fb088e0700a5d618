"""Following a run: no failure of a poll gives it up, and what ends the wait names the run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from emulator import ByPolls, Emulator, Fault
from weshop_api import protocol
from weshop_api.client import WeShopClient
from weshop_api.credentials import PLACEHOLDER_KEY, ApiKey, Service
from weshop_api.errors import AuthenticationError, MissingKeyError, NotFoundError, RunTimeoutError
from weshop_api.http import ApiSession, DownloadSession, Timeouts
from weshop_api.models import Execution, RunStatus
from weshop_api.watching import Ending, Watch, Watches

from .shops import QUICK, SHORT, Shops, Told, error_of, poll_soon, pro, run

Follow = Callable[[WeShopClient, Watch], Awaitable[None]]


def following(shops: Shops, follow: Follow, batch_count: int = 1, timeouts: Timeouts = SHORT) -> None:
    """Submit a run and follow it."""

    async def test() -> None:
        client = shops.client(timeouts=timeouts)
        body = protocol.submit_body(pro(batch_count=batch_count), (), "")
        submission = await client.submit(body, str(uuid4()))
        try:
            await follow(client, Watch(submission.execution_id, 10.0, batch_count=batch_count))
        finally:
            await client.aclose()

    run(test)
    assert shops.emulator.unused_faults == ()


async def ending(client: WeShopClient, what: Watch, told: Told | None = None) -> Ending:
    return await Watches(client, poll_soon).follow(what, told or Told())


FAILING = {
    "500": Fault.refuse(500),
    "502 page": Fault.refuse(502, envelope="none"),
    "429": Fault.refuse(429, "40005"),
    "400": Fault.refuse(400, "40000"),
    "reset": Fault.reset("before"),
    "truncated": Fault.truncate(),
    "html": Fault.answer(b"<html>"),
    "odd shape": Fault.answer(b'{"success": true, "data": {"executions": 5}}'),
    "redirect": Fault.redirect("https://portal.example/"),
}


@pytest.mark.parametrize("case", FAILING)
@pytest.mark.parametrize("times", [1, 5])
def test_polls_that_fail_do_not_give_up_a_run(shops: Shops, case: str, times: int) -> None:
    shops.emulator.order("poll", FAILING[case], times=times)

    async def follow(client: WeShopClient, what: Watch) -> None:
        end = await ending(client, what)

        assert end.execution.status is RunStatus.SUCCESS
        assert shops.count("poll") == times + 1

    following(shops, follow)


def test_twenty_failing_polls_do_not_give_up_a_run(shops: Shops) -> None:
    shops.emulator.order("poll", Fault.refuse(503, envelope="none"), times=20)

    async def follow(client: WeShopClient, what: Watch) -> None:
        assert (await ending(client, what)).execution.status is RunStatus.SUCCESS

    following(shops, follow)


def test_hanging_polls_do_not_give_up_a_run(shops: Shops) -> None:
    shops.emulator.order("poll", Fault.stall(), times=2)

    async def follow(client: WeShopClient, what: Watch) -> None:
        assert (await ending(client, what)).execution.status is RunStatus.SUCCESS

    following(shops, follow, timeouts=replace(SHORT, idle_seconds=0.15, call_total_seconds=0.2))


def test_a_poll_that_hangs_does_not_outlast_the_wait(shops: Shops) -> None:
    shops.emulator.order("poll", Fault.stall(), forever=True)

    async def follow(client: WeShopClient, what: Watch) -> None:
        started = asyncio.get_running_loop().time()
        error = await error_of(ending(client, replace(what, timeout_seconds=0.3)), RunTimeoutError)

        assert asyncio.get_running_loop().time() - started < 1.0
        assert "last status: no answer" in str(error)
        assert "The last trouble was: WeShop did not answer a poll." in str(error)

    following(shops, follow, timeouts=Timeouts())


@pytest.mark.parametrize("word", ["Rendering", "", "7"])
def test_an_unknown_status_means_keep_watching(shops: Shops, word: str) -> None:
    shops.emulator.order("poll", Fault.shows_status(word), times=3)

    async def follow(client: WeShopClient, what: Watch) -> None:
        assert (await ending(client, what)).execution.status is RunStatus.SUCCESS

    following(shops, follow)


def test_a_run_without_executions_yet_is_watched_on(shops: Shops) -> None:
    shops.emulator.order("poll", Fault.no_executions(), times=3)

    async def follow(client: WeShopClient, what: Watch) -> None:
        told = Told()
        end = await ending(client, what, told)

        assert end.execution.status is RunStatus.SUCCESS
        assert "Pending" in {it.status_text for it in told.progress}

    following(shops, follow)


def test_of_several_executions_the_run_itself_is_followed(shops: Shops) -> None:
    for position in ("first", "last"):
        shops.emulator.order("poll", Fault.several_executions("first" if position == "first" else "last"))

    async def follow(client: WeShopClient, what: Watch) -> None:
        assert (await ending(client, what)).execution.status is RunStatus.SUCCESS
        assert (await ending(client, what)).execution.status is RunStatus.SUCCESS

    following(shops, follow)


@pytest.mark.parametrize(("status", "code"), [(404, "NOT_FOUND"), (401, "40001"), (403, "NO")])
def test_a_stray_refusal_does_not_give_up_a_run(shops: Shops, status: int, code: str) -> None:
    for _ in range(2):
        shops.emulator.order("poll", Fault.refuse(status, code), times=2)
        shops.emulator.order("poll", Fault.refuse(502, envelope="none"), times=2)

    async def follow(client: WeShopClient, what: Watch) -> None:
        assert (await ending(client, what)).execution.status is RunStatus.SUCCESS
        assert shops.count("poll") == 9

    following(shops, follow)


@pytest.mark.parametrize(
    ("status", "code", "kind"), [(404, "NOT_FOUND", NotFoundError), (401, "40004", AuthenticationError)]
)
def test_a_lasting_refusal_ends_the_watch_with_the_id_and_the_way_on(
    shops: Shops, status: int, code: str, kind: type[NotFoundError | AuthenticationError]
) -> None:
    shops.emulator.order("poll", Fault.refuse(status, code), times=3)

    async def follow(client: WeShopClient, what: Watch) -> None:
        error = await error_of(ending(client, what), kind)

        assert f"This is about run {what.execution_id}. It was not submitted again" in str(error)
        assert "a new seed makes a new run" in str(error)
        assert shops.count("poll") == 3

    following(shops, follow)


def test_a_key_that_is_gone_ends_the_watch_at_once(shops: Shops) -> None:
    keys = iter([ApiKey(PLACEHOLDER_KEY)] * 2)

    def key() -> ApiKey:
        found = next(keys, None)
        if found is None:
            raise MissingKeyError
        return found

    async def test() -> None:
        service = Service(shops.emulator.base_url)
        client = WeShopClient(ApiSession(service, key, SHORT), DownloadSession(service), service.base_url, QUICK)
        submission = await client.submit(protocol.submit_body(pro(), (), ""), str(uuid4()))
        error = await error_of(ending(client, Watch(submission.execution_id, 10.0)), MissingKeyError)
        await client.aclose()

        assert submission.execution_id in str(error)
        assert "WESHOP_API_KEY" in str(error)

    run(test)


def test_the_end_of_the_wait_names_run_status_and_last_trouble(shops: Shops) -> None:
    shops.emulator.order("poll", Fault.shows_status("Running"))
    shops.emulator.order("poll", Fault.refuse(502, envelope="none"), forever=True)

    async def follow(client: WeShopClient, what: Watch) -> None:
        error = await error_of(ending(client, replace(what, timeout_seconds=1.2)), RunTimeoutError)

        assert error.execution_id == what.execution_id
        assert str(error) == (
            f"Run {what.execution_id} had not ended after 0.02 minutes (last status: Running). It goes on at WeShop "
            "and is not lost: queue again with the same seed to collect it, or give WeShop Seedream Generate more "
            "timeout_minutes. The last trouble was: WeShop had a failure of its own (HTTP 502). Queue again in a few "
            "minutes."
        )

    following(shops, follow)


def test_a_wait_that_ends_during_the_second_look_keeps_the_success(shops: Shops) -> None:
    shops.emulator.order("submit", Fault.outcome(missing=(2,), missing_as="left out"))

    def poll_late(_age_seconds: float, _known: Sequence[float]) -> float:
        return 0.1 if shops.count("poll") == 0 else 60.0

    async def follow(client: WeShopClient, what: Watch) -> None:
        end = await Watches(client, poll_late).follow(replace(what, timeout_seconds=0.5), Told())

        assert (end.execution.status, len(end.execution.usable)) == (RunStatus.SUCCESS, 1)

    following(shops, follow, batch_count=2)


def test_failures_of_the_second_look_keep_the_success(shops: Shops) -> None:
    shops.emulator.order("submit", Fault.outcome(missing=(2,), missing_as="without image"))
    shops.emulator.order("poll", Fault.several_executions("first"))
    shops.emulator.order("poll", Fault.shows_status("Failed"))
    shops.emulator.order("poll", Fault.refuse(502, envelope="none"))

    async def follow(client: WeShopClient, what: Watch) -> None:
        end = await ending(client, what)

        assert (end.execution.status, len(end.execution.usable)) == (RunStatus.SUCCESS, 1)

    following(shops, follow, batch_count=2)


def test_a_picture_that_is_said_to_have_failed_is_not_waited_for(shops: Shops) -> None:
    shops.emulator.order("submit", Fault.outcome(missing=(2,), missing_as="failed"))

    async def follow(client: WeShopClient, what: Watch) -> None:
        await ending(client, what)

        assert shops.count("poll") == 1

    following(shops, follow, batch_count=2)


def test_the_duration_is_known_only_when_the_run_was_seen_going(tmp_path: Path) -> None:
    with Emulator(pictures="small", pace=ByPolls(2)) as emulator:

        async def follow(client: WeShopClient, what: Watch) -> None:
            end = await ending(client, replace(what, age_seconds=100.0))
            again = await ending(client, replace(what, is_new=False))

            assert end.seconds is not None
            assert 100.0 < end.seconds < 105.0
            assert again.seconds is None

        following(Shops(emulator, tmp_path), follow)


def test_a_run_that_is_collected_is_asked_for_at_once_and_a_new_one_is_not(shops: Shops) -> None:
    asked: list[float] = []

    def patient(age_seconds: float, _known: Sequence[float]) -> float:
        asked.append(age_seconds)
        return 0.05

    async def follow(client: WeShopClient, what: Watch) -> None:
        watches = Watches(client, patient)
        await watches.follow(replace(what, is_new=False), Told())
        assert asked == []

        await watches.follow(what, Told())
        assert len(asked) == 1

    following(shops, follow)


def test_pictures_that_are_done_are_told_while_the_run_goes_on(tmp_path: Path) -> None:
    with Emulator(pictures="small", pace=ByPolls(4)) as emulator:

        async def follow(client: WeShopClient, what: Watch) -> None:
            told = Told()
            await ending(client, what, told)

            assert sorted({(it.done, it.total) for it in told.progress}) == [(0, 4), (2, 4), (3, 4), (4, 4)]
            assert {it.execution_id for it in told.progress} == {what.execution_id}
            assert {it.status_text for it in told.progress} == {"Pending", "Running", "Success"}

        following(Shops(emulator, tmp_path), follow, batch_count=4)


class Answering(WeShopClient):
    """A client whose poll is answered when the test says so."""

    def __init__(self) -> None:
        self.policy = QUICK
        self.answer: asyncio.Future[Execution] = asyncio.get_running_loop().create_future()

    async def poll(self, execution_id: str) -> Execution:
        """Wait for the answer."""
        assert execution_id == "id"
        return await self.answer


@pytest.mark.parametrize("ticks", range(5))
def test_a_cancellation_that_comes_together_with_an_answer_ends_the_watch(ticks: int) -> None:
    async def test() -> None:
        client = Answering()
        watching = asyncio.ensure_future(ending(client, Watch("id", 10.0, is_new=False)))
        await asyncio.sleep(0.01)
        client.answer.set_result(Execution("id", RunStatus.RUNNING, "Running"))
        for _ in range(ticks):
            await asyncio.sleep(0)
        watching.cancel()
        await asyncio.wait({watching}, timeout=1)

        assert watching.cancelled()

    run(test)
