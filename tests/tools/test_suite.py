"""The rounds of the test suite, and what it says about branches."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tools.environment import ROOT
from tools.suite import judge_branches, rounds


def test_every_test_file_belongs_to_exactly_one_round() -> None:
    check, side_by_side, alone = rounds()

    set_aside = {
        argument.removeprefix("--deselect=") for argument in side_by_side if argument.startswith("--deselect=")
    }
    assert set_aside == {*check, *alone}
    assert side_by_side[0] == "tests"
    assert all((ROOT / file).is_file() for file in set_aside)


def test_what_measures_time_runs_without_neighbours_and_without_being_measured() -> None:
    *_, alone = rounds()

    assert "tests/e2e/test_citizen_interrupt.py" in alone
    assert not any(argument.startswith("--") for argument in alone)


@pytest.mark.parametrize(("percent", "code"), [(95.0, 0), (94.9, 1)])
def test_too_many_branches_that_no_test_took_fail_the_suite(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], percent: float, code: int
) -> None:
    answers = {"report": "nodes/host.py 12->14", "json": json.dumps({"totals": {"percent_branches_covered": percent}})}
    program = tmp_path / "report.py"
    program.write_text(f"import sys; print({answers!r}[sys.argv[1]])", encoding="utf-8")

    assert judge_branches((sys.executable, str(program))) == code
    assert "nodes/host.py 12->14" in capfd.readouterr().out
