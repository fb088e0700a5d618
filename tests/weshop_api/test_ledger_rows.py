"""The ledger's promises about what it keeps: how runs end, how they are found again, and what is forgotten."""

from __future__ import annotations

from dataclasses import replace

import pytest

from weshop_api.ledger import ClaimKind, Ledger, RunState
from weshop_api.models import Charge, Reference, Result

from .ledgers import (
    LEASE_SECONDS,
    PLAN,
    RESULTS,
    SCOPE,
    Clock,
    claimed,
    kind_of_next_claim,
    running,
)


def test_two_processes_may_finish_the_same_run(ledger: Ledger, clock: Clock) -> None:
    record = running(ledger)
    finished_at = clock.now
    ledger.finished(record, RESULTS, seconds=26.0)
    clock.now += 5

    after = ledger.finished(record, RESULTS)

    assert after.state is RunState.SUCCESS
    assert after.finished_at == finished_at
    assert after.seconds == 26.0


def test_reading_a_finished_run_again_brings_its_fresh_urls(ledger: Ledger) -> None:
    record = ledger.finished(running(ledger), RESULTS)
    fresh = (Result(1, "https://results.example/1.jpeg?signature=new", "Success"),)

    ledger.finished(record, fresh)

    found = ledger.find_run("run-1", SCOPE)
    assert found is not None
    assert found.results == fresh


def test_reading_a_finished_run_again_without_results_keeps_those_that_are_known(ledger: Ledger) -> None:
    record = ledger.finished(running(ledger), RESULTS)

    after = ledger.finished(record, ())

    assert after.results == RESULTS


def test_an_answer_that_comes_after_the_end_does_not_move_the_run_back(ledger: Ledger) -> None:
    record = claimed(ledger)
    ledger.finished(ledger.accepted(record, "run-1"), RESULTS)

    after = ledger.accepted(record, "run-1")

    assert after.state is RunState.SUCCESS


def test_a_success_is_not_turned_into_a_failure(ledger: Ledger) -> None:
    record = running(ledger)
    ledger.finished(record, RESULTS)

    after = ledger.failed(record)

    assert after.state is RunState.SUCCESS
    assert after.results == RESULTS


def test_a_failure_may_turn_out_to_be_a_success(ledger: Ledger) -> None:
    record = running(ledger)
    ledger.failed(record)

    ledger.finished(record, RESULTS)

    assert kind_of_next_claim(ledger) is ClaimKind.DONE


@pytest.mark.parametrize("method", ["failed", "finished"])
def test_a_submission_without_an_execution_id_does_not_end(ledger: Ledger, method: str) -> None:
    """A slip of the caller here would lead to a second submission."""
    record = ledger.outcome_unknown(claimed(ledger))

    after = ledger.failed(record) if method == "failed" else ledger.finished(record, RESULTS)

    assert after.state is RunState.UNKNOWN
    assert kind_of_next_claim(ledger) is ClaimKind.REPLAY


def test_a_success_is_reused_although_a_later_run_of_the_request_failed(ledger: Ledger) -> None:
    first = running(ledger)
    ledger.failed(first)
    ledger.failed(running(ledger, execution_id="run-2"))

    ledger.finished(first, RESULTS)

    assert ledger.claim(PLAN, "next", LEASE_SECONDS).record.execution_id == "run-1"


def test_delivery_is_remembered(ledger: Ledger) -> None:
    record = ledger.finished(running(ledger), RESULTS)

    ledger.delivered("run-1", SCOPE)

    found = ledger.find_run("run-1", SCOPE)
    assert not record.delivered
    assert found is not None
    assert found.delivered


def test_delivery_of_an_unknown_run_is_no_error(ledger: Ledger) -> None:
    ledger.delivered("run-9", SCOPE)

    assert ledger.recent_runs() == ()


def test_a_run_is_found_by_its_id_only_at_its_own_service(ledger: Ledger) -> None:
    running(ledger)

    assert ledger.find_run("run-1", SCOPE) is not None
    assert ledger.find_run("run-1", "https://elsewhere.example/openapi") is None
    assert ledger.find_run("run-2", SCOPE) is None
    assert ledger.find_run("", SCOPE) is None


def test_a_run_that_was_brought_back_by_id_can_be_finished_and_delivered(ledger: Ledger) -> None:
    adopted = ledger.adopt("run-7", SCOPE)

    ledger.finished(adopted, RESULTS)
    ledger.delivered("run-7", SCOPE)

    found = ledger.find_run("run-7", SCOPE)
    assert adopted.fingerprint == ""
    assert found is not None
    assert (found.state, found.results, found.delivered) == (RunState.SUCCESS, RESULTS, True)


def test_adopting_a_known_run_returns_what_is_known(ledger: Ledger) -> None:
    running(ledger)

    adopted = ledger.adopt("run-1", SCOPE)

    assert adopted.fingerprint == "f1"
    assert len(ledger.recent_runs()) == 1


def test_a_run_that_was_adopted_while_its_outcome_was_unknown_is_found_with_its_request(ledger: Ledger) -> None:
    ledger.outcome_unknown(claimed(ledger))
    ledger.finished(ledger.adopt("run-1", SCOPE), RESULTS)
    ledger.delivered("run-1", SCOPE)

    after = ledger.accepted(claimed(ledger), "run-1", Charge(15, 230))

    assert after.state is RunState.SUCCESS
    assert after.results == RESULTS
    assert after.delivered
    assert after.charge == Charge(15, 230)
    assert len(ledger.recent_runs()) == 1


def test_recent_runs_come_newest_first(ledger: Ledger, clock: Clock) -> None:
    for number in range(5):
        clock.now += 1
        running(ledger, replace(PLAN, fingerprint=f"f{number}"), f"run-{number}")

    assert [run.execution_id for run in ledger.recent_runs(3)] == ["run-4", "run-3", "run-2"]


def test_durations_are_those_of_the_same_kind_of_run_watched_to_its_end(ledger: Ledger) -> None:
    def finish(number: int, seconds: float | None, **change: object) -> None:
        plan = replace(PLAN, fingerprint=f"f{number}", **change)  # type: ignore[arg-type]  # any field
        ledger.finished(running(ledger, plan, f"run-{number}"), RESULTS, seconds=seconds)

    finish(1, 20.0)
    finish(2, 22.0)
    finish(3, None)
    finish(4, 90.0, model="Seedream_50_Pro")
    finish(5, 91.0, image_size="3K")
    finish(6, 92.0, batch_count=16)
    finish(7, 0.1, scope="http://127.0.0.1:1/openapi")
    ledger.failed(running(ledger, replace(PLAN, fingerprint="f8"), "run-8"), seconds=1.0)

    assert ledger.durations_seconds(PLAN) == (22.0, 20.0)
    assert ledger.durations_seconds(PLAN, limit=1) == (22.0,)


def test_the_durations_of_the_last_hundred_runs_are_handed_over(ledger: Ledger) -> None:
    for number in range(101):
        plan = replace(PLAN, fingerprint=f"f{number}")
        ledger.finished(running(ledger, plan, f"run-{number}"), RESULTS, seconds=20.0 + number)

    assert ledger.durations_seconds(PLAN) == tuple(120.0 - number for number in range(100))


def test_an_upload_is_remembered_for_its_service(ledger: Ledger) -> None:
    reference = Reference("https://pictures.example/a.png", 640, 480, "hash-a")

    ledger.remember_upload(reference, SCOPE)

    assert ledger.find_upload("hash-a", SCOPE) == reference
    assert ledger.find_upload("hash-a", "https://elsewhere.example/openapi") is None
    assert ledger.find_upload("hash-b", SCOPE) is None


def test_a_second_upload_of_a_picture_replaces_the_first(ledger: Ledger) -> None:
    ledger.remember_upload(Reference("https://pictures.example/old.png", 640, 480, "hash-a"), SCOPE)
    newer = Reference("https://pictures.example/new.png", 640, 480, "hash-a")

    ledger.remember_upload(newer, SCOPE)

    assert ledger.find_upload("hash-a", SCOPE) == newer


def test_uploads_that_the_service_lost_are_forgotten(ledger: Ledger) -> None:
    lost = Reference("https://pictures.example/a.png", 640, 480, "hash-a")
    kept = Reference("https://pictures.example/b.png", 640, 480, "hash-b")
    ledger.remember_upload(lost, SCOPE)
    ledger.remember_upload(kept, SCOPE)

    ledger.forget_uploads([lost.url, "https://user.example/own.png"], SCOPE)

    assert ledger.find_upload("hash-a", SCOPE) is None
    assert ledger.find_upload("hash-b", SCOPE) == kept


def test_forgetting_by_age_spares_runs_that_may_be_paid_for(ledger: Ledger, clock: Clock) -> None:
    ledger.finished(running(ledger, replace(PLAN, fingerprint="old"), "run-old"), RESULTS)
    running(ledger, replace(PLAN, fingerprint="going"), "run-going")
    ledger.outcome_unknown(claimed(ledger, plan=replace(PLAN, fingerprint="unknown")))
    clock.now += 100
    ledger.finished(running(ledger, replace(PLAN, fingerprint="young"), "run-young"), RESULTS)

    gone = ledger.forget(before=clock.now)

    assert gone == ("run-old",)
    assert {run.fingerprint for run in ledger.recent_runs()} == {"going", "unknown", "young"}


def test_forgetting_by_age_forgets_old_uploads(ledger: Ledger, clock: Clock) -> None:
    ledger.remember_upload(Reference("https://pictures.example/a.png", 1, 1, "hash-a"), SCOPE)
    clock.now += 100

    ledger.forget(before=clock.now)

    assert ledger.find_upload("hash-a", SCOPE) is None


def test_a_run_is_forgotten_by_its_id_in_any_state(ledger: Ledger) -> None:
    running(ledger)
    unknown = ledger.outcome_unknown(claimed(ledger, plan=replace(PLAN, fingerprint="f2")))
    running(ledger, replace(PLAN, fingerprint="f3"), "run-3")

    gone = ledger.forget(ids=["run-1", unknown.idempotency_key, "", "run-9"])

    assert gone == ("run-1", "")
    assert [run.execution_id for run in ledger.recent_runs()] == ["run-3"]


def test_a_run_that_was_forgotten_while_it_went_on_is_written_again(ledger: Ledger) -> None:
    record = claimed(ledger)
    ledger.forget(ids=[record.idempotency_key])

    ledger.accepted(record, "run-1", Charge(15, 230))

    assert kind_of_next_claim(ledger) is ClaimKind.WATCH


def test_a_forgotten_run_that_comes_back_does_not_replace_the_one_begun_since(ledger: Ledger) -> None:
    forgotten = claimed(ledger)
    ledger.forget(ids=[forgotten.idempotency_key])
    running(ledger, execution_id="run-2")

    ledger.accepted(forgotten, "run-1")

    assert ledger.claim(PLAN, "next", LEASE_SECONDS).record.execution_id == "run-2"
    assert ledger.find_run("run-1", SCOPE) is not None


def test_text_that_is_no_proper_unicode_does_no_harm(ledger: Ledger) -> None:
    """JSON may contain half a surrogate pair."""
    plan = replace(PLAN, task_name="half \ud83d", reference_urls=("https://pictures.example/\udc00",))
    record = ledger.claim(plan, "me", LEASE_SECONDS).record
    hostile = "run-\ud800-'; DROP TABLE runs; --\0"

    after = ledger.finished(ledger.accepted(record, hostile), (Result(1, "https://r.example/\ud801", "\udfff"),))
    ledger.delivered(hostile, SCOPE)

    found = ledger.find_run(hostile, SCOPE)
    assert found is not None
    assert found.delivered
    assert found.reference_urls == plan.reference_urls
    assert found.results == after.results
    assert found.execution_id == after.execution_id
    assert ledger.forget(ids=[hostile]) == (found.execution_id,)


def test_what_is_returned_is_what_is_stored(ledger: Ledger) -> None:
    record = ledger.finished(running(ledger), RESULTS, seconds=26.5)

    assert ledger.recent_runs() == (record,)
