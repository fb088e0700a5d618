"""The only place that touches ComfyUI's internals: the background loop, interruption, progress, folders.

The host gives every prompt an event loop of its own, lets synchronous nodes block that loop, and throws all pending
work away when a prompt ends. So the service lives in a loop of ours, on a daemon thread, for the life of the process;
a node hands its work over and looks at the interruption flag while it waits.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import threading
from concurrent.futures import Future, ThreadPoolExecutor, TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import folder_paths
from comfy.model_management import InterruptProcessingException, processing_interrupted
from comfy_api.latest import ComfyAPI
from comfy_execution.utils import get_executing_context
from server import PromptServer

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from ..weshop_api import Progress, WeShop

    Report = Callable[[Progress], None]

T = TypeVar("T")

LOOK_SECONDS = 0.1
CLOSING_SECONDS = 6.0
# Encoding and decoding keep a core busy each; more threads would only cost memory.
PICTURE_THREADS = 2
THREAD_NAME = "weshop"
log = logging.getLogger("weshop")


async def follow(work: Callable[[WeShop, Report], Coroutine[Any, Any, T]]) -> T:
    """Do ``work`` in the background loop; show its progress on the node, and end within moments of an interrupt.

    To be awaited in ``execute``. ``work`` gets the service and a function that takes its progress. Raises what
    ``work`` raises, and InterruptProcessingException when the user interrupts. When the same node fails for another
    item of a list input, this item ends with that same error, so that the page shows it at once.
    """
    board = _Board()
    with _siblings() as siblings:
        future = _service().start(work, board.put)
        waiting = asyncio.wrap_future(future)
        try:
            while not waiting.done():
                await asyncio.wait({waiting}, timeout=LOOK_SECONDS)
                siblings.raise_failure()
                if processing_interrupted() and not waiting.done():
                    raise InterruptProcessingException
                await board.show()
        finally:
            # Does nothing to work that has ended; ends the rest, except what must be completed in the background.
            future.cancel()
        if waiting.cancelled():
            # The loop was closed under us. A cancellation of our own making would end the host's worker.
            raise InterruptProcessingException
        return waiting.result()


async def in_picture_thread(function: Callable[..., T], *args: object) -> T:
    """Run a blocking conversion of pictures off every event loop. To be awaited in the background loop.

    A thread cannot be cancelled; give ``function`` an event that makes it stop early, as ``stop_at_exit`` does.
    """
    return await asyncio.get_running_loop().run_in_executor(_service().pictures, function, *args)


@contextlib.contextmanager
def stop_at_exit() -> Iterator[threading.Event]:
    """An event that is set when the block is left, so that no thread goes on for a node that has ended."""
    stop = threading.Event()
    try:
        yield stop
    finally:
        stop.set()


async def show_text(text: str) -> None:
    """Print ``text`` under the executing node. Addresses and secrets have no place in it: the page may save it."""
    context = get_executing_context()
    server = PromptServer.instance
    if context is not None and server.client_id is not None:
        server.send_progress_text(text, context.node_id, server.client_id)


def upload_generation() -> int:
    """Grows when remembered uploads turned out to be gone, so that upload nodes run again. Never blocks."""
    service = _state.service
    return service.upload_generation if service else 0


class _Board:
    """Where the background loop leaves its latest progress, and the node picks it up."""

    def __init__(self) -> None:
        self._latest: Progress | None = None
        self._shown: tuple[str, float] = ("", 0.0)

    def put(self, progress: Progress) -> None:
        self._latest = progress

    async def show(self) -> None:
        """Tell the page what has changed. Must run inside ``execute``: a late report would land in another prompt."""
        progress = self._latest
        if progress is None:
            return
        shown = (str(progress), round(progress.fraction, 2))
        if shown == self._shown:
            return
        if shown[0] != self._shown[0]:
            await show_text(shown[0])
        if shown[1] != self._shown[1]:
            await ComfyAPI.Execution().set_progress(shown[1], 1.0)
        self._shown = shown


class _Siblings:
    """The items of one list input: tasks of the same node in the same prompt."""

    def __init__(self) -> None:
        self.members = 0
        self.failure: Exception | None = None

    def raise_failure(self) -> None:
        if self.failure is not None:
            raise self.failure


@contextlib.contextmanager
def _siblings() -> Iterator[_Siblings]:
    """Join the items of the same node. The host would show the first failure only after all others have ended."""
    context = get_executing_context()
    key = (context.prompt_id, context.node_id) if context else ("", "")
    group = _state.groups.setdefault(key, _Siblings())
    group.members += 1
    try:
        yield group
    except InterruptProcessingException:
        raise
    except Exception as error:
        group.failure = group.failure or error
        raise
    finally:
        group.members -= 1
        if not group.members:
            _state.groups.pop(key, None)


class _Service:
    """A thread with an event loop, and the one WeShop that lives in it."""

    def __init__(self) -> None:
        self.pictures = ThreadPoolExecutor(PICTURE_THREADS, thread_name_prefix="weshop-pictures")
        self._loop = asyncio.new_event_loop()
        self._weshop: WeShop | None = None
        threading.Thread(target=self._loop.run_forever, name=THREAD_NAME, daemon=True).start()
        logging.getLogger("httpx").addFilter(_is_wanted)

    @property
    def upload_generation(self) -> int:
        return self._weshop.upload_generation if self._weshop else 0

    def start(self, work: Callable[[WeShop, Report], Coroutine[Any, Any, T]], report: Report) -> Future[T]:
        async def begin() -> T:
            return await work(self._connected(), report)

        return asyncio.run_coroutine_threadsafe(begin(), self._loop)

    def close(self) -> None:
        """Complete what is being written down, then let the thread end."""
        if self._weshop is not None:
            closing = asyncio.run_coroutine_threadsafe(self._weshop.aclose(), self._loop)
            with contextlib.suppress(FutureTimeoutError):
                closing.result(CLOSING_SECONDS)
        self.pictures.shutdown(wait=False, cancel_futures=True)
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _connected(self) -> WeShop:
        """Connect at first use, here in the background: a mistake in the environment is told by the node that runs."""
        if self._weshop is None:
            from ..weshop_api import Limits, WeShop  # noqa: PLC0415 - loads the HTTP library; not at start-up

            self._weshop = WeShop(folder=_state_folder(), limits=Limits.from_environment())
        return self._weshop


def _is_wanted(record: logging.LogRecord) -> bool:
    """Leave out the line httpx writes for each of our requests: the log is public, and one line a run is enough."""
    return record.threadName != THREAD_NAME or log.isEnabledFor(logging.DEBUG)


def _state_folder() -> Path:
    """A folder of the user directory that the host does not serve."""
    if hasattr(folder_paths, "get_system_user_directory"):
        return Path(folder_paths.get_system_user_directory("weshop"))
    return Path(folder_paths.get_user_directory()) / "__weshop"


@dataclass
class _State:
    """What the process shares. The rest of the pack has no mutable module state."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    service: _Service | None = None
    groups: dict[tuple[str, str], _Siblings] = field(default_factory=dict)


_state = _State()


def _service() -> _Service:
    with _state.lock:
        if _state.service is None:
            _state.service = _Service()
            atexit.register(_state.service.close)
        return _state.service
