"""A ledger that cannot be used for a while: a copy in memory stands in, and finds its way back into the file."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from weshop_api.ledger import ClaimKind, Ledger, RunState, StorageSettings
from weshop_api.models import Charge

from .file_modes import file_modes_count
from .ledgers import (
    IMPATIENT,
    PLAN,
    RESULTS,
    SCOPE,
    UPLOAD,
    Clock,
    exercise,
    remember_a_life,
)


@pytest.mark.parametrize("folder_mode", [0o555, 0o777], ids=["read-only folder", "read-only file"])
@pytest.mark.parametrize("is_log_left", [False, True], ids=["", "log left by a crash"])
def test_what_cannot_be_written_is_bypassed_with_what_is_known(
    clock: Clock, warnings: list[str], folder_mode: int, *, is_log_left: bool
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "ledger.sqlite3"
        path_elsewhere = folder / "original.sqlite3"
        remember_a_life(Ledger(path_elsewhere, clock=clock, warn=warnings.append))
        reader = sqlite3.connect(path_elsewhere)
        reader.execute("BEGIN").execute("SELECT * FROM runs").fetchall()
        late = replace(PLAN, fingerprint="late")
        writer = Ledger(path_elsewhere, clock=clock, warn=warnings.append)
        writer.claim(late, "me", 10)
        for suffix in ("", "-wal", "-shm") if is_log_left else ("",):
            shutil.copy(f"{path_elsewhere}{suffix}", f"{path}{suffix}")
            Path(f"{path}{suffix}").chmod(0o444)
        reader.close()
        writer.close()
        folder.chmod(folder_mode)

        with file_modes_count():
            ledger = Ledger(path, clock=clock, warn=warnings.append)
            exercise(ledger)
            claim = ledger.claim(PLAN, "me", 10)
            late_record = ledger.current(SCOPE, "late")
            ledger.close()

    assert claim.kind is ClaimKind.WATCH
    assert claim.record.execution_id == "run-going"
    assert (late_record is not None) == is_log_left
    assert len(warnings) == 1
    assert str(path) in warnings[0]


def test_a_folder_that_cannot_be_made_is_bypassed(tmp_path: Path, clock: Clock, warnings: list[str]) -> None:
    (tmp_path / "weshop").write_text("a file where the folder should be")

    ledger = Ledger(tmp_path / "weshop" / "ledger.sqlite3", clock=clock, warn=warnings.append)
    exercise(ledger)
    exercise(ledger)
    ledger.close()

    assert len(warnings) == 1


def test_a_folder_in_the_place_of_the_file_is_bypassed(
    opened: Callable[..., Ledger], path: Path, warnings: list[str]
) -> None:
    path.mkdir(parents=True)

    exercise(opened())

    assert path.is_dir()
    assert len(warnings) == 1


def test_a_full_disk_is_bypassed_with_what_is_known_and_what_was_to_be_written(
    opened: Callable[..., Ledger], path: Path, warnings: list[str]
) -> None:
    remember_a_life(opened())
    pages = path.stat().st_size // 4096
    ledger = opened(replace(IMPATIENT, max_pages=pages))
    plans = [replace(PLAN, fingerprint=f"new-{n}", task_name="x" * 500) for n in range(50)]

    kinds = [ledger.claim(plan, "me", 10).kind for plan in plans]
    again = [ledger.claim(plan, "me", 10).kind for plan in plans]
    known = ledger.claim(PLAN, "me", 10)
    exercise(ledger)

    assert set(kinds) == {ClaimKind.SUBMIT}
    assert set(again) == {ClaimKind.WAIT}
    assert known.record.execution_id == "run-going"
    assert len(warnings) == 1
    assert "full" in warnings[0]


def test_a_new_file_on_a_full_disk_is_bypassed(opened: Callable[..., Ledger], warnings: list[str]) -> None:
    exercise(opened(replace(IMPATIENT, max_pages=1)))

    assert len(warnings) == 1


@pytest.mark.parametrize("lock", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE", "PRAGMA locking_mode = EXCLUSIVE"])
def test_a_file_that_stays_locked_is_bypassed_within_seconds(
    opened: Callable[..., Ledger], path: Path, warnings: list[str], lock: str
) -> None:
    remember_a_life(opened())
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute(lock)
    holder.execute("UPDATE runs SET delivered = delivered")
    ledger = opened(StorageSettings(busy_seconds=0.5))

    started_at = time.monotonic()
    claim = ledger.claim(PLAN, "me", 10)
    first_seconds = time.monotonic() - started_at
    exercise(ledger)
    all_seconds = time.monotonic() - started_at

    holder.close()
    assert claim.kind is ClaimKind.WATCH
    assert claim.record.execution_id == "run-going"
    assert first_seconds < 2.5
    assert all_seconds < first_seconds + 0.5
    assert len(warnings) == 1
    assert "locked" in warnings[0]


def test_by_default_a_locked_file_blocks_for_a_few_seconds_at_most() -> None:
    assert StorageSettings().busy_seconds <= 3


# The way back


def locked(path: Path) -> sqlite3.Connection:
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    return holder


def test_what_was_remembered_in_memory_reaches_the_file_when_it_can_be_used_again(
    opened: Callable[..., Ledger], path: Path, clock: Clock, warnings: list[str]
) -> None:
    ledger = opened()
    remember_a_life(ledger)
    known = ledger.claim(PLAN, "me", 10).record
    holder = locked(path)
    ledger.finished(known, RESULTS, seconds=30.0)
    new = ledger.claim(replace(PLAN, fingerprint="new"), "me", 10).record
    ledger.accepted(new, "run-new", Charge(15, 200))
    ledger.remember_upload(replace(UPLOAD, content_hash="hash-new"), SCOPE)
    holder.close()

    clock.now += 61
    ledger.delivered("run-going", SCOPE)

    fresh = opened()
    assert fresh.claim(PLAN, "me", 10).kind is ClaimKind.DONE
    assert fresh.claim(PLAN, "me", 10).record.delivered
    found = fresh.claim(replace(PLAN, fingerprint="new"), "me", 10)
    assert found.kind is ClaimKind.WATCH
    assert found.record == replace(
        new, state=RunState.RUNNING, execution_id="run-new", charge=Charge(15, 200), lease_owner="", lease_until=0.0
    )
    assert fresh.find_upload("hash-new", SCOPE) is not None
    assert len(fresh.recent_runs()) == 5
    assert len(warnings) == 1


def test_a_program_that_ends_brings_what_it_remembered_into_the_file(opened: Callable[..., Ledger], path: Path) -> None:
    ledger = opened()
    remember_a_life(ledger)
    holder = locked(path)
    ledger.accepted(ledger.claim(replace(PLAN, fingerprint="new"), "me", 10).record, "run-new")
    holder.close()

    ledger.close()

    assert opened().find_run("run-new", SCOPE) is not None


def test_a_file_that_cannot_be_used_is_not_tried_at_every_call(
    opened: Callable[..., Ledger], path: Path, clock: Clock
) -> None:
    ledger = opened()
    remember_a_life(ledger)
    holder = locked(path)
    ledger.claim(replace(PLAN, fingerprint="new"), "me", 10)
    holder.close()

    clock.now += 59
    ledger.claim(replace(PLAN, fingerprint="newer"), "me", 10)

    assert opened().current(SCOPE, "newer") is None


def test_a_clock_that_was_set_back_does_not_keep_the_file_out_of_use(
    opened: Callable[..., Ledger], path: Path, clock: Clock
) -> None:
    ledger = opened()
    remember_a_life(ledger)
    holder = locked(path)
    ledger.claim(replace(PLAN, fingerprint="new"), "me", 10)
    holder.close()

    clock.now -= 24 * 3600
    ledger.claim(replace(PLAN, fingerprint="newer"), "me", 10)

    assert opened().current(SCOPE, "newer") is not None


def test_what_others_learned_meanwhile_is_not_undone_on_the_way_back(
    opened: Callable[..., Ledger], path: Path, clock: Clock
) -> None:
    ledger = opened()
    remember_a_life(ledger)
    holder = locked(path)
    ledger.claim(replace(PLAN, fingerprint="new"), "me", 10)
    holder.close()
    other = opened()
    other.finished(other.claim(PLAN, "me", 10).record, RESULTS)
    other.delivered("run-going", SCOPE)

    clock.now += 61
    ledger.recent_runs()

    found = opened().find_run("run-going", SCOPE)
    assert found is not None
    assert (found.state, found.delivered) == (RunState.SUCCESS, True)


def test_a_request_that_two_submitted_meanwhile_keeps_both_runs(
    opened: Callable[..., Ledger], path: Path, clock: Clock
) -> None:
    ledger = opened()
    remember_a_life(ledger)
    new = replace(PLAN, fingerprint="new")
    holder = locked(path)
    ledger.accepted(ledger.claim(new, "me", 10).record, "run-mine")
    holder.close()
    other = opened()
    other.accepted(other.claim(new, "other", 10).record, "run-theirs")

    clock.now += 61
    ledger.recent_runs()

    fresh = opened()
    assert fresh.claim(new, "me", 10).record.execution_id == "run-theirs"
    assert fresh.find_run("run-mine", SCOPE) is not None


def test_a_delivery_in_memory_and_an_end_in_the_file_are_both_kept(
    opened: Callable[..., Ledger], path: Path, clock: Clock
) -> None:
    ledger = opened()
    remember_a_life(ledger)
    holder = locked(path)
    ledger.delivered("run-going", SCOPE)
    holder.close()
    other = opened()
    other.finished(other.claim(PLAN, "me", 10).record, RESULTS)

    clock.now += 61
    ledger.recent_runs()

    found = opened().find_run("run-going", SCOPE)
    assert found is not None
    assert (found.state, found.delivered) == (RunState.SUCCESS, True)


def test_a_failure_in_memory_does_not_hide_a_run_that_another_began_meanwhile(
    opened: Callable[..., Ledger], path: Path, clock: Clock
) -> None:
    ledger = opened()
    remember_a_life(ledger)
    new = replace(PLAN, fingerprint="new")
    holder = locked(path)
    ledger.failed(ledger.accepted(ledger.claim(new, "me", 10).record, "run-mine"))
    holder.close()
    other = opened()
    other.accepted(other.claim(new, "other", 10).record, "run-theirs")

    clock.now += 61
    claim = ledger.claim(new, "me", 10)

    assert claim.kind is ClaimKind.WATCH
    assert claim.record.execution_id == "run-theirs"


def test_the_same_trouble_is_warned_about_once_although_the_file_worked_in_between(
    opened: Callable[..., Ledger], path: Path, clock: Clock, warnings: list[str]
) -> None:
    ledger = opened()
    remember_a_life(ledger)
    for _ in range(2):
        holder = locked(path)
        exercise(ledger)
        holder.close()
        clock.now += 61
        exercise(ledger)

    assert len(warnings) == 1


def test_a_file_that_stays_unusable_is_warned_about_once(
    opened: Callable[..., Ledger], path: Path, clock: Clock, warnings: list[str]
) -> None:
    ledger = opened()
    remember_a_life(ledger)
    holder = locked(path)
    for _ in range(3):
        exercise(ledger)
        clock.now += 61

    holder.close()
    assert len(warnings) == 1
