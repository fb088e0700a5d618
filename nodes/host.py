"""Where the nodes meet ComfyUI's executor: the background loop, interruption, progress, folders.

The host gives every prompt an event loop of its own, lets synchronous nodes block that loop, and throws all pending
work away when a prompt ends. So the service lives in a loop of ours, on a daemon thread, for the life of the process;
a node hands its work over, and ends as soon as somebody interrupts, whatever the work is doing.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future, TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import folder_paths
from comfy.model_management import InterruptProcessingException, processing_interrupted
from comfy_api.latest import ComfyAPI
from comfy_execution.utils import get_executing_context
from server import PromptServer

from ..weshop_api import Progress, WeShopError
from ..weshop_api.background import DaemonThreads
from ..weshop_api.progress import silent
from ._items import FAILED, NodeItems

if TYPE_CHECKING:
    from PIL import Image

    from ..weshop_api import WeShop

Report = Callable[[Progress], None]

T = TypeVar("T")

LOOK_SECONDS = 0.1
# How long the host's own end may be held up. What is cut off then is found in the ledger by the next queueing.
CLOSING_SECONDS = 2.0
# Encoding and decoding keep a core busy each; more threads would only cost memory.
PICTURE_THREADS = 2
# Some versions of the page, 1.32.9 among them, take what is printed under a node for HTML.
NO_MARKUP = str.maketrans("<>", "\u2039\u203a")
log = logging.getLogger("weshop")


async def follow(work: Callable[[WeShop, Report], Coroutine[Any, Any, T]]) -> T:
    """Do ``work`` in the background loop; show its progress on the node, and end within moments of an interrupt.

    To be awaited in ``execute``. ``work`` gets the service and a function that takes its progress. Raises what
    ``work`` raises, and InterruptProcessingException when the user interrupts. When the same node fails for another
    item of a list input, this item ends with that same error, so that the page shows it at once.
    """
    prompt = _prompt()
    with prompt.item() as (node, report):
        node.items.raise_failure()
        prompt.raise_ending()
        future = _service().start(work, report)
        ended = asyncio.wrap_future(future)
        try:
            while not ended.done():
                await asyncio.wait({ended, node.over}, return_when=asyncio.FIRST_COMPLETED)
                node.items.raise_failure()
                if not ended.done():
                    prompt.raise_ending()
        finally:
            if not ended.done():
                node.print(node.items.farewell())
            # Does nothing to work that has ended; ends the rest, except what must be completed in the background.
            future.cancel()
        await node.show(len(prompt.nodes), is_end=True)
        if ended.cancelled() or ended.exception() is not None:
            node.print(FAILED)
        return _outcome(ended)


async def in_background(work: Coroutine[Any, Any, T]) -> T:
    """Do what belongs to no prompt in the background loop. To be awaited in the host's server loop."""
    return await asyncio.wrap_future(_service().run(work))


async def ask(work: Callable[[WeShop], Coroutine[Any, Any, T]]) -> T:
    """Ask the service something that belongs to no prompt. To be awaited in the host's server loop."""
    return await asyncio.wrap_future(_service().start(lambda weshop, _: work(weshop), silent))


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


async def final_text(text: str) -> dict[str, list[str]]:
    """Print what came of the executing node under it, and return it as the node's ``ui``, which outlasts the run.

    Addresses and secrets have no place in it: the page may save it.
    """
    node = _prompt().node(_executing()[0])
    node.print(node.items.last_word(text))
    return {"text": [text]}


def preview_of_node() -> Callable[[Image.Image], None]:
    """A way to show a picture, RGB, on the executing node as long as it runs. May be called from any thread."""
    return _prompt().node(_executing()[0]).items.put_picture


def upload_generation() -> int:
    """Grows when remembered uploads turned out to be gone, so that upload nodes run again. Never blocks."""
    service = _state.service
    return service.upload_generation if service else 0


def _executing() -> tuple[str, int]:
    """The id of the executing node, and the place of the item in its list input."""
    context = get_executing_context()
    return (context.node_id, context.list_index or 0) if context else ("", 0)


class _Node:
    """A node of the prompt that is being executed. ``over`` is done as soon as its items have to end."""

    def __init__(self, node_id: str) -> None:
        self.items = NodeItems()
        self.over = asyncio.get_running_loop().create_future()
        self._node_id = node_id

    def end_items(self) -> None:
        over, self.over = self.over, asyncio.get_running_loop().create_future()
        over.set_result(None)

    async def show(self, nodes: int, *, is_end: bool = False) -> None:
        """Tell the page what has changed, while an item is inside ``execute``: later, it would be another prompt's."""
        shown = self.items.news(nodes, is_end=is_end)
        if shown is None:
            return
        if shown.text is not None:
            self.print(shown.text)
        if shown.fraction is not None or shown.picture is not None:
            await ComfyAPI.Execution().set_progress(
                self.items.fraction, 1.0, node_id=self._node_id, preview_image=shown.picture
            )

    def print(self, text: str) -> None:
        server = PromptServer.instance
        if text and server.client_id is not None:
            server.send_progress_text(text.translate(NO_MARKUP), self._node_id, server.client_id)


class _Prompt:
    """What the items of all nodes of one prompt share: one look at the interruption flag and at what there is to show.

    Hundreds of items that each looked ten times a second would keep the executor busy with nothing else.
    """

    def __init__(self) -> None:
        self.nodes: dict[str, _Node] = {}
        self._ending: Exception | None = None
        self._going = 0
        self._looking: asyncio.Task[None] | None = None

    def node(self, node_id: str) -> _Node:
        if node_id not in self.nodes:
            self.nodes[node_id] = _Node(node_id)
        return self.nodes[node_id]

    def raise_ending(self) -> None:
        """End an item of a prompt that was interrupted."""
        if self._ending is not None:
            raise self._ending

    @contextlib.contextmanager
    def item(self) -> Iterator[tuple[_Node, Report]]:
        """Join the items of the executing node, and take part in their failure.

        The host itself would show the first failure of a list only after all other items have ended.
        """
        node_id, index = _executing()
        node = self.node(node_id)
        failure: Exception | None = None
        node.items.begin(index)
        self._going += 1
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())
        try:
            yield node, partial(node.items.put, index)
        except InterruptProcessingException:
            raise
        except Exception as error:
            failure = error
            node.end_items()
            raise
        finally:
            self._going -= 1
            node.items.end(index, failure)

    async def _look(self) -> None:
        """Look every now and then, as long as there are items. Whatever ends this earlier ends them too."""
        try:
            while self._going and not processing_interrupted():
                for node in tuple(self.nodes.values()):
                    await node.show(len(self.nodes))
                await asyncio.sleep(LOOK_SECONDS)
            self._ending = InterruptProcessingException() if self._going else None
        except Exception as error:  # noqa: BLE001 - raised by the items, which nobody would end any more
            self._ending = error
        finally:
            self._looking = None
            for node in self.nodes.values():
                node.end_items()


def _prompt() -> _Prompt:
    """What belongs to a prompt is kept by its event loop: the host makes one for each, and both end together."""
    loop = asyncio.get_running_loop()
    if loop not in _state.prompts:
        for over in [other for other in _state.prompts if other.is_closed()]:
            del _state.prompts[over]
        _state.prompts[loop] = _Prompt()
    return _state.prompts[loop]


def _outcome(ended: asyncio.Future[T]) -> T:
    """The result of work that has ended, or its error.

    A cancellation of our own making, or an exit, would end the host's worker for good; neither may leave a node.
    """
    if not ended.cancelled():
        error = ended.exception()
        if error is None or isinstance(error, Exception):
            return ended.result()
    if processing_interrupted():
        raise InterruptProcessingException
    raise WeShopError(
        "The work of this node was ended from elsewhere, perhaps because ComfyUI is closing. Queue again: a run that "
        "was submitted is collected then and not charged a second time."
    )


class _Service:
    """A thread with an event loop, and the one WeShop that lives in it."""

    def __init__(self) -> None:
        self.pictures = DaemonThreads(PICTURE_THREADS, "weshop-pictures")
        # In a thread, because on Windows a loop made in the main thread, where routes are answered, takes from the loop
        # of the host what wakes it at Ctrl-C.
        self._loop = self.pictures.submit(asyncio.new_event_loop).result()
        self._weshop: WeShop | None = None
        self._is_closing = False
        threading.Thread(target=self._run, name="weshop", daemon=True).start()

    @property
    def upload_generation(self) -> int:
        return self._weshop.upload_generation if self._weshop else 0

    def start(self, work: Callable[[WeShop, Report], Coroutine[Any, Any, T]], report: Report) -> Future[T]:
        async def begin() -> T:
            return await work(self._connected(), report)

        return self.run(begin())

    def run(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def close(self) -> None:
        """Complete what is being written down, then let the thread end."""
        if self._weshop is not None:
            closing = asyncio.run_coroutine_threadsafe(self._weshop.aclose(), self._loop)
            with contextlib.suppress(FutureTimeoutError):
                closing.result(CLOSING_SECONDS)
        self._is_closing = True
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _run(self) -> None:
        while not self._is_closing:
            try:
                self._loop.run_forever()
            except BaseException:  # noqa: PERF203 - once in the life of a process, if ever
                # An exit raised by work passes through the loop. Its node is told, and the others go on.
                log.exception("The background loop of WeShop Seedream was left, and goes on.")

    def _connected(self) -> WeShop:
        """Connect at first use, here in the background: a mistake in the environment is told by the node that runs."""
        if self._weshop is None:
            from ..weshop_api import Limits, WeShop  # noqa: PLC0415 - loads the HTTP library; not at start-up

            self._weshop = WeShop(folder=_state_folder(), limits=Limits.from_environment())
        return self._weshop


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
    prompts: dict[asyncio.AbstractEventLoop, _Prompt] = field(default_factory=dict)


_state = _State()


def _service() -> _Service:
    with _state.lock:
        if _state.service is None:
            _state.service = _Service()
            atexit.register(_state.service.close)
        return _state.service
