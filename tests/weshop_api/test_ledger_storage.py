"""The ledger's file when all is well: who may read it, which version it has, where it may lie."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from weshop_api.ledger import ClaimKind, Ledger
from weshop_api.ledger_file import StorageSettings, connect
from weshop_api.ledger_schema import MIGRATIONS

from .ledgers import (
    IMPATIENT,
    PLAN,
    SCOPE,
    UPLOAD,
    Clock,
    damaged_files,
    exercise,
    remember_a_life,
)


def test_the_folder_and_the_file_are_private(opened: Callable[..., Ledger], path: Path) -> None:
    opened().claim(PLAN, "me", 10)

    modes = [stat.S_IMODE(place.stat().st_mode) for place in (path.parent, path)]
    assert modes == [0o700, 0o600] or os.name == "nt"


def test_a_row_reaches_the_disk_itself_on_every_system(path: Path) -> None:
    """SQLite's FULL ends in the memory of the drive on macOS, and a power failure takes the row along."""
    with contextlib.closing(connect(path, StorageSettings())) as connection:
        settings = [connection.execute(f"PRAGMA {name}").fetchone() for name in ("synchronous", "fullfsync")]

    assert settings == [(2,), (1,)]


def test_the_write_ahead_log_is_private_too(opened: Callable[..., Ledger], path: Path) -> None:
    opened().claim(PLAN, "me", 10)
    reader = sqlite3.connect(path)
    reader.execute("BEGIN").execute("SELECT * FROM runs").fetchall()

    opened().claim(PLAN, "me", 10)

    names = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    reader.close()
    assert set(names) == {"ledger.sqlite3", "ledger.sqlite3-wal", "ledger.sqlite3-shm"}
    assert set(names.values()) == {0o600} or os.name == "nt"


def test_a_new_program_start_finds_what_the_last_one_wrote(opened: Callable[..., Ledger], warnings: list[str]) -> None:
    remember_a_life(opened())

    ledger = opened()

    assert ledger.claim(PLAN, "me", 10).record.execution_id == "run-going"
    assert ledger.find_upload("hash-a", SCOPE) == UPLOAD
    assert warnings == []


def test_a_ledger_that_is_only_made_touches_no_disk(opened: Callable[..., Ledger], path: Path) -> None:
    opened()

    assert not path.parent.exists()


def test_threads_may_share_a_ledger(opened: Callable[..., Ledger], warnings: list[str]) -> None:
    ledger = opened()
    kinds: list[ClaimKind] = []

    def claim() -> None:
        kinds.extend(ledger.claim(replace(PLAN, fingerprint=f"f{n}"), "me", 10).kind for n in range(10))

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert kinds.count(ClaimKind.SUBMIT) == 10
    assert kinds.count(ClaimKind.WAIT) == 70
    assert warnings == []


def test_the_file_itself_forbids_two_open_runs_of_one_request(opened: Callable[..., Ledger], path: Path) -> None:
    opened().claim(PLAN, "me", 10)
    connection = sqlite3.connect(path)
    columns = ", ".join(row[1] for row in connection.execute("PRAGMA table_info(runs)") if row[1] != "id")
    copied = columns.replace("idempotency_key", "'another'")

    with pytest.raises(sqlite3.IntegrityError):
        connection.execute(f"INSERT INTO runs ({columns}) SELECT {copied} FROM runs")  # noqa: S608 - own columns

    connection.close()


def test_the_file_holds_only_what_it_has_to(opened: Callable[..., Ledger], path: Path) -> None:
    opened().claim(PLAN, "me", 10)

    connection = sqlite3.connect(path)
    names = {row[1] for table in ("runs", "uploads") for row in connection.execute(f"PRAGMA table_info({table})")}
    connection.close()

    assert not {name for name in names if "prompt" in name or "api" in name or "picture" in name}


# Versions


TOY_MIGRATION = ("ALTER TABLE runs ADD COLUMN mood TEXT NOT NULL DEFAULT 'fine'", "CREATE TABLE moods (mood TEXT)")


def test_a_file_of_an_earlier_version_is_brought_up_to_date(
    opened: Callable[..., Ledger], path: Path, warnings: list[str]
) -> None:
    path.parent.mkdir()
    by_hand = sqlite3.connect(path)
    for statement in MIGRATIONS[0]:
        by_hand.execute(statement)
    by_hand.execute(
        "INSERT INTO runs VALUES (1, 'f1', ?, 'b1', '[]', 'm', '2K', '3:4', 1, '', 'key-1', 'running', 1, '', 0, "
        "'run-1', '[]', NULL, NULL, 1700000000, NULL, NULL, 0)",
        (SCOPE,),
    )
    by_hand.execute("PRAGMA user_version = 1")
    by_hand.commit()
    by_hand.close()

    claim = opened(replace(IMPATIENT, migrations=(*MIGRATIONS, TOY_MIGRATION))).claim(PLAN, "me", 10)

    after = sqlite3.connect(path)
    assert claim.kind is ClaimKind.WATCH
    assert claim.record.execution_id == "run-1"
    assert after.execute("SELECT mood FROM runs").fetchall() == [("fine",)]
    assert after.execute("PRAGMA user_version").fetchone() == (2,)
    assert warnings == []
    after.close()


def test_a_migration_that_fails_leaves_the_file_as_it_was(
    opened: Callable[..., Ledger], path: Path, warnings: list[str]
) -> None:
    remember_a_life(opened())
    broken = (*MIGRATIONS, ("CREATE TABLE moods (mood TEXT)", "CREATE TABLE runs (id INTEGER)"))

    claim = opened(replace(IMPATIENT, migrations=broken[:1])).claim(PLAN, "me", 10)
    with pytest.raises(sqlite3.OperationalError):
        opened(replace(IMPATIENT, migrations=broken)).claim(PLAN, "me", 10)

    after = sqlite3.connect(path)
    tables = {row[0] for row in after.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    version = after.execute("PRAGMA user_version").fetchone()
    after.close()
    assert claim.record.execution_id == "run-going"
    assert "moods" not in tables
    assert version == (1,)
    assert warnings == []


def test_a_file_of_a_newer_version_is_left_alone(
    opened: Callable[..., Ledger], path: Path, warnings: list[str]
) -> None:
    remember_a_life(opened())
    newer = sqlite3.connect(path)
    newer.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    newer.close()
    before = path.read_bytes()

    ledger = opened()
    exercise(ledger)
    exercise(ledger)

    assert path.read_bytes() == before
    assert damaged_files(path) == []
    assert len(warnings) == 1
    assert "newer version" in warnings[0]


# File systems


@pytest.mark.skipif(os.name == "nt", reason="the file layer without shared memory exists on Unix only")
def test_a_file_system_without_a_write_ahead_log_is_used_quietly(
    opened: Callable[..., Ledger], path: Path, warnings: list[str]
) -> None:
    without_log = replace(IMPATIENT, vfs="unix-dotfile")
    remember_a_life(opened(without_log))

    exercise(opened(without_log))

    connection = sqlite3.connect(path)
    mode = connection.execute("PRAGMA journal_mode").fetchone()
    connection.close()
    assert mode == ("delete",)
    assert warnings == []


def test_the_write_ahead_log_is_used_where_it_can_be(opened: Callable[..., Ledger], path: Path) -> None:
    opened().claim(PLAN, "me", 10)

    connection = sqlite3.connect(path)
    mode = connection.execute("PRAGMA journal_mode").fetchone()
    connection.close()
    assert mode == ("wal",)


def test_the_log_is_folded_into_the_file_at_the_end_and_not_after_every_write(
    opened: Callable[..., Ledger], path: Path
) -> None:
    """Folding costs several waits for the disk, each as long as the write itself."""
    ledger = opened()
    log = path.with_name("ledger.sqlite3-wal")
    sizes = []
    for number in range(3):
        ledger.claim(replace(PLAN, fingerprint=f"f{number}"), "me", 10)
        sizes.append(log.stat().st_size)
    ledger.close()

    assert sizes[0] < sizes[1] < sizes[2]
    assert not log.exists()


@pytest.mark.parametrize("name", ["with space", "per%20cent", "question?mark", "hash#", "umlaut-\xe4", "a&b=c"])
def test_any_folder_name_will_do(tmp_path: Path, clock: Clock, name: str) -> None:
    if os.name == "nt" and "?" in name:
        name = name.replace("?", "")
    path = tmp_path / name / "ledger.sqlite3"

    kinds = []
    for _ in range(2):
        with contextlib.closing(Ledger(path, clock=clock, warn=pytest.fail)) as ledger:
            kinds.append(ledger.claim(PLAN, "me", 10).kind)

    assert path.exists()
    assert kinds == [ClaimKind.SUBMIT, ClaimKind.WAIT]


def test_a_relative_path_means_the_folder_of_that_moment(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ledger = Ledger(Path("ledger.sqlite3"), clock=clock, warn=pytest.fail)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    ledger.claim(PLAN, "me", 10)

    ledger.close()
    assert (tmp_path / "ledger.sqlite3").exists()
