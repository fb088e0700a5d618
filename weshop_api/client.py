"""The service's calls, one method each: upload, submit, poll, estimate, download.

Reads and uploads are repeated by the retry policy. ``submit`` is one attempt and never repeats itself:
``submitting``, which has written down what is at stake, decides what may follow.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from . import protocol
from .background import SharedTask
from .credentials import Service, find_key
from .errors import (
    DownloadError,
    ExpiredAddressError,
    NoAnswerError,
    NotFoundError,
    NotSentError,
    OutcomeUnknownError,
    ServerError,
    ServiceError,
    UnreadableReplyError,
)
from .http import ApiSession, DownloadSession, Timeouts
from .retry import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .credentials import ApiKey
    from .models import Answer, Estimate, Execution, Picture, Submission


# Somebody looks at a button meanwhile.
KEY_CHECK_TIMEOUTS = Timeouts(idle_seconds=15.0, call_total_seconds=20.0)
_GONE_STATUSES = frozenset({401, 403, 404, 410})


class WeShopClient:
    """The service over two sessions: ``api`` carries the key, ``files`` has never seen it.

    ``scope`` names the service, so that nobody takes a run of one service for a run of another. Every method raises
    only members of the error tree.
    """

    def __init__(self, api: ApiSession, files: DownloadSession, scope: str, policy: RetryPolicy | None = None) -> None:
        self._api = api
        self._files = files
        self.scope = scope
        self.policy = policy or RetryPolicy()
        self._polls: WeakValueDictionary[str, SharedTask[Execution]] = WeakValueDictionary()
        self._polled_at: dict[str, float] = {}

    @classmethod
    def from_environment(
        cls, environ: Mapping[str, str] = os.environ, policy: RetryPolicy | None = None
    ) -> WeShopClient:
        """The real service, or the one that WESHOP_BASE_URL names. The key is looked up anew for each request."""
        service = Service.from_environment(environ)
        api = ApiSession(service, lambda: find_key(service, environ, Path.home()))
        return cls(api, DownloadSession(service), service.base_url, policy)

    async def aclose(self) -> None:
        """Close both sessions."""
        await self._api.aclose()
        await self._files.aclose()

    async def upload(self, picture: Picture) -> str:
        """Store a picture with the service; its public address. A repetition at worst leaves a second copy there."""

        async def attempt() -> str:
            return protocol.read_upload(await self._api.send("POST", protocol.UPLOAD_PATH, file=picture))

        return await self.policy.reading()(attempt)

    async def submit(self, body: bytes, idempotency_key: str) -> Submission:
        """Submit a run, once. Raises OutcomeUnknownError when the service may have accepted it without saying so."""
        try:
            answer = await self._api.send(
                "POST",
                protocol.RUNS_PATH,
                content=body,
                headers={"Idempotency-Key": idempotency_key},
            )
            return protocol.read_submission(answer)
        except NotSentError:
            raise
        except (NoAnswerError, UnreadableReplyError) as error:
            raise _outcome_unknown(error) from error
        except ServiceError as error:
            if error.refused:
                raise
            raise _outcome_unknown(error) from error

    async def poll(self, execution_id: str) -> Execution:
        """Read where a run stands, once: whoever watches has a rhythm of its own.

        Who asks while another waits for the answer gets the same one, and a run that was asked about a moment ago is
        asked about a moment later.
        """
        shared = self._polls.get(execution_id)
        if shared is None or shared.is_over:
            shared = self._polls[execution_id] = SharedTask(self._poll_in_time(execution_id))
        async with shared as task:
            await asyncio.wait({task})
            return task.result()

    async def read(self, execution_id: str) -> Execution:
        """Read where a run stands, patiently."""

        async def attempt() -> Execution:
            return await self.poll(execution_id)

        return await self.policy.reading()(attempt)

    async def _poll_in_time(self, execution_id: str) -> Execution:
        now, gap_seconds = time.monotonic(), self.policy.between_polls_seconds
        self._polled_at = {name: at for name, at in self._polled_at.items() if now - at < gap_seconds}
        await self.policy.sleep(self._polled_at.get(execution_id, now - gap_seconds) + gap_seconds - now)
        self._polled_at[execution_id] = time.monotonic()
        answer = await self._api.send("GET", protocol.run_path(execution_id))
        return protocol.read_execution(answer, execution_id)

    async def estimate(self, body: bytes) -> Estimate | None:
        """What the service expects a run to cost, None where it offers no estimates. Creates nothing."""
        try:
            return protocol.read_estimate(await self._api.send("POST", protocol.ESTIMATE_PATH, content=body))
        except NotFoundError:
            return None

    async def download(self, url: str, on_bytes: Callable[[int, int | None], None] | None = None) -> bytes:
        """The bytes of a result. Raises ExpiredAddressError where a fresh address may help."""

        async def attempt() -> bytes:
            return _file_of(await self._files.fetch(url, on_bytes=on_bytes))

        try:
            return await self.policy.reading()(attempt)
        except (NoAnswerError, ServiceError, UnreadableReplyError) as error:
            raise DownloadError(str(error)) from error


async def check_key(key: ApiKey, service: Service, timeouts: Timeouts = KEY_CHECK_TIMEOUTS) -> None:
    """Ask the service, once, whether it accepts a key that need not be saved. Costs nothing and creates nothing.

    Raises AuthenticationError when it does not, and other members of the error tree when the answer leaves it open.
    """
    session = ApiSession(service, lambda: key, timeouts)
    try:
        protocol.read_success(await session.send("GET", protocol.KEY_CHECK_PATH))
    finally:
        await session.aclose()


def _file_of(answer: Answer) -> bytes:
    if answer.status in _GONE_STATUSES:
        raise ExpiredAddressError(f"The file server no longer serves the picture (HTTP {answer.status}).")
    if answer.status != 200:
        kind = ServerError if answer.status >= 500 else ServiceError
        raise kind(
            f"The file server answered HTTP {answer.status} instead of the picture.",
            status=answer.status,
            retry_after_seconds=protocol.retry_after_seconds(answer),
        )
    return answer.body


def _outcome_unknown(error: Exception) -> OutcomeUnknownError:
    return OutcomeUnknownError(
        f"It is not known whether WeShop accepted the run: {error} Queue again with the same seed: the identical "
        "request is sent with the same Idempotency-Key, so that an accepted run is found again and not charged a "
        "second time. A new seed would be a new run."
    )
