"""Simulate how late the end of a run is noticed, and how many requests that takes, for the schedules worth comparing.

Run as `python3 bench/polling.py`. Every figure repeats exactly: histories come from a seeded generator, and the real
durations are the evenly spaced quantiles of their distribution instead of a random sample, which removes most noise.
"""

from __future__ import annotations

import math
import random
import statistics
import sys
from bisect import bisect_left
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from weshop_api.schedule import next_poll_delay_seconds

ROUND_TRIP_SECONDS = 0.15
FIXED_DELAY_SECONDS = 3.0
KNOWN_RUNS = 20
HISTORIES = 200
RUNS = 40_000
SEED = 20


@dataclass(frozen=True, slots=True)
class Scenario:
    """Log-normal durations, and by how much the real ones differ from those the history was drawn from."""

    median_seconds: float
    spread: float
    known_runs: int = KNOWN_RUNS
    real_over_known: float = 1.0


@dataclass(frozen=True, slots=True)
class Row:
    """One schedule in one scenario; the two ratios compare it with a fixed interval of 3 s."""

    schedule: str
    scenario: Scenario
    lateness_seconds: float
    requests: float
    lateness_ratio: float
    requests_ratio: float
    most_requests_per_second: float
    shortest_gap_seconds: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What following one run cost: requests sent, when the end was noticed, and how long after the end that was."""

    requests: int
    noticed_seconds: float
    lateness_seconds: float


PROMISED = tuple(Scenario(median, spread) for median in (20.0, 60.0) for spread in (0.25, 0.5))
COLD = tuple(Scenario(median, spread, known_runs=0) for median in (20.0, 60.0) for spread in (0.25, 0.5))
FEW_KNOWN = tuple(Scenario(60.0, 0.5, known_runs=known) for known in (3, 5, 10, 100))
DRIFTED = tuple(
    Scenario(median, spread, real_over_known=factor)
    for median in (20.0, 60.0)
    for spread in (0.1, 0.25, 0.5)
    for factor in (0.5, 2.0)
)
SHORT = tuple(
    Scenario(median, spread, known_runs=known)
    for median in (1.5, 3.0, 4.0, 5.0)
    for spread in (0.1, 0.25)
    for known in (0, KNOWN_RUNS)
)
LONG = (Scenario(20.0, 0.1), Scenario(180.0, 0.25), Scenario(600.0, 0.5))
SECTIONS = {
    "known durations are the last 20 runs": PROMISED,
    "cold start": COLD,
    "few or many known runs": FEW_KNOWN,
    "real runs are twice as fast or slow as the known ones": DRIFTED,
    "short runs": SHORT,
    "narrow and long runs": LONG,
}


def poll_times(delay_seconds: Callable[[float], float], horizon_seconds: float) -> list[float]:
    """Return the ages at which polls are sent, up to the first that certainly sees a run of the horizon's length."""
    sent: list[float] = []
    age = 0.0
    while not sent or sent[-1] < horizon_seconds:
        sent.append(age + delay_seconds(age))
        age = sent[-1] + ROUND_TRIP_SECONDS
    return sent


def follow(sent_seconds: Sequence[float], duration_seconds: float) -> Outcome:
    """Follow one run: the service looks at it half a round trip after the poll was sent."""
    index = bisect_left(sent_seconds, duration_seconds - ROUND_TRIP_SECONDS / 2)
    noticed = sent_seconds[index] + ROUND_TRIP_SECONDS
    return Outcome(index + 1, noticed, noticed - duration_seconds)


def simulate(scenario: Scenario, fixed_delay_seconds: float | None = None) -> Row:
    """Measure one scenario, with the pack's own schedule or with a fixed delay between answer and next poll."""
    fixed = _outcomes(scenario, FIXED_DELAY_SECONDS)
    lateness = statistics.fmean(outcome.lateness_seconds for outcome, _ in fixed)
    requests = statistics.fmean(outcome.requests for outcome, _ in fixed)
    own = _outcomes(scenario, fixed_delay_seconds)
    own_lateness = statistics.fmean(outcome.lateness_seconds for outcome, _ in own)
    own_requests = statistics.fmean(outcome.requests for outcome, _ in own)
    return Row(
        schedule="adaptive" if fixed_delay_seconds is None else f"fixed {fixed_delay_seconds:g} s",
        scenario=scenario,
        lateness_seconds=own_lateness,
        requests=own_requests,
        lateness_ratio=own_lateness / lateness,
        requests_ratio=own_requests / requests,
        most_requests_per_second=max(outcome.requests / outcome.noticed_seconds for outcome, _ in own),
        shortest_gap_seconds=min(gap for _, gap in own),
    )


def measure() -> dict[str, tuple[Row, ...]]:
    """Return all rows by section."""
    rows = {title: tuple(simulate(scenario) for scenario in scenarios) for title, scenarios in SECTIONS.items()}
    rows["fixed intervals"] = tuple(simulate(scenario, fixed) for fixed in (3.0, 1.0) for scenario in PROMISED)
    return rows


def table(rows: Sequence[Row]) -> str:
    """Return the rows as text, one a line."""
    lines = ["schedule   median spread known  real |  late s  ratio | requests  ratio | most req/s  shortest gap s"]
    for row in rows:
        case = row.scenario
        lines.append(
            f"{row.schedule:<10} {case.median_seconds:6g} {case.spread:6g} {case.known_runs:5d}"
            f" {case.real_over_known:4g}x | {row.lateness_seconds:7.3f} {row.lateness_ratio:6.3f}"
            f" | {row.requests:8.2f} {row.requests_ratio:6.3f}"
            f" | {row.most_requests_per_second:10.2f} {row.shortest_gap_seconds:15.2f}"
        )
    return "\n".join(lines)


def _outcomes(scenario: Scenario, fixed_delay_seconds: float | None) -> list[tuple[Outcome, float]]:
    """Follow every duration after every history; each outcome comes with the shortest gap between its polls."""
    generator = random.Random(SEED)  # noqa: S311 - a repeatable simulation, not a secret.
    varied = fixed_delay_seconds is None and scenario.known_runs > 0
    histories = HISTORIES if varied else 1
    durations = _durations(scenario, RUNS // histories)
    outcomes: list[tuple[Outcome, float]] = []
    for _ in range(histories):
        known = [
            scenario.median_seconds * math.exp(generator.gauss(0.0, scenario.spread))
            for _ in range(scenario.known_runs)
        ]
        schedule = (
            partial(next_poll_delay_seconds, known_durations_seconds=known)
            if fixed_delay_seconds is None
            else partial(_fixed_delay, fixed_delay_seconds)
        )
        sent = poll_times(schedule, max(durations))
        gap = min((later - earlier for earlier, later in pairwise(sent)), default=math.inf)
        outcomes.extend((follow(sent, duration), gap) for duration in durations)
    return outcomes


def _durations(scenario: Scenario, count: int) -> list[float]:
    normal = statistics.NormalDist(0.0, scenario.spread)
    middle = scenario.median_seconds * scenario.real_over_known
    quantiles = ((index + 0.5) / count for index in range(count))
    return [middle * math.exp(normal.inv_cdf(quantile)) for quantile in quantiles]


def _fixed_delay(delay_seconds: float, _age_seconds: float) -> float:
    return delay_seconds


def main() -> None:
    """Print every section."""
    for title, rows in measure().items():
        sys.stdout.write(f"{title}\n{table(rows)}\n\n")


if __name__ == "__main__":
    main()
