"""Runs side by side under one limit, beside neighbours that block; what the page is told; what the host keeps."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from emulator import BySeconds, Emulator, Fault
from tools.comfyui import ComfyUIProcess
from tools.environment import Environment

from .citizen import PACKS, Citizen, Page, Prompt, a_list, generate, new_seed, node, one_run, shows

BLOCKED_SECONDS = 60.0
LONG_RUN = Fault.outcome(pace=BySeconds(pending_seconds=600))
USUAL_LIMIT = 4
IN_FLIGHT = 64
WATCHED_SECONDS = 5.0
LAG_SECONDS = 0.05
LEAST_LAGS = 250
"""Half of those that a free loop notes in this time. One that stands still for long notes few, which may be small."""


@dataclass(frozen=True)
class Minute:
    """A prompt in a host of its own that goes on while other tests run."""

    citizen: Citizen
    prompt_id: str


@pytest.fixture(scope="module")
def minute(environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Minute]:
    """A run beside a node that blocks the executor for a minute, longer than every time-out of a poll.

    Its host serves another test after that minute.
    """
    with Emulator(port=0, pictures="small", pace=BySeconds(pending_seconds=5, seconds_per_picture=1)) as emulator:
        variables = {"WESHOP_BASE_URL": emulator.base_url, "WESHOP_MAX_RUNS": str(IN_FLIGHT)}
        folder = tmp_path_factory.mktemp("minute")
        with (
            ComfyUIProcess(environment, folder, variables=variables, packs=PACKS) as host,
            Page(host.url, "minute") as page,
        ):
            citizen = Citizen(host, emulator, page)
            emulator.order("submit", Fault.late(1.0))
            emulator.order("poll", Fault.late(1.0))
            blocks = {"blocks": node("NeighbourBlocks", seconds=BLOCKED_SECONDS), "blocked": shows("blocks")}
            prompt = {**one_run(), **blocks}
            yield Minute(citizen, citizen.queue(prompt))
            citizen.close()


@pytest.mark.usefixtures("minute")
def test_independent_nodes_run_side_by_side(citizen: Citizen) -> None:
    """Guards: the generate nodes of one prompt do not wait for each other."""
    # Tests before this one are refused for the limit's sake, which lowers it; accepted runs raise it again.
    assert citizen.run(a_list(10)).name == "execution_success"
    runs = len(citizen.emulator.runs)
    citizen.emulator.order("submit", Fault.outcome(pace=BySeconds(1.5, 0.1)), times=4)
    prompt: Prompt = {}
    for number in range(4):
        prompt |= {f"generate {number}": generate(), f"id {number}": shows(f"generate {number}", 1)}
    ending = citizen.run(prompt)
    started = [run.created_at_seconds for run in citizen.emulator.runs[runs:]]

    assert ending.name == "execution_success"
    assert len(started) == 4
    assert max(started) - min(started) < 1.0


def test_a_queued_node_says_how_many_are_ahead(citizen: Citizen) -> None:
    """Guards: the text of the queue position, under the node that waits, and the limit across nodes."""
    runs = len(citizen.emulator.runs)
    citizen.emulator.order("submit", LONG_RUN, times=USUAL_LIMIT)
    prompt: Prompt = {}
    for number in range(USUAL_LIMIT + 2):
        prompt |= {f"generate {number}": generate(), f"id {number}": shows(f"generate {number}", 1)}
    prompt_id = citizen.begin(prompt)
    wanted = {"waiting for a slot, next in line", "waiting for a slot, 1 ahead"}
    citizen.wait_until(lambda: wanted <= set(citizen.page.texts()), "both positions")
    time.sleep(1.0)
    in_flight = len(citizen.emulator.runs) - runs
    citizen.interrupt()
    citizen.end_of(prompt_id)

    assert in_flight == USUAL_LIMIT


def test_the_first_failure_of_a_list_is_shown_at_once_and_nothing_is_paid_twice(citizen: Citizen) -> None:
    """Guards: the host itself would show it only after the last item; the submitted ones are collected later."""
    runs = len(citizen.emulator.runs)
    count = 6
    citizen.emulator.order("submit", LONG_RUN, times=USUAL_LIMIT - 1)
    citizen.emulator.order("submit", Fault.refuse(400, "40001", "ordered refusal", retryable=False))
    prompt = a_list(count)
    prompt_id = citizen.begin(prompt)
    citizen.wait_until(lambda: not citizen.emulator.unused_faults, "four submits")
    refused_seconds = time.monotonic()
    ending = citizen.end_of(prompt_id)
    citizen.wait_for_idle()
    left = len(citizen.emulator.runs) - runs

    assert ending.name == "execution_error"
    assert ending.at_seconds - refused_seconds < 1.0
    assert left < count
    assert len(ending.data["traceback"]) < 60
    citizen.emulator.finish_runs()
    collected = citizen.run(prompt)

    assert collected.name == "execution_success", collected
    assert [run.submits for run in citizen.emulator.runs[runs:]] == [1] * count


def loaded(seed: int) -> Prompt:
    """A prompt that the host may answer from its cache."""
    return {
        "image": node("EmptyImage", width=64, height=64, batch_size=1, color=seed),
        "upload": node("WeShopUploadReference", image=["image", 0], image_urls="", encoding="auto"),
        "generate": generate(references=["upload", 0], seed=seed),
        "load": node("WeShopLoadResult", run=["generate", 0], execution_id="", when_sizes_differ="pad"),
        "preview": node("PreviewImage", images=["load", 0]),
    }


def test_unchanged_inputs_are_not_executed_again(citizen: Citizen) -> None:
    """Guards: caching."""
    prompt = loaded(new_seed())
    citizen.run(prompt)
    requests = len(citizen.emulator.requests)
    again = citizen.queue(prompt)
    citizen.end_of(again)
    (cached,) = citizen.page.of(again, "execution_cached")

    assert set(prompt) <= set(cached.data["nodes"])
    assert len(citizen.emulator.requests) == requests


def test_an_upload_that_is_made_again_does_not_make_its_run_again(citizen: Citizen) -> None:
    """Guards: `fingerprint_inputs` makes the upload node run again and never a run that costs points."""
    prompt = loaded(new_seed())
    citizen.run(prompt)
    citizen.emulator.expire_uploads()
    other = {
        **prompt,
        "generate": {**prompt["generate"], "inputs": {**prompt["generate"]["inputs"], "seed": new_seed()}},
    }
    refused = citizen.run(other)
    runs, uploads = len(citizen.emulator.runs), len(citizen.emulator.uploads)
    ending = citizen.run(prompt)

    assert refused.name == "execution_error"
    assert ending.name == "execution_success"
    assert len(citizen.emulator.uploads) == uploads + 1
    assert len(citizen.emulator.runs) == runs


def test_a_minute_of_blocking_costs_nothing(minute: Minute) -> None:
    """Guards: beside a node that blocks the executor no answer is lost, nothing times out, and nothing comes late."""
    citizen, prompt_id = minute.citizen, minute.prompt_id
    ending = citizen.end_of(prompt_id, BLOCKED_SECONDS + 30)
    (began,) = citizen.page.of(prompt_id, "execution_start")
    requests = [request for request in citizen.emulator.requests if request.operation in {"submit", "poll"}]

    assert ending.name == "execution_success", ending
    assert BLOCKED_SECONDS < ending.at_seconds - began.at_seconds < BLOCKED_SECONDS + 2
    assert all(request.answered_status == 200 for request in requests)
    assert requests[-1].at_seconds - requests[0].at_seconds < 15
    assert len(citizen.emulator.runs) == 1


def test_many_runs_in_flight_do_not_hold_up_the_loops(minute: Minute) -> None:
    """Guards: the lag of our loop and of the host's stays below 50 ms, 95 times in a hundred.

    The worst single lag says nothing about us: Python's collection of the host's garbage stops every thread for a
    second now and then.
    """
    citizen = minute.citizen
    citizen.end_of(minute.prompt_id, BLOCKED_SECONDS + 30)
    runs = len(citizen.emulator.runs)
    citizen.emulator.order("submit", LONG_RUN, times=IN_FLIGHT)
    prompt_id = citizen.begin(a_list(IN_FLIGHT))
    citizen.wait_until(lambda: len(citizen.emulator.runs) == runs + IN_FLIGHT, "all runs submitted", 60)
    citizen.measure_lag(on=True)
    polls = polls_of(citizen)
    time.sleep(WATCHED_SECONDS)
    report = citizen.report()
    new_polls = polls_of(citizen) - polls
    citizen.measure_lag(on=False)
    citizen.interrupt()
    citizen.end_of(prompt_id)
    print(report.lags, f"{report.longest_collection_seconds:.2f} s of collecting garbage, {new_polls} polls")

    for lags in report.lags.values():
        assert lags["p95"] < LAG_SECONDS
        assert lags["count"] > LEAST_LAGS
    assert new_polls > IN_FLIGHT


def polls_of(citizen: Citizen) -> int:
    return sum(request.operation == "poll" for request in citizen.emulator.requests)
