"""The ledger's tables, their versions, and the way between a row and a record."""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from typing import Any, TypeVar

from .ledger_records import RunRecord, RunState, merged
from .models import Charge, Result

T = TypeVar("T")
Migration = tuple[str, ...]

MIGRATIONS: tuple[Migration, ...] = (
    (
        """
        CREATE TABLE runs (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            fingerprint TEXT NOT NULL,
            scope TEXT NOT NULL,
            body_hash TEXT NOT NULL,
            reference_urls TEXT NOT NULL,
            model TEXT NOT NULL,
            image_size TEXT NOT NULL,
            aspect_ratio TEXT NOT NULL,
            batch_count INTEGER NOT NULL,
            task_name TEXT NOT NULL,
            idempotency_key TEXT NOT NULL,
            state TEXT NOT NULL
                CHECK (state IN ('submitting', 'unknown', 'running', 'success', 'failed', 'refused')),
            attempt INTEGER NOT NULL,
            lease_owner TEXT NOT NULL,
            lease_until REAL NOT NULL,
            execution_id TEXT NOT NULL,
            results TEXT NOT NULL,
            charged_points REAL,
            remaining_points REAL,
            submitted_at REAL NOT NULL,
            finished_at REAL,
            seconds REAL,
            delivered INTEGER NOT NULL
        )
        """,
        # Two open runs of one request are what must never happen, so the file itself forbids them.
        """
        CREATE UNIQUE INDEX one_open_run ON runs (scope, fingerprint)
            WHERE fingerprint <> '' AND state IN ('submitting', 'unknown', 'running')
        """,
        "CREATE UNIQUE INDEX runs_by_key ON runs (idempotency_key) WHERE idempotency_key <> ''",
        "CREATE INDEX runs_by_fingerprint ON runs (scope, fingerprint)",
        "CREATE INDEX runs_by_execution_id ON runs (scope, execution_id)",
        """
        CREATE TABLE uploads (
            scope TEXT NOT NULL,
            content_hash TEXT NOT NULL,
            url TEXT NOT NULL,
            width INTEGER NOT NULL,
            height INTEGER NOT NULL,
            uploaded_at REAL NOT NULL,
            PRIMARY KEY (scope, content_hash)
        )
        """,
    ),
)
"""One entry for each version of the file, oldest first. Entries are never changed, only added."""

_COLUMNS = (
    "charged_points",
    "remaining_points",
    *(field.name for field in fields(RunRecord) if field.name != "charge"),
)
_LIST = ", ".join(_COLUMNS)
_MARKS = ", ".join(f":{column}" for column in _COLUMNS)
_INSERT = f"INSERT INTO runs ({_LIST}) VALUES ({_MARKS})"  # noqa: S608 - our own column names
_UPDATE = f"UPDATE runs SET ({_LIST}) = ({_MARKS}) WHERE id = :id"  # noqa: S608 - the same


class NewerFileError(Exception):
    """The file was written by a newer version of this library."""


def migrate(connection: sqlite3.Connection, migrations: Sequence[Migration]) -> None:
    """Bring the file to the newest version. Raises NewerFileError for one that is newer already."""

    def upgrade(connection: sqlite3.Connection) -> None:
        version = known_version(connection, migrations)
        for statement in itertools.chain.from_iterable(migrations[version:]):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(migrations)}")

    transaction(connection, upgrade, "BEGIN IMMEDIATE")


def transaction(connection: sqlite3.Connection, operation: Callable[[sqlite3.Connection], T], begin: str) -> T:
    """Run ``operation`` as a whole or not at all."""
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


def known_version(connection: sqlite3.Connection, migrations: Sequence[Migration]) -> int:
    """The version of the tables in this file, 0 for an empty file.

    Raises NewerFileError for a version that this library does not know yet, and sqlite3.DatabaseError when the tables
    are not ours.
    """
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > len(migrations):
        raise NewerFileError
    if version <= 0 and connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise sqlite3.DatabaseError("the file is the database of another program")
    return version


def text(value: str) -> str:
    """Text as SQLite can hold it: half surrogate pairs, which JSON may contain, are written out."""
    return value.encode("utf-8", "backslashreplace").decode("utf-8")


def select(connection: sqlite3.Connection, tail: str, *values: object) -> Iterator[tuple[int, RunRecord]]:
    """Row numbers and records; ``tail`` is the statement from WHERE on, ``values`` are for its question marks."""
    for row in connection.execute(f"SELECT id, {_LIST} FROM runs {tail}", values):  # noqa: S608 - our own conditions
        yield int(row[0]), _record(row[1:])


def same_run(connection: sqlite3.Connection, record: RunRecord) -> tuple[int, RunRecord] | None:
    """The stored row of the run that ``record`` is about.

    Rows are told apart by their Idempotency-Key and not by their number: numbers begin anew with a new file.
    """
    if record.idempotency_key:
        found = select(connection, "WHERE idempotency_key = ?", record.idempotency_key)
    else:
        tail = "WHERE scope = ? AND execution_id = ? AND idempotency_key = ''"
        found = select(connection, tail, record.scope, record.execution_id)
    return next(found, None)


def put(connection: sqlite3.Connection, record: RunRecord, row: int | None = None) -> RunRecord:
    """Write a record into its row, or into a new one, and return it as written.

    Where another open run of the same request exists, this one is kept without its fingerprint: it may be paid for and
    must stay findable by its execution id, but it is not the one that the next queueing continues.
    """
    try:
        _write(connection, record, row)
    except sqlite3.IntegrityError:
        record = replace(record, fingerprint="")
        _write(connection, record, row)
    return record


def restore(connection: sqlite3.Connection, record: RunRecord) -> tuple[int, RunRecord]:
    """The stored row of this run, written again where it is missing."""
    found = same_run(connection, record)
    if found is None:
        put(connection, record)
        found = same_run(connection, record)
    if found is None:
        raise sqlite3.DatabaseError("a row that was just written cannot be read")
    return found


def merge(connection: sqlite3.Connection, record: RunRecord) -> None:
    """Bring the stored row of this run up to what ``record`` knows."""
    row, stored = restore(connection, record)
    put(connection, replace(merged(stored, record), fingerprint=stored.fingerprint), row)


def insert(connection: sqlite3.Connection, record: RunRecord) -> None:
    """Write a new row. Raises sqlite3.IntegrityError where the request has an open run already."""
    connection.execute(_INSERT, _values(record))


def _write(connection: sqlite3.Connection, record: RunRecord, row: int | None) -> None:
    if row is None:
        insert(connection, record)
    else:
        connection.execute(_UPDATE, _values(record) | {"id": row})


def _values(record: RunRecord) -> dict[str, object]:
    """What is stored for a record, by column; ``_record`` is the way back."""
    plain = {field.name: getattr(record, field.name) for field in fields(record) if field.name in _COLUMNS}
    return plain | {
        "reference_urls": json.dumps(record.reference_urls),
        "task_name": text(record.task_name),
        "state": record.state.value,
        "results": json.dumps([[result.number, result.url, result.status] for result in record.results]),
        "charged_points": record.charge.charged_points,
        "remaining_points": record.charge.remaining_points,
        "delivered": int(record.delivered),
    }


def _record(row: Sequence[Any]) -> RunRecord:
    value = dict(zip(_COLUMNS, row, strict=True))
    try:
        charge = Charge(_number(value.pop("charged_points")), _number(value.pop("remaining_points")))
        value["reference_urls"] = tuple(str(url) for url in json.loads(value["reference_urls"]))
        value["state"] = RunState(value["state"])
        value["results"] = tuple(
            Result(int(number), str(url), str(status)) for number, url, status in json.loads(value["results"])
        )
        value["submitted_at"] = float(value["submitted_at"])
        value["lease_until"] = float(value["lease_until"])
        value["attempt"] = int(value["attempt"])
        value["batch_count"] = int(value["batch_count"])
        value["finished_at"] = _number(value["finished_at"])
        value["seconds"] = _number(value["seconds"])
        value["delivered"] = bool(value["delivered"])
    except (ValueError, TypeError) as error:
        raise sqlite3.DatabaseError("a row of the ledger is not readable") from error
    return RunRecord(charge=charge, **value)


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)
