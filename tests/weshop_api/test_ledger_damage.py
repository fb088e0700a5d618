"""A damaged ledger: it is set aside, a new one holds what could be read, and a generation never notices."""

from __future__ import annotations

import os
import random
import sqlite3
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from weshop_api.ledger import ClaimKind, Ledger
from weshop_api.models import Charge

from .ledgers import (
    PLAN,
    STARTED_AT,
    Clock,
    damaged_files,
    exercise,
    remember_a_life,
)


def damage_header(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(os.urandom(100))


def damage_by_text(path: Path) -> None:
    path.write_text("this is no database\n" * 200)


def cut_in_half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def cut_within_header(path: Path) -> None:
    os.truncate(path, 57)


def damage_schema(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 3000)


def replace_by_foreign_database(path: Path) -> None:
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE songs (title TEXT)")
    connection.close()


def replace_by_foreign_database_with_a_version(path: Path) -> None:
    replace_by_foreign_database(path)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 1")
    connection.close()


def write_nonsense_into_rows(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("UPDATE runs SET submitted_at = 'yesterday', results = 'none'")
    connection.commit()
    connection.close()


def write_nonsense_into_schema(path: Path) -> None:
    """SQLite quotes the name in its sentence about the damage, and that is not text."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute("UPDATE sqlite_master SET name = CAST(x'acff' AS TEXT), sql = 'CREATE NONSENSE'")
    connection.commit()
    connection.close()


DAMAGES = [
    write_nonsense_into_schema,
    damage_header,
    damage_by_text,
    cut_in_half,
    cut_within_header,
    damage_schema,
    replace_by_foreign_database,
    replace_by_foreign_database_with_a_version,
    write_nonsense_into_rows,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_set_aside_and_a_new_one_begun(
    opened: Callable[..., Ledger], path: Path, warnings: list[str], damage: Callable[[Path], None]
) -> None:
    remember_a_life(opened(), runs=15)
    damage(path)
    damaged = path.read_bytes()

    ledger = opened()
    exercise(ledger)
    ledger.claim(replace(PLAN, fingerprint="new"), "me", 10)

    (aside,) = damaged_files(path)
    assert aside.read_bytes() == damaged or damage is write_nonsense_into_rows
    assert aside.name == f"ledger.sqlite3.damaged-{time.strftime('%Y%m%d-%H%M%S', time.localtime(STARTED_AT))}"
    assert len(warnings) == 1
    assert aside.name in warnings[0]
    assert opened().claim(replace(PLAN, fingerprint="new"), "me", 10).kind is ClaimKind.WAIT
    others = {file.name for file in path.parent.iterdir()} - {path.name, aside.name}
    assert others <= {f"{path.name}-wal", f"{path.name}-shm"}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_in_the_middle_of_use_is_survived(
    opened: Callable[..., Ledger], path: Path, warnings: list[str], damage: Callable[[Path], None]
) -> None:
    """SQLite's log may still hold what was damaged in the file; then there is nothing to warn about."""
    remember_a_life(opened(), runs=15)
    ledger = opened()
    record = ledger.claim(replace(PLAN, fingerprint="new"), "me", 10).record
    damage(path)

    ledger.accepted(record, "run-new", Charge(15, 230))
    ledger.close()

    claim = opened().claim(replace(PLAN, fingerprint="new"), "other", 10)
    assert claim.kind is ClaimKind.WATCH
    assert claim.record.execution_id == "run-new"
    assert len(warnings) <= 1


def test_an_emptied_file_is_begun_again(opened: Callable[..., Ledger], path: Path, warnings: list[str]) -> None:
    ledger = opened()
    record = ledger.claim(PLAN, "me", 10).record
    os.truncate(path, 0)

    ledger.accepted(record, "run-1")
    while_open = opened().claim(PLAN, "me", 10).kind
    ledger.close()

    assert while_open is ClaimKind.WATCH
    assert opened().claim(PLAN, "me", 10).kind is ClaimKind.WATCH
    assert len(warnings) <= 1


@pytest.mark.parametrize("names", ["ledger.sqlite3", "ledger.sqlite3*", "*"])
def test_files_that_were_deleted_in_the_middle_of_use_are_begun_again(
    opened: Callable[..., Ledger], path: Path, warnings: list[str], names: str
) -> None:
    ledger = opened()
    record = ledger.claim(PLAN, "me", 10).record
    for file in path.parent.glob(names):
        file.unlink()
    if names == "*":
        path.parent.rmdir()

    ledger.accepted(record, "run-1")
    while_open = opened().claim(PLAN, "me", 10).kind
    ledger.close()

    assert while_open is ClaimKind.WATCH
    assert opened().claim(PLAN, "me", 10).kind is ClaimKind.WATCH
    assert len(warnings) <= 1


def test_most_runs_survive_a_damaged_page(opened: Callable[..., Ledger], path: Path, warnings: list[str]) -> None:
    ledger = opened()
    for number in range(150):
        record = ledger.claim(replace(PLAN, fingerprint=f"f{number}"), "me", 10).record
        ledger.accepted(record, f"run-{number}")
    ledger.close()
    page_bytes = 4096
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // page_bytes // 2 * page_bytes)
        file.write(b"\xff" * page_bytes)

    remaining = opened().recent_runs(1000)

    assert 120 <= len(remaining) < 150
    assert len(warnings) == 1
    assert f"{len(remaining)} runs" in warnings[0]


def test_a_single_unreadable_run_costs_only_itself(opened: Callable[..., Ledger], path: Path) -> None:
    remember_a_life(opened())
    connection = sqlite3.connect(path)
    connection.execute("UPDATE runs SET results = '[[]]' WHERE execution_id = 'run-1'")
    connection.commit()
    connection.close()

    remaining = opened().recent_runs()

    assert {run.execution_id for run in remaining} == {"run-0", "run-2", "run-going"}


def test_a_damaged_file_takes_its_log_along(opened: Callable[..., Ledger], path: Path) -> None:
    """A log that stayed behind would be read into the new file."""
    remember_a_life(opened())
    reader = sqlite3.connect(path)
    reader.execute("BEGIN").execute("SELECT * FROM runs").fetchall()
    opened().claim(replace(PLAN, fingerprint="f2"), "me", 10)
    damage_header(path)

    opened().claim(replace(PLAN, fingerprint="f3"), "me", 10)

    reader.close()
    assert any(file.name.endswith("-wal") for file in damaged_files(path))
    assert opened().claim(replace(PLAN, fingerprint="f3"), "me", 10).kind is ClaimKind.WAIT


def test_two_damages_within_a_second_are_both_kept(opened: Callable[..., Ledger], path: Path) -> None:
    for _ in range(2):
        ledger = opened()
        ledger.claim(PLAN, "me", 10)
        ledger.close()
        damage_by_text(path)
    opened().claim(PLAN, "me", 10)

    assert len(damaged_files(path)) == 2


@pytest.mark.parametrize("seed", range(105, 117))
def test_random_damage_never_stops_anything(path: Path, clock: Clock, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - no secret
    remember_a_life(Ledger(path, clock=clock, warn=pytest.fail), runs=12)
    content = bytearray(path.read_bytes())
    for _ in range(chance.randrange(1, 40)):
        start = chance.randrange(len(content))
        content[start : start + chance.randrange(1, 200)] = chance.randbytes(chance.randrange(1, 200))
    path.write_bytes(content)

    for _ in range(2):
        warnings: list[str] = []
        ledger = Ledger(path, clock=clock, warn=warnings.append)
        exercise(ledger)
        ledger.close()
        assert len(warnings) <= 1
