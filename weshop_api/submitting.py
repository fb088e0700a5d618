"""Get a run accepted at most once per click: claim it in the ledger, submit it, write down what came of it.

The whole of it is one background task. Whoever stops waiting abandons it: a submit that is under way is completed,
so that its execution id reaches the ledger, and a submit that has not begun is given back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4
from weakref import WeakValueDictionary

from . import protocol
from .errors import InvalidRequestError, LimitReachedError, NotSentError, OutcomeUnknownError, WeShopError
from .ledger import ClaimKind
from .progress import Phase, Progress

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from .background import Background
    from .client import WeShopClient
    from .ledger import Claim, Ledger, RunPlan, RunRecord
    from .limits import AdaptiveLimit
    from .models import Submission
    from .seedream import SeedreamRequest

LEASE_SECONDS = 8.0
LEASE_RENEWAL_SECONDS = 2.0
OTHER_SUBMITTER_PAUSE_SECONDS = 0.25
log = logging.getLogger("weshop")


class _AbandonedError(Exception):
    """Nobody waits for this submission any more, and so nobody sees this error."""


class _OvertakenError(Exception):
    """Another process took this submission over, because nothing was heard of it for too long. Never leaves a click."""


class _Twins:
    """What equal requests share that are under way at once, such as those of two equal nodes: they are one click.

    ``error`` is set when nobody knows what came of the submission of one. Then it is for the user to ask again, and not
    for the next of them.
    """

    def __init__(self) -> None:
        self.error: OutcomeUnknownError | None = None


@dataclass(frozen=True)
class Turn:
    """One call among equal ones: the run it wants, and when it began, in unix seconds."""

    plan: RunPlan
    since: float
    twins: _Twins


class Submitter:
    """Turns a plan into an accepted run, with the ledger as its memory."""

    def __init__(self, client: WeShopClient, ledger: Ledger, background: Background, limit: AdaptiveLimit) -> None:
        self.client = client
        self.ledger = ledger
        self.background = background
        self.limit = limit
        self.upload_generation = 0
        self._clicks: set[_Click] = set()
        self._twins: WeakValueDictionary[str, _Twins] = WeakValueDictionary()

    @property
    def owners(self) -> frozenset[str]:
        """Who is at work in this process. That needs no lease to be known, which ends when a computer sleeps."""
        return frozenset(click.owner for click in self._clicks)

    def turn(self, plan: RunPlan) -> Turn:
        """The turn of a request that begins now. To be kept until it has ended, so that equal ones find it."""
        twins = self._twins.get(plan.fingerprint)
        if twins is None or twins.error is not None:
            twins = self._twins[plan.fingerprint] = _Twins()
        return Turn(plan, time.time(), twins)

    async def submit(
        self,
        request: SeedreamRequest,
        turn: Turn,
        patience_seconds: float,
        report: Callable[[Progress], None],
    ) -> tuple[RunRecord, bool]:
        """The ledger's record of a run that the service accepted, and whether that was an earlier one.

        Raises OutcomeUnknownError when nobody knows whether it was accepted, and the service's refusal otherwise.
        A refusal because of the limit is repeated for ``patience_seconds``.
        """
        click = _Click(self, request, turn, patience_seconds, report)
        task = self.background.start(click.run())
        task.add_done_callback(lambda _: self._clicks.discard(click))
        self._clicks.add(click)
        try:
            await asyncio.wait({task})
            return task.result()
        except asyncio.CancelledError:
            click.abandoned.set()
            raise
        except _AbandonedError:
            raise NotSentError("Nothing was submitted, because the program is closing. Queue again.") from None

    def close(self) -> None:
        """Give back what has not been sent yet, so that nothing is left to wait for but what is on its way."""
        for click in self._clicks:
            click.abandoned.set()


class _Click:
    """One attempt of a user to get a run, from the claim to the row in the ledger."""

    def __init__(
        self,
        submitter: Submitter,
        request: SeedreamRequest,
        turn: Turn,
        patience_seconds: float,
        report: Callable[[Progress], None],
    ) -> None:
        self._submitter = submitter
        self._ledger = submitter.ledger
        self._call = submitter.background.call
        self._request = request
        self._turn = turn
        self._patience_seconds = patience_seconds
        self._report = report
        self.owner = uuid4().hex
        self._attempts = 0
        self.abandoned = asyncio.Event()

    async def run(self) -> tuple[RunRecord, bool]:
        while True:
            claim = await self._claim()
            if claim.kind in (ClaimKind.WATCH, ClaimKind.DONE):
                return claim.record, True
            with contextlib.suppress(_OvertakenError):
                async with self._lease(claim.record):
                    return await self._send(claim.record), False

    async def _claim(self) -> Claim:
        """Wait while another node or another process is submitting the very same run."""
        while True:
            turn = self._turn
            if turn.twins.error is not None:
                raise turn.twins.error
            others = self._submitter.owners - {self.owner}
            claim = await self._call(self._ledger.claim, turn.plan, self.owner, LEASE_SECONDS, turn.since, others)
            if claim.kind is not ClaimKind.WAIT:
                return claim
            self._tell("another node is submitting the same run")
            await self._pause(OTHER_SUBMITTER_PAUSE_SECONDS)

    async def _send(self, record: RunRecord) -> RunRecord:
        body = protocol.submit_body(self._request, record.reference_urls, record.task_name)
        if protocol.body_hash(body) != record.body_hash:
            await self._call(self._ledger.outcome_unknown, record)
            raise _not_identical()
        attempts = self._submitter.client.policy.submitting(self._patience_seconds, self._pause, self._on_refused)
        try:
            submission: Submission = await attempts(self._attempt, body, record)
        except _OvertakenError:
            raise
        except Exception as error:
            if _is_certainly_not_accepted(error):
                await self._give_back(record, error)
            else:
                # Before others can see it in the ledger. Where nobody waits for this click, nobody would be told.
                if isinstance(error, OutcomeUnknownError) and not self.abandoned.is_set():
                    self._turn.twins.error = error
                await self._call(self._ledger.outcome_unknown, record)
            raise
        return await self._call(self._ledger.accepted, record, submission.execution_id, submission.charge)

    async def _attempt(self, body: bytes, record: RunRecord) -> Submission:
        if self.abandoned.is_set():
            raise _AbandonedError
        if not await self._call(self._ledger.renew, record, LEASE_SECONDS):
            raise _OvertakenError
        self._tell()
        limit = self._submitter.limit
        self._attempts += 1
        log.debug("submitting a run of %s, attempt %d of this click", record.model, self._attempts)
        try:
            submission = await self._submitter.client.submit(body, record.idempotency_key)
        except LimitReachedError:
            limit.refused()
            raise
        limit.accepted()
        log.debug("run %s was accepted at attempt %d", submission.execution_id, self._attempts)
        return submission

    async def _give_back(self, record: RunRecord, error: Exception) -> None:
        """Write down that this click certainly created nothing."""
        await self._call(self._ledger.refused, record)
        if record.attempt > 1 and isinstance(error, WeShopError):
            error.add(
                "An earlier submission of this run got no answer and may have been accepted and charged all the same. "
                "Queueing again with the same seed asks for that one once more; a new seed makes a new run."
            )
        if isinstance(error, InvalidRequestError) and record.reference_urls:
            # A remembered upload may have expired at the service; forgetting it costs one more upload at the most.
            await self._call(self._ledger.forget_uploads, record.reference_urls, record.scope)
            self._submitter.upload_generation += 1

    @contextlib.asynccontextmanager
    async def _lease(self, record: RunRecord) -> AsyncIterator[None]:
        """Tell other processes, every now and then, that somebody is still at work on this row."""

        async def renew() -> None:
            while True:
                await asyncio.sleep(LEASE_RENEWAL_SECONDS)
                await self._call(self._ledger.renew, record, LEASE_SECONDS)

        heartbeat = asyncio.create_task(renew())
        try:
            yield
        finally:
            heartbeat.cancel()

    async def _pause(self, seconds: float) -> None:
        """Sleep, unless and until nobody waits any more."""
        try:
            await asyncio.wait_for(self.abandoned.wait(), seconds)
        except asyncio.TimeoutError:
            return
        raise _AbandonedError

    def _on_refused(self, error: BaseException, wait_seconds: float) -> None:
        log.debug("not accepted (%s), next attempt in %.1f s", type(error).__name__, wait_seconds)
        if isinstance(error, LimitReachedError):
            self._tell(f"WeShop accepts no more runs at the moment, next attempt in {wait_seconds:.0f} s")
        else:
            self._tell(f"no connection, next attempt in {wait_seconds:.0f} s")

    def _tell(self, note: str = "") -> None:
        if not self.abandoned.is_set():
            self._report(Progress(Phase.SUBMITTING, total=self._request.batch_count, note=note))


def _is_certainly_not_accepted(error: Exception) -> bool:
    """Of errors that are not ours, such as one of the caller's listener, this is not known."""
    return isinstance(error, WeShopError | _AbandonedError) and not isinstance(error, OutcomeUnknownError)


def _not_identical() -> OutcomeUnknownError:
    return OutcomeUnknownError(
        "An earlier submission of this run got no answer, and it cannot be repeated identically any more (the pack "
        "was updated in between). To be on the safe side nothing was sent. Look at your runs on the WeShop site; "
        "a new seed makes a new run."
    )
