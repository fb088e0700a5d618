"""What can be saved of a file that is damaged or cannot be written, and how a damaged one is set aside."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from .ledger_file import (
    READ_AND_WRITE,
    READ_ONLY,
    UNCHANGING,
    FileIdentity,
    StorageSettings,
    identity_of,
    keep_private,
    open_database,
    use_write_ahead_log,
)
from .ledger_schema import NewerFileError, known_version, migrate, select

_TABLES = ("runs", "uploads")
_LOG_SUFFIXES = ("-wal", "-journal")
_READING_BUSY_SECONDS = 0.2
_GUARD_STALE_SECONDS = 30.0
_GUARD_WAIT_SECONDS = 3.0
_GUARD_POLL_SECONDS = 0.05
_SIGNS_OF_DAMAGE = (
    "no such table",
    "no such column",
    "has no column",
    "values for",
    "unsupported file format",
    "Could not decode",
)

# SQLite's sentence about a damaged file may quote the damage, and is not always text then.
FILE_ERRORS = (sqlite3.Error, OSError, UnicodeDecodeError, NewerFileError)


def is_damage(error: Exception) -> bool:
    """Whether the file's content is at fault. Python 3.10 tells only the class and the sentence of SQLite's error."""
    if isinstance(error, sqlite3.OperationalError):
        return any(sign in str(error) for sign in _SIGNS_OF_DAMAGE)
    return type(error) in (sqlite3.DatabaseError, UnicodeDecodeError)


def copy_readable(path: Path, target: sqlite3.Connection, settings: StorageSettings) -> int:
    """Copy every row that can still be read into an empty database, and return the number of runs.

    Rows are copied one by one because a copy of the pages would carry the damage along. The file is opened read-only,
    and, where even that fails (locked for good, read-only folder), as one that nobody changes.
    """
    for option in (READ_ONLY, UNCHANGING):
        with (
            contextlib.suppress(*FILE_ERRORS),
            contextlib.closing(open_database(path, option, _READING_BUSY_SECONDS, settings.vfs)) as source,
        ):
            _copy_tables(source, target, settings)
            break
    migrate(target, settings.migrations)
    return _drop_unreadable_runs(target)


def set_aside(
    path: Path, damaged: FileIdentity | None, now: float, settings: StorageSettings
) -> tuple[Path, int] | None:
    """Give the damaged file another name and begin a new one that holds what could be read.

    ``damaged`` is the identity of the file in which the damage was found: when several processes find it, one does the
    work and the others get None. Otherwise returns the other name and the number of runs that could be read.
    """
    with _guard(path) as is_ours:
        if not is_ours or damaged is None or identity_of(path) != damaged:
            return None
        aside = _free_name(path, now)
        fresh = path.with_name(f"{path.name}.fresh")
        kept = _write_fresh(path, fresh, settings)
        _move_companions(path, aside)
        _replace(path, aside, fresh)
        return aside, kept


def _copy_tables(source: sqlite3.Connection, target: sqlite3.Connection, settings: StorageSettings) -> None:
    source.text_factory = _decode
    version = known_version(source, settings.migrations)
    if version == 0:
        return
    migrate(target, settings.migrations[:version])
    for table in _TABLES:
        # What lies behind a damaged page may be reachable from the other end.
        if not _copy_table(source, target, table, "ASC"):
            _copy_table(source, target, table, "DESC")


def _copy_table(source: sqlite3.Connection, target: sqlite3.Connection, table: str, order: str) -> bool:
    try:
        for row in source.execute(f"SELECT * FROM {table} ORDER BY rowid {order}"):  # noqa: S608 - our table names
            marks = ", ".join("?" * len(row))
            target.execute(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", row)  # noqa: S608 - the same
    except FILE_ERRORS:
        return False
    return True


def _drop_unreadable_runs(connection: sqlite3.Connection) -> int:
    numbers = [row[0] for row in connection.execute("SELECT id FROM runs")]
    unreadable = [(number,) for number in numbers if not _is_readable(connection, number)]
    connection.executemany("DELETE FROM runs WHERE id = ?", unreadable)
    return len(numbers) - len(unreadable)


def _is_readable(connection: sqlite3.Connection, number: int) -> bool:
    try:
        return bool(list(select(connection, "WHERE id = ?", number)))
    except FILE_ERRORS:
        return False


def _decode(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _write_fresh(path: Path, fresh: Path, settings: StorageSettings) -> int:
    fresh.unlink(missing_ok=True)
    with contextlib.closing(open_database(fresh, READ_AND_WRITE, settings.busy_seconds, settings.vfs)) as connection:
        keep_private(fresh)
        use_write_ahead_log(connection)
        return copy_readable(path, connection, settings)


def _move_companions(path: Path, aside: Path) -> None:
    """Take the logs along with their file, because SQLite would read them into the new one."""
    for suffix in _LOG_SUFFIXES:
        log = path.with_name(path.name + suffix)
        with contextlib.suppress(FileNotFoundError):
            if log.stat().st_size:
                log.rename(aside.with_name(aside.name + suffix))
            else:
                log.unlink()
    # This one is only an index of the log, and is made anew.
    path.with_name(f"{path.name}-shm").unlink(missing_ok=True)


def _replace(path: Path, aside: Path, fresh: Path) -> None:
    # With a second name for the damaged file there is no moment without a file, in which another process would begin
    # one of its own. Where the file system has no second names, that moment has to be accepted.
    try:
        os.link(path, aside)
    except OSError:
        path.rename(aside)
    fresh.replace(path)


def _free_name(path: Path, now: float) -> Path:
    stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(now))
    aside = path.with_name(f"{path.name}.damaged-{stamp}")
    number = 2
    while aside.exists():
        aside = path.with_name(f"{path.name}.damaged-{stamp}-{number}")
        number += 1
    return aside


@contextlib.contextmanager
def _guard(path: Path) -> Iterator[bool]:
    """Let one process at a time set the file aside. The others wait until it is done and get False."""
    guard = path.with_name(f"{path.name}.mending")
    try:
        os.close(os.open(guard, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        _wait_until_gone(guard)
        yield False
        return
    try:
        yield True
    finally:
        guard.unlink(missing_ok=True)


def _wait_until_gone(guard: Path) -> None:
    give_up_at = time.monotonic() + _GUARD_WAIT_SECONDS
    while time.monotonic() < give_up_at:
        try:
            age_seconds = time.time() - guard.stat().st_mtime
        except FileNotFoundError:
            return
        if age_seconds > _GUARD_STALE_SECONDS:
            # Its process died over it.
            guard.unlink(missing_ok=True)
            return
        time.sleep(_GUARD_POLL_SECONDS)
