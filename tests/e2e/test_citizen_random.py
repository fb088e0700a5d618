"""A thousand interrupts at random moments: the worker lives, and no task, socket or thread is left over."""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import dataclass

from weshop_api.network import KEEP_ALIVE_SECONDS

from .citizen import Citizen, Prompt, load_of, one_run, whole_way

INTERRUPTS = 1000
WHOLE_EVERY = 250
AFTER_A_POLL_EVERY = 50
RESOLVER_THREADS = "asyncio_"
LOADED = 8
CONNECTIONS_OF_A_PROMPT = 2
"""To the service and to its files."""


@dataclass(frozen=True)
class Trial:
    """A prompt, and how long after its start it is interrupted."""

    kind: str
    prompt: Prompt
    after_seconds: float


def trial(dice: random.Random, finished: list[str], number: int) -> Trial:
    """Uploads and submissions mostly; loads; and now and then a run that is being watched."""
    if number % AFTER_A_POLL_EVERY == 0:
        return Trial("watch", whole_way(), dice.uniform(0.2, 1.6))
    if dice.random() < 0.3:
        return Trial("load", load_of(dice.choice(finished)), dice.uniform(0.0, 0.1))
    return Trial("submit", whole_way(pictures=dice.randint(1, 3)), dice.uniform(0.0, 0.1))


def settled(citizen: Citizen) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Threads and tasks, once there is nothing left to do.

    Without the threads in which event loops resolve names: they come by need, up to a number, and stay.
    """
    citizen.wait_for_idle(60.0)
    report = citizen.report()
    threads = tuple(name for name in report.threads if not name.startswith(RESOLVER_THREADS))
    return threads, report.tasks


def connections_in_use(citizen: Citizen) -> int:
    """How many are open once a prompt has been run after the time for which unused ones are kept for the next.

    The prompt lets go of those, and leaves its own behind.
    """
    citizen.wait_for_idle(60.0)
    time.sleep(KEEP_ALIVE_SECONDS + 1.0)
    assert citizen.run(whole_way()).name == "execution_success"
    return len(citizen.report().connections)


def test_a_thousand_interrupts_leave_nothing_behind(citizen: Citizen) -> None:
    """Guards: the prompt worker lives; no task, socket or thread is left; nothing is charged twice."""
    dice = random.Random(4)  # noqa: S311 - a repeatable choice
    finished = []
    for _ in range(3):
        citizen.run(one_run(batch_count=LOADED))
        finished.append(citizen.emulator.runs[-1].execution_id)
    threads, _ = settled(citizen)
    endings: Counter[str] = Counter()
    interrupted: Counter[str] = Counter()
    began = time.monotonic()
    for number in range(1, INTERRUPTS + 1):
        citizen.page.forget()
        chosen = trial(dice, finished, number)
        prompt_id = citizen.begin(chosen.prompt)
        time.sleep(chosen.after_seconds)
        citizen.interrupt()
        ending = citizen.end_of(prompt_id).name
        endings[ending] += 1
        interrupted[chosen.kind] += ending == "execution_interrupted"
        if number % WHOLE_EVERY == 0:
            assert citizen.run(whole_way()).name == "execution_success"
    print(f"{time.monotonic() - began:.0f} s, {endings}, {interrupted}, {citizen.report()}")

    assert endings["execution_error"] == 0
    # A quick machine has loaded everything before many of the interrupts arrive, so loads are held to a few only.
    assert interrupted["submit"] > INTERRUPTS * 0.5
    assert interrupted["load"] > INTERRUPTS * 0.01
    assert interrupted["watch"] > 0
    assert settled(citizen) == (threads, ())
    assert connections_in_use(citizen) == CONNECTIONS_OF_A_PROMPT
    assert max(run.submits for run in citizen.emulator.runs) == 1
