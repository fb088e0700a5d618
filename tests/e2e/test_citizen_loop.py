"""The background loop: begins when it is needed, survives what goes wrong, keeps its connections, ends with the host.

The tests of this file share one host and build on each other: it begins with a mistake in its environment.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator

import pytest

from emulator import ByPolls, BySeconds, Emulator, Fault
from tools.comfyui import ComfyUIProcess
from tools.environment import Environment

from .citizen import PACKS, Citizen, Event, Page, Prompt, a_list, generate, new_seed, node, one_run, shows, whole_way

RUNS_AT_ONCE = 32
# On a busy machine the interpreter of a host that has not even used the pack takes five seconds to end.
ENDS_WITHIN_SECONDS = 15.0
HANGS_SECONDS = 60.0
LONG_RUN = Fault.outcome(pace=BySeconds(pending_seconds=600))


@pytest.fixture(scope="module")
def own(environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Citizen]:
    """A host of 32 runs at once, whose environment names an address that is not allowed."""
    with Emulator(port=0, pictures="small") as emulator:
        variables = {"WESHOP_BASE_URL": "http://example.com/openapi", "WESHOP_MAX_RUNS": str(RUNS_AT_ONCE)}
        folder = tmp_path_factory.mktemp("own")
        with (
            ComfyUIProcess(environment, folder, variables=variables, packs=PACKS) as host,
            Page(host.url, "own") as page,
        ):
            citizen = Citizen(host, emulator, page)
            yield citizen
            citizen.close()


def test_nothing_is_started_before_it_is_needed(own: Citizen) -> None:
    """Guards: the loop starts lazily."""
    assert not [name for name in own.report().threads if "weshop" in name]


def test_a_mistake_in_the_environment_is_told_by_the_node_and_can_be_mended(own: Citizen) -> None:
    """Guards: the loop survives a failure to connect, and an interrupt of the very first prompt that works."""
    refused = own.run(one_run())
    own.post("environ", name="WESHOP_BASE_URL", value=own.emulator.base_url)
    own.emulator.order("submit", LONG_RUN)
    prompt_id = own.begin(one_run())
    own.wait_until(lambda: len(own.emulator.runs) == 1, "the first run")
    own.interrupt()
    interrupted = own.end_of(prompt_id)

    assert refused.name == "execution_error"
    assert "WESHOP_BASE_URL" in refused.data["exception_message"]
    assert interrupted.name == "execution_interrupted"
    assert own.run(one_run()).name == "execution_success"


def test_an_error_in_the_work_is_shown_and_the_loop_goes_on(own: Citizen) -> None:
    """Guards: the loop survives exceptions."""
    failed = own.run({"odd": node("NeighbourHandsOver", work="raises", salt=new_seed())})
    answered = own.run({"odd": node("NeighbourHandsOver", work="answers", salt=new_seed())})
    followed = own.run(one_run())

    assert "divides by zero" in failed.data["exception_message"]
    assert answered.name == "execution_success"
    assert followed.name == "execution_success"


def test_connections_are_used_again_by_the_next_prompts(own: Citizen) -> None:
    """Guards: one HTTP client for the life of the process, although each prompt has an event loop of its own."""
    own.run(whole_way())
    before = own.report()
    for _ in range(3):
        own.run(whole_way())
    after = own.report()

    assert len(before.connections) == 2
    assert after.connections == before.connections
    assert after.threads == before.threads


def test_a_hundred_prompts_of_a_list_run_side_by_side_under_the_limit(own: Citizen) -> None:
    """Guards: WESHOP_MAX_RUNS counts for the whole process; the emulator refuses one run more than that."""
    runs, requests = len(own.emulator.runs), len(own.emulator.requests)
    own.emulator.order("submit", Fault.outcome(pace=ByPolls(1)), times=100)
    ending = own.run(a_list(100))
    submits = [one for one in own.emulator.requests[requests:] if one.operation == "submit"]

    assert ending.name == "execution_success", ending
    assert len(own.emulator.runs) - runs == 100
    assert {one.answered_status for one in submits} == {200}
    assert most_at_once(own, runs) == RUNS_AT_ONCE


def most_at_once(own: Citizen, since: int) -> int:
    """How many runs were under way at the same time: between their submission and their first poll."""
    ends = {r.path.rpartition("/")[2]: r.at_seconds for r in own.emulator.requests if r.operation == "poll"}
    moves = [(run.created_at_seconds, 1) for run in own.emulator.runs[since:]]
    moves += [(ends[run.execution_id], -1) for run in own.emulator.runs[since:]]
    count = most = 0
    for _, change in sorted(moves):
        count += change
        most = max(most, count)
    return most


def seconds_of(own: Citizen, prompt: Prompt, seconds: float) -> list[Event]:
    """What the page is told about a prompt in so many seconds of watching; then it is interrupted."""
    runs = len(own.emulator.runs)
    prompt_id = own.begin(prompt)
    own.wait_until(lambda: len(own.emulator.runs) == runs + RUNS_AT_ONCE, "as many runs as may be")
    time.sleep(1.0)
    own.page.forget()
    time.sleep(seconds)
    events = own.page.events
    own.interrupt()
    own.end_of(prompt_id)
    own.emulator.withdraw_faults()
    return events


def test_a_long_list_does_not_flood_the_page(own: Citizen) -> None:
    """Guards: one text and one bar for all items of a node, at most five a second."""
    own.emulator.order("submit", Fault.outcome(pace=BySeconds(0, 1)), forever=True)
    events = seconds_of(own, a_list(120, batch_count=16), 4.0)

    assert len([event for event in events if event.name == "text"]) <= 4 * 5 + 1
    assert 1 <= len([event for event in events if event.name == "progress_state"]) <= 4 * 5 + 1


def test_many_nodes_do_not_flood_the_page(own: Citizen) -> None:
    """Guards: the host sends the state of all nodes with every movement of a bar, so bars move seldom when many do."""
    own.emulator.order("submit", Fault.outcome(pace=BySeconds(0, 1)), forever=True)
    prompt: Prompt = {}
    for number in range(60):
        prompt |= {f"generate {number}": generate(batch_count=16), f"id {number}": shows(f"generate {number}", 1)}
    events = seconds_of(own, prompt, 4.0)

    assert len([event for event in events if event.name == "text"]) <= 4 * 20 + 20
    assert len([event for event in events if event.name == "progress_state"]) <= 4 * 20 + 20


def busy_in_every_phase() -> Prompt:
    """Uploads that encode, submissions that hang, runs that are watched."""
    prompt: Prompt = {}
    for number in range(3):
        prompt |= {f"generate {number}": generate(), f"id {number}": shows(f"generate {number}", 1)}
    prompt["noise"] = node("NeighbourNoise", size=3000, count=6, seed=new_seed())
    prompt["upload"] = node("WeShopUploadReference", image=["noise", 0], image_urls="", encoding="auto")
    prompt["urls"] = shows("upload", 1)
    return prompt


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals that a program could send to a process")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_the_host_ends_at_once_amid_work_and_nothing_is_paid_twice(own: Citizen, number: signal.Signals) -> None:
    """Guards: the loop and its threads end with the host, and what they were doing is taken up by the next start."""
    runs = len(own.emulator.runs)
    own.emulator.order("submit", LONG_RUN)
    own.emulator.order("submit", Fault.stall(HANGS_SECONDS, accepted=True))
    own.emulator.order("submit", Fault.late(1.0))
    prompt = busy_in_every_phase()
    own.queue(prompt)
    own.wait_until(lambda: len(own.emulator.runs) == runs + 3, "three runs")
    began = time.monotonic()
    os.kill(own.host.pid, number)
    own.wait_until(lambda: not own.host.is_running, "the end of the host", ENDS_WITHIN_SECONDS)
    print(f"ended after {time.monotonic() - began:.2f} s")
    own.emulator.finish_runs()
    own.host.stop()
    own.host.start()
    own.post("environ", name="WESHOP_BASE_URL", value=own.emulator.base_url)
    again = {name: value for name, value in prompt.items() if name.startswith(("generate", "id"))}
    own.host.client.run(again, timeout_seconds=60)

    assert len(own.emulator.runs) == runs + 3
