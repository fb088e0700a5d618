"""`dev.py fuzz`: let the fuzzers run, each for its share of the time, and say what they found.

What they learn is kept under .cache/fuzz/ and used by the next round. The corpus in the repository is only read.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from .environment import CACHE, ROOT

CORPUS = ROOT / "tests" / "fuzz" / "corpus"
TARGETS = {"replies": ("replies",), "pictures": ("pictures/sound", "pictures/hostile"), "addresses": ("addresses",)}

MAX_INPUT_BYTES = {"replies": 4_096, "pictures": 65_536, "addresses": 512}
SLOWEST_INPUT_SECONDS = 20
MAX_MEMORY_MEGABYTES = 4_096
FIRST_READING_SECONDS = 240.0
NO_FUZZER = (
    "There is no atheris for this system or Python, so nothing can be fuzzed here. Linux with Python 3.11 has it."
)


@dataclass(frozen=True)
class Round:
    """What one fuzzer did."""

    target: str
    passed: bool
    inputs: int
    """How many inputs were tried."""
    covered: int
    """How many places of the code the corpus reaches, as libFuzzer counts them."""
    text: str
    """The end of what it printed."""
    finding: Path | None
    """The input that broke something."""


def is_available() -> bool:
    """Whether this system has the fuzzer."""
    return importlib.util.find_spec("atheris") is not None


def run(target: str, seconds: int, learned: Path) -> Round:
    """Run one fuzzer for so many seconds; `learned` is the folder that keeps what it learns."""
    corpus, findings = learned / "corpus" / target, learned / "findings"
    corpus.mkdir(parents=True, exist_ok=True)
    findings.mkdir(parents=True, exist_ok=True)
    known = {*findings.iterdir()}
    command = [sys.executable, "-m", "tests.fuzz.fuzzer", target, str(corpus)]
    command += [str(CORPUS / folder) for folder in TARGETS[target]]
    command += [f"-max_total_time={seconds}", f"-max_len={MAX_INPUT_BYTES[target]}", "-print_final_stats=1"]
    command += [f"-timeout={SLOWEST_INPUT_SECONDS}", f"-rss_limit_mb={MAX_MEMORY_MEGABYTES}", "-verbosity=1"]
    command += [f"-artifact_prefix={findings}/{target}-"]
    done = subprocess.run(
        command,
        cwd=ROOT,
        check=False,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=seconds + FIRST_READING_SECONDS,
    )
    printed = done.stdout + done.stderr
    new = sorted({*findings.iterdir()} - known)
    return Round(
        target=target,
        passed=done.returncode == 0 and not new,
        inputs=_last_number(r"number_of_executed_units:\s+(\d+)", printed),
        covered=_last_number(r"\bcov: (\d+)", printed),
        text=printed[-4_000:],
        finding=new[0] if new else None,
    )


def _last_number(pattern: str, text: str) -> int:
    found = re.findall(pattern, text)
    return int(found[-1]) if found else 0


def main() -> int:
    """Run what was asked for and return 0 when nothing was found."""
    parser = argparse.ArgumentParser(prog="dev.py fuzz")
    parser.add_argument("--minutes", type=float, required=True)
    minutes = parser.parse_args().minutes
    if not is_available():
        print(NO_FUZZER)
        return 1
    seconds = max(1, round(minutes * 60 / len(TARGETS)))
    all_passed = True
    for target in TARGETS:
        print(f"{target}: {seconds} s ...", flush=True)
        done = run(target, seconds, CACHE / "fuzz")
        print(f"{target}: {done.inputs:,} inputs, {done.covered:,} places reached", flush=True)
        if not done.passed:
            keep = f", and keep {done.finding} in tests/fuzz/findings/{target}/" if done.finding else ""
            print(f"{done.text}\n{target}: FAILED. Mend it{keep}.")
        all_passed = all_passed and done.passed
    return 0 if all_passed else 1


if __name__ == "__main__":
    sys.exit(main())
