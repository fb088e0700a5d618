"""The ledger's promises about submitting: who submits, who waits, and what a late word does to a row."""

from __future__ import annotations

import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from weshop_api.ledger import ClaimKind, Ledger, RunPlan, RunState
from weshop_api.models import Charge

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


def test_an_owner_that_is_known_to_be_at_work_is_waited_for_when_its_lease_has_ended(
    ledger: Ledger, clock: Clock
) -> None:
    """A computer that slept, or a slow disk, keeps it from renewing."""
    first = claimed(ledger, "asleep")
    clock.now += 3600

    assert ledger.claim(PLAN, "other", LEASE_SECONDS, at_work=frozenset({"asleep"})).kind is ClaimKind.WAIT
    ledger.outcome_unknown(first)
    assert ledger.claim(PLAN, "other", LEASE_SECONDS, at_work=frozenset({"asleep"})).kind is ClaimKind.REPLAY


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


def test_a_clock_that_was_set_back_holds_up_nobody_for_longer_than_a_minute(ledger: Ledger, clock: Clock) -> None:
    claimed(ledger)

    clock.now -= 61

    assert kind_of_next_claim(ledger) is ClaimKind.REPLAY


def test_a_failure_answers_those_who_have_been_waiting_for_it(ledger: Ledger, clock: Clock) -> None:
    record = running(ledger)
    before, clock.now = clock.now, clock.now + 5
    ledger.failed(record)

    claim = ledger.claim(PLAN, "other", LEASE_SECONDS, since=before)

    assert (claim.kind, claim.record.execution_id) == (ClaimKind.WATCH, "run-1")


@pytest.mark.parametrize("later_seconds", [0, 1, 3600])
def test_a_failure_does_not_answer_those_who_came_after_it(ledger: Ledger, clock: Clock, later_seconds: int) -> None:
    ledger.failed(running(ledger))
    clock.now += later_seconds

    assert ledger.claim(PLAN, "other", LEASE_SECONDS, since=clock.now).kind is ClaimKind.SUBMIT


def test_a_failure_that_a_clock_has_put_into_the_future_answers_nobody(ledger: Ledger, clock: Clock) -> None:
    ledger.failed(running(ledger))
    clock.now -= 3600

    assert ledger.claim(PLAN, "other", LEASE_SECONDS, since=clock.now).kind is ClaimKind.SUBMIT


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
