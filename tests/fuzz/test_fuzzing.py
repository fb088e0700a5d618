"""A short round of each fuzzer. `python3 dev.py fuzz --minutes N` makes a long one."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest

from tools import fuzz

SECONDS = 8
# Far fewer than a quiet machine manages: inputs tried, and places reached in instrumented code.
FEWEST = {"replies": (500, 100), "pictures": (100, 200), "addresses": (500, 50)}


# As in tools/requirements/test.txt. Where there is one, a fuzzer that is missing fails the test and does not skip it.
THERE_IS_ONE = sys.platform == "linux" and platform.machine() == "x86_64" and sys.version_info < (3, 14)


@pytest.mark.skipif(not THERE_IS_ONE, reason=fuzz.NO_FUZZER)
@pytest.mark.parametrize("target", fuzz.TARGETS)
def test_a_short_round_finds_nothing(target: str, tmp_path: Path) -> None:
    done = fuzz.run(target, SECONDS, tmp_path)

    assert done.passed, done.text
    assert done.finding is None
    inputs, covered = FEWEST[target]
    assert done.inputs >= inputs, done.text
    assert done.covered >= covered, "the code is not instrumented"
