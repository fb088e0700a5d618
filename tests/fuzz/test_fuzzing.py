"""A short round of each fuzzer. `python3 dev.py fuzz --minutes N` makes a long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import fuzz

SECONDS = 8
# Far fewer than a quiet machine manages: inputs tried, and places reached in instrumented code.
FEWEST = {"replies": (500, 100), "pictures": (100, 200), "addresses": (500, 50)}


@pytest.mark.skipif(not fuzz.is_available(), reason=fuzz.NO_FUZZER)
@pytest.mark.parametrize("target", fuzz.TARGETS)
def test_a_short_round_finds_nothing(target: str, tmp_path: Path) -> None:
    done = fuzz.run(target, SECONDS, tmp_path)

    assert done.passed, done.text
    assert done.finding is None
    inputs, covered = FEWEST[target]
    assert done.inputs >= inputs, done.text
    assert done.covered >= covered, "the code is not instrumented"
