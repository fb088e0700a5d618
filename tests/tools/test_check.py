"""The sources pass every check, so that a green test run is a green `dev.py check`."""

from __future__ import annotations

import pytest

from tools.check import CHECKS


@pytest.mark.parametrize("name", CHECKS)
def test_the_sources_pass_the_check(name: str) -> None:
    outcome = CHECKS[name]()

    assert outcome.passed, outcome.text
