"""Measure what 256 runs in flight cost a real ComfyUI: memory, processor time, and the lag of the event loops.

The service is the emulator, its pictures are scaled down, and all figures are those of the host's process, in which the
pack lives.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from emulator import BySeconds, Emulator
from tests.e2e.citizen import PACKS, Citizen, Page, Prompt, Report, a_list, generate, shows
from tools.comfyui import ComfyUIProcess
from tools.environment import Environment

RUNS = 256
WATCHED_SECONDS = 10.0
RUN_SECONDS = 30.0
IDLE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Row:
    """One way to have runs in flight. Lags are how much later than asked a sleeping task of a loop was woken."""

    way: str
    runs: int
    submitting_seconds: float
    memory_growth_megabytes: float
    processor_share_while_watching: float
    polls_per_second: float
    idle_lag_p99_seconds: float
    """Of the background loop with nothing to do: what this machine has to offer at the moment."""
    submitting_lag_p99_seconds: float
    background_lag_p99_seconds: float
    background_lag_worst_seconds: float
    server_lag_p99_seconds: float
    longest_collection_seconds: float
    """Of Python's own garbage collection, during which every thread stands still: it explains the worst lag."""
    messages_per_second: float
    collecting_seconds: float


def measure(environment: Environment, folder: Path, runs: int = RUNS) -> tuple[Row, ...]:
    """Return the figures for as many items of one list, and for as many nodes."""
    pace = BySeconds(pending_seconds=RUN_SECONDS, seconds_per_picture=0)
    with Emulator(port=0, pictures="small", pace=pace) as emulator:
        variables = {"WESHOP_BASE_URL": emulator.base_url, "WESHOP_MAX_RUNS": str(runs)}
        with (
            ComfyUIProcess(environment, folder, variables=variables, packs=PACKS) as host,
            Page(host.url, "bench") as page,
        ):
            citizen = Citizen(host, emulator, page)
            # One run at first, so that what is loaded once is not counted.
            citizen.run(_nodes(1))
            rows = (
                _row("items of a list", citizen, runs, a_list(runs)),
                _row("nodes of a prompt", citizen, runs, _nodes(runs)),
            )
            citizen.close()
            return rows


def _nodes(count: int) -> Prompt:
    prompt: Prompt = {}
    for number in range(count):
        prompt |= {f"generate {number}": generate(), f"id {number}": shows(f"generate {number}", 1)}
    return prompt


def _row(way: str, citizen: Citizen, runs: int, prompt: Prompt) -> Row:
    citizen.measure_lag(on=True)
    time.sleep(IDLE_SECONDS)
    before = citizen.report()
    runs_before = len(citizen.emulator.runs)
    citizen.page.forget()
    citizen.measure_lag(on=True)
    prompt_id = citizen.begin(prompt)
    began = time.monotonic()
    citizen.wait_until(lambda: len(citizen.emulator.runs) == runs_before + runs, "all runs submitted", 120)
    submitted = time.monotonic()
    submitting = citizen.report()
    citizen.measure_lag(on=True)
    first, messages, polls = citizen.report(), len(citizen.page.events), _polls(citizen)
    time.sleep(WATCHED_SECONDS)
    second = citizen.report()
    watched_seconds = second.at_seconds - first.at_seconds
    new_messages, new_polls = len(citizen.page.events) - messages, _polls(citizen) - polls
    citizen.measure_lag(on=False)
    citizen.emulator.finish_runs()
    finishing = time.monotonic()
    ending = citizen.end_of(prompt_id, 120)
    if ending.name != "execution_success":
        raise RuntimeError(f"the prompt ended with {ending}")
    return Row(
        way,
        runs,
        submitting_seconds=submitted - began,
        memory_growth_megabytes=(second.rss_bytes - before.rss_bytes) / 1e6,
        processor_share_while_watching=_share(first, second),
        polls_per_second=new_polls / watched_seconds,
        idle_lag_p99_seconds=before.lags["background"]["p99"],
        submitting_lag_p99_seconds=submitting.lags["background"]["p99"],
        background_lag_p99_seconds=second.lags["background"]["p99"],
        background_lag_worst_seconds=second.lags["background"]["worst"],
        server_lag_p99_seconds=second.lags["server"]["p99"],
        longest_collection_seconds=second.longest_collection_seconds,
        messages_per_second=new_messages / watched_seconds,
        collecting_seconds=ending.at_seconds - finishing,
    )


def _share(first: Report, second: Report) -> float:
    return (second.cpu_seconds - first.cpu_seconds) / (second.at_seconds - first.at_seconds)


def _polls(citizen: Citizen) -> int:
    return sum(request.operation == "poll" for request in citizen.emulator.requests)


def table(rows: Sequence[Row]) -> str:
    """Return the rows as text, a paragraph each."""
    return "\n".join(_paragraph(row) for row in rows)


def _paragraph(row: Row) -> str:
    return "\n".join(
        (
            f"{row.runs} {row.way}: all submitted after {row.submitting_seconds:.1f} s",
            f"  memory +{row.memory_growth_megabytes:.0f} MB",
            f"  {row.processor_share_while_watching:.1%} of one core at {row.polls_per_second:.0f} polls a second",
            f"  lag of the background loop while idle: p99 {row.idle_lag_p99_seconds * 1e3:.1f} ms",
            f"  lag of the background loop while submitting: p99 {row.submitting_lag_p99_seconds * 1e3:.1f} ms",
            f"  lag of the background loop: p99 {row.background_lag_p99_seconds * 1e3:.1f} ms",
            f"  and at the worst {row.background_lag_worst_seconds * 1e3:.1f} ms",
            f"  lag of the host's server: p99 {row.server_lag_p99_seconds * 1e3:.1f} ms",
            f"  longest garbage collection of Python meanwhile: {row.longest_collection_seconds * 1e3:.1f} ms",
            f"  {row.messages_per_second:.0f} messages a second to the page",
            f"  collected within {row.collecting_seconds:.1f} s after all had ended",
        )
    )
