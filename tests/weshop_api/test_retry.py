"""Which errors are worth another attempt, and how long to wait before it; with an own sleep, so that nothing waits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given, strategies as st

from weshop_api.errors import (
    AuthenticationError,
    DownloadError,
    InvalidRequestError,
    LimitReachedError,
    MissingKeyError,
    NoAnswerError,
    NotFoundError,
    NotSentError,
    OutcomeUnknownError,
    ServerError,
    ServiceError,
    UnreadableReplyError,
    WeShopError,
)
from weshop_api.retry import RetryPolicy, may_repeat, may_submit_again

READABLE = UnreadableReplyError("Unreadable.", part="data", status=200)

# error, may a read be repeated, may a submit be repeated
DECISIONS: list[tuple[str, WeShopError, bool, bool]] = [
    ("no connection", NotSentError("-"), True, True),
    ("no answer", NoAnswerError("-"), True, False),
    ("unreadable", READABLE, False, False),
    ("outcome unknown", OutcomeUnknownError("-"), False, False),
    ("limit", LimitReachedError("-", status=429), True, True),
    ("limit, do not retry", LimitReachedError("-", status=429, retryable=False), False, False),
    ("server", ServerError("-", status=500), True, False),
    ("server, retry", ServerError("-", status=500, retryable=True), True, True),
    ("server, do not retry", ServerError("-", status=500, retryable=False), False, False),
    ("server without envelope", ServerError("-", status=502, refused=False), True, False),
    ("server, retry, not refused", ServerError("-", status=502, retryable=True, refused=False), True, False),
    ("limit, not refused", LimitReachedError("-", status=503, refused=False), True, False),
    ("request time-out", ServiceError("-", status=408, refused=False), True, False),
    ("too early", ServiceError("-", status=425, refused=False), True, False),
    ("conflict", ServiceError("-", status=409, refused=False), False, False),
    ("key", AuthenticationError("-", status=401), False, False),
    ("unknown run", NotFoundError("-", status=404), False, False),
    ("request", InvalidRequestError("-"), False, False),
    ("no key", MissingKeyError(), False, False),
    ("download", DownloadError("-"), False, False),
]


@pytest.mark.parametrize(
    ("error", "reading", "submitting"), [row[1:] for row in DECISIONS], ids=[r[0] for r in DECISIONS]
)
def test_what_may_be_repeated_is_decided_by_the_error(error: WeShopError, *, reading: bool, submitting: bool) -> None:
    assert may_repeat(error) is reading
    assert may_submit_again(error) is submitting


@pytest.mark.parametrize("error", [asyncio.CancelledError(), KeyboardInterrupt(), ValueError()])
def test_what_is_not_ours_is_never_repeated(error: BaseException) -> None:
    assert not may_repeat(error)
    assert not may_submit_again(error)


class Sleeper:
    """Sleeps in no time and remembers for how long."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.waits.append(seconds)


def failing(*errors: BaseException) -> Callable[[], Awaitable[str]]:
    queue = list(errors)

    async def attempt() -> str:
        if queue:
            raise queue.pop(0)
        return "done"

    return attempt


def read(policy: RetryPolicy, *errors: BaseException) -> str:
    return str(asyncio.run(policy.reading()(failing(*errors))))


def policy_of(sleeper: Sleeper, **more: float) -> RetryPolicy:
    return RetryPolicy(jitter=lambda: 0.0, sleep=sleeper, **more)  # type: ignore[arg-type]  # any limit


def test_waits_double_up_to_the_longest() -> None:
    sleeper = Sleeper()

    assert read(policy_of(sleeper, attempts=7), *[NoAnswerError("-")] * 6) == "done"
    assert sleeper.waits == [0.8, 1.6, 3.2, 6.4, 8.0, 8.0]


def test_the_last_real_error_is_the_one_that_is_seen() -> None:
    errors = [NoAnswerError(f"number {number}") for number in range(1, 7)]

    with pytest.raises(NoAnswerError, match="number 5"):
        read(policy_of(Sleeper()), *errors)


def test_attempts_are_limited_in_total_time_and_one_repetition_is_not() -> None:
    sleeper = Sleeper()

    with pytest.raises(ServerError):
        read(policy_of(sleeper, total_seconds=3.0), *[ServerError("-", status=500, retry_after_seconds=4.0)] * 9)
    assert sleeper.waits == [4.0]


def test_an_error_that_may_not_be_repeated_ends_at_once() -> None:
    sleeper = Sleeper()

    with pytest.raises(InvalidRequestError):
        read(policy_of(sleeper), InvalidRequestError("-"))
    assert sleeper.waits == []


@pytest.mark.parametrize(("asked", "waited"), [(None, 0.8), (0.1, 0.8), (3.0, 3.0), (500.0, 30.0)])
def test_the_wait_that_the_service_asks_for_is_honoured_within_a_bound(asked: float | None, waited: float) -> None:
    sleeper = Sleeper()

    read(policy_of(sleeper), LimitReachedError("-", status=429, retry_after_seconds=asked))

    assert sleeper.waits == [waited]


@given(failures=st.integers(1, 10_000), jitter=st.floats(0, 1, exclude_max=True))
def test_a_wait_is_between_half_and_the_whole_of_its_step(failures: int, jitter: float) -> None:
    step = min(8.0, 0.8 * 2 ** min(failures - 1, 10))

    assert step / 2 <= RetryPolicy(jitter=lambda: jitter).wait_seconds(failures) <= step


def test_no_wait_is_shorter_than_two_fifths_of_a_second() -> None:
    assert RetryPolicy(jitter=lambda: 1.0).wait_seconds(1) >= 0.4


def test_a_cancellation_is_not_repeated() -> None:
    sleeper = Sleeper()

    with pytest.raises(asyncio.CancelledError):
        read(policy_of(sleeper), asyncio.CancelledError())
    assert sleeper.waits == []


def submit(policy: RetryPolicy, patience_seconds: float, sleeper: Sleeper, *errors: BaseException) -> list[str]:
    told: list[str] = []

    def on_refused(error: BaseException, wait_seconds: float) -> None:
        told.append(f"{type(error).__name__} {wait_seconds:g}")

    assert asyncio.run(policy.submitting(patience_seconds, sleeper, on_refused)(failing(*errors))) == "done"
    return told


def test_each_refusal_of_a_submit_is_told_with_the_wait() -> None:
    sleeper = Sleeper()
    errors = [NotSentError("-"), LimitReachedError("-", status=429, retry_after_seconds=2.0)]

    assert submit(policy_of(Sleeper()), 60.0, sleeper, *errors) == ["NotSentError 0.8", "LimitReachedError 2"]
    assert sleeper.waits == [0.8, 2.0]


def test_a_submit_waits_for_the_limit_as_long_as_there_is_patience() -> None:
    sleeper = Sleeper()

    submit(policy_of(Sleeper()), 60.0, sleeper, *[LimitReachedError("-", status=429)] * 30)

    assert len(sleeper.waits) == 30


def test_a_submit_does_not_wait_for_the_limit_longer_than_there_is_patience() -> None:
    with pytest.raises(LimitReachedError):
        submit(policy_of(Sleeper()), 0.1, Sleeper(), LimitReachedError("-", status=429))


def test_a_submit_without_a_connection_is_given_up_after_the_attempts() -> None:
    with pytest.raises(NotSentError):
        submit(policy_of(Sleeper()), 60.0, Sleeper(), *[NotSentError("-")] * 5)


def test_a_connection_that_fails_after_a_long_wait_for_the_limit_is_tried_again() -> None:
    errors = [*[LimitReachedError("-", status=429)] * 10, NotSentError("-")]

    assert len(submit(policy_of(Sleeper()), 60.0, Sleeper(), *errors)) == 11


def test_a_submit_whose_outcome_is_unknown_is_never_repeated() -> None:
    sleeper = Sleeper()

    with pytest.raises(OutcomeUnknownError):
        submit(policy_of(Sleeper()), 60.0, sleeper, OutcomeUnknownError("-"))
    assert sleeper.waits == []
