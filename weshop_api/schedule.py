"""When to poll a run next: one pure function of the run's age and of how long such runs took before.

Where many runs end, polls are close together; where few do, they are far apart. For a run of hazard h (the chance per
second to end now, given that it still runs) the mean lateness for a given number of requests is smallest when the
interval is proportional to 1 / sqrt(h). The hazard is that of a log-normal around the mean of the known durations.

Only its middle is taken from the history. A spread taken from it is too narrow as soon as the service changes its pace,
and a run that follows no narrow distribution is noticed late or polled in vain. One too wide costs a few requests.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["expected_seconds", "next_poll_delay_seconds"]

# Never two polls of one run within a second: this alone keeps every run, however short, at one request a second.
MIN_DELAY_SECONDS = 1.0
# A history that is wrong about a run makes its end noticed this late at most.
MAX_DELAY_SECONDS = 25.0

# The standard deviation of the logarithm of a duration.
USUAL_SPREAD = 0.5

# The interval at a hazard of one end per expected duration. It sets the exchange rate between lateness and requests.
INTERVAL_AT_UNIT_HAZARD_SECONDS = 1.642
# What usually lies between two polls besides the delay. A line that takes longer is asked a little less often.
ROUND_TRIP_SECONDS = 0.15

# Without a usable history: 5 % of the age is late by 2.5 % of the duration, whatever that duration turns out to be.
DELAY_PER_AGE = 0.05
MAX_DELAY_BY_AGE_SECONDS = 5.0

# From this multiple of the expectation on, the history has nothing to say about this run, and only its age counts.
OUTLIVED_MULTIPLE = 5.0

# One or two may both have been strange.
MIN_KNOWN_RUNS = 3
MIN_KNOWN_SECONDS = 0.1
MAX_KNOWN_SECONDS = 86_400.0


def next_poll_delay_seconds(age_seconds: float, known_durations_seconds: Sequence[float]) -> float:
    """Return how many seconds to wait from now until the next poll of a run: at least 1, at most 25, mostly 1 to 2.

    `age_seconds` is the time since the run was accepted. `known_durations_seconds` are those of the latest finished
    runs of the same model, size and batch, in any order; what is no time between 0.1 s and a day is ignored.
    """
    age = age_seconds if age_seconds > 0 else 0.0
    expected = expected_seconds(known_durations_seconds)
    if expected is None or age > OUTLIVED_MULTIPLE * expected:
        return min(MAX_DELAY_BY_AGE_SECONDS, max(MIN_DELAY_SECONDS, DELAY_PER_AGE * age))

    def polls_due(milliseconds: int) -> float:
        delay = milliseconds / 1000
        # The wished rate halfway. That of this moment would be far too low where it is about to rise.
        return (delay + ROUND_TRIP_SECONDS) * _polls_per_second(age + delay / 2, expected)

    delays = range(int(MIN_DELAY_SECONDS * 1000), int(MAX_DELAY_SECONDS * 1000))
    return (delays.start + bisect_left(delays, 1.0, key=polls_due)) / 1000


def expected_seconds(known_durations_seconds: Sequence[float]) -> float | None:
    """Return the geometric mean of the known durations in seconds, or None when fewer than three of them are usable.

    Of a log-normal it is the median, and one run that took strangely long moves it little.
    """
    known = [seconds for seconds in known_durations_seconds if MIN_KNOWN_SECONDS <= seconds <= MAX_KNOWN_SECONDS]
    return math.exp(math.fsum(map(math.log, known)) / len(known)) if len(known) >= MIN_KNOWN_RUNS else None


def _polls_per_second(age_seconds: float, median_seconds: float) -> float:
    score = math.log(age_seconds / median_seconds) / USUAL_SPREAD
    density = math.exp(-score * score / 2) / (USUAL_SPREAD * math.sqrt(2 * math.pi) * age_seconds)
    survival = math.erfc(score / math.sqrt(2)) / 2
    return math.sqrt(density / survival * median_seconds) / INTERVAL_AT_UNIT_HAZARD_SECONDS
