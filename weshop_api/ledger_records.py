"""What the ledger holds, as frozen records, and the rules by which a record may change.

The rules are pure functions from one record to the next. They only ever move forward: a process that learns
something late cannot take back what another has learned already.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from .models import Charge, Result

# No lease is that long. One that seems to be was written before a clock was set back, and nobody may be left to end it.
LONGEST_LEASE_SECONDS = 60.0


class RunState(str, Enum):
    """What is known about a run on this side."""

    SUBMITTING = "submitting"
    """A process is sending the request, or died doing so."""

    UNKNOWN = "unknown"
    """The request was sent, and nobody knows whether the service accepted it."""

    RUNNING = "running"
    """The service accepted the run and gave it an execution id."""

    SUCCESS = "success"
    FAILED = "failed"

    REFUSED = "refused"
    """The service certainly did not accept the request; nothing was charged."""


OPEN_STATES = (RunState.SUBMITTING, RunState.UNKNOWN, RunState.RUNNING)

_KNOWLEDGE = {
    RunState.SUBMITTING: 0,
    RunState.UNKNOWN: 1,
    RunState.REFUSED: 2,
    RunState.RUNNING: 3,
    RunState.FAILED: 4,
    RunState.SUCCESS: 5,
}


class ClaimKind(str, Enum):
    """What the one who claims a run has to do."""

    SUBMIT = "submit"
    """Send the request with the record's Idempotency-Key."""

    REPLAY = "replay"
    """Send the identical body again: the record's key, reference URLs and task name."""

    WAIT = "wait"
    """Somebody else is sending this request now; claim again in a moment."""

    WATCH = "watch"
    """The run exists; follow the record's execution id."""

    DONE = "done"
    """The run is finished; the record has its results."""


@dataclass(frozen=True, slots=True)
class RunPlan:
    """A run that is about to be submitted.

    ``fingerprint`` stands for the request and its seed, ``scope`` is the service's base URL, and ``body_hash``
    stands for the exact body, so that a replay can be checked. Neither the prompt nor the key is part of it.
    """

    fingerprint: str
    scope: str
    body_hash: str
    reference_urls: tuple[str, ...]
    model: str
    image_size: str
    aspect_ratio: str
    batch_count: int
    task_name: str


@dataclass(frozen=True, slots=True)
class RunRecord(RunPlan):
    """What the ledger knows about a run.

    ``attempt`` is 1 for the first submission and grows with every replay; together with ``lease_owner`` it says whose
    turn it is until ``lease_until``. Times are unix seconds. ``seconds`` is how long the run took, None when it was not
    watched to its end. ``fingerprint`` and ``idempotency_key`` are empty for a run that was not submitted from here,
    ``execution_id`` is empty as long as it is not known.
    """

    idempotency_key: str
    state: RunState
    attempt: int
    lease_owner: str
    lease_until: float
    execution_id: str
    results: tuple[Result, ...]
    charge: Charge
    submitted_at: float
    finished_at: float | None
    seconds: float | None
    delivered: bool


@dataclass(frozen=True, slots=True)
class Claim:
    """The answer to a claim: what to do, and the record to do it with."""

    kind: ClaimKind
    record: RunRecord


def begun(plan: RunPlan, idempotency_key: str, owner: str, now: float, lease_seconds: float) -> RunRecord:
    """The record written before a run is submitted for the first time."""
    return RunRecord(
        fingerprint=plan.fingerprint,
        scope=plan.scope,
        body_hash=plan.body_hash,
        reference_urls=plan.reference_urls,
        model=plan.model,
        image_size=plan.image_size,
        aspect_ratio=plan.aspect_ratio,
        batch_count=plan.batch_count,
        task_name=plan.task_name,
        idempotency_key=idempotency_key,
        state=RunState.SUBMITTING,
        attempt=1,
        lease_owner=owner,
        lease_until=now + lease_seconds,
        execution_id="",
        results=(),
        charge=Charge(),
        submitted_at=now,
        finished_at=None,
        seconds=None,
        delivered=False,
    )


def adopted(execution_id: str, scope: str, now: float) -> RunRecord:
    """The record of a run that was not submitted from here: an execution id and nothing else."""
    plan = RunPlan("", scope, "", (), "", "", "", 0, "")
    return accepted(begun(plan, "", "", now, 0), execution_id, Charge())


def has_live_lease(record: RunRecord, now: float) -> bool:
    """Whether somebody is sending this request now. A lease from a clock that ran ahead does not count."""
    return record.state is RunState.SUBMITTING and now < record.lease_until <= now + LONGEST_LEASE_SECONDS


def is_sent_by(record: RunRecord, owners: frozenset[str]) -> bool:
    """Whether one of these is sending this request, whatever the clock says."""
    return record.state is RunState.SUBMITTING and record.lease_owner in owners


def has_just_failed(record: RunRecord, since: float, now: float) -> bool:
    """Whether the run ended without a picture after ``since``. An end in the future does not count."""
    return record.state is RunState.FAILED and since < (record.finished_at or 0.0) <= now


def taken_over(record: RunRecord, owner: str, now: float, lease_seconds: float) -> RunRecord:
    """The next attempt of a submission that ended without an answer."""
    return replace(
        record,
        state=RunState.SUBMITTING,
        attempt=record.attempt + 1,
        lease_owner=owner,
        lease_until=now + lease_seconds,
    )


def holds_lease(current: RunRecord, claimed: RunRecord) -> bool:
    """Whether nobody has taken over since ``claimed`` was handed out and the submission is still open."""
    return (
        current.state is RunState.SUBMITTING
        and current.attempt == claimed.attempt
        and current.lease_owner == claimed.lease_owner
    )


def prolonged(record: RunRecord, now: float, lease_seconds: float) -> RunRecord:
    """The same submission with a lease that begins now."""
    return replace(record, lease_until=now + lease_seconds)


def refused(record: RunRecord) -> RunRecord:
    """The service refused this attempt.

    The refusal of a replay says nothing about the first attempt (a lack of points may even come from it), so the
    outcome stays unknown.
    """
    state = RunState.REFUSED if record.attempt == 1 else RunState.UNKNOWN
    return replace(record, state=state, lease_owner="", lease_until=0.0)


def outcome_unknown(record: RunRecord) -> RunRecord:
    """No answer told whether the service accepted this attempt."""
    return replace(record, state=RunState.UNKNOWN, lease_owner="", lease_until=0.0)


def accepted(record: RunRecord, execution_id: str, charge: Charge) -> RunRecord:
    """The service accepted the run. The first execution id stays."""
    if record.execution_id:
        return record
    return replace(
        record,
        state=RunState.RUNNING,
        execution_id=execution_id,
        charge=charge,
        lease_owner="",
        lease_until=0.0,
    )


def joined(record: RunRecord, brought_back: RunRecord) -> RunRecord:
    """A run that was brought back by its id before its own submission learned that id."""
    if brought_back.state is RunState.RUNNING:
        return record
    return replace(
        record,
        state=brought_back.state,
        results=brought_back.results,
        finished_at=brought_back.finished_at,
        delivered=brought_back.delivered,
    )


def finished(record: RunRecord, results: tuple[Result, ...], now: float, seconds: float | None) -> RunRecord:
    """The run succeeded. Fresh URLs replace older ones; the time of the first finding stays."""
    if not record.execution_id:
        return record
    return replace(
        record,
        state=RunState.SUCCESS,
        results=results or record.results,
        finished_at=record.finished_at if record.finished_at is not None else now,
        seconds=record.seconds if record.seconds is not None else seconds,
    )


def failed(record: RunRecord, now: float, seconds: float | None) -> RunRecord:
    """The run ended without a usable picture. A success that is already known stays."""
    if record.state is RunState.SUCCESS or not record.execution_id:
        return record
    return replace(
        record,
        state=RunState.FAILED,
        finished_at=record.finished_at if record.finished_at is not None else now,
        seconds=record.seconds if record.seconds is not None else seconds,
    )


def merged(one: RunRecord, other: RunRecord) -> RunRecord:
    """Two records of the same run that were kept apart for a while: the one that knows more."""
    wiser = max(one, other, key=lambda record: (_KNOWLEDGE[record.state], record.attempt, len(record.results)))
    return replace(wiser, delivered=one.delivered or other.delivered)
