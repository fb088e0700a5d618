"""What the tests of the library share: services against one emulator, quick and with short patience, and requests."""

from __future__ import annotations

import asyncio
import gc
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import pytest
from PIL import Image

from emulator import Emulator
from weshop_api import protocol
from weshop_api.client import WeShopClient
from weshop_api.credentials import PLACEHOLDER_KEY, ApiKey, Service
from weshop_api.errors import WeShopError
from weshop_api.http import ApiSession, DownloadSession, Timeouts
from weshop_api.ledger import Ledger, RunRecord, RunState
from weshop_api.models import Picture, Reference, References
from weshop_api.progress import Progress
from weshop_api.retry import RetryPolicy
from weshop_api.seedream import LITE, PRO, Run, SeedreamRequest
from weshop_api.uploading import PictureSource
from weshop_api.weshop import Limits, WeShop

E = TypeVar("E", bound=WeShopError)

LONGEST_TEST_SECONDS = 60.0
QUICK = RetryPolicy(
    first_wait_seconds=0.01, longest_wait_seconds=0.05, longest_asked_wait_seconds=0.3, between_polls_seconds=0.01
)
SHORT = Timeouts(
    idle_seconds=1.0,
    call_total_seconds=2.0,
    upload_total_seconds=2.0,
    download_idle_seconds=1.0,
    download_total_seconds=2.0,
)


def poll_soon(age_seconds: float, known_durations_seconds: Sequence[float]) -> float:  # noqa: ARG001 - the signature
    """Poll without the usual second in between."""
    return 0.02


class Shops:
    """Makes services that talk to one emulator and share one folder, as several starts of a program do."""

    def __init__(self, emulator: Emulator, folder: Path) -> None:
        self.emulator = emulator
        self.folder = folder

    def client(self, policy: RetryPolicy = QUICK, timeouts: Timeouts = SHORT, base_url: str = "") -> WeShopClient:
        """Return a client of the emulator, or of another loopback address."""
        service = Service(base_url or self.emulator.base_url)
        api = ApiSession(service, lambda: ApiKey(PLACEHOLDER_KEY), timeouts)
        return WeShopClient(api, DownloadSession(service, timeouts), service.base_url, policy)

    @asynccontextmanager
    async def open(
        self,
        *,
        policy: RetryPolicy = QUICK,
        timeouts: Timeouts = SHORT,
        base_url: str = "",
        limits: Limits | None = None,
        in_default_folder: bool = False,
    ) -> AsyncIterator[WeShop]:
        """Open a service, and close it."""
        client = self.client(policy, timeouts, base_url)
        folder = None if in_default_folder else self.folder
        async with WeShop(client, folder, limits, next_poll_delay_seconds=poll_soon) as shop:
            yield shop

    def count(self, operation: str) -> int:
        """How many requests of this operation arrived."""
        return sum(record.operation == operation for record in self.emulator.requests)


class Told:
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        self.progress: list[Progress] = []

    def __call__(self, progress: Progress) -> None:
        """Keep it."""
        self.progress.append(progress)

    @property
    def sentences(self) -> list[str]:
        """What a screen would have shown."""
        return [str(progress) for progress in self.progress]


class Desk:
    """Where pictures are handed over. ``refuse`` is raised for a picture's index, once."""

    def __init__(self, refuse: dict[int, Exception] | None = None) -> None:
        self.pictures: dict[int, bytes] = {}
        self._refuse = refuse or {}

    async def __call__(self, index: int, data: bytes) -> None:
        """Take a picture."""
        if index in self._refuse:
            raise self._refuse.pop(index)
        assert index not in self.pictures
        self.pictures[index] = data

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Width and height of what arrived, in order."""
        return [Image.open(io.BytesIO(self.pictures[index])).size for index in sorted(self.pictures)]


class CountedSource:
    """A picture to upload, and how often it was encoded."""

    def __init__(self, colour: str, note: str = "", data: bytes | None = None) -> None:
        self.colour = colour
        self.encoded = 0
        self._note = note
        self._data = png(colour) if data is None else data

    @property
    def source(self) -> PictureSource:
        """What the library is given."""
        return PictureSource(self._hash, self._encode)

    async def _hash(self) -> str:
        return f"hash of {self.colour}"

    async def _encode(self) -> Picture:
        self.encoded += 1
        return Picture(self._data, "image/png", 60, 40, self._note)


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a test in a loop of its own, which must not complain about anything in the end."""
    complaints: list[str] = []

    async def guarded() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(str(context)))
        await asyncio.wait_for(test(), LONGEST_TEST_SECONDS)
        gc.collect()  # A task that nobody asked for its error says so when it is thrown away.
        await asyncio.sleep(0)

    asyncio.run(guarded())
    gc.collect()
    assert complaints == []


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something has happened."""
    while not condition():  # noqa: ASYNC110 - what is waited for happens in the emulator's thread
        await asyncio.sleep(0.01)


async def error_of(work: Awaitable[object], kind: type[E]) -> E:
    """Return the error that ``work`` ends with, which must be of exactly this kind."""
    with pytest.raises(kind) as caught:
        await work
    assert caught.type is kind
    return caught.value


def lite(prompt: str = "a harbour at dawn", batch_count: int = 1, **more: Any) -> SeedreamRequest:  # noqa: ANN401 - any field
    """Return a request of the default model."""
    return SeedreamRequest(prompt, LITE, batch_count=batch_count, **more)


def pro(prompt: str = "a harbour at dawn", batch_count: int = 1, **more: Any) -> SeedreamRequest:  # noqa: ANN401 - any field
    """Return a small request."""
    return SeedreamRequest(prompt, PRO, "1K", "1:1", batch_count=batch_count, **more)


def references(*urls: str) -> References:
    """Return references as a user writes them."""
    return References(tuple(Reference(url) for url in urls))


def png(colour: str = "red", size: tuple[int, int] = (60, 40)) -> bytes:
    """Return a plain PNG."""
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


async def loaded(shop: WeShop, run_: Run) -> Desk:
    """Load a run completely."""
    desk = Desk()
    await shop.load(run_, desk)
    return desk


def rows(shops: Shops) -> list[RunRecord]:
    """Return what the ledger has, the newest first."""
    with closing(Ledger(shops.folder / "ledger.sqlite3", warn=pytest.fail)) as ledger:
        return list(ledger.recent_runs())


def states(shops: Shops) -> list[RunState]:
    """Return the states of the runs in the ledger, the newest first."""
    return [row.state for row in rows(shops)]


def submits(emulator: Emulator) -> list[tuple[str | None, bytes]]:
    """Return key and body of each submit that was read."""
    sent = [it for it in emulator.requests if it.operation == "submit" and it.body]
    return [(it.header("Idempotency-Key"), it.body) for it in sent]


def body(prompt: str = "a harbour at dawn", batch_count: int = 1) -> bytes:
    return protocol.submit_body(pro(prompt, batch_count), (), "")


def using(shops: Shops, use: Callable[[WeShopClient], Awaitable[None]]) -> None:
    """Use a client, and see that it leaves nothing behind: no complaint, no ordered fault."""

    async def test() -> None:
        client = shops.client()
        try:
            await use(client)
        finally:
            await client.aclose()

    run(test)
    assert shops.emulator.unused_faults == ()


async def finished(client: WeShopClient, batch_count: int = 1) -> list[str]:
    """Make a run and return the addresses of its pictures."""
    submission = await client.submit(body(batch_count=batch_count), str(uuid4()))
    return [result.url for result in (await client.poll(submission.execution_id)).usable]
