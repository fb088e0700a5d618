"""The service's calls against the emulator: what goes over the wire, what is repeated, what becomes of errors."""

from __future__ import annotations

import asyncio
import json
from uuid import uuid4

import pytest

from emulator import Emulator, Fault
from weshop_api.client import WeShopClient
from weshop_api.errors import (
    AuthenticationError,
    InsufficientPointsError,
    InvalidRequestError,
    LimitReachedError,
    NoAnswerError,
    NotFoundError,
    NotSentError,
    OutcomeUnknownError,
    ServerError,
    ServiceError,
    UnreadableReplyError,
    WeShopError,
)
from weshop_api.models import Picture, RunStatus

from .shops import Shops, body, error_of, finished, png, run, using

UNKNOWN_ID = "0" * 24


def picture(data: bytes | None = None) -> Picture:
    return Picture(png() if data is None else data, "image/png", 60, 40)


# Over the wire -----------------------------------------------------------------------------------------------------


def test_a_run_is_submitted_polled_and_downloaded(shops: Shops) -> None:
    async def use(client: WeShopClient) -> None:
        submission = await client.submit(body(batch_count=2), "a-key-of-its-own-0001")
        execution = await client.poll(submission.execution_id)
        data = await client.download(execution.usable[1].url)

        (record,) = shops.emulator.runs
        assert (submission.execution_id, record.idempotency_key) == (record.execution_id, "a-key-of-its-own-0001")
        assert (submission.charge.charged_points, submission.charge.remaining_points) == (20.0, 99_980.0)
        assert (execution.status, len(execution.usable)) == (RunStatus.SUCCESS, 2)
        assert data.startswith(b"\xff\xd8")

    using(shops, use)


def test_a_submit_sends_the_bytes_it_was_given_and_the_key_as_it_is(shops: Shops) -> None:
    async def use(client: WeShopClient) -> None:
        await client.submit(body(), "a-key-of-its-own-0001")

        (sent,) = shops.emulator.requests
        assert (sent.method, sent.path, sent.body) == ("POST", "/openapi/agent/runs", body())
        assert sent.header("Authorization") == "emulator"
        assert sent.header("Content-Type") == "application/json"
        assert sent.header("Idempotency-Key") == "a-key-of-its-own-0001"

    using(shops, use)


def test_only_requests_to_the_api_carry_the_key(shops: Shops) -> None:
    async def use(client: WeShopClient) -> None:
        (url,) = await finished(client)
        await client.download(url)

        assert {(it.origin, it.header("Authorization")) for it in shops.emulator.requests} == {
            ("api", "emulator"),
            ("files", None),
        }

    using(shops, use)


def test_an_upload_is_one_multipart_field_named_image(shops: Shops) -> None:
    async def use(client: WeShopClient) -> None:
        url = await client.upload(picture())

        (upload,) = shops.emulator.uploads
        assert (upload.url, upload.data, upload.content_type) == (url, png(), "image/png")

    using(shops, use)


def test_an_estimate_costs_nothing_and_creates_nothing(shops: Shops) -> None:
    async def use(client: WeShopClient) -> None:
        estimate = await client.estimate(body(batch_count=4))

        assert estimate is not None
        assert (estimate.points, estimate.affordable) == (40.0, True)
        assert shops.emulator.runs == ()
        assert shops.emulator.requests[0].header("Idempotency-Key") is None

    using(shops, use)


def test_a_service_without_estimates_gives_none(shops: Shops) -> None:
    shops.emulator.order("estimate", Fault.refuse(404, "NOT_FOUND"))

    async def use(client: WeShopClient) -> None:
        assert await client.estimate(body()) is None

    using(shops, use)


@pytest.mark.parametrize("place", ["data", "meta"])
def test_the_execution_id_is_found_in_either_place(shops: Shops, place: str) -> None:
    shops.emulator.order("submit", Fault.id_only_in("data" if place == "data" else "meta"))

    async def use(client: WeShopClient) -> None:
        submission = await client.submit(body(), "a-key-of-its-own-0001")

        assert submission.execution_id == shops.emulator.runs[0].execution_id

    using(shops, use)


# Every class of error, in both envelopes ---------------------------------------------------------------------------

REFUSALS: list[tuple[int, str, str, type[WeShopError]]] = [
    (401, "40001", "wrong key", AuthenticationError),
    (200, "40003", "key disabled", AuthenticationError),
    (403, "40004", "key expired", AuthenticationError),
    (402, "POINTS", "no", InsufficientPointsError),
    (400, "NEW", "Insufficient points: 5 left", InsufficientPointsError),
    (422, "40000", "batchCount", InvalidRequestError),
    (400, "INVALID_ARGUMENT", "prompt", InvalidRequestError),
    (429, "40005", "too many", LimitReachedError),
    (200, "40005", "too many", LimitReachedError),
    (404, "NOT_FOUND", "no such", NotFoundError),
    (500, "50001", "broken", ServerError),
    (200, "50006", "broken", ServerError),
    (200, "NEW", "who knows", ServiceError),
]


@pytest.mark.parametrize("envelope", ["documented", "legacy"])
def test_every_refusal_of_a_submit_has_its_class_and_is_not_repeated(shops: Shops, envelope: str) -> None:
    shape = "documented" if envelope == "documented" else "legacy"

    async def use(client: WeShopClient) -> None:
        for status, code, message, kind in REFUSALS:
            shops.emulator.order("submit", Fault.refuse(status, code, message, envelope=shape))  # type: ignore[arg-type]  # one of the two
            error = await error_of(client.submit(body(), str(uuid4())), kind)

            assert f"HTTP {status}, {code}, {message}" in str(error)
        assert shops.count("submit") == len(REFUSALS)
        assert shops.emulator.runs == ()

    using(shops, use)


UNCLEAR = [
    Fault.reset("after"),
    Fault.reset("during"),
    Fault.reset("before"),
    Fault.truncate(),
    Fault.stall(accepted=True),
    Fault.stall(),
    Fault.late(5),
    Fault.answer(b"<html>", accepted=True),
    Fault.answer(b'{"success": true', accepted=True),
    Fault.answer(b"", accepted=True),
    Fault.without_id(),
    Fault.two_ids(),
    Fault.refuse(500, envelope="none", accepted=True),
    Fault.refuse(502, envelope="none"),
    Fault.refuse(503, envelope="none", accepted=True),
    Fault.redirect("https://portal.example/"),
    Fault.answer(b"x" * 9_000_000, accepted=True),
]


@pytest.mark.parametrize("fault", UNCLEAR, ids=lambda fault: repr(fault)[:60])
def test_whatever_leaves_open_whether_a_run_was_accepted_is_told_as_such(shops: Shops, fault: Fault) -> None:
    shops.emulator.order("submit", fault)

    async def use(client: WeShopClient) -> None:
        error = await error_of(client.submit(body(), str(uuid4())), OutcomeUnknownError)

        assert str(error).startswith("It is not known whether WeShop accepted the run: ")
        assert "Queue again with the same seed" in str(error)
        assert "\n" not in str(error)
        assert shops.count("submit") == 1

    using(shops, use)


def test_a_refused_connection_certainly_sent_nothing(shops: Shops) -> None:
    shops.emulator.stop()

    async def use(client: WeShopClient) -> None:
        await error_of(client.submit(body(), str(uuid4())), NotSentError)

    using(shops, use)


# Repeating what has no side effects --------------------------------------------------------------------------------

PASSING = [
    Fault.reset("before"),
    Fault.reset("after"),
    Fault.reset("during"),
    Fault.truncate(),
    Fault.refuse(429, "40005"),
    Fault.refuse(200, "40005"),
    Fault.refuse(429, envelope="none", retry_after_seconds=0.05),
    Fault.refuse(500, "50001"),
    Fault.refuse(500, "50001", envelope="legacy"),
    Fault.refuse(502, envelope="none"),
    Fault.refuse(503, envelope="none"),
    Fault.refuse(422, "40000", retryable=True),
]


@pytest.mark.parametrize("fault", PASSING, ids=lambda fault: repr(fault)[:60])
def test_a_read_and_an_upload_survive_what_passes(shops: Shops, fault: Fault) -> None:
    for operation in ("upload", "poll"):
        shops.emulator.order(operation, fault, times=2)

    async def use(client: WeShopClient) -> None:
        submission = await client.submit(body(), str(uuid4()))
        url, execution = await asyncio.gather(client.upload(picture()), client.read(submission.execution_id))

        assert url.startswith(shops.emulator.files_url)
        assert execution.status is RunStatus.SUCCESS
        assert (shops.count("upload"), shops.count("poll")) == (3, 3)

    using(shops, use)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault.refuse(401, "40001"), AuthenticationError),
        (Fault.refuse(422, "40000"), InvalidRequestError),
        (Fault.refuse(500, "50001", retryable=False), ServerError),
        (Fault.answer(b"<html>"), UnreadableReplyError),
        (Fault.answer(b'{"success": true, "data": {"image": 7}}'), UnreadableReplyError),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_what_would_fail_again_is_not_repeated(shops: Shops, fault: Fault, kind: type[WeShopError]) -> None:
    shops.emulator.order("upload", fault)

    async def use(client: WeShopClient) -> None:
        await error_of(client.upload(picture()), kind)

        assert shops.count("upload") == 1

    using(shops, use)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [(Fault.reset(), NoAnswerError), (Fault.refuse(503, envelope="none"), ServerError)],
    ids=lambda value: repr(value)[:60],
)
def test_repeating_ends_after_five_attempts_with_the_last_error(
    shops: Shops, fault: Fault, kind: type[WeShopError]
) -> None:
    shops.emulator.order("upload", fault, times=5)

    async def use(client: WeShopClient) -> None:
        await error_of(client.upload(picture()), kind)

        assert shops.count("upload") == 5

    using(shops, use)


def test_the_wait_that_the_service_asks_for_is_waited(shops: Shops) -> None:
    shops.emulator.order("upload", Fault.refuse(429, "40005", retry_after_seconds=0.2))

    async def use(client: WeShopClient) -> None:
        await client.upload(picture())

        first, second = shops.emulator.requests
        assert second.at_seconds - first.at_seconds >= 0.19

    using(shops, use)


def test_a_single_poll_is_not_repeated(shops: Shops) -> None:
    shops.emulator.order("poll", Fault.refuse(500))

    async def use(client: WeShopClient) -> None:
        await error_of(client.poll(UNKNOWN_ID), ServerError)

        assert shops.count("poll") == 1

    using(shops, use)


def test_an_unknown_run_is_not_found(shops: Shops) -> None:
    async def use(client: WeShopClient) -> None:
        error = await error_of(client.read(UNKNOWN_ID), NotFoundError)

        assert error.status == 404

    using(shops, use)


def test_a_client_from_the_environment_sends_a_loopback_service_the_placeholder_only(emulator: Emulator) -> None:
    environ = {"WESHOP_BASE_URL": emulator.base_url, "WESHOP_API_KEY": "test-key-not-real"}

    async def test() -> None:
        client = WeShopClient.from_environment(environ)
        await client.submit(body(), str(uuid4()))
        await client.aclose()

    run(test)
    (sent,) = emulator.requests
    assert sent.header("Authorization") == "emulator"
    assert json.loads(sent.body)["agent"]["name"] == "seedream"
