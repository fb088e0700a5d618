"""How a run advances, what the records say, and how the emulator starts, serves many, and stops."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

import emulator as package
from emulator import ByPolls, BySeconds, Emulator, PortTakenError

from .caller import Caller, request, with_references

ROOT = Path(__file__).resolve().parents[2]


def test_a_run_advances_by_polls_with_partial_results(caller: Caller) -> None:
    execution_id = caller.submitted_id(request(batchCount=4))
    shown = [caller.execution(execution_id) for _ in range(4)]

    assert [execution["status"] for execution in shown] == ["Pending", "Running", "Success", "Success"]
    assert [len(execution["result"]) for execution in shown] == [0, 2, 4, 4]
    assert shown[2]["result"][:2] == shown[1]["result"]


@pytest.mark.parametrize(
    ("polls", "statuses"),
    [(1, ["Success"]), (2, ["Running", "Success"]), (4, ["Pending", "Running", "Running", "Success"])],
)
def test_a_run_ends_with_the_poll_it_was_set_to(polls: int, statuses: list[str]) -> None:
    with Emulator(port=0, pace=ByPolls(polls)) as emulator:
        caller = Caller(emulator)
        execution_id = caller.submitted_id()

        assert [caller.execution(execution_id)["status"] for _ in statuses] == statuses


def test_a_pace_without_an_end_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="first poll"):
        ByPolls(0)


def test_a_run_advances_by_seconds() -> None:
    now = [100.0]
    pace = BySeconds(pending_seconds=2, seconds_per_picture=10)
    with Emulator(port=0, pace=pace, clock=lambda: now[0]) as emulator:
        caller = Caller(emulator)
        execution_id = caller.submitted_id(request(batchCount=2))
        shown = []
        for now[0] in (101.9, 102.0, 112.0, 121.9, 122.0):
            execution = caller.execution(execution_id)
            shown.append((execution["status"], len(execution["result"])))

        assert shown == [("Pending", 0), ("Running", 0), ("Running", 1), ("Running", 1), ("Success", 2)]
        assert emulator.runs[0].created_at_seconds == 100.0


def test_runs_can_be_finished_at_once() -> None:
    with Emulator(port=0, pace=ByPolls(1000)) as emulator:
        caller = Caller(emulator)
        execution_id = caller.submitted_id()
        before = caller.execution(execution_id)["status"]
        emulator.finish_runs()

        assert (before, caller.execution(execution_id)["status"]) == ("Pending", "Success")
        assert caller.execution(caller.submitted_id())["status"] == "Pending"


def test_the_poll_answers_as_documented(caller: Caller) -> None:
    document = request()
    document["input"]["taskName"] = "a label"
    execution_id = caller.submitted_id(document)
    answer = caller.poll(execution_id).json()

    assert answer["meta"] == {"executionId": execution_id}
    assert (answer["data"]["agentName"], answer["data"]["agentVersion"]) == ("seedream", "v1.0")
    assert answer["data"]["initParams"] == {"taskName": "a label"}
    (execution,) = answer["data"]["executions"]
    assert execution["executionId"] == execution_id
    assert execution["params"] == document["params"]


def test_expired_results_get_fresh_urls(caller: Caller) -> None:
    execution_id = caller.submitted_id()
    caller.emulator.finish_runs()
    old = caller.execution(execution_id)["result"][0]["image"]
    body = caller.download(old).content
    caller.emulator.expire_results()
    new = caller.execution(execution_id)["result"][0]["image"]

    assert caller.download(old).status_code == 403
    assert caller.download(new).content == body


@pytest.mark.parametrize("rest", ["9_00_1x1.png", "0_00_1x1.png", "x"])
def test_an_unknown_result_file_is_not_found(caller: Caller, rest: str) -> None:
    execution_id = caller.submitted_id()

    assert caller.download(f"{caller.emulator.files_url}/results/{execution_id}/{rest}").status_code == 404


def test_files_live_on_another_origin_and_want_no_key(caller: Caller) -> None:
    url = caller.finished()["result"][0]["image"]
    caller.download(url)
    record = caller.emulator.requests[-1]

    assert url.startswith(caller.emulator.files_url + "/")
    assert urlsplit(url).port != urlsplit(caller.emulator.base_url).port
    assert (record.origin, record.operation, record.header("Authorization")) == ("files", "download", None)


def test_a_key_that_reaches_the_files_is_recorded(caller: Caller) -> None:
    caller.download(caller.emulator.files_url + "/uploads/x", headers={"Authorization": "leaked"})

    assert caller.emulator.requests[-1].header("authorization") == "leaked"


def test_a_run_is_recorded_as_it_was_submitted(caller: Caller) -> None:
    url = caller.uploaded_url()
    document = with_references(url, batchCount=2)
    execution_id = caller.submit(document, key="one").json()["data"]["executionId"]

    (run,) = caller.emulator.runs

    assert (run.number, run.execution_id, run.idempotency_key) == (1, execution_id, "one")
    assert run.body == document
    assert (run.status, run.batch_count, run.references) == ("Pending", 2, (url,))


def test_requests_are_recorded_in_the_order_of_arrival(caller: Caller) -> None:
    caller.uploaded_url()
    execution_id = caller.submitted_id()
    caller.poll(execution_id)
    records = caller.emulator.requests

    assert [record.operation for record in records] == ["upload", "submit", "poll"]
    assert [record.answered_status for record in records] == [200, 200, 200]
    assert records[1].body_size == len(records[1].body) > 0
    assert records[2].path == f"/openapi/agent/runs/{execution_id}"
    assert records[0].at_seconds <= records[1].at_seconds <= records[2].at_seconds


def test_large_bodies_are_counted_but_not_kept(caller: Caller) -> None:
    caller.upload(b"x" * (2 << 20))

    assert caller.emulator.requests[0].body == b""
    assert caller.emulator.requests[0].body_size > 2 << 20


def test_records_can_be_read_after_the_end() -> None:
    with Emulator(port=0) as emulator:
        Caller(emulator).submit(request())

    assert len(emulator.runs) == len(emulator.requests) == 1


def test_a_stopped_emulator_is_gone(emulator: Emulator) -> None:
    emulator.stop()

    with pytest.raises(requests.ConnectionError):
        requests.get(emulator.base_url, timeout=2)


def test_an_emulator_can_be_started_again() -> None:
    emulator = Emulator(port=0)
    for _ in range(2):
        emulator.start()
        assert Caller(emulator).submit(request()).status_code == 200
        emulator.stop()

    assert len(emulator.runs) == 2


def test_starting_twice_is_refused(emulator: Emulator) -> None:
    with pytest.raises(RuntimeError, match="running already"):
        emulator.start()


def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(PortTakenError, match=f"Port {port} on 127.0.0.1"):
            Emulator(port=port).start()


def test_no_thread_is_left_behind() -> None:
    before = threading.active_count()
    with Emulator(port=0) as emulator:
        Caller(emulator).picture()

    assert threading.active_count() == before


def test_it_listens_on_the_loopback_address_only(emulator: Emulator) -> None:
    assert {urlsplit(emulator.base_url).hostname, urlsplit(emulator.files_url).hostname} == {"127.0.0.1"}


def test_many_runs_in_flight_are_served(emulator: Emulator) -> None:
    def one_run(number: int) -> int:
        execution = Caller(emulator).finished(request(textDescription=f"picture {number}"))
        return len(Caller(emulator).download(execution["result"][0]["image"]).content)

    with ThreadPoolExecutor(32) as callers:
        sizes = list(callers.map(one_run, range(256)))

    assert len(emulator.runs) == 256
    assert min(sizes) > 1000
    assert {run.polls for run in emulator.runs} == {3}


def test_the_public_names_are_those_listed() -> None:
    assert sorted(package.__all__) == package.__all__
    assert all(hasattr(package, name) for name in package.__all__)


def test_the_emulator_shares_nothing_with_the_client_library() -> None:
    program = (
        "import sys, emulator.__main__; print([n for n in sys.modules if n.split('.')[0] in {'weshop_api', 'httpx'}])"
    )

    output = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=True, text=True)

    assert output.stdout.strip() == "[]"


def test_unknown_kinds_of_pictures_are_refused() -> None:
    with pytest.raises(ValueError, match="pictures"):
        Emulator(pictures="tiny")  # type: ignore[arg-type]  # wrong on purpose
