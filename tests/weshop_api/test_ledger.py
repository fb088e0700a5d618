"""The ledger's promises: who submits, who waits, and what later knowledge does to a row."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from weshop_api.ledger import ClaimKind, Ledger, RunPlan, RunRecord, RunState
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
LEASE_SECONDS = 10.0


class Clock:
    """Unix seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["file", "memory"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Ledger]:
    """Both places keep the same promises; a warning fails the test."""
    path = tmp_path / "weshop" / "ledger.sqlite3" if request.param == "file" else None
    ledger = Ledger(path, clock=clock, warn=pytest.fail)
    yield ledger
    ledger.close()


def claimed(ledger: Ledger, owner: str = "me", plan: RunPlan = PLAN) -> RunRecord:
    return ledger.claim(plan, owner, LEASE_SECONDS).record


def running(ledger: Ledger, plan: RunPlan = PLAN, execution_id: str = "run-1") -> RunRecord:
    return ledger.accepted(claimed(ledger, plan=plan), execution_id, Charge(15, 230))


def kind_of_next_claim(ledger: Ledger) -> ClaimKind:
    return ledger.claim(PLAN, "next", LEASE_SECONDS).kind


def test_the_first_claim_of_a_request_submits_it(ledger: Ledger, clock: Clock) -> None:
    claim = ledger.claim(PLAN, "me", LEASE_SECONDS)

    assert claim.kind is ClaimKind.SUBMIT
    assert claim.record.state is RunState.SUBMITTING
    assert claim.record.reference_urls == PLAN.reference_urls
    assert claim.record.task_name == "a label"
    assert claim.record.submitted_at == clock.now
    assert uuid.UUID(claim.record.idempotency_key).version == 4


def test_a_request_that_somebody_is_submitting_is_waited_for(ledger: Ledger, clock: Clock) -> None:
    first = claimed(ledger)

    clock.now += LEASE_SECONDS - 0.1
    claim = ledger.claim(PLAN, "other", LEASE_SECONDS)

    assert claim.kind is ClaimKind.WAIT
    assert claim.record.idempotency_key == first.idempotency_key


def test_the_same_owner_waits_for_itself_too(ledger: Ledger) -> None:
    claimed(ledger, "me")

    assert ledger.claim(PLAN, "me", LEASE_SECONDS).kind is ClaimKind.WAIT


@pytest.mark.parametrize("ending", ["lease expired", "outcome unknown"])
def test_a_submission_without_an_answer_is_replayed_with_everything_it_was_sent_with(
    ledger: Ledger, clock: Clock, ending: str
) -> None:
    first = claimed(ledger)
    if ending == "outcome unknown":
        ledger.outcome_unknown(first)
    else:
        clock.now += LEASE_SECONDS
    uploaded_anew = replace(PLAN, reference_urls=("https://pictures.example/new.png",), task_name="new", body_hash="b2")

    claim = ledger.claim(uploaded_anew, "other", LEASE_SECONDS)

    assert claim.kind is ClaimKind.REPLAY
    assert claim.record.idempotency_key == first.idempotency_key
    assert claim.record.reference_urls == PLAN.reference_urls
    assert claim.record.task_name == PLAN.task_name
    assert claim.record.body_hash == PLAN.body_hash
    assert claim.record.lease_owner == "other"


def test_a_replay_is_waited_for_like_a_first_submission(ledger: Ledger) -> None:
    ledger.outcome_unknown(claimed(ledger))
    claimed(ledger, "other")

    assert kind_of_next_claim(ledger) is ClaimKind.WAIT


def test_a_running_run_is_watched(ledger: Ledger) -> None:
    running(ledger)

    claim = ledger.claim(PLAN, "next", LEASE_SECONDS)

    assert claim.kind is ClaimKind.WATCH
    assert claim.record.execution_id == "run-1"
    assert claim.record.charge == Charge(15, 230)


def test_a_finished_run_is_handed_out_with_its_results(ledger: Ledger) -> None:
    ledger.finished(running(ledger), RESULTS)

    claim = ledger.claim(PLAN, "next", LEASE_SECONDS)

    assert claim.kind is ClaimKind.DONE
    assert claim.record.results == RESULTS


@pytest.mark.parametrize("ending", ["refused", "failed"])
def test_a_run_that_ended_without_pictures_is_submitted_anew_with_a_new_key(ledger: Ledger, ending: str) -> None:
    first = ledger.refused(claimed(ledger)) if ending == "refused" else ledger.failed(running(ledger))

    claim = ledger.claim(PLAN, "next", LEASE_SECONDS)

    assert claim.kind is ClaimKind.SUBMIT
    assert claim.record.idempotency_key != first.idempotency_key


@pytest.mark.parametrize(
    "other", [replace(PLAN, fingerprint="f2"), replace(PLAN, scope="https://elsewhere.example/openapi")]
)
def test_another_request_or_another_service_is_another_run(ledger: Ledger, other: RunPlan) -> None:
    running(ledger)

    assert ledger.claim(other, "me", LEASE_SECONDS).kind is ClaimKind.SUBMIT


def test_looking_at_the_current_run_reserves_nothing(ledger: Ledger) -> None:
    before = ledger.current(SCOPE, "f1")
    kind = kind_of_next_claim(ledger)

    assert before is None
    assert kind is ClaimKind.SUBMIT
    found = ledger.current(SCOPE, "f1")
    assert found is not None
    assert found.state is RunState.SUBMITTING


def test_a_renewed_lease_lasts_longer(ledger: Ledger, clock: Clock) -> None:
    record = claimed(ledger)

    clock.now += LEASE_SECONDS - 1
    is_renewed = ledger.renew(record, LEASE_SECONDS)
    clock.now += LEASE_SECONDS - 1

    assert is_renewed
    assert kind_of_next_claim(ledger) is ClaimKind.WAIT


def test_a_lease_that_somebody_took_over_is_not_renewed(ledger: Ledger, clock: Clock) -> None:
    record = claimed(ledger, "me")
    clock.now += LEASE_SECONDS
    claimed(ledger, "other")

    assert not ledger.renew(record, LEASE_SECONDS)


def test_an_owner_that_took_over_from_itself_renews_only_the_later_lease(ledger: Ledger, clock: Clock) -> None:
    earlier = claimed(ledger, "me")
    clock.now += LEASE_SECONDS
    later = claimed(ledger, "me")

    assert not ledger.renew(earlier, LEASE_SECONDS)
    assert ledger.renew(later, LEASE_SECONDS)


def test_a_lease_from_a_clock_that_ran_far_ahead_does_not_last_for_ever(ledger: Ledger, clock: Clock) -> None:
    claimed(ledger)

    clock.now -= 24 * 3600

    assert kind_of_next_claim(ledger) is ClaimKind.REPLAY


def test_the_refusal_of_a_replay_leaves_the_outcome_unknown(ledger: Ledger) -> None:
    """The first attempt may have been accepted, and its cost may even be the reason of the refusal."""
    ledger.outcome_unknown(claimed(ledger))
    replay = claimed(ledger, "other")

    after = ledger.refused(replay)

    assert after.state is RunState.UNKNOWN
    assert kind_of_next_claim(ledger) is ClaimKind.REPLAY


@pytest.mark.parametrize("method", ["refused", "outcome_unknown"])
def test_a_late_word_does_not_end_the_submission_of_another(ledger: Ledger, clock: Clock, method: str) -> None:
    late = claimed(ledger, "me")
    clock.now += LEASE_SECONDS
    claimed(ledger, "other")

    getattr(ledger, method)(late)

    assert kind_of_next_claim(ledger) is ClaimKind.WAIT


@pytest.mark.parametrize("method", ["refused", "outcome_unknown"])
def test_a_late_word_does_not_move_an_accepted_run_back(ledger: Ledger, clock: Clock, method: str) -> None:
    late = claimed(ledger, "me")
    clock.now += LEASE_SECONDS
    ledger.accepted(claimed(ledger, "other"), "run-1")

    after = getattr(ledger, method)(late)

    assert after.state is RunState.RUNNING
    assert kind_of_next_claim(ledger) is ClaimKind.WATCH


def test_an_answer_that_comes_after_the_outcome_was_called_unknown_counts(ledger: Ledger) -> None:
    record = claimed(ledger)
    ledger.outcome_unknown(record)

    after = ledger.accepted(record, "run-1", Charge(15, 230))

    assert after.state is RunState.RUNNING
    assert after.execution_id == "run-1"


def test_an_answer_that_comes_after_a_replay_began_ends_the_replay(ledger: Ledger, clock: Clock) -> None:
    first = claimed(ledger)
    clock.now += LEASE_SECONDS
    replay = claimed(ledger, "other")

    ledger.accepted(first, "run-1")
    after = ledger.accepted(replay, "run-1")

    assert after.execution_id == "run-1"
    assert len(ledger.recent_runs()) == 1


def test_a_second_run_of_one_request_is_kept_as_a_run_of_its_own(tmp_path: Path, clock: Clock) -> None:
    warnings: list[str] = []
    ledger = Ledger(tmp_path / "ledger.sqlite3", clock=clock, warn=warnings.append)
    record = claimed(ledger)
    ledger.accepted(record, "run-1")

    after = ledger.accepted(record, "run-2")

    assert after.execution_id == "run-1"
    second = ledger.find_run("run-2", SCOPE)
    assert second is not None
    assert second.fingerprint == ""
    assert kind_of_next_claim(ledger) is ClaimKind.WATCH
    assert len(warnings) == 1
    assert "run-1" in warnings[0]
    assert "run-2" in warnings[0]
    ledger.close()


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

    count = ledger.forget(before=clock.now)

    assert count == 1
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

    count = ledger.forget(ids=["run-1", unknown.idempotency_key, "", "run-9"])

    assert count == 2
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
    assert ledger.forget(ids=[hostile]) == 1


def test_what_is_returned_is_what_is_stored(ledger: Ledger) -> None:
    record = ledger.finished(running(ledger), RESULTS, seconds=26.5)

    assert ledger.recent_runs() == (record,)
