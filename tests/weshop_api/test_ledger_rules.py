"""The ledger under any order of events: several claimers, late words, crashes, clocks that pass leases by.

A model of the service counts what it would bill. The promise: as long as the service honours its Idempotency-Key, no
request is ever paid for twice while an earlier run of it may still bring pictures.
"""

from __future__ import annotations

from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from weshop_api.ledger import Claim, ClaimKind, Ledger, RunPlan, RunRecord, RunState
from weshop_api.models import Result

PLAN = RunPlan("f1", "http://127.0.0.1:8787/openapi", "b1", (), "Seedream_50_Lite", "2K", "3:4", 1, "")
RESULTS = (Result(1, "https://results.example/1.jpeg", "Success"),)
LEASE_SECONDS = 8.0
OWNERS = st.sampled_from(["first", "second", "third"])


class PaidOnce(RuleBasedStateMachine):
    """Claimers with their claims in hand, and a service that bills each key once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_790_000_000.0
        self.ledger = Ledger(None, clock=lambda: self.now, warn=self._never)
        self.in_hand: dict[str, RunRecord] = {}
        self.billed: dict[str, str] = {}
        self.failed_keys: set[str] = set()
        self.known_ids: set[str] = set()
        self.ranks: dict[str, int] = {}

    @initialize()
    def begin(self) -> None:
        """Nothing has been sent yet."""

    @rule(owner=OWNERS)
    def claim(self, owner: str) -> None:
        """Somebody queues the request, perhaps after a crash that made them forget an earlier claim."""
        claim = self.ledger.claim(PLAN, owner, LEASE_SECONDS)
        self._check_new_submission(claim)
        if claim.kind in (ClaimKind.SUBMIT, ClaimKind.REPLAY):
            self.in_hand[owner] = claim.record

    @rule(owner=OWNERS, is_answered=st.booleans())
    def send_and_be_accepted(self, owner: str, *, is_answered: bool) -> None:
        """The request arrives; the answer may get lost."""
        record = self.in_hand.pop(owner, None)
        if record is None:
            return
        execution_id = self.billed.setdefault(record.idempotency_key, f"run-{len(self.billed)}")
        if is_answered:
            self.ledger.accepted(record, execution_id)
            self.known_ids.add(execution_id)
        else:
            self.ledger.outcome_unknown(record)

    @rule(owner=OWNERS)
    def send_and_crash(self, owner: str) -> None:
        """The request arrives, and the sender dies before it can write anything down."""
        record = self.in_hand.pop(owner, None)
        if record is not None:
            self.billed.setdefault(record.idempotency_key, f"run-{len(self.billed)}")

    @rule(owner=OWNERS)
    def send_and_be_refused(self, owner: str) -> None:
        """The service refuses; it may have accepted an earlier attempt."""
        record = self.in_hand.pop(owner, None)
        if record is not None:
            self.ledger.refused(record)

    @rule(owner=OWNERS)
    def renew(self, owner: str) -> None:
        """The heartbeat of a submission."""
        if owner in self.in_hand:
            self.ledger.renew(self.in_hand[owner], LEASE_SECONDS)

    @rule(is_success=st.booleans())
    def a_known_run_ends(self, *, is_success: bool) -> None:
        """A watcher sees the end, possibly not the first one to do so."""
        for record in self.ledger.recent_runs(1):
            if record.execution_id and is_success:
                self.ledger.finished(record, RESULTS)
            elif record.execution_id:
                self.ledger.failed(record)
                self.failed_keys.add(record.idempotency_key)

    @rule(seconds=st.sampled_from([0.5, 5.0, 9.0]))
    def time_passes(self, seconds: float) -> None:
        """Leases end, and the order of rows by time is the order of events."""
        self.now += seconds

    @invariant()
    def at_most_one_run_is_open(self) -> None:
        """The index in the file says the same."""
        open_runs = [run for run in self.ledger.recent_runs() if run.state in _OPEN]
        assert len(open_runs) <= 1

    @invariant()
    def no_execution_id_is_ever_lost(self) -> None:
        """What was once known stays findable."""
        for execution_id in self.known_ids:
            assert self.ledger.find_run(execution_id, PLAN.scope) is not None

    @invariant()
    def nothing_is_ever_known_less(self) -> None:
        """From submitting or unknown to running to an end, and from an end only to a success."""
        for run in self.ledger.recent_runs():
            rank = _RANKS[run.state]
            assert rank >= self.ranks.get(run.idempotency_key, 0)
            self.ranks[run.idempotency_key] = rank

    def teardown(self) -> None:
        """Close what is held in memory."""
        self.ledger.close()

    def _check_new_submission(self, claim: Claim) -> None:
        if claim.kind is ClaimKind.SUBMIT:
            still_good = set(self.billed) - self.failed_keys
            assert not still_good, "a second run is submitted while a paid one may still bring pictures"

    @staticmethod
    def _never(sentence: str) -> None:
        raise AssertionError(sentence)


_OPEN = (RunState.SUBMITTING, RunState.UNKNOWN, RunState.RUNNING)
_RANKS = {
    RunState.SUBMITTING: 0,
    RunState.UNKNOWN: 0,
    RunState.REFUSED: 1,
    RunState.RUNNING: 1,
    RunState.FAILED: 2,
    RunState.SUCCESS: 3,
}
PaidOnce.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestPaidOnce = PaidOnce.TestCase
