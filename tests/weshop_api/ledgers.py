"""What the tests of the ledger share: a plan, a clock, and ledgers with something in them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from weshop_api.ledger import ClaimKind, Ledger, RunPlan, RunRecord, StorageSettings
from weshop_api.models import Charge, Reference, Result

SCOPE = "http://127.0.0.1:8787/openapi"
PLAN = RunPlan(
    fingerprint="f1",
    scope=SCOPE,
    body_hash="b1",
    reference_urls=("https://pictures.example/a.png", "https://pictures.example/b.png"),
    model="Seedream_50_Lite",
    image_size="2K",
    aspect_ratio="3:4",
    batch_count=2,
    task_name="a label",
)
RESULTS = (
    Result(1, "https://results.example/1.jpeg", "Success"),
    Result(2, "", "Failed"),
)
UPLOAD = Reference("https://pictures.example/a.png", 640, 480, "hash-a")
IMPATIENT = StorageSettings(busy_seconds=0.2)
LEASE_SECONDS = 10.0
STARTED_AT = 1_790_000_000.0


class Clock:
    """Unix seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now = STARTED_AT

    def __call__(self) -> float:
        return self.now


def claimed(ledger: Ledger, owner: str = "me", plan: RunPlan = PLAN) -> RunRecord:
    return ledger.claim(plan, owner, LEASE_SECONDS).record


def running(ledger: Ledger, plan: RunPlan = PLAN, execution_id: str = "run-1") -> RunRecord:
    return ledger.accepted(claimed(ledger, plan=plan), execution_id, Charge(15, 230))


def kind_of_next_claim(ledger: Ledger) -> ClaimKind:
    return ledger.claim(PLAN, "next", LEASE_SECONDS).kind


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
    assert ledger.forget(ids=[execution_id]) == (execution_id,)
    assert ledger.current(SCOPE, plan.fingerprint) is None


def damaged_files(path: Path) -> list[Path]:
    return sorted(file for file in path.parent.iterdir() if ".damaged-" in file.name)
