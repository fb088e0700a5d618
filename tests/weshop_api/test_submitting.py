"""A click is charged once: whatever happens to a submit, the service ends with one run, and nobody pays twice."""

from __future__ import annotations

import asyncio
import json

import pytest

from emulator import Emulator, Fault
from weshop_api.errors import (
    AuthenticationError,
    InsufficientPointsError,
    InvalidRequestError,
    NotSentError,
    OutcomeUnknownError,
    ServerError,
    WeShopError,
)
from weshop_api.ledger import RunState
from weshop_api.retry import RetryPolicy

from .shops import CountedSource, Shops, Told, error_of, pro, references, rows, run, states, submits, until

# Outcome unknown, then the identical request -----------------------------------------------------------------------

ACCEPTED = {
    "reset after acceptance": Fault.reset("after"),
    "reset amid the answer": Fault.reset("during"),
    "truncated": Fault.truncate(),
    "stalled": Fault.stall(accepted=True),
    "late": Fault.late(3),
    "unreadable": Fault.answer(b"<html>", accepted=True),
    "half a document": Fault.answer(b'{"success": true, "data"', accepted=True),
    "id of an odd type": Fault.answer(b'{"success": true, "data": {"executionId": ["x"]}}', accepted=True),
    "500 without envelope": Fault.refuse(500, envelope="none", accepted=True),
    "502 page": Fault.refuse(502, envelope="none", accepted=True),
    "without id": Fault.without_id(),
    "two ids": Fault.two_ids(),
}
NOT_ACCEPTED = {
    "reset before": Fault.reset("before"),
    "stalled before": Fault.stall(),
    "503 page": Fault.refuse(503, envelope="none"),
    "408": Fault.refuse(408, envelope="none"),
    "redirect": Fault.redirect("https://portal.example/"),
    "empty": Fault.answer(b""),
}
UNCLEAR = {**ACCEPTED, **NOT_ACCEPTED}


@pytest.mark.parametrize("case", UNCLEAR)
def test_after_an_unknown_outcome_the_next_call_repeats_the_identical_request(shops: Shops, case: str) -> None:
    async def test() -> None:
        shops.emulator.order("submit", UNCLEAR[case])
        async with shops.open() as shop:
            error = await error_of(shop.generate(pro(batch_count=2)), OutcomeUnknownError)
            assert states(shops) == [RunState.UNKNOWN]
            made = await shop.generate(pro(batch_count=2))

        (record,) = shops.emulator.runs
        assert made.execution_id == record.execution_id
        assert len(set(submits(shops.emulator))) == 1
        assert shops.count("submit") == 2
        assert record.submits == (2 if case in ACCEPTED else 1)
        assert "Queue again with the same seed" in str(error)
        assert states(shops) == [RunState.SUCCESS]
        assert shops.emulator.unused_faults == ()

    run(test)


def test_also_another_process_repeats_the_identical_request_with_its_references(shops: Shops) -> None:
    async def test() -> None:
        shops.emulator.order("submit", Fault.reset("after"), times=2)
        async with shops.open() as shop:
            uploaded = await shop.upload([CountedSource("red").source])
        for _ in range(2):
            async with shops.open() as shop:
                request = pro(references=uploaded.references, task_name="first label")
                await error_of(shop.generate(request), OutcomeUnknownError)
        async with shops.open() as shop:
            # Another label is no other run, and so the first one is sent again.
            made = await shop.generate(pro(references=uploaded.references, task_name="second label"))

        (record,) = shops.emulator.runs
        assert (made.execution_id, record.submits) == (record.execution_id, 3)
        assert len(set(submits(shops.emulator))) == 1
        assert record.body["input"]["taskName"] == "first label"
        assert shops.emulator.unused_faults == ()

    run(test)


def test_a_label_with_half_a_character_does_not_keep_a_run_from_being_repeated(shops: Shops) -> None:
    async def test() -> None:
        shops.emulator.order("submit", Fault.reset("after"))
        async with shops.open() as shop:
            request = pro("half of \ud83d", task_name="half of \ud83d")
            await error_of(shop.generate(request), OutcomeUnknownError)
            made = await shop.generate(request)

        (record,) = shops.emulator.runs
        assert (made.execution_id, record.submits) == (record.execution_id, 2)
        assert len(set(submits(shops.emulator))) == 1

    run(test)


def test_what_a_killed_process_left_behind_is_repeated_identically_once_its_lease_has_ended(shops: Shops) -> None:
    async def test() -> None:
        told = Told()
        async with shops.open() as shop:
            killed = shop.ledger.claim(shop._plan(pro(), 7), "a process that was killed", 0.5).record
            made = await shop.generate(pro(), seed=7, report=told)

        (record,) = shops.emulator.runs
        assert (made.execution_id, record.idempotency_key) == (record.execution_id, killed.idempotency_key)
        assert told.sentences[0] == "submitting (another node is submitting the same run)"
        assert [(row.state, row.attempt) for row in rows(shops)] == [(RunState.SUCCESS, 2)]

    run(test)


def test_a_refused_repetition_leaves_the_outcome_unknown_and_says_so(shops: Shops) -> None:
    async def test() -> None:
        shops.emulator.order("submit", Fault.reset("after"))
        shops.emulator.order("submit", Fault.refuse(402, "POINTS", "no"))
        async with shops.open() as shop:
            await error_of(shop.generate(pro()), OutcomeUnknownError)
            refusal = await error_of(shop.generate(pro()), InsufficientPointsError)
            assert states(shops) == [RunState.UNKNOWN]
            made = await shop.generate(pro())

        assert "may have been accepted and charged all the same" in str(refusal)
        assert made.execution_id == shops.emulator.runs[0].execution_id
        assert len(shops.emulator.runs) == 1
        assert shops.emulator.unused_faults == ()

    run(test)


# Certainly not accepted --------------------------------------------------------------------------------------------

PASSING = {
    "429": Fault.refuse(429, "40005"),
    "429 page": Fault.refuse(429, envelope="none"),
    "40005 in a 200": Fault.refuse(200, "40005"),
    "legacy 40005": Fault.refuse(200, "40005", envelope="legacy"),
    "retryable 500": Fault.refuse(500, "50001", retryable=True),
    "retryable 503": Fault.refuse(503, "BUSY", retryable=True),
    "retryable 200": Fault.refuse(200, "50001", retryable=True),
    "with a wait": Fault.refuse(429, "40005", retry_after_seconds=0.1),
}


@pytest.mark.parametrize("case", PASSING)
def test_a_refusal_that_passes_is_repeated_within_one_call_with_the_same_key(shops: Shops, case: str) -> None:
    async def test() -> None:
        told = Told()
        shops.emulator.order("submit", PASSING[case], times=2)
        async with shops.open() as shop:
            await shop.generate(pro(), report=told)

        assert len(shops.emulator.runs) == 1
        assert shops.count("submit") == 3
        assert len(set(submits(shops.emulator))) == 1
        assert any("next attempt in" in sentence for sentence in told.sentences)
        assert shops.emulator.unused_faults == ()

    run(test)


REFUSED = {
    "key": (Fault.refuse(401, "40001"), AuthenticationError),
    "points": (Fault.refuse(402, "POINTS"), InsufficientPointsError),
    "parameter": (Fault.refuse(422, "40000"), InvalidRequestError),
    "parameter in a 200": (Fault.refuse(200, "40000", envelope="legacy"), InvalidRequestError),
    "server": (Fault.refuse(500, "50001"), ServerError),
    "server, do not retry": (Fault.refuse(503, "50001", retryable=False), ServerError),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_submit_is_not_repeated_and_the_next_call_is_a_new_run(shops: Shops, case: str) -> None:
    fault, kind = REFUSED[case]

    async def test() -> None:
        shops.emulator.order("submit", fault)
        async with shops.open() as shop:
            error: WeShopError = await error_of(shop.generate(pro()), kind)
            assert shops.count("submit") == 1
            await shop.generate(pro())

        (first_key, _), (second_key, _) = submits(shops.emulator)
        assert first_key != second_key
        assert len(shops.emulator.runs) == 1
        assert states(shops) == [RunState.SUCCESS, RunState.REFUSED]
        assert "earlier submission" not in str(error)
        assert shops.emulator.unused_faults == ()

    run(test)


def test_a_refused_connection_is_repeated_within_one_call(shops: Shops) -> None:
    port = int(shops.emulator.base_url.split(":")[2].split("/")[0])
    base_url = shops.emulator.base_url
    shops.emulator.stop()
    patient = RetryPolicy(first_wait_seconds=0.2, longest_wait_seconds=0.4)

    async def test() -> None:
        told = Told()
        async with shops.open(base_url=base_url, policy=patient) as shop:
            click = asyncio.ensure_future(shop.generate(pro(), report=told))
            await until(lambda: any("no connection" in sentence for sentence in told.sentences))
            with Emulator(port, pictures="small") as back:
                await click
                assert len(back.runs) == 1

    run(test)


def test_a_service_that_cannot_be_reached_is_given_up_and_the_next_call_is_a_new_run(shops: Shops) -> None:
    base_url = shops.emulator.base_url
    shops.emulator.stop()

    async def test() -> None:
        async with shops.open(base_url=base_url) as shop:
            error = await error_of(shop.generate(pro()), NotSentError)

        assert "nothing was sent" in str(error)
        assert states(shops) == [RunState.REFUSED]

    run(test)


# What is sent ------------------------------------------------------------------------------------------------------


def test_every_new_run_has_a_key_of_its_own_in_the_accepted_form(shops: Shops) -> None:
    async def test() -> None:
        async with shops.open() as shop:
            await asyncio.gather(*(shop.generate(pro(), seed) for seed in range(3)))

        keys = {record.idempotency_key or "" for record in shops.emulator.runs}
        assert len(keys) == 3
        assert all(len(key) == 36 and key.replace("-", "").isalnum() for key in keys)

    run(test)


def test_the_body_that_arrives_is_the_documented_one(shops: Shops) -> None:
    async def test() -> None:
        async with shops.open() as shop:
            await shop.generate(pro("a \u6e2f", references=references("https://host.example/a.png"), task_name="label"))

        ((_, body),) = submits(shops.emulator)
        assert json.loads(body) == {
            "agent": {"name": "seedream", "version": "v1.0"},
            "input": {"taskName": "label", "images": ["https://host.example/a.png"]},
            "params": {
                "modelName": "Seedream_50_Pro",
                "textDescription": "a \u6e2f",
                "images": ["https://host.example/a.png"],
                "imageSize": "1K",
                "aspectRatio": "1:1",
                "outputFormat": "jpeg",
                "batchCount": 1,
            },
            "safeGenerate": "on",
        }

    run(test)


# References that the service no longer takes -----------------------------------------------------------------------


def test_an_upload_that_the_service_no_longer_accepts_is_uploaded_again(shops: Shops) -> None:
    async def test() -> None:
        picture = CountedSource("red")
        async with shops.open() as shop:
            first = await shop.upload([picture.source])
            shops.emulator.expire_uploads()
            await error_of(shop.generate(pro(references=first.references)), InvalidRequestError)
            assert shop.upload_generation == 1

            second = await shop.upload([picture.source])
            made = await shop.generate(pro(references=second.references))

        assert picture.encoded == 2
        assert shops.emulator.runs[0].execution_id == made.execution_id
        assert shops.emulator.runs[0].references == second.references.urls

    run(test)


def test_a_refusal_for_another_reason_forgets_no_upload(shops: Shops) -> None:
    async def test() -> None:
        picture = CountedSource("red")
        shops.emulator.order("submit", Fault.refuse(401, "40001"))
        async with shops.open() as shop:
            uploaded = await shop.upload([picture.source])
            await error_of(shop.generate(pro(references=uploaded.references)), AuthenticationError)
            await shop.upload([picture.source])

            assert shop.upload_generation == 0
        assert picture.encoded == 1

    run(test)


def test_a_listener_that_fails_ends_the_call_and_the_next_one_need_not_wait(shops: Shops) -> None:
    class ListenerError(Exception):
        """What the caller's own function raises."""

    def fails(_: object) -> None:
        raise ListenerError

    async def test() -> None:
        async with shops.open() as shop:
            with pytest.raises(ListenerError):
                await shop.generate(pro(), report=fails)
            assert states(shops) == [RunState.UNKNOWN]
            await shop.generate(pro())

        assert len(shops.emulator.runs) == 1

    run(test)
