"""Follow an accepted run to its end: one watch for all who wait for the same run.

A poll that fails is no news about the run, so the watch goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from .background import SharedTask, within
from .errors import (
    AuthenticationError,
    CredentialsError,
    NoAnswerError,
    NotFoundError,
    RunTimeoutError,
    WeShopError,
)
from .models import RunStatus
from .progress import Phase, Progress
from .schedule import expected_seconds, next_poll_delay_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .client import WeShopClient
    from .models import Execution, Result

    PollDelay = Callable[[float, Sequence[float]], float]

# A poll answers in well under a second. One that hangs longer than this costs more than asking again.
POLL_TIMEOUT_SECONDS = 15.0
# A run that was accepted a moment ago may not be known everywhere at once, and a gateway may refuse a key by mistake.
REFUSAL_PATIENCE = 3
# How often the age of a run is told anew.
TELLING_SECONDS = 1.0
# How often a success is looked at again that does not account for all its pictures yet.
LOOKS_AGAIN = 2
log = logging.getLogger("weshop")


@dataclass(frozen=True)
class Watch:
    """What to follow.

    ``age_seconds`` is how long ago the run was accepted, ``known_durations_seconds`` how long such runs took lately,
    ``batch_count`` how many pictures were asked for (0: not known). ``is_new`` says that the run was accepted a moment
    ago, so that there is no hurry to ask. ``seen`` is an answer of this moment, which need not be asked for again.
    """

    execution_id: str
    timeout_seconds: float
    age_seconds: float = 0.0
    known_durations_seconds: Sequence[float] = ()
    batch_count: int = 0
    is_new: bool = True
    seen: Execution | None = None


@dataclass(frozen=True)
class Ending:
    """The terminal answer, and how long the run took, None when it had ended before anybody looked."""

    execution: Execution
    seconds: float | None


class Watches:
    """The runs that are being followed, each by one watch, polled in the given rhythm."""

    def __init__(self, client: WeShopClient, next_poll_delay_seconds: PollDelay = next_poll_delay_seconds) -> None:
        self._client = client
        self._delay_seconds = next_poll_delay_seconds
        self._watchers: WeakValueDictionary[str, _Watcher] = WeakValueDictionary()

    async def follow(self, what: Watch, report: Callable[[Progress], None]) -> Ending:
        """Wait until the run is terminal, as one of any number who do; who comes later sees at once how far it is.

        A success that does not account for all its pictures is looked at again, because they may be listed a moment
        later, and pictures that an earlier answer listed are not lost. Nor are they when all are there at the end of
        the wait and the status is a word that nobody has heard of.
        Raises RunTimeoutError when the wait ends first (the run goes on at the service), NotFoundError when the service
        does not know the id, AuthenticationError or CredentialsError when asking on is pointless.
        """
        until = time.monotonic() + what.timeout_seconds
        watcher = self._watchers.get(what.execution_id)
        if watcher is None or watcher.shared.is_over:
            watcher = self._watchers[what.execution_id] = _Watcher(self._client, what, self._delay_seconds)
        async with watcher.shared as task:
            while not task.done():
                report(watcher.progress())
                left = until - time.monotonic()
                if left <= 0:
                    return watcher.ending_by_now(what.timeout_seconds)
                either: list[asyncio.Future[Any]] = [task, watcher.news]
                await asyncio.wait(either, timeout=min(left, TELLING_SECONDS), return_when=asyncio.FIRST_COMPLETED)
            report(watcher.progress())
            return task.result()


async def look(client: WeShopClient, execution_id: str) -> Execution | None:
    """Where a run stands that has ended already, None when that cannot be had at once."""
    with contextlib.suppress(WeShopError):
        return await within(POLL_TIMEOUT_SECONDS, client.poll(execution_id), _no_answer)
    return None


def accounts_for_all(results: Sequence[Result], batch_count: int) -> bool:
    """Whether each picture is there or said to have failed. ``batch_count`` 0: not known."""
    failed = sum(result.status.lower() == RunStatus.FAILED.value.lower() for result in results)
    usable = sum(bool(result.url) for result in results)
    return usable + failed >= max(batch_count, len(results), 1)


class _Watcher:
    """The state of one watch: when it began, the last answer, and how many polls failed in a row.

    ``shared`` is the watch itself. ``news`` is done as soon as there is another answer.
    """

    def __init__(self, client: WeShopClient, what: Watch, delay_seconds: PollDelay) -> None:
        self._client = client
        self._what = what
        self._delay_seconds = delay_seconds
        self._started_seconds = time.monotonic()
        self._last: Execution | None = None
        self._fullest: Execution | None = None
        self._ending: Ending | None = None
        self._was_going = False
        self._failures = 0
        self._refusals = 0
        self._last_error: WeShopError | None = None
        self.news: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if what.seen:
            self._note_answer(what.seen)
        self.shared = SharedTask(self._follow())

    async def _follow(self) -> Ending:
        if not self._what.is_new and not self._what.seen:
            await self._poll_once()
        while not self._last or not self._last.status.is_terminal:
            await self._pause()
            await self._poll_once()
        self._ending = self._filled(Ending(self._last, self._age_seconds() if self._was_going else None))
        for _ in range(LOOKS_AGAIN):
            execution = self._ending.execution
            if execution.status is not RunStatus.SUCCESS or accounts_for_all(execution.results, self._what.batch_count):
                break
            await self._pause()
            # It stays an ending, whatever becomes of this look.
            with contextlib.suppress(WeShopError):
                await self._poll_once()
            self._ending = self._filled(self._ending)
        return self._ending

    def ending_by_now(self, timeout_seconds: float) -> Ending:
        """What somebody gets who waits no longer. Raises RunTimeoutError when that is nothing."""
        if self._ending:
            return self._ending
        # The service may have a word for success that is not known here.
        if self._last and self._last.status is RunStatus.UNKNOWN and self._has_all(self._last):
            return Ending(replace(self._last, status=RunStatus.SUCCESS), None)
        execution_id = self._what.execution_id
        word = self._last.status_text if self._last else "no answer"
        trouble = f" The last trouble was: {self._last_error}" if self._last_error else ""
        raise RunTimeoutError(
            f"Run {execution_id} had not ended after {timeout_seconds / 60:.3g} minutes (last status: {word}). It goes "
            "on at WeShop and is not lost: queue again with the same seed to collect it, or give WeShop Seedream "
            f"Generate more timeout_minutes.{trouble}",
            execution_id=execution_id,
        )

    def progress(self) -> Progress:
        """How far the run is."""
        last, what = self._last, self._what
        usable = last.usable if last else ()
        return Progress(
            Phase.WATCHING,
            done=len(usable),
            total=max(what.batch_count, len(last.results) if last else 0),
            status_text=last.status_text if last else "Pending",
            age_seconds=self._age_seconds(),
            expected_seconds=expected_seconds(what.known_durations_seconds),
            execution_id=what.execution_id,
            results=usable,
        )

    def _has_all(self, execution: Execution) -> bool:
        return 0 < self._what.batch_count <= len(execution.usable)

    def _filled(self, ending: Ending) -> Ending:
        """The ending with the most pictures that an answer has listed, before or after it."""
        execution, fullest = ending.execution, self._fullest
        if not fullest or execution.status is not RunStatus.SUCCESS or len(fullest.usable) <= len(execution.usable):
            return ending
        return replace(ending, execution=replace(execution, results=fullest.results))

    async def _pause(self) -> None:
        delay = self._delay_seconds(self._age_seconds(), self._what.known_durations_seconds)
        if self._last_error:
            delay = max(delay, self._client.policy.wait_seconds(self._failures, self._last_error))
        await asyncio.sleep(delay)

    async def _poll_once(self) -> None:
        if not self._last and not self._last_error:
            self._last_error = _no_answer()  # What there is to say until there is one.
        try:
            execution = await within(POLL_TIMEOUT_SECONDS, self._client.poll(self._what.execution_id), _no_answer)
        except WeShopError as error:
            self._note_failure(error)
        else:
            self._note_answer(execution)

    def _note_answer(self, execution: Execution) -> None:
        self._last = execution
        self._failures = self._refusals = 0
        self._last_error = None
        self._was_going |= not execution.status.is_terminal
        if not self._fullest or len(execution.usable) >= len(self._fullest.usable):
            self._fullest = execution
        usable = len(execution.usable)
        log.debug("run %s: poll says %s, pictures: %d", self._what.execution_id, execution.status_text, usable)
        self.news.set_result(None)
        self.news = asyncio.get_running_loop().create_future()

    def _note_failure(self, error: WeShopError) -> None:
        log.debug("run %s: poll failed (%s)", self._what.execution_id, type(error).__name__)
        self._failures += 1
        self._last_error = error
        is_refusal = isinstance(error, AuthenticationError | NotFoundError)
        self._refusals = self._refusals + 1 if is_refusal else 0
        if self._refusals >= REFUSAL_PATIENCE or isinstance(error, CredentialsError):
            error.add(
                f"This is about run {self._what.execution_id}. It was not submitted again; queueing the same request "
                "and seed again asks for it once more, and a new seed makes a new run."
            )
            raise error

    def _age_seconds(self) -> float:
        return self._what.age_seconds + time.monotonic() - self._started_seconds


def _no_answer() -> NoAnswerError:
    return NoAnswerError("WeShop did not answer a poll.")
