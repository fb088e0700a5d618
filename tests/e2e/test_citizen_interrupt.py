"""An interrupt ends a node in every phase, at once, as an interruption, and leaves nothing behind.

The time is taken from sending POST /interrupt to the host's `execution_interrupted`: for the median to its arrival at a
page, for the longest to the time that the host has put into it. After a prompt the host collects garbage every now and
then, which holds up the message together with everything else in the process, and is none of our doing.
"""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

from emulator import ByPolls, BySeconds, Fault

from .citizen import Citizen, Prompt, a_list, generate, load_of, new_seed, node, one_run, shows, whole_way

LONGEST_SECONDS = 0.3
MEDIAN_SECONDS = 0.15
AT_ONCE_SECONDS = 1.0
REPETITIONS = 3
LONG_RUN = Fault.outcome(pace=BySeconds(pending_seconds=600))
LARGE_PIXELS = 4000


@dataclass(frozen=True)
class Phase:
    """How to bring a phase about: faults by operation, the prompt, and what tells that the phase has been reached."""

    name: str
    prompt: Callable[[], Prompt]
    faults: tuple[tuple[str, Fault], ...]
    is_reached: Callable[[Citizen, int], bool]
    """Given the number of requests before."""
    pause_seconds: float = 0.0


def asked(operation: str, count: int = 1, *, answered: bool = False) -> Callable[[Citizen, int], bool]:
    """So many requests of an operation have arrived, or have been answered."""

    def is_reached(citizen: Citizen, before: int) -> bool:
        requests = [r for r in citizen.emulator.requests[before:] if r.operation == operation]
        return sum(r.answered_status is not None or not answered for r in requests) >= count

    return is_reached


def told(part: str) -> Callable[[Citizen, int], bool]:
    """A text with this part has been shown."""
    return lambda citizen, _: any(part in text for text in citizen.page.texts())


def both(*conditions: Callable[[Citizen, int], bool]) -> Callable[[Citizen, int], bool]:
    return lambda citizen, before: all(condition(citizen, before) for condition in conditions)


def large_picture() -> bytes:
    """A file whose decoding takes a while."""
    levels = np.random.default_rng(7).integers(0, 255, (LARGE_PIXELS, LARGE_PIXELS, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "JPEG", quality=70)
    return file.getvalue()


def encoded() -> Prompt:
    return whole_way(size=LARGE_PIXELS, pictures=3)


def queued() -> Prompt:
    """More nodes than may run at once."""
    prompt: Prompt = {}
    for number in range(6):
        prompt |= {f"generate {number}": generate(), f"id {number}": shows(f"generate {number}", 1)}
    return prompt


def loaded() -> Prompt:
    """A run that ends soon, and its picture."""
    load = node("WeShopLoadResult", run=["generate", 0], execution_id="", when_sizes_differ="pad")
    return {"generate": generate(), "load": load, "preview": node("PreviewImage", images=["load", 0])}


SHORT_RUN = Fault.outcome(pace=ByPolls(1))
LARGE = Fault.answer(large_picture(), content_type="image/jpeg")
BUSY = Fault.refuse(429, "42900", "busy", retryable=True, retry_after_seconds=20)
PHASES = (
    # Noise is too large as a PNG and as any JPEG, which takes a quick machine half a second to find out.
    Phase("encoding", encoded, (), told("uploading"), pause_seconds=0.1),
    Phase("uploading", whole_way, (("upload", Fault.stall()),), asked("upload")),
    Phase("waiting for a slot", queued, (("submit", LONG_RUN),) * 4, both(told("next in line"), asked("submit", 4))),
    Phase("a list", lambda: a_list(40), (("submit", LONG_RUN),) * 4, told("36 waiting for a slot, 4 running")),
    Phase("submitting", one_run, (("submit", Fault.late(1.0)),), asked("submit")),
    Phase("a poll that hangs", one_run, (("submit", LONG_RUN), ("poll", Fault.stall())), asked("poll")),
    Phase("between polls", one_run, (("submit", LONG_RUN),), asked("poll", answered=True), pause_seconds=0.1),
    Phase("downloading", loaded, (("submit", SHORT_RUN), ("download", Fault.stall())), asked("download")),
    Phase("decoding", loaded, (("submit", SHORT_RUN), ("download", LARGE)), asked("download", answered=True), 0.15),
    Phase("waiting to upload again", whole_way, (("upload", BUSY),), asked("upload", answered=True), 0.1),
    Phase("waiting to submit again", one_run, (("submit", BUSY),), told("next attempt in")),
)


@pytest.fixture(scope="module")
def finished_run(shared_citizen: Citizen) -> str:
    """The execution id of a run that can be loaded."""
    ending = shared_citizen.run(one_run())

    assert ending.name == "execution_success"
    return shared_citizen.emulator.runs[-1].execution_id


@dataclass(frozen=True)
class Latency:
    """Until the page knew, and until the host noted the end of the node."""

    page_seconds: float
    host_seconds: float


def assert_at_once(latencies: list[Latency]) -> None:
    print([round(one.page_seconds, 3) for one in latencies], [round(one.host_seconds, 3) for one in latencies])

    assert max(one.host_seconds for one in latencies) < LONGEST_SECONDS
    assert statistics.median(one.page_seconds for one in latencies) < MEDIAN_SECONDS


def interrupted_in(citizen: Citizen, phase: Phase) -> Latency:
    """Bring the phase about, interrupt, and return how long it took."""
    citizen.page.forget()
    before = len(citizen.emulator.requests)
    for operation, fault in phase.faults:
        citizen.emulator.order(operation, fault)
    prompt_id = citizen.begin(phase.prompt())
    citizen.wait_until(lambda: phase.is_reached(citizen, before), phase.name)
    time.sleep(phase.pause_seconds)
    wall_seconds = time.time()
    at_seconds = citizen.interrupt()
    ending = citizen.end_of(prompt_id)

    assert ending.name == "execution_interrupted", ending
    assert not citizen.emulator.unused_faults
    return Latency(ending.at_seconds - at_seconds, ending.data["timestamp"] / 1000 - wall_seconds)


def assert_next_prompt_works_at_once(citizen: Citizen, execution_id: str) -> None:
    citizen.wait_until(lambda: citizen.host.client.queue_length() == 0, "the end of the interrupted prompt", 1.0)
    citizen.page.forget()
    prompt = load_of(execution_id)
    before_seconds = time.monotonic()
    prompt_id = citizen.queue(prompt)
    ending = citizen.end_of(prompt_id)
    time.sleep(0.2)

    assert ending.name == "execution_success", ending
    assert ending.at_seconds - before_seconds < AT_ONCE_SECONDS
    assert reported_nodes(citizen) <= set(prompt)


def reported_nodes(citizen: Citizen) -> set[str]:
    """The nodes that texts and bars were shown for."""
    texts = {event.data["node"] for event in citizen.page.events if event.name == "text"}
    bars = [event.data["nodes"] for event in citizen.page.events if event.name == "progress_state"]
    return texts.union(*bars)


@pytest.mark.parametrize("phase", PHASES, ids=lambda phase: phase.name)
def test_an_interrupt_ends_the_node_at_once(citizen: Citizen, finished_run: str, phase: Phase) -> None:
    """Guards: an interruption in every phase, no error; the next prompt works, and nothing reports into it."""
    latencies = []
    for _ in range(REPETITIONS):
        latencies.append(interrupted_in(citizen, phase))
        assert_next_prompt_works_at_once(citizen, finished_run)

    assert_at_once(latencies)


def test_a_failing_neighbour_ends_the_run_with_it(citizen: Citizen, finished_run: str) -> None:
    """Guards: siblings end when another node FAILS, that is when the host cancels our tasks; the ledger has the run."""
    runs = len(citizen.emulator.runs)
    citizen.emulator.order("submit", LONG_RUN)
    prompt = {**one_run(), "fails": node("NeighbourFails", seconds=2.0)}
    ending = citizen.run(prompt)
    assert_next_prompt_works_at_once(citizen, finished_run)
    citizen.wait_for_idle()

    assert ending.name == "execution_error"
    assert ending.data["node_id"] == "fails"
    assert len(citizen.emulator.runs) == runs + 1
    citizen.emulator.finish_runs()
    collected = citizen.run({name: prompt[name] for name in ("generate", "id")})

    assert collected.name == "execution_success", collected
    assert len(citizen.emulator.runs) == runs + 1
    assert citizen.emulator.runs[-1].submits == 1


def test_an_interrupted_submission_is_completed_and_collected(citizen: Citizen) -> None:
    """Guards: what an interrupt cuts off is not paid twice."""
    runs = len(citizen.emulator.runs)
    citizen.emulator.order("submit", Fault.late(1.0))
    prompt = one_run()
    prompt_id = citizen.begin(prompt)
    citizen.wait_until(lambda: len(citizen.emulator.runs) == runs + 1, "the submission")
    citizen.interrupt()
    ending = citizen.end_of(prompt_id)
    collected = citizen.run(prompt)

    assert ending.name == "execution_interrupted"
    assert collected.name == "execution_success"
    assert [run.submits for run in citizen.emulator.runs[runs:]] == [1]


@pytest.mark.parametrize("work", ["cancels itself", "exits"])
def test_no_cancellation_or_exit_of_our_own_making_reaches_the_executor(
    citizen: Citizen, finished_run: str, work: str
) -> None:
    """Guards: either would end the host's only worker, and the queue would stand still until a restart."""
    ending = citizen.run({"odd": node("NeighbourHandsOver", work=work, salt=new_seed())})
    assert_next_prompt_works_at_once(citizen, finished_run)

    assert ending.name == "execution_error"
    assert "ended from elsewhere" in ending.data["exception_message"]
