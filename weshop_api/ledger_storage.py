"""Where the ledger's tables live: a file as long as that works, and memory when it does not.

A connection is opened for each transaction and closed after it: each looks at the file afresh, and there is nothing to
share between threads or to keep valid when another process sets the file aside. Beside them one connection stays open
that does nothing. As long as it is there SQLite need not fold its log into the file after every transaction, so that
each waits for the disk once instead of four or five times.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from .ledger_file import READ_AND_WRITE, FileIdentity, StorageSettings, connect, identity_of, open_database
from .ledger_rescue import FILE_ERRORS, copy_readable, is_damage, set_aside
from .ledger_schema import NewerFileError, merge, migrate, select, transaction

T = TypeVar("T")
_READ = "BEGIN"
_WRITE = "BEGIN IMMEDIATE"
_RETURNING_BUSY_SECONDS = 0.2
_TRIES_WITH_DAMAGE = 3


class Storage:
    """Runs transactions on the ledger's file; on a copy in memory while the file cannot be used.

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
        self._idle: sqlite3.Connection | None = None
        self._idle_identity: FileIdentity | None = None
        self._warned: set[str] = set()

    def read(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        """Run an operation that changes nothing."""
        return self._run(operation, _READ)

    def write(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        """Run an operation in one transaction that excludes every other writer. It may be begun more than once."""
        return self._run(operation, _WRITE)

    def close(self) -> None:
        """Let go of the file, and of the copy in memory after a last try to bring it into the file."""
        with self._lock:
            if self._memory is not None and self._path is not None:
                self._has_returned_to_file(self._path, self._memory)
            if self._memory is not None:
                self._memory.close()
                self._memory = None
            self._close_idle()

    def _run(self, operation: Callable[[sqlite3.Connection], T], begin: str) -> T:
        with self._lock:
            if self._path is not None and self._is_file_in_use(self._path):
                try:
                    return self._in_file(self._path, operation, begin)
                except FILE_ERRORS as error:
                    self._memory = self._copy_to_memory(self._path, error)
            if self._memory is None:
                self._memory = _new_memory()
                migrate(self._memory, self._settings.migrations)
            return transaction(self._memory, operation, begin)

    def _in_file(self, path: Path, operation: Callable[[sqlite3.Connection], T], begin: str) -> T:
        tries = 1
        while True:
            identity = identity_of(path)
            if identity != self._idle_identity:
                self._close_idle()
            try:
                with contextlib.closing(connect(path, self._settings)) as connection:
                    outcome = transaction(connection, operation, begin)
                    self._stay_open(path)
                    return outcome
            except FILE_ERRORS as error:
                if not is_damage(error) or tries == _TRIES_WITH_DAMAGE:
                    raise
                self._set_aside(path, identity)
                tries += 1

    def _stay_open(self, path: Path) -> None:
        if self._idle is not None:
            return
        with contextlib.suppress(*FILE_ERRORS):
            idle = open_database(path, READ_AND_WRITE, _RETURNING_BUSY_SECONDS, self._settings.vfs)
            self._idle, self._idle_identity = idle, identity_of(path)
            idle.execute("SELECT count(*) FROM sqlite_master").fetchone()

    def _close_idle(self) -> None:
        if self._idle is not None:
            self._idle.close()
            self._idle, self._idle_identity = None, None

    def _set_aside(self, path: Path, identity: FileIdentity | None) -> None:
        self._close_idle()
        outcome = set_aside(path, identity, self._clock(), self._settings)
        if outcome is None:
            return
        aside, kept = outcome
        runs = "1 run" if kept == 1 else f"{kept} runs"
        self._warn_once(
            f"The ledger {path} was damaged. It was set aside as {aside.name}, and a new one was begun with the {runs} "
            "that could still be read. A run that is missing from it can be brought back by its execution id."
        )

    def _copy_to_memory(self, path: Path, error: Exception) -> sqlite3.Connection:
        self._close_idle()
        memory = _new_memory()
        try:
            copy_readable(path, memory, self._settings)
        except BaseException:
            memory.close()
            raise
        self._return_at = self._clock() + self._settings.return_after_seconds
        self._warn_once(_bypass_sentence(path, error))
        return memory

    def _is_file_in_use(self, path: Path) -> bool:
        if self._memory is None:
            return True
        if 0 < self._return_at - self._clock() <= self._settings.return_after_seconds:
            return False
        self._return_at = self._clock() + self._settings.return_after_seconds
        return self._has_returned_to_file(path, self._memory)

    def _has_returned_to_file(self, path: Path, memory: sqlite3.Connection) -> bool:
        """Try whether the file can be used again, and bring what happened meanwhile into it."""

        def bring(connection: sqlite3.Connection) -> None:
            for _, record in select(memory, "ORDER BY id"):
                merge(connection, record)
            uploads = memory.execute("SELECT * FROM uploads").fetchall()
            connection.executemany("INSERT OR IGNORE INTO uploads VALUES (?, ?, ?, ?, ?, ?)", uploads)

        settings = replace(self._settings, busy_seconds=_RETURNING_BUSY_SECONDS)
        try:
            with contextlib.closing(connect(path, settings)) as connection:
                transaction(connection, bring, _WRITE)
        except FILE_ERRORS:
            return False
        memory.close()
        self._memory = None
        return True

    def _warn_once(self, sentence: str) -> None:
        if sentence not in self._warned:
            self._warned.add(sentence)
            self._warn(sentence)


def _new_memory() -> sqlite3.Connection:
    return sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)


def _bypass_sentence(path: Path, error: Exception) -> str:
    if isinstance(error, NewerFileError):
        return (
            f"The ledger {path} was written by a newer version and is left as it is. Until this program ends, "
            "runs are remembered in memory only. Update this version to use the file."
        )
    return (
        f"The ledger {path} cannot be used at the moment ({error}). Runs are remembered in memory and written to the "
        "file once it can be used again; those of a program that ends before that are found again only by their "
        "execution id. Make sure that the file and its folder can be written, that no other program keeps the file "
        "locked, and that the disk is not full."
    )
