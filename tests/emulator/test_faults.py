"""Each ordered fault does what it says: to the connection, to the answer, to what a good answer says."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
import requests

from emulator import ByPolls, Emulator, Fault

from .caller import Caller, png, request

Call = Callable[[Caller], requests.Response]
CALLS: dict[str, Call] = {
    "upload": lambda caller: caller.upload(),
    "submit": lambda caller: caller.submit(request()),
    "poll": lambda caller: caller.poll(caller.submitted_id()),
    "estimate": lambda caller: caller.estimate(request()),
    "info": Caller.info,
    "download": lambda caller: caller.download(caller.finished()["result"][0]["image"]),
}
each_operation = pytest.mark.parametrize("operation", list(CALLS))


def status_of(caller: Caller, operation: str) -> int:
    return CALLS[operation](caller).status_code


@each_operation
def test_a_refusal_happens_as_often_as_ordered_and_then_service_is_normal(caller: Caller, operation: str) -> None:
    caller.emulator.order(operation, Fault.refuse(503, "50001", "busy", retryable=True, retry_after_seconds=2), times=2)

    first, second, third = (CALLS[operation](caller) for _ in range(3))

    assert [first.status_code, second.status_code, third.status_code] == [503, 503, 200]
    assert first.json() == {"success": False, "error": {"code": "50001", "message": "busy", "retryable": True}}
    assert first.headers["Retry-After"] == "2"
    assert caller.emulator.unused_faults == ()


def test_the_legacy_envelope_carries_a_number(caller: Caller) -> None:
    caller.emulator.order("submit", Fault.refuse(401, "40001", "wrong key", envelope="legacy"))

    assert caller.submit(request()).json() == {"success": False, "code": 40001, "msg": "wrong key"}


def test_retryable_can_be_left_unsaid(caller: Caller) -> None:
    caller.emulator.order("submit", Fault.refuse(500, "50001", "x", retryable=None))

    assert caller.submit(request()).json()["error"] == {"code": "50001", "message": "x"}


def test_a_refused_submit_creates_no_run(caller: Caller) -> None:
    caller.emulator.order("submit", Fault.refuse(429, "40005"))
    caller.submit(request())

    assert caller.emulator.runs == ()


@each_operation
@pytest.mark.parametrize("when", ["before", "after", "during"])
def test_a_reset_breaks_the_connection(caller: Caller, operation: str, when: str) -> None:
    moments = {"before": Fault.reset("before"), "after": Fault.reset("after"), "during": Fault.reset("during")}
    caller.emulator.order(operation, moments[when])

    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        CALLS[operation](caller)

    assert caller.emulator.unused_faults == ()
    assert status_of(caller, operation) == 200


def bytes_until_the_end(emulator: Emulator) -> bytes:
    """Ask for the agent info over a bare socket and read until the connection ends."""
    address = urlsplit(emulator.base_url)
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=5) as connection:
        connection.sendall(b"GET /openapi/v1/agent/info?agentName=a&agentVersion=v1.0 HTTP/1.1\r\nHost: x\r\n")
        connection.sendall(b"Authorization: emulator\r\nConnection: close\r\n\r\n")
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
        return received


@pytest.mark.parametrize("fault", [Fault.reset("before"), Fault.reset("after"), Fault.reset("during")], ids=repr)
def test_a_reset_is_one_on_the_wire(emulator: Emulator, fault: Fault) -> None:
    emulator.order("info", fault)

    with pytest.raises(ConnectionResetError):
        bytes_until_the_end(emulator)


def test_a_truncated_answer_ends_in_good_order(emulator: Emulator) -> None:
    emulator.order("info", Fault.truncate(0.5))

    assert bytes_until_the_end(emulator).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize(
    ("fault", "runs"),
    [
        (Fault.reset("before"), 0),
        (Fault.reset("after"), 1),
        (Fault.reset("during"), 1),
        (Fault.truncate(), 1),
        (Fault.stall(0.05), 0),
        (Fault.stall(0.05, accepted=True), 1),
    ],
    ids=repr,
)
def test_a_lost_submit_has_created_its_run_or_not(caller: Caller, fault: Fault, runs: int) -> None:
    caller.emulator.order("submit", fault)

    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        caller.submit(request())

    assert len(caller.emulator.runs) == runs


@pytest.mark.parametrize(
    "fault",
    [
        Fault.refuse(502, envelope="none", accepted=True),
        Fault.answer(b"<html>", content_type="text/html", accepted=True),
    ],
    ids=["refused", "unreadable"],
)
def test_an_accepted_submit_can_be_answered_badly(caller: Caller, fault: Fault) -> None:
    caller.emulator.order("submit", fault)
    answer = caller.submit(request(), key="one")

    assert not answer.text.startswith("{")
    assert len(caller.emulator.runs) == 1
    assert caller.submit(request(), key="one").json()["data"]["executionId"] == caller.emulator.runs[0].execution_id


def test_an_accepted_upload_can_be_answered_badly(caller: Caller) -> None:
    caller.emulator.order("upload", Fault.refuse(500, accepted=True))

    assert caller.upload().status_code == 500
    assert len(caller.emulator.uploads) == 1


def test_a_truncated_answer_declares_more_than_it_sends(caller: Caller) -> None:
    caller.emulator.order("info", Fault.truncate(0.5))
    address = urlsplit(caller.emulator.base_url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=5)
    path = "/openapi/v1/agent/info?agentName=seedream&agentVersion=v1.0"
    connection.request("GET", path, headers={"Authorization": "emulator"})
    response = connection.getresponse()

    with pytest.raises(http.client.IncompleteRead) as caught:
        response.read()

    assert len(caught.value.partial) == int(response.headers["Content-Length"]) // 2
    connection.close()


def test_a_stall_without_end_lasts_until_the_emulator_stops() -> None:
    with Emulator(port=0) as emulator:
        emulator.order("info", Fault.stall())
        with pytest.raises(requests.ReadTimeout):
            requests.get(emulator.base_url + "/v1/agent/info", headers={"Authorization": "emulator"}, timeout=(1, 0.2))
        began = time.monotonic()

    assert time.monotonic() - began < 2


def test_a_late_answer_is_complete(caller: Caller) -> None:
    caller.emulator.order("info", Fault.late(0.2))
    began = time.monotonic()

    assert caller.info().json()["success"] is True
    assert time.monotonic() - began >= 0.2


def test_a_slow_answer_is_complete(caller: Caller) -> None:
    url = caller.finished()["result"][0]["image"]
    whole = caller.download(url).content
    caller.emulator.order("download", Fault.slow(len(whole) * 4))
    began = time.monotonic()

    assert caller.download(url).content == whole
    assert time.monotonic() - began >= 0.2


def test_a_literal_answer_is_sent_as_given(caller: Caller) -> None:
    caller.emulator.order("poll", Fault.answer(b"[1", status=207, headers=(("X-Odd", "yes"),)))
    answer = caller.poll("x")

    assert (answer.status_code, answer.content, answer.headers["X-Odd"]) == (207, b"[1", "yes")


@each_operation
def test_a_redirect_is_answered_and_nothing_else(caller: Caller, operation: str) -> None:
    target = caller.emulator.files_url + "/nowhere"
    caller.emulator.order(operation, Fault.redirect(target, 307))
    answer = CALLS[operation](caller)

    assert answer.history[0].headers["Location"] == target
    assert answer.status_code == 404


@pytest.mark.parametrize(
    ("fault", "in_data", "in_meta"),
    [
        (Fault.without_id(), False, False),
        (Fault.id_only_in("data"), True, False),
        (Fault.id_only_in("meta"), False, True),
    ],
    ids=["nowhere", "data", "meta"],
)
def test_the_id_stands_where_it_was_ordered(caller: Caller, fault: Fault, *, in_data: bool, in_meta: bool) -> None:
    caller.emulator.order("submit", fault)
    document = caller.submit(request()).json()

    assert document["success"] is True
    assert ("executionId" in document["data"], "executionId" in document["meta"]) == (in_data, in_meta)
    assert len(caller.emulator.runs) == 1


def test_two_ids_differ(caller: Caller) -> None:
    caller.emulator.order("submit", Fault.two_ids())
    document = caller.submit(request()).json()

    assert document["data"]["executionId"] == caller.emulator.runs[0].execution_id
    assert document["meta"]["executionId"] != document["data"]["executionId"]


def test_a_run_can_be_ordered_to_fail(caller: Caller) -> None:
    caller.emulator.order("submit", Fault.outcome("Failed"))
    execution = caller.finished()

    assert (execution["status"], execution["result"]) == ("Failed", [])
    assert caller.emulator.runs[0].status == "Failed"


@pytest.mark.parametrize(
    ("missing_as", "expected"),
    [
        ("failed", ["Success", "Failed", "Success"]),
        ("without image", ["Success", "Success", "Success"]),
        ("left out", ["Success", "Success"]),
    ],
)
def test_a_run_can_be_ordered_to_lack_pictures(caller: Caller, missing_as: str, expected: list[str]) -> None:
    orders = {
        "failed": Fault.outcome(missing=(2,)),
        "without image": Fault.outcome(missing=(2,), missing_as="without image"),
        "left out": Fault.outcome(missing=(2,), missing_as="left out"),
    }
    caller.emulator.order("submit", orders[missing_as])
    execution = caller.finished(request(batchCount=3))

    assert execution["status"] == "Success"
    assert [item["status"] for item in execution["result"]] == expected
    assert len([item for item in execution["result"] if "image" in item]) == 2


def test_an_outcome_for_pictures_that_were_not_asked_for_does_not_happen(caller: Caller) -> None:
    caller.emulator.order("submit", Fault.outcome(missing=(5,)))
    execution = caller.finished(request(batchCount=2))

    assert len(execution["result"]) == 2
    assert len(caller.emulator.unused_faults) == 1


def test_a_run_can_be_given_its_own_pace(caller: Caller) -> None:
    caller.emulator.order("submit", Fault.outcome(pace=ByPolls(1)))

    assert caller.execution(caller.submitted_id())["status"] == "Success"


def test_a_poll_can_show_no_executions(caller: Caller) -> None:
    caller.emulator.order("poll", Fault.no_executions())

    assert caller.poll(caller.submitted_id()).json()["data"]["executions"] == []


@pytest.mark.parametrize(("wanted", "place"), [("first", 0), ("last", 2), ("absent", None)])
def test_a_poll_can_show_several_executions(caller: Caller, wanted: str, place: int | None) -> None:
    orders = {
        "first": Fault.several_executions("first"),
        "last": Fault.several_executions("last"),
        "absent": Fault.several_executions("absent"),
    }
    caller.emulator.order("poll", orders[wanted])
    execution_id = caller.submitted_id()
    shown = [execution["executionId"] for execution in caller.poll(execution_id).json()["data"]["executions"]]

    assert len(shown) >= 2
    assert (shown.index(execution_id) if execution_id in shown else None) == place


def test_a_poll_can_show_any_status(caller: Caller) -> None:
    caller.emulator.order("poll", Fault.shows_status("Polishing"))
    execution_id = caller.submitted_id()

    assert caller.execution(execution_id)["status"] == "Polishing"
    assert caller.execution(execution_id)["status"] == "Running"


def test_changed_results_wait_for_the_end_of_the_run(caller: Caller) -> None:
    caller.emulator.order("poll", Fault.null_results())

    assert caller.finished()["result"] is None
    assert caller.emulator.unused_faults == ()


def test_results_can_lack_their_image(caller: Caller) -> None:
    caller.emulator.order("poll", Fault.results_without_image(1))
    results = caller.finished(request(batchCount=2))["result"]

    assert results[0] == {"status": "Success"}
    assert "image" in results[1]


def test_results_can_be_mixed(caller: Caller) -> None:
    caller.emulator.order("poll", Fault.failed_results(2))
    results = caller.finished(request(batchCount=2))["result"]

    assert [item["status"] for item in results] == ["Success", "Failed"]


def test_a_poll_can_list_fewer_results(caller: Caller) -> None:
    caller.emulator.order("poll", Fault.fewer_results(1))

    assert len(caller.finished(request(batchCount=3))["result"]) == 1


def test_a_changed_result_that_is_not_there_does_not_happen(caller: Caller) -> None:
    caller.emulator.order("poll", Fault.failed_results(4))

    assert len(caller.finished(request(batchCount=2))["result"]) == 2
    assert len(caller.emulator.unused_faults) == 1


def test_a_picture_can_have_another_size(caller: Caller) -> None:
    caller.emulator.order("download", Fault.pixel_size(320, 200))

    assert caller.picture().size == (320, 200)
    assert caller.picture().size == (256, 256)


def test_a_reset_before_the_request_is_read_notes_no_body(caller: Caller) -> None:
    caller.emulator.order("upload", Fault.reset())
    with pytest.raises(requests.ConnectionError):
        caller.upload(png(size=(400, 400)))

    (record,) = caller.emulator.requests

    assert (record.body_size, record.answered_status) == (0, None)
