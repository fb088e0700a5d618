"""Fetch the pictures of a finished run and hand each on as soon as it is complete.

Every picture is fetched on its own. One that fails does not take the others along: they stay on disk until the whole
run has been delivered, so that the next attempt fetches only what is missing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .background import gather_or_cancel
from .errors import DownloadError, ExpiredAddressError, UndeliveredError, WeShopError
from .progress import Phase, Progress

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from .background import Background
    from .client import WeShopClient
    from .ledger import Ledger
    from .limits import AdaptiveLimit
    from .models import Execution, Result
    from .seedream import Run
    from .spool import Spool

    Deliver = Callable[[int, bytes], Awaitable[None]]
    Report = Callable[[Progress], None]

# Longer than a long weekend: pictures of a run that nobody asked for again can still be fetched by its id.
UNDELIVERED_SECONDS = 7 * 86_400.0
log = logging.getLogger("weshop")


class Deliverer:
    """Downloads side by side under one limit, through the spool."""

    def __init__(  # noqa: PLR0913, PLR0917 - the parts it works with
        self,
        client: WeShopClient,
        ledger: Ledger,
        spool: Spool,
        background: Background,
        limit: AdaptiveLimit,
        scope: str,
    ) -> None:
        self.client = client
        self.ledger = ledger
        self.spool = spool
        self.background = background
        self.call = background.call
        self.limit = limit
        self.scope = scope
        self._early: dict[tuple[str, str], asyncio.Task[bytes]] = {}

    async def fetch_early(self, execution_id: str, result: Result) -> bytes:
        """One picture of a run that is still going; kept for ``load``, and fetched on when nobody waits any more.

        Raises DownloadError and what else the error tree has.
        """
        key = (execution_id, result.url)
        if key not in self._early:
            task = self._early[key] = self.background.start(self._download_early(execution_id, result))
            task.add_done_callback(lambda _: self._early.pop(key))
        return await asyncio.shield(self._early[key])

    async def wait_for_early(self, execution_id: str, url: str) -> None:
        """Let an early download come to its end, so that the picture is not fetched twice."""
        task = self._early.get((execution_id, url))
        if task is not None:
            await asyncio.wait({task})

    async def _download_early(self, execution_id: str, result: Result) -> bytes:
        kept = await self.call(self.spool.get, execution_id, result.url)
        if kept is not None:
            return kept
        async with self.limit.slot():
            data = await self.download(execution_id, result.number, result.url)
        await self.call(self.spool.keep, execution_id, result.url, data)
        return data

    async def download(self, execution_id: str, number: int, url: str) -> bytes:
        """One file, from the service. Raises DownloadError, and ExpiredAddressError where a fresh address may help."""
        started = time.monotonic()
        data = await self.client.download(url)
        seconds = time.monotonic() - started
        log.debug("run %s: picture %d downloaded, %d bytes in %.1f s", execution_id, number, len(data), seconds)
        return data

    async def load(self, run: Run, deliver: Deliver, report: Report) -> None:
        """Call ``deliver(index, data)`` once for each usable result, in any order, ``index`` counting from 0.

        Raises DownloadError that names the pictures which could not be had; the others are kept for the next time.
        """
        delivery = _Delivery(self, run, deliver, report)
        problems = [problem for problem in await gather_or_cancel(delivery.everything()) if problem]
        if problems:
            raise _incomplete(run, problems, is_kept=delivery.is_kept)
        await self.call(self.ledger.delivered, run.execution_id, self.scope)
        await self.call(self.spool.drop, run.execution_id)
        await self.call(self.spool.sweep, UNDELIVERED_SECONDS)


@dataclass(frozen=True)
class _Problem:
    """One picture that could not be had."""

    number: int
    error: WeShopError


class _Delivery:
    """One pass over the results of one run. ``is_kept`` says whether all that arrived is still there next time."""

    def __init__(self, owner: Deliverer, run: Run, deliver: Deliver, report: Report) -> None:
        self.is_kept = True
        self._owner = owner
        self._run = run
        self._deliver = deliver
        self._report = report
        self._done = 0
        self._fresh_urls: dict[str, str] | WeShopError | None = None
        self._reading = asyncio.Lock()

    def everything(self) -> list[Coroutine[object, object, _Problem | None]]:
        self._tell()
        return [self._one(index, result) for index, result in enumerate(self._run.usable)]

    async def _one(self, index: int, result: Result) -> _Problem | None:
        try:
            await self._owner.wait_for_early(self._run.execution_id, result.url)
            async with self._owner.limit.slot():
                data = await self._fetch(result)
            await self._hand_on(index, result, data)
        except WeShopError as error:
            return _Problem(result.number, error)
        self._done += 1
        self._tell()
        return None

    async def _hand_on(self, index: int, result: Result, data: bytes) -> None:
        try:
            await self._deliver(index, data)
        except UndeliveredError:
            raise  # Next time the service may have deleted the picture, and what is kept is the only copy.
        except Exception:
            # What arrived is no picture; kept, it would fail again for ever.
            await self._owner.call(self._owner.spool.discard, self._run.execution_id, result.url)
            raise

    async def _fetch(self, result: Result) -> bytes:
        owner, execution_id = self._owner, self._run.execution_id
        kept = await owner.call(owner.spool.get, execution_id, result.url)
        if kept is not None:
            return kept
        try:
            data = await owner.download(execution_id, result.number, result.url)
        except ExpiredAddressError:
            data = await owner.download(execution_id, result.number, await self._fresh_address(result))
        if not await owner.call(owner.spool.keep, execution_id, result.url, data):
            self.is_kept = False
        return data

    async def _fresh_address(self, result: Result) -> str:
        """Read the run once more, once for all its pictures, because the service may have signed new addresses."""
        async with self._reading:
            if self._fresh_urls is None:
                self._fresh_urls = await self._read_addresses()
        if isinstance(self._fresh_urls, WeShopError):
            raise ExpiredAddressError(f"Its address has expired, and a fresh one could not be had: {self._fresh_urls}")
        url = self._fresh_urls.get(result.url, "")
        if not url:
            raise ExpiredAddressError("WeShop no longer has an address for the picture.")
        return url

    async def _read_addresses(self) -> dict[str, str] | WeShopError:
        """By old address; or why they could not be read, so that not every picture waits for the same failure."""
        try:
            execution = await self._owner.client.read(self._run.execution_id)
        except WeShopError as error:
            return error
        return _fresh_addresses(self._run, execution)

    def _tell(self) -> None:
        self._report(Progress(Phase.DOWNLOADING, done=self._done, total=len(self._run.usable)))


def _fresh_addresses(run: Run, execution: Execution) -> dict[str, str]:
    """The present address of each picture by its old one, as far as the two lists tell which is which.

    A list may have become shorter, longer or another order meanwhile. Better no address than that of another picture.
    """
    old, new = run.usable, execution.usable
    known, listed = {result.url for result in old}, {result.url for result in new}
    if len(new) == len(old):
        pairs = list(zip(old, new, strict=True))
    elif len(execution.results) == len(run.results):
        by_number = {result.number: result for result in new}
        pairs = [(result, by_number[result.number]) for result in old if result.number in by_number]
    else:
        pairs = []
    fresh = {before.url: after.url for before, after in pairs if after.url not in known}
    return fresh | {url: url for url in known & listed}


def _incomplete(run: Run, problems: list[_Problem], *, is_kept: bool) -> DownloadError:
    numbers = tuple(sorted(problem.number for problem in problems))
    names = ", ".join(str(number) for number in numbers)
    kept = len(run.usable) - len(problems) if is_kept else 0
    others = f" The other {kept} {'is' if kept == 1 else 'are'} kept." if kept else ""
    what = "only what is missing" if is_kept else "the pictures of this run"
    noun = "Picture" if len(numbers) == 1 else "Pictures"
    is_gone = all(isinstance(problem.error, ExpiredAddressError) for problem in problems)
    way_out = " If that does not help, WeShop may have deleted them: a new seed makes a new run." if is_gone else ""
    return DownloadError(
        f"{noun} {names} of run {run.execution_id} could not be fetched: {problems[0].error}{others} "
        f"Queue again to fetch {what}; nothing is charged for that.{way_out}",
        missing=numbers,
        execution_id=run.execution_id,
    )
