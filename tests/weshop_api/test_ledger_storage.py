"""The ledger's file in trouble: damaged, read-only, full, locked, newer. A generation must never notice."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import sqlite3
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from weshop_api.ledger import ClaimKind, Ledger, RunPlan, RunState, StorageSettings
from weshop_api.ledger_schema import MIGRATIONS
from weshop_api.models import Charge, Reference, Result

SCOPE = "http://127.0.0.1:8787/openapi"
PLAN = RunPlan("f1", SCOPE, "b1", ("https://pictures.example/a.png",), "Seedream_50_Lite", "2K", "3:4", 2, "")
RESULTS = (Result(1, "https://results.example/1.jpeg", "Success"),)
UPLOAD = Reference("https://pictures.example/a.png", 640, 480, "hash-a")
IMPATIENT = StorageSettings(busy_seconds=0.2)
NOBODY = 65534
STARTED_AT = 1_790_000_000.0


class Clock:
    """Unix seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now = STARTED_AT

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weshop" / "ledger.sqlite3"


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def opened(path: Path, clock: Clock, warnings: list[str]) -> Iterator[Callable[..., Ledger]]:
    """Open the ledger, as another program start would."""
    ledgers: list[Ledger] = []

    def again(settings: StorageSettings = IMPATIENT) -> Ledger:
        ledgers.append(Ledger(path, clock=clock, warn=warnings.append, settings=settings))
        return ledgers[-1]

    yield again
    for ledger in ledgers:
        ledger.close()


@contextlib.contextmanager
def file_modes_count() -> Iterator[None]:
    """Let file modes count, also when the tests run as root."""
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    if is_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


def remember_a_life(ledger: Ledger, runs: int = 3) -> None:
    """Some finished runs, one going, one upload; then the program ends."""
    for number in range(runs):
        record = ledger.claim(replace(PLAN, fingerprint=f"done-{number}"), "me", 10).record
        ledger.finished(ledger.accepted(record, f"run-{number}", Charge(15, 230)), RESULTS, seconds=20.0 + number)
    ledger.accepted(ledger.claim(PLAN, "me", 10).record, "run-going")
    ledger.remember_upload(UPLOAD, SCOPE)
    ledger.close()


def exercise(ledger: Ledger) -> None:
    """Every public method; none may raise."""
    plan = replace(PLAN, fingerprint=os.urandom(8).hex())
    record = ledger.claim(plan, "me", 10).record
    assert ledger.renew(record, 10)
    ledger.outcome_unknown(record)
    record = ledger.claim(plan, "me", 10).record
    ledger.refused(record)
    execution_id = f"run-{plan.fingerprint}"
    record = ledger.accepted(record, execution_id)
    ledger.failed(record)
    ledger.finished(record, RESULTS)
    ledger.delivered(execution_id, SCOPE)
    found = ledger.find_run(execution_id, SCOPE)
    assert found is not None
    assert found.delivered
    ledger.adopt("run-elsewhere", SCOPE)
    assert ledger.recent_runs()
    assert ledger.durations_seconds(PLAN) is not None
    ledger.remember_upload(replace(UPLOAD, content_hash=plan.fingerprint), SCOPE)
    assert ledger.find_upload(plan.fingerprint, SCOPE) is not None
    ledger.forget_uploads(["https://pictures.example/none.png"], SCOPE)
    assert ledger.forget(ids=[execution_id]) == 1
    assert ledger.current(SCOPE, plan.fingerprint) is None


def damaged_files(path: Path) -> list[Path]:
    return sorted(file for file in path.parent.iterdir() if ".damaged-" in file.name)


def test_the_folder_and_the_file_are_private(opened: Callable[..., Ledger], path: Path) -> None:
    opened().claim(PLAN, "me", 10)

    modes = [stat.S_IMODE(place.stat().st_mode) for place in (path.parent, path)]
    assert modes == [0o700, 0o600] or os.name == "nt"


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


# Damage


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


# A file that cannot be used at the moment


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
