"""Where the ledger's tables live: a file as long as that works, and memory when it does not.

A connection is opened for each transaction and closed after it. That costs a few milliseconds beside a run of many
seconds, and in return there is nothing to share between threads, to inherit through a fork or to keep valid when
another process sets the file aside.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

from .ledger_schema import MIGRATIONS, Migration, NewerFileError, file_version, merge, migrate, select

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

T = TypeVar("T")
Operation = "Callable[[sqlite3.Connection], T]"

_TABLES = ("runs", "uploads")
_COMPANIONS = ("-wal", "-shm", "-journal")
_GUARD_POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class StorageSettings:
    """Limits of the storage. ``max_pages`` bounds the file's size, ``vfs`` names another of SQLite's file layers."""

    busy_seconds: float = 5.0
    return_after_seconds: float = 60.0
    guard_seconds: float = 30.0
    migrations: tuple[Migration, ...] = MIGRATIONS
    max_pages: int | None = None
    vfs: str = ""


class Storage:
    """Runs transactions on the ledger's file; on a copy in memory when the file cannot be used.

    Nothing but a warning comes of a damaged, read-only, full, locked or newer file.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        clock: Callable[[], float],
        warn: Callable[[str], None],
        settings: StorageSettings,
    ) -> None:
        self._path = path.absolute() if path is not None else None
        self._clock = clock
        self._warn = warn
        self._settings = settings
        self._lock = threading.Lock()
        self._memory: sqlite3.Connection | None = None
        self._return_at = 0.0
        self._warned: set[str] = set()

    def read(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        """Run an operation that changes nothing."""
        return self._run(operation, "BEGIN")

    def write(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        """Run an operation in one transaction that excludes every other writer. It may be run again elsewhere."""
        return self._run(operation, "BEGIN IMMEDIATE")

    def close(self) -> None:
        """Let go of the copy in memory, if there is one."""
        with self._lock:
            if self._memory is not None:
                self._memory.close()
                self._memory = None

    def _run(self, operation: Callable[[sqlite3.Connection], T], begin: str) -> T:
        with self._lock:
            if self._path is not None and self._is_file_due(self._path):
                try:
                    return self._in_file(self._path, operation, begin)
                except (sqlite3.Error, OSError, NewerFileError) as error:
                    self._go_to_memory(self._path, error)
            return _transaction(self._in_memory(), operation, begin)

    def _in_file(self, path: Path, operation: Callable[[sqlite3.Connection], T], begin: str) -> T:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for _ in range(2):
            identity = _identity(path)
            try:
                with contextlib.closing(_connect(path, self._settings)) as connection:
                    return _transaction(connection, operation, begin)
            except sqlite3.Error as error:
                if not _is_damage(error):
                    raise
                self._set_aside(path, identity)
        with contextlib.closing(_connect(path, self._settings)) as connection:
            return _transaction(connection, operation, begin)

    def _is_file_due(self, path: Path) -> bool:
        if self._memory is None:
            return True
        if self._clock() < self._return_at:
            return False
        return self._return_to_file(path, self._memory)

    def _return_to_file(self, path: Path, memory: sqlite3.Connection) -> bool:
        """Try whether the file can be used again, and bring what happened meanwhile into it."""
        self._return_at = self._clock() + self._settings.return_after_seconds

        def bring(connection: sqlite3.Connection) -> None:
            for _, record in select(memory, "ORDER BY id"):
                merge(connection, record)
            uploads = memory.execute("SELECT scope, content_hash, url, uploaded_at FROM uploads").fetchall()
            connection.executemany("INSERT OR IGNORE INTO uploads VALUES (?, ?, ?, ?)", uploads)

        try:
            with contextlib.closing(_connect(path, self._settings, busy_seconds=0.2)) as connection:
                _transaction(connection, bring, "BEGIN IMMEDIATE")
        except (sqlite3.Error, OSError, NewerFileError):
            return False
        memory.close()
        self._memory = None
        return True

    def _in_memory(self) -> sqlite3.Connection:
        if self._memory is None:
            self._memory = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
            migrate(self._memory, self._settings.migrations)
        return self._memory

    def _go_to_memory(self, path: Path, error: Exception) -> None:
        if self._memory is not None:
            self._memory.close()
        self._memory = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        if isinstance(error, NewerFileError):
            migrate(self._memory, self._settings.migrations)
        else:
            copy_readable(path, self._memory, self._settings)
        self._return_at = self._clock() + self._settings.return_after_seconds
        self._warn_once(_bypass_sentence(path, error))

    def _set_aside(self, path: Path, identity: tuple[int, int] | None) -> None:
        with _guard(path, self._settings.guard_seconds) as is_ours:
            if not is_ours or identity is None or _identity(path) != identity:
                return
            aside = _free_name(path, time.strftime("%Y%m%d-%H%M%S", time.localtime(self._clock())))
            kept = _begin_afresh(path, aside, self._settings)
        self._warn_once(
            f"The ledger {path} was damaged. It was set aside as {aside.name}, and a new one was begun with the "
            f"{kept} runs that could still be read. A run that is missing from it can be brought back by its "
            "execution id."
        )

    def _warn_once(self, sentence: str) -> None:
        if sentence not in self._warned:
            self._warned.add(sentence)
            self._warn(sentence)


def copy_readable(path: Path, target: sqlite3.Connection, settings: StorageSettings) -> int:
    """Copy every row that can still be read into an empty database and return the number of runs.

    Rows are copied one by one because a copy of the pages would carry the damage along. The file is opened read-only,
    and, where even that fails (locked for good, read-only folder), as one that nobody changes.
    """
    for option in ("mode=ro", "immutable=1"):
        if target.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            break
        with contextlib.suppress(sqlite3.Error), contextlib.closing(_open(path, option, 0.2, settings.vfs)) as source:
            source.text_factory = lambda data: data.decode("utf-8", "replace")
            version = file_version(source)
            if not 0 < version <= len(settings.migrations):
                break
            source.execute("SELECT count(*) FROM sqlite_master").fetchone()
            migrate(target, settings.migrations[:version])
            for table in _TABLES:
                _copy_table(source, target, table)
    migrate(target, settings.migrations)
    return _drop_unreadable(target)


def _copy_table(source: sqlite3.Connection, target: sqlite3.Connection, table: str) -> None:
    # What lies behind a damaged page may be reachable from the other end.
    for order in ("ASC", "DESC"):
        with contextlib.suppress(sqlite3.Error):
            for row in source.execute(f"SELECT * FROM {table} ORDER BY rowid {order}"):
                with contextlib.suppress(sqlite3.Error):
                    target.execute(f"INSERT OR IGNORE INTO {table} VALUES ({', '.join('?' * len(row))})", row)
            return


def _drop_unreadable(connection: sqlite3.Connection) -> int:
    numbers = [row[0] for row in connection.execute("SELECT id FROM runs")]
    kept = 0
    for number in numbers:
        try:
            kept += len(list(select(connection, "WHERE id = ?", number)))
        except sqlite3.DatabaseError:
            connection.execute("DELETE FROM runs WHERE id = ?", (number,))
    return kept


def _begin_afresh(path: Path, aside: Path, settings: StorageSettings) -> int:
    """Replace a damaged file by one that holds what could be read, and return the number of runs in it."""
    fresh = path.with_name(f"{path.name}.fresh")
    fresh.unlink(missing_ok=True)
    with contextlib.closing(_open(fresh, "mode=rwc", settings.busy_seconds, settings.vfs)) as connection:
        _keep_private(fresh)
        connection.execute("PRAGMA synchronous = FULL")
        kept = copy_readable(path, connection, settings)
    for suffix in _COMPANIONS:
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
    path.rename(aside)
    fresh.rename(path)
    return kept


def _transaction(connection: sqlite3.Connection, operation: Callable[[sqlite3.Connection], T], begin: str) -> T:
    connection.execute(begin)
    try:
        outcome = operation(connection)
        connection.execute("COMMIT")
    except BaseException:
        # After some errors, a full disk among them, SQLite has rolled back already.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return outcome


def _connect(path: Path, settings: StorageSettings, busy_seconds: float | None = None) -> sqlite3.Connection:
    is_new = not path.exists()
    connection = _open(
        path, "mode=rwc", settings.busy_seconds if busy_seconds is None else busy_seconds, settings.vfs
    )
    try:
        if is_new:
            _keep_private(path)
        if settings.max_pages is not None:
            connection.execute(f"PRAGMA max_page_count = {settings.max_pages}")
        # A row must be on the disk before the request leaves, also when the power fails in between.
        connection.execute("PRAGMA synchronous = FULL")
        version = file_version(connection)
        if version > len(settings.migrations):
            raise NewerFileError
        if version < len(settings.migrations):
            # Network drives cannot have a write-ahead log; SQLite's older journal is as safe, only slower.
            with contextlib.suppress(sqlite3.OperationalError):
                connection.execute("PRAGMA journal_mode = WAL")
            migrate(connection, settings.migrations)
    except BaseException:
        connection.close()
        raise
    return connection


def _open(path: Path, option: str, busy_seconds: float, vfs: str) -> sqlite3.Connection:
    name = quote(os.fsencode(path.as_posix()), safe="/:")
    address = f"file://{'' if name.startswith('/') else '/'}{name}?{option}{f'&vfs={vfs}' if vfs else ''}"
    return sqlite3.connect(address, uri=True, timeout=busy_seconds, isolation_level=None, check_same_thread=False)


def _keep_private(path: Path) -> None:
    # File systems without such modes refuse this, and there is nothing to protect with.
    with contextlib.suppress(OSError):
        path.chmod(0o600)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino)


def _is_damage(error: sqlite3.Error) -> bool:
    """Whether the file itself is at fault. Python 3.10 tells only the class and the sentence of SQLite's error."""
    if type(error) is sqlite3.DatabaseError:
        return True
    signs = ("no such table", "no such column", "has no column", "values for", "Could not decode")
    return isinstance(error, sqlite3.OperationalError) and any(sign in str(error) for sign in signs)


def _free_name(path: Path, stamp: str) -> Path:
    """The name under which a damaged file is kept; two in one second get different ones."""
    aside = path.with_name(f"{path.name}.damaged-{stamp}")
    number = 2
    while aside.exists():
        aside = path.with_name(f"{path.name}.damaged-{stamp}-{number}")
        number += 1
    return aside


@contextlib.contextmanager
def _guard(path: Path, stale_seconds: float) -> Iterator[bool]:
    """Let one process at a time set the file aside; the others wait until it is done and get False."""
    guard = path.with_name(f"{path.name}.mending")
    try:
        os.close(os.open(guard, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        _wait_for(guard, stale_seconds)
        yield False
        return
    try:
        yield True
    finally:
        guard.unlink(missing_ok=True)


def _wait_for(guard: Path, stale_seconds: float) -> None:
    give_up = time.monotonic() + 3.0
    while time.monotonic() < give_up:
        try:
            age_seconds = time.time() - guard.stat().st_mtime
        except FileNotFoundError:
            return
        if age_seconds > stale_seconds:
            guard.unlink(missing_ok=True)
            return
        time.sleep(_GUARD_POLL_SECONDS)


def _bypass_sentence(path: Path, error: Exception) -> str:
    consequence = "Until this program ends, runs are remembered in memory only"
    if isinstance(error, NewerFileError):
        return (
            f"The ledger {path} was written by a newer version and is left as it is. {consequence}. "
            "Update this version to use it."
        )
    return (
        f"The ledger {path} cannot be used ({error}). {consequence}, and runs paid for now are not found again after a "
        "restart except by their execution id. Make sure that the file and its folder can be written, that no other "
        "program keeps the file locked, and that the disk is not full."
    )
