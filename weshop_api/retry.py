"""When a request is sent again, and how long to wait before: the only place that decides either.

The loop itself is tenacity's. A submit has rules of its own, because a run that is submitted twice is paid twice.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

from .errors import LimitReachedError, NoAnswerError, NotSentError, ServerError, ServiceError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_TRY_AGAIN_STATUSES = frozenset({408, 425, 429})


def may_repeat(error: BaseException) -> bool:
    """Whether a request without side effects (poll, upload, download) may be sent again after ``error``."""
    if isinstance(error, NoAnswerError):
        return True
    if not isinstance(error, ServiceError):
        return False
    if error.retryable is not None:
        return error.retryable
    return isinstance(error, LimitReachedError | ServerError) or error.status in _TRY_AGAIN_STATUSES


def may_submit_again(error: BaseException) -> bool:
    """Whether a run may be submitted again: only when the service certainly did not accept it."""
    if isinstance(error, NotSentError):
        return True
    if not isinstance(error, ServiceError) or not error.refused:
        return False
    return isinstance(error, LimitReachedError) if error.retryable is None else error.retryable


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how patiently requests are repeated.

    A first repetition is always allowed, however long the failure took to show: a dead connection may take a minute.
    Waits grow from ``first_wait_seconds`` by doubling up to ``longest_wait_seconds``, each shortened by a random
    part of up to half. A wait that the service asks for is honoured up to ``longest_asked_wait_seconds``.
    ``between_polls_seconds`` is the least time between two questions about the same run, whoever asks.
    """

    attempts: int = 5
    total_seconds: float = 60.0
    first_wait_seconds: float = 0.8
    longest_wait_seconds: float = 8.0
    longest_asked_wait_seconds: float = 30.0
    between_polls_seconds: float = 1.0
    jitter: Callable[[], float] = random.random
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    def reading(self) -> AsyncRetrying:
        """The loop for polls, uploads and downloads."""
        return self._loop(may_repeat, self._is_exhausted, self.sleep)

    def submitting(
        self,
        patience_seconds: float,
        sleep: Callable[[float], Awaitable[None]],
        on_refused: Callable[[BaseException, float], None],
    ) -> AsyncRetrying:
        """The loop for submitting a run.

        A refusal because of the limit is repeated for ``patience_seconds``, since the way becomes free when other
        runs end, and is not counted as an attempt. ``on_refused`` is told each error that is going to be repeated, and
        the wait in seconds.
        ``sleep`` is the caller's, who may have to end the waiting.
        """
        troubles = itertools.count(1)

        def is_exhausted(state: RetryCallState) -> bool:
            seconds = _elapsed_seconds(state) + state.upcoming_sleep
            if isinstance(_error_of(state), LimitReachedError):
                return seconds > patience_seconds
            return next(troubles) >= self.attempts or seconds > patience_seconds + self.total_seconds

        def tell(state: RetryCallState) -> None:
            on_refused(_error_of(state), state.upcoming_sleep)

        return self._loop(may_submit_again, is_exhausted, sleep, tell)

    def wait_seconds(self, failures: int, error: BaseException | None = None) -> float:
        """How long to wait after so many failures in a row, the last of which was ``error``."""
        growing = min(self.longest_wait_seconds, self.first_wait_seconds * 2.0 ** min(failures - 1, 16))
        asked = error.retry_after_seconds if isinstance(error, ServiceError) else None
        return max(growing * (1 - self.jitter() / 2), min(asked or 0.0, self.longest_asked_wait_seconds))

    def _loop(
        self,
        may: Callable[[BaseException], bool],
        is_exhausted: Callable[[RetryCallState], bool],
        sleep: Callable[[float], Awaitable[None]],
        tell: Callable[[RetryCallState], None] | None = None,
    ) -> AsyncRetrying:
        return AsyncRetrying(
            retry=retry_if_exception(may),
            wait=lambda state: self.wait_seconds(state.attempt_number, _error_of(state)),
            stop=is_exhausted,
            before_sleep=tell,
            sleep=sleep,
            reraise=True,
        )

    def _is_exhausted(self, state: RetryCallState) -> bool:
        if state.attempt_number >= self.attempts:
            return True
        return state.attempt_number > 1 and _elapsed_seconds(state) + state.upcoming_sleep > self.total_seconds


def _error_of(state: RetryCallState) -> BaseException:
    error = state.outcome.exception() if state.outcome else None
    assert error is not None  # noqa: S101 - tenacity asks only after a failed attempt
    return error


def _elapsed_seconds(state: RetryCallState) -> float:
    return state.seconds_since_start or 0.0
