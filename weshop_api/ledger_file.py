"""The ledger's file: how it is created and opened."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from .ledger_schema import MIGRATIONS, Migration, known_version, migrate

FileIdentity = tuple[int, int, bool]
"""Device, number, and whether the file is empty: one that somebody emptied is no longer the file it was."""

READ_ONLY = "mode=ro"
UNCHANGING = "immutable=1"
READ_AND_WRITE = "mode=rwc"


@dataclass(frozen=True, slots=True)
class StorageSettings:
    """Limits of the storage. ``max_pages`` bounds the file's size, ``vfs`` names another of SQLite's file layers."""

    busy_seconds: float = 3.0
    return_after_seconds: float = 60.0
    migrations: tuple[Migration, ...] = MIGRATIONS
    max_pages: int | None = None
    vfs: str = ""


def connect(path: Path, settings: StorageSettings) -> sqlite3.Connection:
    """Open the file for writing, create it and bring its tables up to date where needed.

    Raises NewerFileError, OSError, and sqlite3.Error for a file that cannot be used.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    is_new = not path.exists()
    connection = open_database(path, READ_AND_WRITE, settings.busy_seconds, settings.vfs)
    try:
        if is_new:
            keep_private(path)
        _prepare(connection, settings)
    except BaseException:
        connection.close()
        raise
    return connection


def open_database(path: Path, option: str, busy_seconds: float, vfs: str) -> sqlite3.Connection:
    """A connection to this file, with ``option`` being one of SQLite's for its file addresses."""
    name = quote(os.fsencode(path.as_posix()), safe="/:")
    address = f"file://{'' if name.startswith('/') else '/'}{name}?{option}{f'&vfs={vfs}' if vfs else ''}"
    return sqlite3.connect(address, uri=True, timeout=busy_seconds, isolation_level=None, check_same_thread=False)


def use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Let readers and a writer work at the same time, where the file system can.

    Network drives cannot; SQLite's older journal is as safe, only slower.
    """
    with contextlib.suppress(sqlite3.OperationalError):
        connection.execute("PRAGMA journal_mode = WAL")


def keep_private(path: Path) -> None:
    """Take the file away from other users. SQLite gives its companions the same mode."""
    # File systems without such modes refuse this, and there is nothing to protect with.
    with contextlib.suppress(OSError):
        path.chmod(0o600)


def identity_of(path: Path) -> FileIdentity | None:
    """What tells this file from another that takes its name later; None when there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino, status.st_size == 0)


def _prepare(connection: sqlite3.Connection, settings: StorageSettings) -> None:
    if settings.max_pages is not None:
        connection.execute(f"PRAGMA max_page_count = {settings.max_pages}")
    # A row must be on the disk before the request leaves, also when the power fails in between.
    connection.execute("PRAGMA synchronous = FULL")
    # Without this macOS leaves what was written in the memory of the drive. Other systems know no difference.
    connection.execute("PRAGMA fullfsync = ON")
    if known_version(connection, settings.migrations) < len(settings.migrations):
        use_write_ahead_log(connection)
        migrate(connection, settings.migrations)
