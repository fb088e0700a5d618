"""Simulate how late the end of a run is noticed, and how many requests that takes, for the schedules worth comparing.

Histories are drawn by a seeded generator, each with its mirror image. What a
schedule costs is then summed over the distribution of the real durations instead of over a sample. So every figure
repeats exactly, and a thousandth is no noise. The last section is the limit: what the best possible schedule needs.
"""

from __future__ import annotations

import math
import random
import statistics
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

from weshop_api.ledger import KNOWN_DURATIONS_LIMIT
from weshop_api.schedule import next_poll_delay_seconds

ROUND_TRIP_SECONDS = 0.15
FIXED_DELAY_SECONDS = 3.0
PROMISED_LATENESS_RATIO = 0.5
HISTORIES = 60
SEED = 20
LONGEST_QUANTILE = 1 - 1e-6
GRID_SECONDS = 0.05
SEARCHED_MOMENTS = 10


@dataclass(frozen=True, slots=True)
class Scenario:
    """Log-normal durations, and by how much the real ones differ from those the history was drawn from."""

    median_seconds: float
    spread: float
    known_runs: int = KNOWN_DURATIONS_LIMIT
    real_over_known: float = 1.0

    @property
    def logarithms(self) -> statistics.NormalDist:
        """How the logarithm of a real duration is distributed."""
        return statistics.NormalDist(math.log(self.median_seconds * self.real_over_known), self.spread)

    @property
    def mean_seconds(self) -> float:
        """The mean of the real durations."""
        return math.exp(self.logarithms.mean + self.logarithms.variance / 2)

    @property
    def longest_seconds(self) -> float:
        """The duration that one real run in a million exceeds."""
        return math.exp(self.logarithms.inv_cdf(LONGEST_QUANTILE))


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


PROMISED = tuple(Scenario(median, spread) for median in (20.0, 60.0) for spread in (0.25, 0.5))
COLD = tuple(Scenario(median, spread, known_runs=0) for median in (20.0, 60.0) for spread in (0.25, 0.5))
FEW_KNOWN = tuple(replace(scenario, known_runs=known) for known in (3, 20, 50) for scenario in PROMISED)
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
    for known in (0, KNOWN_DURATIONS_LIMIT)
)
OTHER = (Scenario(20.0, 0.1), Scenario(60.0, 0.1), Scenario(60.0, 0.7), Scenario(180.0, 0.25), Scenario(600.0, 0.5))
SECTIONS = {
    f"known durations are those of the last {KNOWN_DURATIONS_LIMIT} runs": PROMISED,
    "cold start": COLD,
    "few known runs": FEW_KNOWN,
    "real runs are twice as fast or slow as the known ones": DRIFTED,
    "short runs": SHORT,
    "other spreads, and long runs": OTHER,
}


def poll_times(delay_seconds: Callable[[float], float], horizon_seconds: float) -> list[float]:
    """Return the ages at which polls are sent, up to the first that certainly sees a run of the horizon's length."""
    sent: list[float] = []
    age = 0.0
    while not sent or sent[-1] < horizon_seconds:
        sent.append(age + delay_seconds(age))
        age = sent[-1] + ROUND_TRIP_SECONDS
    return sent


def cost(scenario: Scenario, sent_seconds: Sequence[float]) -> tuple[float, float]:
    """Return the mean lateness in seconds and the mean number of requests when polls are sent at these ages.

    The service looks at the run half a round trip after a poll was sent, and its answer takes the other half.
    """
    share_ended = scenario.logarithms.cdf
    noticed_seconds = requests = ended_before = 0.0
    for sent in sent_seconds:
        ended = share_ended(math.log(sent + ROUND_TRIP_SECONDS / 2)) if sent < sent_seconds[-1] else 1.0
        requests += 1 - ended_before
        noticed_seconds += (sent + ROUND_TRIP_SECONDS) * (ended - ended_before)
        ended_before = ended
    return noticed_seconds - scenario.mean_seconds, requests


def simulate(scenario: Scenario, fixed_delay_seconds: float | None = None) -> Row:
    """Measure one scenario, with the pack's own schedule or with a fixed delay between answer and next poll."""
    if fixed_delay_seconds is not None:
        return _row(f"fixed {fixed_delay_seconds:g} s", scenario, [_fixed(scenario, fixed_delay_seconds)])
    schedules = [
        poll_times(partial(next_poll_delay_seconds, known_durations_seconds=known), scenario.longest_seconds)
        for known in _histories(scenario)
    ]
    return _row("adaptive", scenario, schedules)


def limit(scenario: Scenario) -> Row:
    """Return what the best schedule needs to halve the lateness, given the distribution of the durations itself.

    The more a request costs, the fewer and later the polls: the price is looked for at which the lateness is the half.
    """
    fixed_lateness, _ = cost(scenario, _fixed(scenario, FIXED_DELAY_SECONDS))
    low, high = 0.01, 0.2
    for _ in range(12):
        price = math.sqrt(low * high)
        lateness, _ = cost(scenario, best_poll_times(scenario, price))
        low, high = (price, high) if lateness <= PROMISED_LATENESS_RATIO * fixed_lateness else (low, price)
    return _row("limit", scenario, [best_poll_times(scenario, low)])


def best_poll_times(scenario: Scenario, price_seconds: float) -> list[float]:
    """Return when to poll so that the mean of lateness plus price times requests is smallest.

    Dynamic programming over the moments at which the service may look, from the last back to the first: the cost of
    what is still to come after a look in vain at one moment is the least over the moment of the next look. The earlier
    a look, the earlier the next one, so only moments shortly before the one found last are searched.
    """
    last = math.ceil(scenario.longest_seconds / GRID_SECONDS)
    share_ended = scenario.logarithms.cdf
    ended = [0.0, *(share_ended(math.log(look * GRID_SECONDS)) for look in range(1, last)), 1.0]
    following, to_come = [last] * last, [0.0] * (last + 1)

    def expected_cost(look: int, later: int) -> float:
        seen_seconds = later * GRID_SECONDS
        return price_seconds * (1 - ended[look]) + seen_seconds * (ended[later] - ended[look]) + to_come[later]

    latest = last
    for look in reversed(range(last)):
        nearby = range(max(look + 1, latest - SEARCHED_MOMENTS), latest + 1)
        to_come[look], latest = min((expected_cost(look, later), later) for later in nearby)
        following[look] = latest
    looks = [following[0]]
    while looks[-1] < last:
        looks.append(following[looks[-1]])
    return [look * GRID_SECONDS - ROUND_TRIP_SECONDS / 2 for look in looks]


def measure() -> dict[str, tuple[Row, ...]]:
    """Return all rows by section."""
    rows = {title: tuple(simulate(scenario) for scenario in scenarios) for title, scenarios in SECTIONS.items()}
    rows["fixed intervals"] = tuple(simulate(scenario, fixed) for fixed in (3.0, 1.0) for scenario in PROMISED)
    rows["the limit: half the lateness, with the distribution known"] = tuple(limit(scenario) for scenario in PROMISED)
    return rows


def table(rows: Sequence[Row]) -> str:
    """Return the rows as text, one a line."""
    lines = ["schedule   median spread known  real |  late s  ratio | requests  ratio | most req/s  shortest gap s"]
    for row in rows:
        case = row.scenario
        lines.append(
            f"{row.schedule:<10} {case.median_seconds:6g} {case.spread:6g} {case.known_runs:5d}"
            f" {case.real_over_known:4g}x | {row.lateness_seconds:7.3f} {row.lateness_ratio:6.4f}"
            f" | {row.requests:8.2f} {row.requests_ratio:6.4f}"
            f" | {row.most_requests_per_second:10.2f} {row.shortest_gap_seconds:15.2f}"
        )
    return "\n".join(lines)


def _row(schedule: str, scenario: Scenario, schedules: Sequence[Sequence[float]]) -> Row:
    """Take the means over the schedules, one for each history."""
    costs = [cost(scenario, sent) for sent in schedules]
    lateness, requests = (statistics.fmean(part) for part in zip(*costs, strict=True))
    fixed_lateness, fixed_requests = cost(scenario, _fixed(scenario, FIXED_DELAY_SECONDS))
    return Row(
        schedule=schedule,
        scenario=scenario,
        lateness_seconds=lateness,
        requests=requests,
        lateness_ratio=lateness / fixed_lateness,
        requests_ratio=requests / fixed_requests,
        most_requests_per_second=max(
            requests / (age + ROUND_TRIP_SECONDS) for sent in schedules for requests, age in enumerate(sent, start=1)
        ),
        shortest_gap_seconds=min(
            (later - earlier for sent in schedules for earlier, later in pairwise(sent)), default=math.inf
        ),
    )


def _fixed(scenario: Scenario, delay_seconds: float) -> list[float]:
    return poll_times(lambda _age: delay_seconds, scenario.longest_seconds)


def _histories(scenario: Scenario) -> Iterator[list[float]]:
    generator = random.Random(SEED)  # noqa: S311 - a repeatable simulation, not a secret.
    for _ in range(HISTORIES // 2 if scenario.known_runs else 1):
        scores = [generator.gauss(0.0, scenario.spread) for _ in range(scenario.known_runs)]
        yield [scenario.median_seconds * math.exp(score) for score in scores]
        yield [scenario.median_seconds * math.exp(-score) for score in scores]
