"""When to poll a run next: one pure function of the run's age and of how long such runs took before.

Where many runs end, polls are close together; where few do, they are far apart. For a run of hazard h (the chance per
second to end now, given that it still runs) the mean lateness for a given number of requests is smallest when the
interval is proportional to 1 / sqrt(h). The hazard is that of a log-normal fitted to the known durations.
"""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["expected_seconds", "next_poll_delay_seconds"]

# Never two polls of one run within a second: this alone keeps every run, however short, at one request a second.
MIN_DELAY_SECONDS = 1.0
MAX_DELAY_SECONDS = 5.0

# Without a usable history: 5 % of the age is late by 2.5 % of the duration, whatever that duration turns out to be.
DELAY_PER_AGE = 0.05

# Before the expected end the longest wait is this part of the expectation, so that is when the first poll is sent.
QUIET_DELAY_PER_EXPECTED = 0.4
QUIET_MAX_DELAY_SECONDS = 25.0

# The interval at a hazard of one end per expected duration. It sets the exchange rate between lateness and requests.
INTERVAL_AT_UNIT_HAZARD_SECONDS = 1.5

# From this multiple of the expectation on, the history has nothing to say about this run, and only its age counts.
OUTLIVED_MULTIPLE = 5.0

MIN_KNOWN_RUNS = 3
MIN_KNOWN_SECONDS = 0.1
MAX_KNOWN_SECONDS = 86_400.0

# A spread taken from a few runs is often too small by luck. It is mixed with a usual one that weighs as eight runs.
USUAL_SPREAD = 0.45
USUAL_SPREAD_RUNS = 8

# One run in a hundred is taken to follow no history. Otherwise a run just past a narrow distribution would look as if
# it could end at any moment, and one far before it as if it never could.
STRANGER_SHARE = 0.01
STRANGER_SPREAD = 1.0

_STEP_SECONDS = 0.5


def next_poll_delay_seconds(age_seconds: float, known_durations_seconds: Sequence[float]) -> float:
    """Return how many seconds to wait from now until the next poll of a run: at least 1, at most 25, mostly 1 to 5.

    `age_seconds` is the time since the run was accepted. `known_durations_seconds` are those of the last twenty or so
    finished runs of the same model, size and batch; what is not a positive finite number among them is ignored.
    """
    age = age_seconds if age_seconds > 0 else 0.0
    known = _usable(known_durations_seconds)
    if len(known) < MIN_KNOWN_RUNS:
        return _delay_by_age(age)
    history = _fit(known)
    if age > OUTLIVED_MULTIPLE * history.expected_seconds:
        return _delay_by_age(age)
    return _delay_by_hazard(age, history)


def expected_seconds(known_durations_seconds: Sequence[float]) -> float | None:
    """Return the median of the known durations in seconds, or None when fewer than three of them are usable."""
    known = _usable(known_durations_seconds)
    return statistics.median(known) if len(known) >= MIN_KNOWN_RUNS else None


class _History(NamedTuple):
    """A log-normal: its median in seconds and the standard deviation of the logarithm."""

    expected_seconds: float
    spread: float


def _usable(durations_seconds: Sequence[float]) -> list[float]:
    return [
        min(MAX_KNOWN_SECONDS, max(MIN_KNOWN_SECONDS, seconds))
        for seconds in durations_seconds
        if math.isfinite(seconds) and seconds > 0
    ]


def _fit(known_seconds: list[float]) -> _History:
    logarithms = [math.log(seconds) for seconds in known_seconds]
    count = len(logarithms)
    mean = math.fsum(logarithms) / count
    squares = math.fsum((value - mean) ** 2 for value in logarithms) + USUAL_SPREAD_RUNS * USUAL_SPREAD**2
    variance = squares / (count - 1 + USUAL_SPREAD_RUNS)
    # The mean of the logarithms is itself uncertain by variance / count.
    return _History(math.exp(mean), math.sqrt(variance * (1 + 1 / count)))


def _delay_by_age(age_seconds: float) -> float:
    return min(MAX_DELAY_SECONDS, max(MIN_DELAY_SECONDS, DELAY_PER_AGE * age_seconds))


def _delay_by_hazard(age_seconds: float, history: _History) -> float:
    """Walk forward from now until the wished rate of polls adds up to one poll.

    The interval for the hazard of this moment would be far too long where the hazard is about to rise.
    """
    longest = _longest_delay(age_seconds, history)
    polls_due = 0.0
    delay = 0.0
    while delay < longest:
        hazard = _hazard_per_second(age_seconds + delay + _STEP_SECONDS / 2, history)
        polls_per_second = math.sqrt(hazard * history.expected_seconds) / INTERVAL_AT_UNIT_HAZARD_SECONDS
        if polls_due + polls_per_second * _STEP_SECONDS >= 1:
            delay += (1 - polls_due) / polls_per_second
            break
        polls_due += polls_per_second * _STEP_SECONDS
        delay += _STEP_SECONDS
    return min(longest, max(MIN_DELAY_SECONDS, delay))


def _longest_delay(age_seconds: float, history: _History) -> float:
    if age_seconds >= history.expected_seconds:
        return MAX_DELAY_SECONDS
    quiet = QUIET_DELAY_PER_EXPECTED * history.expected_seconds
    return min(QUIET_MAX_DELAY_SECONDS, max(MIN_DELAY_SECONDS, quiet))


def _hazard_per_second(age_seconds: float, history: _History) -> float:
    """Return density / survival of the mixture of runs that follow the history and strangers that do not."""
    position = math.log(age_seconds / history.expected_seconds)
    density = survival = 0.0
    shares = (
        (1 - STRANGER_SHARE, history.spread),
        (STRANGER_SHARE, max(STRANGER_SPREAD, history.spread)),
    )
    for share, spread in shares:
        score = position / spread
        survival += share * math.erfc(score / math.sqrt(2)) / 2
        density += share * math.exp(-score * score / 2) / (spread * math.sqrt(2 * math.pi) * age_seconds)
    return density / survival
