"""The poll schedule: what it promises for any input, and what it costs in the benchmark's simulation."""

from __future__ import annotations

import math
import random
import statistics
from bisect import bisect_left

import pytest
from hypothesis import given, strategies as st

from bench import polling
from weshop_api.schedule import expected_seconds, next_poll_delay_seconds

TWENTY_SECONDS = [15.0, 16.0, 17.0, 18.0, 19.0, 20.0, 21.0, 22.0, 24.0, 26.0]
ANY_FLOAT = st.floats(allow_nan=True, allow_infinity=True)


@given(age_seconds=ANY_FLOAT, known=st.lists(ANY_FLOAT | st.floats(min_value=0.1, max_value=1000.0), max_size=25))
def test_any_input_gives_a_delay_between_one_second_and_twenty_five(age_seconds: float, known: list[float]) -> None:
    assert 1.0 <= next_poll_delay_seconds(age_seconds, known) <= 25.0


@pytest.mark.parametrize(
    "known", [[], [20.0] * 20, [0.0] * 20, [math.nan] * 20, [math.inf] * 20, [1e308] * 20, [5e-324] * 20, [-1.0] * 20]
)
@pytest.mark.parametrize("age_seconds", [0.0, 1e-9, 20.0, 1e9, math.inf, math.nan, -1.0])
def test_a_degenerate_history_gives_a_usable_delay(age_seconds: float, known: list[float]) -> None:
    assert 1.0 <= next_poll_delay_seconds(age_seconds, known) <= 25.0


def test_without_a_history_the_first_poll_comes_after_a_second() -> None:
    assert next_poll_delay_seconds(0.0, []) == 1.0


@pytest.mark.parametrize(("age_seconds", "delay_seconds"), [(10.0, 1.0), (40.0, 2.0), (90.0, 4.5), (1000.0, 5.0)])
def test_without_a_history_the_delay_is_five_percent_of_the_age(age_seconds: float, delay_seconds: float) -> None:
    assert next_poll_delay_seconds(age_seconds, []) == pytest.approx(delay_seconds)


def test_two_known_runs_are_too_few_to_count() -> None:
    assert next_poll_delay_seconds(0.0, [60.0, 60.0]) == next_poll_delay_seconds(0.0, [])


def test_three_known_runs_count() -> None:
    assert next_poll_delay_seconds(0.0, [60.0, 60.0, 60.0]) > next_poll_delay_seconds(0.0, [])


def test_unusable_durations_do_not_change_the_delay() -> None:
    unusable = [math.nan, math.inf, -math.inf, 0.0, -3.0]

    assert next_poll_delay_seconds(12.0, TWENTY_SECONDS + unusable) == next_poll_delay_seconds(12.0, TWENTY_SECONDS)


@pytest.mark.parametrize(("expected", "share"), [(5.0, 0.7), (20.0, 0.45), (60.0, 0.35), (300.0, 0.1)])
def test_the_first_poll_comes_well_before_the_expected_end(expected: float, share: float) -> None:
    known = [expected * factor for factor in (0.8, 0.9, 1.0, 1.1, 1.25)]

    assert next_poll_delay_seconds(0.0, known) <= share * expected


def test_polls_are_closer_together_where_runs_usually_end() -> None:
    assert next_poll_delay_seconds(20.0, TWENTY_SECONDS) < next_poll_delay_seconds(6.0, TWENTY_SECONDS) / 2


def test_a_run_past_its_time_is_neither_given_up_nor_asked_every_second() -> None:
    narrow = [20.0 + 0.01 * index for index in range(20)]

    assert all(1.05 <= next_poll_delay_seconds(age, narrow) <= 1.5 for age in range(20, 100))


@pytest.mark.parametrize("known", [[2.0] * 20, TWENTY_SECONDS, [60.0] * 20])
def test_a_run_far_older_than_expected_is_polled_every_five_seconds(known: list[float]) -> None:
    assert next_poll_delay_seconds(601.0, known) == 5.0


def test_from_five_times_the_expectation_on_only_the_age_counts() -> None:
    known = [20.0, 20.0, 20.0]

    assert next_poll_delay_seconds(99.9, known) < 1.5
    assert next_poll_delay_seconds(100.1, known) == 5.0


def test_the_first_poll_of_a_very_long_run_comes_after_twenty_five_seconds() -> None:
    assert next_poll_delay_seconds(0.0, [600.0] * 3) == 25.0


def test_a_poll_in_the_first_second_does_not_begin_the_wait_anew() -> None:
    assert 0.9 + next_poll_delay_seconds(0.9, TWENTY_SECONDS) <= next_poll_delay_seconds(0.0, TWENTY_SECONDS)


def test_an_age_below_zero_counts_as_none() -> None:
    """The system's clock may have been put back."""
    assert next_poll_delay_seconds(-0.5, TWENTY_SECONDS) == next_poll_delay_seconds(0.0, TWENTY_SECONDS)


@pytest.mark.parametrize("known", [[], [2.0, 3.0, 4.0], TWENTY_SECONDS, [5.0] * 20])
def test_requests_never_outnumber_the_seconds_of_a_run(known: list[float]) -> None:
    """Even when answers take no time at all."""
    age_seconds = 0.0
    for requests in range(1, 300):
        age_seconds += next_poll_delay_seconds(age_seconds, known)

        assert requests <= age_seconds


def test_the_expectation_of_a_log_normal_is_its_median() -> None:
    assert expected_seconds([10.0, 40.0, 20.0]) == pytest.approx(20.0)


def test_one_run_that_took_strangely_long_moves_the_expectation_little() -> None:
    expected = expected_seconds([20.0] * 9 + [600.0])

    assert expected is not None
    assert 20.0 < expected < 30.0


@pytest.mark.parametrize("seconds", [0.1, 1.0, 86_400.0])
def test_a_duration_from_a_tenth_of_a_second_to_a_day_is_usable(seconds: float) -> None:
    assert expected_seconds([seconds] * 3) == pytest.approx(seconds)


@pytest.mark.parametrize("seconds", [0.09, 86_400.5])
def test_a_duration_beyond_these_is_ignored(seconds: float) -> None:
    assert expected_seconds([20.0, 20.0, seconds]) is None


@pytest.mark.parametrize("known", [[], [20.0, 20.0], [20.0, 20.0, math.nan, math.inf, 0.0]])
def test_fewer_than_three_usable_durations_give_no_expectation(known: list[float]) -> None:
    assert expected_seconds(known) is None


def name(scenario: polling.Scenario) -> str:
    return (
        f"median {scenario.median_seconds:g} s, spread {scenario.spread:g}, real x{scenario.real_over_known:g}, "
        f"known {scenario.known_runs}"
    )


@pytest.mark.parametrize("scenario", polling.PROMISED, ids=name)
def test_the_end_is_noticed_twice_as_early_for_half_as_many_requests_again(scenario: polling.Scenario) -> None:
    """Measured against a fixed interval of 3 s, with as many known durations as the ledger hands over."""
    row = polling.simulate(scenario)

    assert row.lateness_ratio <= 0.5
    assert row.requests_ratio <= 1.5
    assert row.most_requests_per_second <= 1.0
    assert row.shortest_gap_seconds >= 0.4


def test_no_schedule_could_keep_the_hardest_promise_with_a_hundredth_less_requests() -> None:
    hardest = polling.Scenario(60.0, 0.5)

    limit = polling.limit(hardest)

    assert limit.lateness_ratio == pytest.approx(0.5, abs=0.001)
    assert 0.99 <= limit.requests_ratio / polling.simulate(hardest).requests_ratio < 1.0


@pytest.mark.parametrize("scenario", polling.FEW_KNOWN, ids=name)
def test_a_few_known_runs_are_almost_as_good_as_many(scenario: polling.Scenario) -> None:
    row = polling.simulate(scenario)

    assert row.lateness_ratio <= 0.535
    assert row.requests_ratio <= 1.5


@pytest.mark.parametrize("scenario", polling.DRIFTED, ids=name)
def test_a_wrong_history_costs_little(scenario: polling.Scenario) -> None:
    """Runs that take half or twice as long are noticed within 1.8 s, for at most twice the requests of a fixed 3 s."""
    row = polling.simulate(scenario)

    assert row.lateness_seconds <= 1.8
    assert row.requests_ratio <= 2.0


@pytest.mark.parametrize("scenario", polling.SHORT, ids=name)
def test_short_runs_are_polled_at_most_once_a_second(scenario: polling.Scenario) -> None:
    row = polling.simulate(scenario)

    assert row.most_requests_per_second <= 1.0
    assert row.shortest_gap_seconds >= 0.4
    assert row.lateness_seconds <= 1.0


def test_the_simulation_agrees_with_arithmetic_for_a_fixed_interval() -> None:
    """A gap of 3.15 s is late by half of itself and the way of the answer, on average."""
    row = polling.simulate(polling.Scenario(60.0, 0.5), polling.FIXED_DELAY_SECONDS)

    assert row.lateness_seconds == pytest.approx(3.15 / 2 + 0.075, abs=0.01)
    assert row.requests == pytest.approx(60.0 * math.exp(0.5**2 / 2) / 3.15 + 0.5, abs=0.1)


def test_the_simulation_agrees_with_following_runs_one_by_one() -> None:
    """Each run is first seen to have ended by the poll that reaches the service after its end."""
    scenario = polling.Scenario(20.0, 0.5)
    sent = polling.poll_times(lambda age: next_poll_delay_seconds(age, TWENTY_SECONDS), scenario.longest_seconds)
    generator = random.Random(1)  # noqa: S311 - a repeatable sample, not a secret.
    durations = [scenario.median_seconds * generator.lognormvariate(0.0, scenario.spread) for _ in range(20_000)]
    polls = [bisect_left(sent, duration - 0.075) for duration in durations]

    lateness, requests = polling.cost(scenario, sent)

    followed = statistics.fmean(sent[poll] + 0.15 - end for poll, end in zip(polls, durations, strict=True))
    assert lateness == pytest.approx(followed, rel=0.03)
    assert requests == pytest.approx(statistics.fmean(poll + 1 for poll in polls), rel=0.02)


def test_the_simulation_repeats_exactly() -> None:
    scenario = polling.Scenario(20.0, 0.25, known_runs=3)

    assert polling.simulate(scenario) == polling.simulate(scenario)
