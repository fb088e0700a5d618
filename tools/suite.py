"""Every test, in two rounds: first what can share the machine, side by side, then what measures time, alone.

The first also notes which branches of the pack were taken: in the tests, in ComfyUI and in programs that tests start.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence

from .environment import ROOT

# The end-to-end tests spend most of their time waiting for a host, a page or a time-out.
WORKERS = 3
MEASURING = "tests/e2e/test_citizen_*.py"
CHECK = "tests/tools/test_check.py"
LEAST_BRANCHES_PERCENT = 95.0


def rounds() -> list[list[str]]:
    """Arguments of pytest for each round. The sources are checked first, because that is the quickest thing to fail."""
    measuring = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob(MEASURING))
    apart = [f"--deselect={path}" for path in (CHECK, *measuring)]
    side_by_side = [f"--numprocesses={WORKERS}", "--dist=loadfile", "--cov", "--cov-report="]
    return [[CHECK], ["tests", *side_by_side, *apart], measuring]


def judge_branches(report: Sequence[str] = (sys.executable, "-m", "coverage")) -> int:
    """Print what no test took; the exit code is 1 when that is too much. ``report`` is the program to ask."""
    subprocess.run([*report, "report"], cwd=ROOT, check=True)
    answer = subprocess.run([*report, "json", "--quiet", "-o", "-"], cwd=ROOT, check=True, stdout=subprocess.PIPE)
    percent = float(json.loads(answer.stdout)["totals"]["percent_branches_covered"])
    print(f"{percent:.1f} % of the branches were taken; at least {LEAST_BRANCHES_PERCENT:g} % have to be.", flush=True)
    return int(percent < LEAST_BRANCHES_PERCENT)


def main() -> int:
    """Run the rounds; the first that fails decides the exit code, and the others are run all the same."""
    codes = [subprocess.call([sys.executable, "-m", "pytest", *each], cwd=ROOT) for each in rounds()]
    # Windows ends ComfyUI without letting it report what was taken in it, so there is too little to judge there.
    judgement = 0 if sys.platform == "win32" else judge_branches()
    return next((code for code in (*codes, judgement) if code), 0)


if __name__ == "__main__":
    sys.exit(main())
