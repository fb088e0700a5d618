"""Every test, in two rounds: first what can share the machine, side by side, then what measures time, alone."""

from __future__ import annotations

import subprocess
import sys

from .environment import ROOT

# The end-to-end tests spend most of their time waiting for a host, a page or a time-out.
WORKERS = 3
MEASURING = "tests/e2e/test_citizen_*.py"


def rounds() -> list[list[str]]:
    """Arguments of pytest for each round. The sources are checked first, because that is the quickest thing to fail."""
    measuring = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob(MEASURING))
    apart = [f"--deselect={path}" for path in measuring]
    return [
        ["tests/tools/test_check.py"],
        ["tests", f"--numprocesses={WORKERS}", "--dist=loadfile", "--deselect=tests/tools/test_check.py", *apart],
        measuring,
    ]


def measured(arguments: list[str]) -> list[str]:
    """Arguments of a round with coverage: the checks need none, and what measures time would measure it too."""
    side_by_side = f"--numprocesses={WORKERS}" in arguments
    return ["--cov", "--cov-report=", *arguments] if side_by_side else arguments


def main(arguments: list[str]) -> int:
    """Run the rounds; the first that fails decides the exit code, and the others are run all the same."""
    measures = "--coverage" in arguments
    planned = [measured(each) if measures else each for each in rounds()]
    codes = [subprocess.call([sys.executable, "-m", "pytest", *each], cwd=ROOT) for each in planned]
    if measures:
        codes.append(subprocess.call([sys.executable, "-m", "coverage", "report"], cwd=ROOT))
    return next((code for code in codes if code), 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
