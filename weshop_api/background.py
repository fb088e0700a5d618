"""Work that is completed even when nobody waits for it any more, and blocking calls kept off the event loop."""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import Executor, Future
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .errors import WeShopError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable

    from typing_extensions import ParamSpec

    P = ParamSpec("P")

T = TypeVar("T")
log = logging.getLogger("weshop")


async def within(seconds: float, work: Awaitable[T], late: Callable[[], Exception]) -> T:
    """Wait for ``work`` at most so long, then cancel it and raise ``late()``.

    asyncio.wait_for may swallow a cancellation that arrives together with the result (up to Python 3.11).
    """
    task = asyncio.ensure_future(work)
    try:
        done, _ = await asyncio.wait({task}, timeout=seconds)
    except asyncio.CancelledError:
        await _stopped(task)
        raise
    if not done and await _stopped(task):
        raise late()
    return task.result()


async def _stopped(task: asyncio.Future[T]) -> bool:
    """Cancel a task and wait for its end; whether it ended without a result."""
    task.cancel()
    await asyncio.wait({task})
    return task.cancelled() or task.exception() is not None


class SharedTask(Generic[T]):
    """Work that is done once for all who wait for it, each inside ``async with``. The last one who leaves ends it."""

    def __init__(self, work: Coroutine[object, object, T]) -> None:
        self.is_over = False
        self._task = asyncio.ensure_future(work)
        self._waiters = 0

    async def __aenter__(self) -> asyncio.Task[T]:
        self._waiters += 1
        return self._task

    async def __aexit__(self, *_: object) -> None:
        self._waiters -= 1
        if not self._waiters:
            self.is_over = True
            await _stopped(self._task)


async def gather_or_cancel(work: Iterable[Coroutine[object, object, T]]) -> list[T]:
    """Do everything side by side and return the results in order.

    The first error ends the rest at once, and so does a cancellation: when this returns or raises, nothing of it is
    still running.
    """
    tasks = [asyncio.ensure_future(item) for item in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class DaemonThreads(Executor):
    """Threads that take work until the process ends, and do not keep it from ending.

    A ThreadPoolExecutor does neither: when the interpreter begins to end, it refuses new work, such as writing down a
    run that has just been accepted, and the process waits for everything that is still queued.
    """

    def __init__(self, count: int, name: str) -> None:
        self._queue: SimpleQueue[tuple[Future[Any], Callable[[], object]] | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True) for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Queue a call. It can be cancelled until a thread begins with it."""
        future: Future[T] = Future()
        self._queue.put((future, partial(function, *args, **kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002 - the base class's
        """Let the threads end after what is queued."""
        for _ in self._threads:
            self._queue.put(None)
        if wait:
            for thread in self._threads:
                thread.join()

    def _work(self) -> None:
        while (task := self._queue.get()) is not None:
            _complete(*task)
            del task  # Nothing of the last call is kept while waiting for the next.


def _complete(future: Future[Any], call: Callable[[], object]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(call())
    except BaseException as error:  # noqa: BLE001 - handed to whoever waits
        future.set_exception(error)
        del future, call  # The error's traceback holds this frame, and the frame would hold the error.


class Background:
    """Tasks and one worker thread that belong to the service object, not to whoever called it.

    The single thread serialises the calls of one object that is not made for several, such as the ledger.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[object]] = set()
        self._thread = DaemonThreads(1, "weshop-ledger")
        self._is_drained = False

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a blocking function on the worker thread. Once begun it is completed, also when the caller is gone.

        Raises WeShopError after ``drain``, when no thread is left that would ever do it.
        """
        if self._is_drained:
            raise WeShopError(
                "WeShop has been closed on this side. A run that was accepted goes on there; ask again to collect it."
            )
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(function, *args, **kwargs))

    def start(self, work: Coroutine[object, object, T]) -> asyncio.Task[T]:
        """Begin ``work``. An error that nobody collects is logged in one line when it is one of ours."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    async def drain(self, patience_seconds: float) -> None:
        """Let everything that was begun come to its end, and end what takes longer."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=patience_seconds)
        late = tuple(self._tasks)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        self._is_drained = True
        self._thread.shutdown(wait=True)

    def _forget(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, WeShopError):
            log.debug("%s", error)
