"""The rounds of the test suite."""

from __future__ import annotations

from tools.environment import ROOT
from tools.suite import measured, rounds


def test_every_test_file_belongs_to_exactly_one_round() -> None:
    check, side_by_side, alone = rounds()

    set_aside = {
        argument.removeprefix("--deselect=") for argument in side_by_side if argument.startswith("--deselect=")
    }
    assert set_aside == {*check, *alone}
    assert side_by_side[0] == "tests"
    assert all((ROOT / file).is_file() for file in set_aside)


def test_what_measures_time_runs_without_neighbours() -> None:
    *_, alone = rounds()

    assert "tests/e2e/test_citizen_interrupt.py" in alone
    assert not any(argument.startswith("--numprocesses") for argument in alone)


def test_coverage_is_measured_where_neither_sources_nor_time_are_looked_at() -> None:
    checks, side_by_side, measuring = rounds()

    assert measured(checks) == checks
    assert measured(measuring) == measuring
    assert measured(side_by_side) == ["--cov", "--cov-report=", *side_by_side]
