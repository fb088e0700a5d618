"""The log of the library: one line a run at INFO whatever comes of it, steps at DEBUG, and nothing that is a secret."""

from __future__ import annotations

import logging
import re

import pytest

from emulator import ByPolls, Fault
from weshop_api.credentials import PLACEHOLDER_KEY
from weshop_api.errors import RunFailedError, RunTimeoutError

from .shops import CountedSource, Shops, error_of, loaded, pro, references, run

IN_TWO_POLLS = ByPolls(2)
NEVER = ByPolls(1_000_000)


def lines(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "weshop" and record.levelno == level]


@pytest.fixture(autouse=True)
def everything_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="weshop")


def test_one_line_a_run_tells_id_model_size_time_and_points(shops: Shops, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        shops.emulator.order("submit", Fault.outcome(pace=IN_TWO_POLLS))
        async with shops.open() as shop:
            made = await shop.generate(pro())

        (line,) = lines(caplog, logging.INFO)
        about = f"run {made.execution_id}, Seedream_50_Pro, 1K, 1 picture"
        assert re.fullmatch(rf"{about}, \d+\.\d s, 10 points", line)

    run(test)


def test_a_run_that_failed_has_its_line(shops: Shops, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        shops.emulator.order("submit", Fault.outcome("Failed", pace=IN_TWO_POLLS))
        async with shops.open() as shop:
            failure = await error_of(shop.generate(pro()), RunFailedError)

        (line,) = lines(caplog, logging.INFO)
        about = f"run {failure.execution_id}, Seedream_50_Pro, 1K, Failed, 0 pictures"
        assert re.fullmatch(rf"{about}, \d+\.\d s, 10 points", line)

    run(test)


def test_a_failed_run_that_is_brought_back_has_its_line(shops: Shops, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        shops.emulator.order("poll", Fault.shows_status("Failed"), forever=True)
        async with shops.open() as shop:
            failure = await error_of(shop.generate(pro()), RunFailedError)
            caplog.clear()
            await shop.fetch(failure.execution_id)

        about = f"run {failure.execution_id}, Seedream_50_Pro, 1K, Failed, 1 picture"
        (line,) = lines(caplog, logging.INFO)
        assert re.fullmatch(rf"{about}, 10 points, reused from \d\d:\d\d", line)

    run(test)


def test_a_run_that_goes_on_after_the_wait_has_its_line(shops: Shops, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        shops.emulator.order("submit", Fault.outcome(pace=NEVER))
        async with shops.open() as shop:
            late = await error_of(shop.generate(pro(), timeout_seconds=1.0), RunTimeoutError)

        about = f"run {late.execution_id}, Seedream_50_Pro, 1K, not ended after a wait of 1 s"
        assert lines(caplog, logging.INFO) == [f"{about}, 10 points"]

    run(test)


def test_each_step_has_its_line_at_debug(shops: Shops, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        shops.emulator.order("submit", Fault.refuse(status=429, code="40005", message="too many"))
        shops.emulator.order("submit", Fault.outcome(pace=IN_TWO_POLLS))
        async with shops.open() as shop:
            await shop.upload([CountedSource("red").source])
            made = await shop.generate(pro())
            shops.emulator.order("download", Fault.refuse(500))
            await loaded(shop, made)

        name = f"run {made.execution_id}"
        expected = (
            r"uploaded image/png, 0\.00 MB in \d+\.\d s",
            r"submitting a run of Seedream_50_Pro, attempt 1 of this click",
            r"not accepted \(LimitReachedError\), next attempt in \d+\.\d s",
            r"submitting a run of Seedream_50_Pro, attempt 2 of this click",
            rf"{name} was accepted at attempt 2",
            rf"{name}: poll says Running, pictures: 0",
            rf"{name}: poll says Success, pictures: 1",
            rf"{name}: picture 1 downloaded, \d+ bytes in \d+\.\d s",
        )
        told = lines(caplog, logging.DEBUG)
        assert [bool(re.fullmatch(pattern, line)) for pattern, line in zip(expected, told, strict=True)] == [True] * 8
        assert shops.emulator.unused_faults == ()

    run(test)


def test_a_poll_that_failed_is_named_by_its_kind(shops: Shops, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        shops.emulator.order("poll", Fault.refuse(status=500, code="", message="a very secret prompt"))
        async with shops.open() as shop:
            made = await shop.generate(pro())

        assert f"run {made.execution_id}: poll failed (ServerError)" in lines(caplog, logging.DEBUG)
        assert "secret" not in caplog.text

    run(test)


def test_no_line_holds_a_prompt_a_label_an_address_or_the_key(shops: Shops, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        request = pro(
            "a very secret prompt",
            task_name="a secret label",
            references=references("https://pictures.example/secret.png?signature=secret"),
        )
        async with shops.open() as shop:
            await shop.upload([CountedSource("red").source])
            await loaded(shop, await shop.generate(request))

        told = "\n".join(record.getMessage() for record in caplog.records if record.name == "weshop")
        assert "downloaded" in told
        for word in ("secret", "://", "?", PLACEHOLDER_KEY):
            assert word not in told

    run(test)
