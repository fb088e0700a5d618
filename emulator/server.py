"""The emulator as tests and the demo use it: start in a thread, wait until ready, tell the address, stop."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Literal

from aiohttp import web

from .apps import Applications
from .fault_queue import ANYWHERE, FaultQueue, OrderedFault, Where
from .faults import Fault
from .gallery import Gallery
from .request_log import RequestLog, RequestRecord
from .runs import ByPolls, Pace, RunRecord
from .service import Service, Settings
from .uploads import UploadLimits, UploadRecord

HOST = "127.0.0.1"
_START_TIMEOUT_SECONDS = 10
_WORKERS = 2
_LAST_ANSWERS_SECONDS = 0.1


class PortTakenError(OSError):
    """The wanted port on the loopback address is in use."""


class Emulator:
    """A stand-in for the WeShop OpenAPI on the loopback address.

    Every method and property may be used from any thread while it runs, and what was recorded stays readable after
    it has stopped. `pictures="small"` serves pictures of at most 256 pixels a side: quick, but untrue to size.
    """

    def __init__(  # noqa: PLR0913 - the settings of a service, each with its name
        self,
        port: int = 0,
        *,
        files_port: int = 0,
        pace: Pace = ByPolls(3),  # noqa: B008 - a frozen value
        pictures: Literal["true", "small"] = "true",
        strict: bool = True,
        max_runs_at_once: int | None = None,
        points_balance: int = 100_000,
        points_per_picture: int = 10,
        says_points: bool = True,
        rejected_keys: Collection[str] = ("rejected",),
        upload_limits: UploadLimits = UploadLimits(),  # noqa: B008 - a frozen value
        clock: Callable[[], float] = time.monotonic,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        """Set up without starting. Port 0 means any free port; `tell` is given one line for each answer."""
        if pictures not in {"true", "small"}:
            raise ValueError(f'pictures must be "true" or "small", not {pictures!r}')
        self._ports = (port, files_port)
        self._small = pictures == "small"
        self._limits = upload_limits
        settings = Settings(
            pace=pace,
            strict=strict,
            max_runs_at_once=max_runs_at_once,
            points_balance=points_balance,
            points_per_picture=points_per_picture,
            says_points=says_points,
            rejected_keys=frozenset(rejected_keys),
        )
        self._service = Service(settings, clock)
        self._faults = FaultQueue()
        self._log = RequestLog(clock, tell)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._ready = threading.Event()
        self._failures: list[BaseException] = []
        self._origin = ""

    # Start and stop --------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start in a thread and wait until requests are answered; raise PortTakenError when a port is in use."""
        if self._thread is not None:
            raise RuntimeError("the emulator is running already")
        self._ready.clear()
        self._failures.clear()
        self._thread = threading.Thread(target=self._run, name="weshop-emulator", daemon=True)
        self._thread.start()
        if not self._ready.wait(_START_TIMEOUT_SECONDS):
            self._failures.append(TimeoutError("the emulator did not start in time"))
        if self._failures:
            self._thread = None
            raise self._failures[0]

    def stop(self) -> None:
        """Close every connection and wait for the thread to end; harmless when it is not running."""
        if self._thread is None or self._loop is None or self._stopping is None:
            return
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()
        self._thread = None

    def __enter__(self) -> Emulator:  # noqa: PYI034 - Self came with Python 3.11
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    # Addresses -------------------------------------------------------------------------------------------------

    @property
    def base_url(self) -> str:
        """The address of the API, with `/openapi`, as `WESHOP_BASE_URL` takes it."""
        return f"{self._origin}/openapi"

    @property
    def files_url(self) -> str:
        """The origin of uploaded and generated files: another port, so another origin."""
        return self._service.files_url

    # Faults ----------------------------------------------------------------------------------------------------

    def order(
        self, operation: str, fault: Fault, times: int = 1, *, forever: bool = False, where: Where = ANYWHERE
    ) -> None:
        """Order a fault for the next requests of an operation; raise ValueError when it makes no sense there.

        Orders of one operation are used up in the order given; the first that fits a request happens to it.
        """
        self._faults.order(operation, fault, None if forever else times, where)

    def withdraw_faults(self) -> None:
        """Drop every order, also those for ever; service is normal from now on."""
        self._faults.withdraw()

    @property
    def unused_faults(self) -> tuple[OrderedFault, ...]:
        """The orders that did not happen as often as ordered; a test asserts that there are none."""
        return self._faults.unused

    def expire_uploads(self) -> None:
        """Make every URL uploaded so far unusable: submits that name one are refused."""
        self._service.expire_uploads()

    def expire_results(self) -> None:
        """Make every result URL handed out so far answer 403; the next poll of the run gives fresh ones."""
        self._service.expire_results()

    def finish_runs(self) -> None:
        """Let every run created so far be at its end with the next poll, whatever its pace."""
        self._service.finish_runs()

    # Records ---------------------------------------------------------------------------------------------------

    @property
    def runs(self) -> tuple[RunRecord, ...]:
        """All runs that were created, in order."""
        return self._service.runs

    @property
    def uploads(self) -> tuple[UploadRecord, ...]:
        """All pictures that arrived, in order."""
        return self._service.uploads

    @property
    def requests(self) -> tuple[RequestRecord, ...]:
        """All requests that arrived at either origin, in order."""
        return self._log.records

    @property
    def points_balance(self) -> int:
        """What is left of the synthetic points."""
        return self._service.points_balance

    # The thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as failure:  # noqa: BLE001 - handed to the thread that waits in start()
            self._failures.append(failure)
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        with ThreadPoolExecutor(_WORKERS, "weshop-emulator-worker") as workers:
            gallery = Gallery(workers, small=self._small)
            applications = Applications(
                service=self._service,
                faults=self._faults,
                log=self._log,
                gallery=gallery,
                workers=workers,
                limits=self._limits,
                stopping=self._stopping,
            )
            runners = [_runner(applications.files()), _runner(applications.api())]
            try:
                self._service.files_url = await _listen(runners[0], self._ports[1])
                self._origin = await _listen(runners[1], self._ports[0])
                self._ready.set()
                await self._stopping.wait()
            finally:
                for runner in runners:
                    await runner.cleanup()


def _runner(app: web.Application) -> web.AppRunner:
    return web.AppRunner(app, access_log=None, shutdown_timeout=_LAST_ANSWERS_SECONDS)


async def _listen(runner: web.AppRunner, port: int) -> str:
    await runner.setup()
    site = web.TCPSite(runner, HOST, port, backlog=1024)
    try:
        await site.start()
    except OSError as error:
        message = f"Port {port} on {HOST} cannot be used ({os.strerror(error.errno or 0)}); choose another one."
        raise PortTakenError(error.errno, message) from error
    real_port = runner.addresses[0][1]
    return f"http://{HOST}:{real_port}"
