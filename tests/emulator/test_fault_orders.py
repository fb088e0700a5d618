"""Faults happen as often as ordered, in order, and only where ordered; an order that makes no sense is refused."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from emulator import Emulator, Fault, Where

from .caller import Caller, request


def test_faults_happen_in_the_order_given(caller: Caller) -> None:
    caller.emulator.order("info", Fault.refuse(500))
    caller.emulator.order("info", Fault.refuse(502, envelope="none"))
    caller.emulator.order("info", Fault.refuse(200, "40000", "no"))

    answers = [caller.info() for _ in range(3)]

    assert [answer.status_code for answer in answers] == [500, 502, 200]
    assert answers[1].headers["Content-Type"].startswith("text/html")
    assert answers[2].json()["success"] is False


def test_a_fault_that_needs_a_good_request_waits_for_one(caller: Caller) -> None:
    caller.emulator.order("submit", Fault.reset("after"))
    refused = caller.submit(request(batchCount=0))

    assert refused.status_code == 422
    assert [order.happened for order in caller.emulator.unused_faults] == [0]


def test_a_download_fault_can_be_limited_to_one_result(caller: Caller) -> None:
    caller.emulator.order("download", Fault.answer(b"odd", content_type="image/png"), where=Where(result=2))
    results = caller.finished(request(batchCount=3))["result"]
    bodies = [caller.download(item["image"]).content for item in results]

    assert [body == b"odd" for body in bodies] == [False, True, False]


def test_a_fault_can_be_limited_to_one_run(caller: Caller) -> None:
    first, second = caller.submitted_id(), caller.submitted_id()
    caller.emulator.order("poll", Fault.refuse(500), where=Where(run=2))

    assert [caller.poll(first).status_code, caller.poll(second).status_code] == [200, 500]


def test_a_poll_fault_can_be_limited_to_a_status(caller: Caller) -> None:
    caller.emulator.order("poll", Fault.refuse(500), where=Where(status="Running"))
    execution_id = caller.submitted_id()
    answers = [caller.poll(execution_id).status_code for _ in range(4)]

    assert answers == [200, 500, 200, 200]


def test_a_fault_for_ever_lasts_until_it_is_withdrawn(caller: Caller) -> None:
    url = caller.finished()["result"][0]["image"]
    caller.emulator.order("download", Fault.refuse(403, envelope="none"), forever=True)
    answers = [caller.download(url).status_code for _ in range(3)]
    unused = caller.emulator.unused_faults
    caller.emulator.withdraw_faults()

    assert answers == [403, 403, 403]
    assert unused == ()
    assert caller.download(url).status_code == 200


def test_unused_faults_say_what_was_ordered(emulator: Emulator) -> None:
    emulator.order("poll", Fault.reset(), times=3)

    (order,) = emulator.unused_faults

    assert (order.operation, order.times, order.happened) == ("poll", 3, 0)


@pytest.mark.parametrize(
    ("operation", "fault", "where", "words"),
    [
        ("pol", Fault.reset(), Where(), "unknown operation 'pol'"),
        ("poll", Fault.without_id(), Where(), "makes no sense for poll; only for submit"),
        ("poll", Fault.outcome("Failed"), Where(), "makes no sense for poll; only for submit"),
        ("submit", Fault.no_executions(), Where(), "makes no sense for submit; only for poll"),
        ("submit", Fault.pixel_size(1, 1), Where(), "makes no sense for submit; only for download"),
        ("poll", Fault.refuse(accepted=True), Where(), "accepted=True makes no sense for poll"),
        ("download", Fault.answer(b"", accepted=True), Where(), "accepted=True makes no sense for download"),
        ("poll", Fault.reset(), Where(result=1), "a fault of poll cannot be limited by result"),
        ("submit", Fault.reset(), Where(run=1), "a fault of submit cannot be limited by run"),
    ],
)
def test_an_order_that_makes_no_sense_is_refused_with_the_reason(
    emulator: Emulator, operation: str, fault: Fault, where: Where, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        emulator.order(operation, fault, where=where)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Fault.refuse(700), "status must be 200 to 599"),
        (lambda: Fault.reset("later"), "unknown moment 'later'"),  # type: ignore[arg-type]  # wrong on purpose
        (lambda: Fault.truncate(1.0), "share must be at least 0 and less than 1"),
        (lambda: Fault.slow(0), "bytes_per_second must be more than 0"),
        (lambda: Fault.id_only_in("body"), "unknown place 'body'"),  # type: ignore[arg-type]  # wrong on purpose
        (lambda: Fault.outcome("Running"), "a run ends as one of"),
        (lambda: Fault.failed_results(0), "results are numbered from 1"),
        (lambda: Fault.refuse(envelope="xml"), "unknown envelope 'xml'"),  # type: ignore[arg-type]  # wrong on purpose
    ],
)
def test_a_fault_with_a_meaningless_value_cannot_be_made(make: Callable[[], Fault], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


def test_times_must_be_at_least_one(emulator: Emulator) -> None:
    with pytest.raises(ValueError, match="times"):
        emulator.order("poll", Fault.reset(), times=0)


def test_faults_may_be_ordered_from_many_threads(emulator: Emulator) -> None:
    def order() -> None:
        for _ in range(50):
            emulator.order("upload", Fault.reset())

    threads = [threading.Thread(target=order) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(emulator.unused_faults) == 400
