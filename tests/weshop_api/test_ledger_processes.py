"""The ledger shared by several processes, and processes that are killed at any instruction."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from weshop_api.ledger import ClaimKind, Ledger, RunPlan, RunState

ROOT = Path(__file__).resolve().parents[2]
PLAN = RunPlan("f1", "http://127.0.0.1:8787/openapi", "b1", (), "Seedream_50_Lite", "2K", "3:4", 1, "")

PREAMBLE = """
import sys, time
from dataclasses import replace
from pathlib import Path
from weshop_api.ledger import Ledger, RunPlan
PLAN = RunPlan("f1", "http://127.0.0.1:8787/openapi", "b1", (), "Seedream_50_Lite", "2K", "3:4", 1, "")
def warn(sentence):
    print("warning:", sentence, flush=True)
ledger = Ledger(Path(sys.argv[1]), warn=warn)
"""

CLAIM_FIFTY = """
start_at = float(sys.argv[2])
time.sleep(max(0.0, start_at - time.time()))
for number in range(50):
    print(number, ledger.claim(replace(PLAN, fingerprint=f"f{number}"), "me", 30).kind.value)
"""

# One write for each line: in pieces, the last line of a killed process would be incomplete.
LIVE_UNTIL_KILLED = r"""
number = int(sys.argv[2])
while True:
    plan = replace(PLAN, fingerprint=f"f{number}")
    record = ledger.claim(plan, "me", 30).record
    print(f"claimed {number}\n", end="", flush=True)
    ledger.accepted(record, f"run-{number}")
    print(f"accepted {number}\n", end="", flush=True)
    number += 1
"""


def started(program: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PREAMBLE + program, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str]) -> str:
    """What is left to be read of its output, once it has ended."""
    assert process.stdout is not None
    with process.stdout as stdout:
        output = stdout.read()
    process.wait(timeout=60)
    return output


@pytest.mark.parametrize("is_file_new", [True, False], ids=["new file", "existing file"])
def test_of_eight_processes_exactly_one_submits_each_request(tmp_path: Path, *, is_file_new: bool) -> None:
    path = tmp_path / "weshop" / "ledger.sqlite3"
    if not is_file_new:
        with closing(Ledger(path, warn=pytest.fail)) as ledger:
            ledger.recent_runs()

    start_at = time.time() + 1.0
    processes = [started(CLAIM_FIFTY, path, start_at) for _ in range(8)]
    lines = [line for process in processes for line in ended(process).splitlines()]

    kinds = Counter(tuple(line.split()) for line in lines)
    assert {kinds[str(number), ClaimKind.SUBMIT.value] for number in range(50)} == {1}
    assert {kinds[str(number), ClaimKind.WAIT.value] for number in range(50)} == {7}
    assert len(lines) == 400


def test_a_damaged_file_found_by_eight_processes_is_set_aside_once(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    path.write_text("this is no database\n" * 200)

    start_at = time.time() + 1.0
    processes = [started(CLAIM_FIFTY, path, start_at) for _ in range(8)]
    lines = [line for process in processes for line in ended(process).splitlines()]

    kinds = Counter(tuple(line.split()) for line in lines if not line.startswith("warning:"))
    assert {kinds[str(number), ClaimKind.SUBMIT.value] for number in range(50)} == {1}
    assert len([line for line in lines if line.startswith("warning:")]) == 1
    assert len([file for file in tmp_path.iterdir() if ".damaged-" in file.name]) == 1


def test_a_process_that_died_while_setting_a_file_aside_blocks_nobody_for_long(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    path.write_text("this is no database\n" * 200)
    guard = tmp_path / "ledger.sqlite3.mending"
    guard.touch()
    os.utime(guard, (time.time() - 60, time.time() - 60))
    warnings: list[str] = []

    started_at = time.monotonic()
    ledger = Ledger(path, warn=warnings.append)
    ledger.claim(PLAN, "me", 10)
    ledger.close()

    assert time.monotonic() - started_at < 3
    assert len(warnings) == 1
    with closing(Ledger(path, warn=pytest.fail)) as ledger:
        assert ledger.claim(PLAN, "me", 10).kind is ClaimKind.WAIT


def test_a_process_killed_at_any_moment_leaves_every_row_it_had_written(tmp_path: Path) -> None:
    """What a process has been told is written stays written, and the file stays sound."""
    path = tmp_path / "ledger.sqlite3"
    chance = random.Random(1)  # noqa: S311 - no secret
    claimed: set[int] = set()
    accepted: set[int] = set()

    for round_number in range(12):
        process = started(LIVE_UNTIL_KILLED, path, round_number * 100_000)
        assert process.stdout is not None
        said = [process.stdout.readline()]
        time.sleep(chance.uniform(0.0, 0.05))
        process.kill()
        said += ended(process).splitlines()
        for word, number in (line.split() for line in said if line.strip()):
            (claimed if word == "claimed" else accepted).add(int(number))

    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
    with closing(Ledger(path, warn=pytest.fail)) as ledger:
        rows = {run.fingerprint: run for run in ledger.recent_runs(1_000_000)}
    assert len(claimed) > 12
    assert {f"f{number}" for number in claimed} <= set(rows)
    assert {rows[f"f{number}"].execution_id for number in accepted} == {f"run-{number}" for number in accepted}
    assert {rows[f"f{number}"].state for number in accepted} == {RunState.RUNNING}


def test_a_killed_process_is_succeeded_by_a_replay_when_its_lease_ends(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    process = started('ledger.claim(PLAN, "me", 1.0)\nprint("claimed", flush=True)\ntime.sleep(60)', path)
    assert process.stdout is not None
    process.stdout.readline()
    process.kill()
    ended(process)
    ledger = Ledger(path, warn=pytest.fail)

    at_once = ledger.claim(PLAN, "other", 10).kind
    time.sleep(1.0)
    later = ledger.claim(PLAN, "other", 10).kind
    ledger.close()

    assert at_once is ClaimKind.WAIT
    assert later is ClaimKind.REPLAY


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="only Unix can suspend a process")
def test_a_suspended_process_that_wakes_up_late_cannot_take_its_turn_back(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    program = (
        'record = ledger.claim(PLAN, "me", 0.5).record\nprint("claimed", flush=True)\n'
        "time.sleep(0.3)\nprint(ledger.renew(record, 10), ledger.refused(record).state.value)"
    )
    process = started(program, path)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.Signals["SIGSTOP"])
    time.sleep(0.6)
    ledger = Ledger(path, warn=pytest.fail)

    kind = ledger.claim(PLAN, "other", 60).kind
    process.send_signal(signal.Signals["SIGCONT"])
    said = ended(process)

    assert kind is ClaimKind.REPLAY
    assert said.split() == ["False", "submitting"]
    assert ledger.claim(PLAN, "third", 60).kind is ClaimKind.WAIT
    ledger.close()
