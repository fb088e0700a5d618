"""Bring pictures to the service, each distinct one once."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from .background import gather_or_cancel
from .errors import WeShopError
from .models import Reference, References
from .progress import Phase, Progress

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from .background import Background
    from .client import WeShopClient
    from .ledger import Ledger
    from .limits import AdaptiveLimit
    from .models import Picture

log = logging.getLogger("weshop")


@dataclass(frozen=True)
class PictureSource:
    """A picture that is encoded only when it has to be uploaded; ``content_hash`` identifies it before that.

    Both are called when their turn comes, because they take a while.
    """

    content_hash: Callable[[], Awaitable[str]]
    encode: Callable[[], Awaitable[Picture]]


@dataclass(frozen=True)
class Uploaded:
    """References in the order of their sources, and what had to be changed about the pictures, as sentences."""

    references: References
    notes: tuple[str, ...] = ()


class Uploader:
    """Encodes and uploads side by side: while one picture is on its way the next is being encoded."""

    def __init__(
        self, client: WeShopClient, ledger: Ledger, background: Background, limit: AdaptiveLimit, scope: str
    ) -> None:
        self._client = client
        self._ledger = ledger
        self._call = background.call
        self._limit = limit
        self._scope = scope
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def upload(self, sources: Sequence[PictureSource], report: Callable[[Progress], None]) -> Uploaded:
        """Upload what the service does not have yet."""
        done = 0

        async def one(number: int, source: PictureSource) -> tuple[Reference, str]:
            nonlocal done
            try:
                reference, note = await self._upload_once(source)
            except WeShopError as error:
                error.add(f"This is about picture {number}.")
                raise
            done += 1
            report(Progress(Phase.UPLOADING, done=done, total=len(sources)))
            return reference, f"picture {number}: {note}" if note else ""

        report(Progress(Phase.UPLOADING, total=len(sources)))
        pairs = await gather_or_cancel([one(number, source) for number, source in enumerate(sources, start=1)])
        references = References(tuple(reference for reference, _ in pairs))
        return Uploaded(references, tuple(note for _, note in pairs if note))

    async def _upload_once(self, source: PictureSource) -> tuple[Reference, str]:
        content_hash = await source.content_hash()
        lock = self._locks.setdefault(content_hash, asyncio.Lock())
        async with lock:
            known = await self._call(self._ledger.find_upload, content_hash, self._scope)
            if known:
                return known, ""
            async with self._limit.slot():
                picture = await source.encode()
                started = time.monotonic()
                url = await self._client.upload(picture)
                seconds = time.monotonic() - started
                log.debug("uploaded %s, %.2f MB in %.1f s", picture.media_type, len(picture.data) / 1e6, seconds)
            reference = Reference(url, picture.width, picture.height, content_hash)
            await self._call(self._ledger.remember_upload, reference, self._scope)
            return reference, picture.note
