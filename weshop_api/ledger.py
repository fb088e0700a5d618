"""The record of what was submitted, paid for and delivered: one SQLite file, shared by every process of a user.

A row is written before a run is submitted and completed as soon as more is known, so that whatever happens in between,
the next queueing of the same request continues instead of paying again. ``docs/paid-runs.md`` explains the promise.
"""

from __future__ import annotations

import math
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path

from . import ledger_records as rules
from .ledger_file import StorageSettings
from .ledger_records import OPEN_STATES, Claim, ClaimKind, RunPlan, RunRecord, RunState
from .ledger_schema import insert, put, restore, same_run, select, text
from .ledger_storage import Storage
from .models import Charge, Reference, Result

__all__ = ["Claim", "ClaimKind", "Ledger", "RunPlan", "RunRecord", "RunState", "StorageSettings"]

# Their middle is then off by a twentieth. More would rather tell of a pace that the service no longer has.
KNOWN_DURATIONS_LIMIT = 100

_NEWEST_FIRST = "ORDER BY submitted_at DESC, id DESC"
_OPEN = ", ".join(f"'{state.value}'" for state in OPEN_STATES)
# An open run comes before any other, then a success; among equals the newest counts.
_BY_WEIGHT = f"ORDER BY state IN ({_OPEN}) DESC, state = 'success' DESC, id DESC LIMIT 1"
_ROWS = "SELECT id, execution_id FROM runs"
_ENDED_BEFORE = f"{_ROWS} WHERE submitted_at < ? AND state NOT IN ({_OPEN})"


class Ledger:
    """What was paid for, on disk. Every method is one transaction; all may be called from any thread.

    A method blocks for milliseconds, and for a few seconds at most when another process keeps the file locked: do not
    call it in an event loop. None raises on account of the file: a damaged one is set aside, one that cannot be written
    is replaced by a copy in memory, and ``warn`` gets one sentence about it.

    Methods that complete a run take the whole record, so that its row can be written again where it got lost.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        clock: Callable[[], float] = time.time,
        warn: Callable[[str], None],
        settings: StorageSettings = StorageSettings(),  # noqa: B008 - frozen
    ) -> None:
        """``path`` None keeps everything in memory. ``clock`` gives unix seconds."""
        self._clock = clock
        self._warn = warn
        self._storage = Storage(path, clock=clock, warn=warn, settings=settings)

    def close(self) -> None:
        """Let go of the file. What it has is complete at any time, closed or not."""
        self._storage.close()

    def claim(
        self,
        plan: RunPlan,
        owner: str,
        lease_seconds: float,
        since: float = math.inf,
        at_work: frozenset[str] = frozenset(),
    ) -> Claim:
        """Say what is to be done about this request, and reserve the submission for ``owner`` where there is one.

        Of any number of claimers at the same time, in any number of processes, exactly one is told to submit. Those who
        have been waiting ``since`` before it failed (unix seconds) are led to the failed run, instead of to a new one.
        Owners that are known to be ``at_work`` keep a lease that they could not renew in time.
        """

        def decide(connection: sqlite3.Connection) -> Claim:
            now = self._clock()
            row, record = _current(connection, plan.scope, plan.fingerprint)
            if record is not None and rules.has_just_failed(record, since, now):
                return Claim(ClaimKind.WATCH, record)
            if record is None or record.state in (RunState.FAILED, RunState.REFUSED):
                record = rules.begun(plan, str(uuid.uuid4()), owner, now, lease_seconds)
                insert(connection, record)
                return Claim(ClaimKind.SUBMIT, record)
            if record.state is RunState.RUNNING:
                return Claim(ClaimKind.WATCH, record)
            if record.state is RunState.SUCCESS:
                return Claim(ClaimKind.DONE, record)
            if rules.has_live_lease(record, now) or rules.is_sent_by(record, at_work):
                return Claim(ClaimKind.WAIT, record)
            return Claim(ClaimKind.REPLAY, put(connection, rules.taken_over(record, owner, now, lease_seconds), row))

        return self._storage.write(decide)

    def current(self, scope: str, fingerprint: str) -> RunRecord | None:
        """The run that a claim of this request would find now. Reserves nothing."""
        return self._storage.read(lambda connection: _current(connection, scope, fingerprint)[1])

    def renew(self, record: RunRecord, lease_seconds: float) -> bool:
        """Keep the lease of a submission that takes longer. False when somebody else has taken over."""

        def prolong(connection: sqlite3.Connection) -> bool:
            row, current = restore(connection, record)
            if not rules.holds_lease(current, record):
                return False
            put(connection, rules.prolonged(current, self._clock(), lease_seconds), row)
            return True

        return self._storage.write(prolong)

    def refused(self, record: RunRecord) -> RunRecord:
        """The service certainly did not accept this attempt.

        The state is REFUSED afterwards, and UNKNOWN when this was a replay: its refusal says nothing about the first
        attempt.
        """
        return self._change(record, lambda now: rules.refused(now) if rules.holds_lease(now, record) else now)

    def outcome_unknown(self, record: RunRecord) -> RunRecord:
        """Nobody knows whether the service accepted this attempt. Changes nothing once somebody does know."""
        return self._change(record, lambda now: rules.outcome_unknown(now) if rules.holds_lease(now, record) else now)

    def accepted(self, record: RunRecord, execution_id: str, charge: Charge = Charge()) -> RunRecord:  # noqa: B008 - a frozen value
        """The service accepted the run under this id.

        The first id stays. A different second one means that the service made two runs of one request: the second is
        kept as a run of its own, so that it can be fetched, and ``warn`` tells of it.
        """
        alone = rules.adopted(text(execution_id), record.scope, self._clock())

        def complete(connection: sqlite3.Connection) -> tuple[RunRecord, bool]:
            row, current = restore(connection, record)
            if current.execution_id not in ("", alone.execution_id):
                _adopt(connection, alone)
                return current, True
            after = rules.accepted(current, alone.execution_id, charge)
            brought_back = same_run(connection, alone)
            if brought_back is not None:
                connection.execute("DELETE FROM runs WHERE id = ?", (brought_back[0],))
                after = rules.joined(after, brought_back[1])
            return put(connection, after, row), False

        stored, is_second = self._storage.write(complete)
        if is_second:
            self._warn(
                f"WeShop made two runs of one request: {stored.execution_id} and {execution_id}. The first is used. "
                "The second may have been charged as well; Load Result brings its pictures by its execution id."
            )
        return stored

    def finished(self, record: RunRecord, results: tuple[Result, ...], *, seconds: float | None = None) -> RunRecord:
        """The run succeeded. ``seconds`` is how long it took, None when it was not watched to its end."""
        return self._change(record, lambda now: rules.finished(now, results, self._clock(), seconds))

    def failed(self, record: RunRecord, *, seconds: float | None = None) -> RunRecord:
        """The run ended at the service without a usable picture. The next queueing is a new run."""
        return self._change(record, lambda now: rules.failed(now, self._clock(), seconds))

    def adopt(self, execution_id: str, scope: str) -> RunRecord:
        """The record of this run, a new one without a fingerprint when it was not submitted from here."""
        alone = rules.adopted(text(execution_id), scope, self._clock())
        return self._storage.write(lambda connection: _adopt(connection, alone))

    def delivered(self, execution_id: str, scope: str) -> None:
        """All pictures of the run have been handed on."""

        def mark(connection: sqlite3.Connection) -> None:
            values = (scope, text(execution_id))
            connection.execute("UPDATE runs SET delivered = 1 WHERE scope = ? AND execution_id = ?", values)

        self._storage.write(mark)

    def find_run(self, execution_id: str, scope: str) -> RunRecord | None:
        """The run with this execution id."""
        return self._storage.read(lambda connection: _find(connection, execution_id, scope))

    def recent_runs(self, limit: int = 50) -> tuple[RunRecord, ...]:
        """The latest runs, newest first, whatever came of them."""

        def look(connection: sqlite3.Connection) -> tuple[RunRecord, ...]:
            return tuple(record for _, record in select(connection, f"{_NEWEST_FIRST} LIMIT ?", limit))

        return self._storage.read(look)

    def durations_seconds(self, plan: RunPlan, limit: int = KNOWN_DURATIONS_LIMIT) -> tuple[float, ...]:
        """How long the latest runs of the same service, model, size and count took, newest first."""
        tail = (
            "WHERE scope = ? AND model = ? AND image_size = ? AND batch_count = ? AND state = 'success' "
            f"AND seconds IS NOT NULL {_NEWEST_FIRST} LIMIT ?"
        )
        values = (plan.scope, plan.model, plan.image_size, plan.batch_count, limit)

        def look(connection: sqlite3.Connection) -> tuple[float, ...]:
            return tuple(run.seconds for _, run in select(connection, tail, *values) if run.seconds is not None)

        return self._storage.read(look)

    def find_upload(self, content_hash: str, scope: str) -> Reference | None:
        """The reference that this picture became when it was uploaded earlier."""

        def look(connection: sqlite3.Connection) -> Reference | None:
            statement = "SELECT url, width, height FROM uploads WHERE scope = ? AND content_hash = ?"
            row = connection.execute(statement, (scope, content_hash)).fetchone()
            return Reference(str(row[0]), int(row[1]), int(row[2]), content_hash) if row else None

        return self._storage.read(look)

    def remember_upload(self, reference: Reference, scope: str) -> None:
        """The picture with the reference's content hash is now at the reference's URL."""
        place = (text(reference.url), reference.width, reference.height)

        def note(connection: sqlite3.Connection) -> None:
            values = (scope, reference.content_hash, *place, self._clock())
            connection.execute("INSERT OR REPLACE INTO uploads VALUES (?, ?, ?, ?, ?, ?)", values)

        self._storage.write(note)

    def forget_uploads(self, urls: Iterable[str], scope: str) -> None:
        """The service no longer accepts these addresses; the pictures are to be uploaded again."""
        values = [(scope, text(url)) for url in urls]

        def drop(connection: sqlite3.Connection) -> None:
            connection.executemany("DELETE FROM uploads WHERE scope = ? AND url = ?", values)

        self._storage.write(drop)

    def forget(self, *, before: float | None = None, ids: Iterable[str] = ()) -> tuple[str, ...]:
        """Remove runs and return the execution id of each, empty for one that has none.

        ``before`` (unix seconds) removes older runs that have ended, and older uploads; open runs stay, because they
        may be paid for. ``ids`` are execution ids or Idempotency-Keys and remove those runs in any state.
        """
        names = [(text(name), text(name)) for name in ids if name]

        def drop(connection: sqlite3.Connection) -> tuple[str, ...]:
            gone: dict[int, str] = {}
            for name in names:
                gone.update(connection.execute(f"{_ROWS} WHERE execution_id = ? OR idempotency_key = ?", name))
            if before is not None:
                gone.update(connection.execute(_ENDED_BEFORE, (before,)))
                connection.execute("DELETE FROM uploads WHERE uploaded_at < ?", (before,))
            connection.executemany("DELETE FROM runs WHERE id = ?", [(row,) for row in gone])
            return tuple(gone.values())

        return self._storage.write(drop)

    def _change(self, record: RunRecord, change: Callable[[RunRecord], RunRecord]) -> RunRecord:
        def apply(connection: sqlite3.Connection) -> RunRecord:
            row, current = restore(connection, record)
            return put(connection, change(current), row)

        return self._storage.write(apply)


def _current(connection: sqlite3.Connection, scope: str, fingerprint: str) -> tuple[int | None, RunRecord | None]:
    tail = f"WHERE scope = ? AND fingerprint = ? {_BY_WEIGHT}"
    return next(select(connection, tail, scope, fingerprint), (None, None))


def _find(connection: sqlite3.Connection, execution_id: str, scope: str) -> RunRecord | None:
    tail = "WHERE scope = ? AND execution_id = ? ORDER BY fingerprint <> '' DESC, id DESC LIMIT 1"
    found = next(select(connection, tail, scope, text(execution_id)), None)
    return found[1] if found else None


def _adopt(connection: sqlite3.Connection, record: RunRecord) -> RunRecord:
    return _find(connection, record.execution_id, record.scope) or restore(connection, record)[1]
