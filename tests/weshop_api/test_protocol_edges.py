"""Where exactly the limits of the protocol lie, and what must not change from one version to the next."""

from __future__ import annotations

import json

import pytest

from weshop_api import protocol
from weshop_api.errors import InvalidRequestError, ServerError, ServiceError, UnreadableReplyError, WeShopError
from weshop_api.models import Answer, Charge, Reference, References, Result
from weshop_api.seedream import LITE, SeedreamRequest

ID = "65f0c0ffee0000000000abcd"
URLS = ("https://host.example/1.png", "https://host.example/2.png")
REQUEST = SeedreamRequest(
    "a harbour at dawn",
    LITE,
    "3K",
    "16:9",
    "png",
    4,
    web_search=True,
    references=References((Reference(URLS[0], 60, 40, "hash"), Reference(URLS[1]))),
)


def answer(status: int, document: object) -> Answer:
    return Answer(status, {}, json.dumps(document).encode())


def polled(execution: object) -> Answer:
    return answer(200, {"success": True, "data": {"executions": [execution]}})


def error_of(status: int, document: object) -> WeShopError:
    with pytest.raises(WeShopError) as caught:
        protocol.read_success(answer(status, document))
    return caught.value


# From one version to the next --------------------------------------------------------------------------------------


def test_a_run_in_a_ledger_of_an_earlier_version_keeps_its_name() -> None:
    """Another name for the same request would buy every run of every user a second time."""
    assert protocol.fingerprint(REQUEST, 7) == "5288f11650f7df261e831f0ac04f21041a35d964b7e73a29a9459c32ca7d93c7"


def test_the_bytes_of_a_run_of_an_earlier_version_can_be_sent_again() -> None:
    """The service takes another body under the same idempotency key for a mistake, or for another run."""
    assert protocol.submit_body(REQUEST, URLS, "label") == (
        b'{"agent":{"name":"seedream","version":"v1.0"},'
        b'"input":{"images":["https://host.example/1.png","https://host.example/2.png"],"taskName":"label"},'
        b'"params":{"aspectRatio":"16:9","batchCount":4,"imageSize":"3K",'
        b'"images":["https://host.example/1.png","https://host.example/2.png"],'
        b'"modelName":"Seedream_50_Lite","outputFormat":"png","textDescription":"a harbour at dawn",'
        b'"tools":["web_search"]},"safeGenerate":"on"}'
    )


# Limits ------------------------------------------------------------------------------------------------------------


def test_an_execution_id_has_at_most_128_characters() -> None:
    assert protocol.check_execution_id("x" * 128) == "x" * 128


def test_a_long_text_that_is_no_execution_id_is_quoted_in_part() -> None:
    with pytest.raises(InvalidRequestError, match=f"^'{'x' * 37}\\.\\.\\.' is not an execution id"):
        protocol.check_execution_id("x" * 500)


def test_an_address_has_at_most_4096_characters() -> None:
    longest = "https://host.example/".ljust(4096, "a")

    execution = protocol.read_execution(polled({"result": [{"image": longest}, {"image": f"{longest}a"}]}), ID)

    assert execution.usable == (Result(1, longest, ""),)


def test_an_execution_has_at_most_256_results() -> None:
    assert len(protocol.read_execution(polled({"result": [{}] * 256}), ID).results) == 256


def test_points_are_told_below_a_million_millions() -> None:
    data = {"executionId": ID, "powerConsumption": 999_999_999_999, "powerBalanceAmount": 1e12}

    assert protocol.read_submission(answer(200, {"success": True, "data": data})).charge == Charge(999_999_999_999.0)


def test_no_wait_at_all_may_be_asked_for() -> None:
    assert protocol.retry_after_seconds(Answer(429, {"retry-after": "0"}, b"")) == 0.0


def test_the_words_of_an_unknown_status_are_shown_up_to_forty_characters() -> None:
    word = "x" * 50

    execution = protocol.read_execution(polled({"status": word, "result": [{"status": word}]}), ID)

    assert execution.status_text == "x" * 37 + "..."
    assert execution.results == (Result(1, "", "x" * 37 + "..."),)


def test_a_code_is_shown_up_to_sixty_characters_and_a_message_up_to_three_hundred() -> None:
    error = error_of(500, {"success": False, "error": {"code": "c" * 70, "message": "m" * 310}})

    assert f"(HTTP 500, {'c' * 57}..., {'m' * 297}...)" in str(error)


# Statuses ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 299])
def test_a_success_has_a_status_from_200_to_299(status: int) -> None:
    assert protocol.read_upload(answer(status, {"success": True, "data": {"image": URLS[0]}})) == URLS[0]


@pytest.mark.parametrize("status", [199, 300])
def test_a_success_with_another_status_is_an_error(status: int) -> None:
    assert type(error_of(status, {"success": True})) is ServiceError


@pytest.mark.parametrize("status", [300, 399])
def test_without_an_envelope_300_to_399_is_a_redirect(status: int) -> None:
    error = error_of(status, [])

    assert type(error) is UnreadableReplyError
    assert "could not be read: answer (a redirect) is missing" in str(error)


def test_with_an_envelope_399_is_neither_a_refusal_nor_the_fault_of_the_request() -> None:
    silent, refused = error_of(399, {}), error_of(399, {"success": False})

    assert isinstance(silent, ServiceError)
    assert not silent.refused
    assert type(refused) is ServiceError


@pytest.mark.parametrize(("status", "kind"), [(499, ServiceError), (500, ServerError)])
def test_failures_of_the_service_begin_at_500(status: int, kind: type[ServiceError]) -> None:
    error = error_of(status, {})

    assert isinstance(error, kind)
    assert (type(error), error.status) == (kind, status)


def test_of_the_statuses_from_400_to_499_only_four_leave_open_whether_the_request_was_accepted() -> None:
    errors = {status: error_of(status, []) for status in range(400, 500)}

    open_ones = [status for status, error in errors.items() if isinstance(error, ServiceError) and not error.refused]
    assert open_ones == [408, 409, 425, 499]
