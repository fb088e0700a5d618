"""What the tests of good manners share: a page's websocket, a look into the host, and small prompts."""

from __future__ import annotations

import asyncio
import itertools
import json
import struct
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import requests

from emulator import Emulator
from tools.comfyui import ComfyUIProcess
from tools.comfyui.process import THIS_PACK

NEIGHBOURS = Path(__file__).parent / "neighbours"
PACKS: Mapping[str, Path] = {**THIS_PACK, "neighbours": NEIGHBOURS}
TIMEOUT_SECONDS = 60.0
TEXT_MESSAGE = 3
ENDINGS = ("execution_success", "execution_error", "execution_interrupted")

_seeds = itertools.count(1)
Node = dict[str, Any]
Prompt = dict[str, Node]


@dataclass(frozen=True)
class Event:
    """A message of the host as it arrived; ``at_seconds`` is monotonic."""

    at_seconds: float
    name: str
    data: Mapping[str, Any]


class Page:
    """The websocket of one page. A context manager; it listens in a thread of its own."""

    def __init__(self, url: str, client_id: str) -> None:
        self.client_id = client_id
        self._url = f"{url.replace('http', 'ws', 1)}/ws?clientId={client_id}"
        self._events: list[Event] = []
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._listen()), daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._leave = asyncio.Event()

    def __enter__(self) -> Page:  # noqa: PYI034 - Self came with Python 3.11
        self._thread.start()
        self.wait_for(lambda event: event.name == "status")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._loop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._leave.set)
        self._thread.join(TIMEOUT_SECONDS)

    @property
    def events(self) -> list[Event]:
        with self._changed:
            return list(self._events)

    def of(self, prompt_id: str, name: str = "") -> list[Event]:
        """What has arrived about a prompt, without texts: the host does not say to which prompt they belong."""
        return [e for e in self.events if e.data.get("prompt_id") == prompt_id and name in ("", e.name)]

    def texts(self, since_seconds: float = 0.0) -> list[str]:
        return [e.data["text"] for e in self.events if e.name == "text" and e.at_seconds >= since_seconds]

    def wait_for(self, wanted: Callable[[Event], bool], timeout_seconds: float = TIMEOUT_SECONDS) -> Event:
        """The first event, of the past or of the future, that is wanted."""
        deadline = time.monotonic() + timeout_seconds
        looked_at = 0
        with self._changed:
            while True:
                for event in self._events[looked_at:]:
                    if wanted(event):
                        return event
                looked_at = len(self._events)
                if not self._changed.wait(deadline - time.monotonic()):
                    raise AssertionError(f"the event did not come within {timeout_seconds:g} s: {self._events[-5:]}")

    def forget(self) -> None:
        """Drop what has arrived."""
        with self._changed:
            self._events.clear()

    async def _listen(self) -> None:
        self._loop = asyncio.get_running_loop()
        async with aiohttp.ClientSession() as session, session.ws_connect(self._url, max_msg_size=0) as socket:
            leaving = asyncio.ensure_future(self._leave.wait())
            while not leaving.done():
                message = asyncio.ensure_future(socket.receive())
                await asyncio.wait({leaving, message}, return_when=asyncio.FIRST_COMPLETED)
                if not message.done() or message.result().type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR):
                    message.cancel()
                    return
                self._note(message.result())

    def _note(self, message: Any) -> None:  # noqa: ANN401 - aiohttp has several classes of them, by its version
        if message.type is aiohttp.WSMsgType.TEXT:
            document = json.loads(message.data)
            event = Event(time.monotonic(), document["type"], document["data"])
        elif message.type is aiohttp.WSMsgType.BINARY and struct.unpack(">I", message.data[:4])[0] == TEXT_MESSAGE:
            length = struct.unpack(">I", message.data[4:8])[0]
            node, text = message.data[8 : 8 + length].decode(), message.data[8 + length :].decode()
            event = Event(time.monotonic(), "text", {"node": node, "text": text})
        else:
            return
        with self._changed:
            self._events.append(event)
            self._changed.notify_all()


@dataclass(frozen=True)
class Report:
    """A look into the host's process."""

    threads: tuple[str, ...]
    tasks: tuple[str, ...]
    """Of the background loop."""
    connections: frozenset[int]
    """The local ports of open connections to the emulator."""
    rss_bytes: int
    cpu_seconds: float
    at_seconds: float
    lags: Mapping[str, Mapping[str, float]]
    """For `server` and `background`: `worst`, `p99` and `p95`, in seconds, and the `count` of what was measured."""
    longest_collection_seconds: float
    """Python's own collection of garbage, since the measuring of lags began."""


class Citizen:
    """A host with the pack and its neighbours, the emulator it speaks to, and a page that listens."""

    def __init__(self, host: ComfyUIProcess, emulator: Emulator, page: Page) -> None:
        self.host, self.emulator, self.page = host, emulator, page
        self._session = requests.Session()
        self._session.trust_env = False

    def queue(self, prompt: Prompt) -> str:
        return self.host.client.queue(prompt, client_id=self.page.client_id)

    def begin(self, prompt: Prompt) -> str:
        """Queue, and return as soon as it is being executed."""
        prompt_id = self.queue(prompt)
        self.page.wait_for(about(prompt_id, "execution_start"))
        return prompt_id

    def end_of(self, prompt_id: str, timeout_seconds: float = TIMEOUT_SECONDS) -> Event:
        return self.page.wait_for(about(prompt_id, *ENDINGS), timeout_seconds)

    def run(self, prompt: Prompt, timeout_seconds: float = TIMEOUT_SECONDS) -> Event:
        return self.end_of(self.queue(prompt), timeout_seconds)

    def interrupt(self) -> float:
        """Press the button; at which monotonic time."""
        at_seconds = time.monotonic()
        self._session.post(f"{self.host.url}/interrupt", json={}, timeout=TIMEOUT_SECONDS).raise_for_status()
        return at_seconds

    def report(self) -> Report:
        response = self._session.get(f"{self.host.url}/neighbours/report", timeout=TIMEOUT_SECONDS)
        response.raise_for_status()
        answer = response.json()
        ports = {urlsplit(url).port for url in (self.emulator.base_url, self.emulator.files_url)}
        answer["connections"] = frozenset(local for local, remote in answer["connections"] if remote in ports)
        return Report(**{**answer, "threads": tuple(answer["threads"]), "tasks": tuple(answer["tasks"])})

    def measure_lag(self, *, on: bool) -> None:
        self.post("lag", on=on)

    def post(self, path: str, **body: Any) -> None:  # noqa: ANN401 - JSON
        url = f"{self.host.url}/neighbours/{path}"
        self._session.post(url, json=body, timeout=TIMEOUT_SECONDS).raise_for_status()

    def wait_until(self, condition: Callable[[], bool], what: str, timeout_seconds: float = 15.0) -> None:
        deadline = time.monotonic() + timeout_seconds
        while not condition():
            assert time.monotonic() < deadline, f"not within {timeout_seconds:g} s: {what}"
            time.sleep(0.02)

    def wait_for_idle(self, timeout_seconds: float = 15.0) -> None:
        """Until the background loop has nothing to do."""
        self.wait_until(lambda: not self.report().tasks, "an idle background loop", timeout_seconds)

    def leave_nothing_queued(self) -> None:
        """Also after a test that has failed."""
        if self.host.client.queue_length():
            self.host.client.clear_queue()
            self.interrupt()
            self.wait_until(lambda: self.host.client.queue_length() == 0, "an empty queue")

    def close(self) -> None:
        self._session.close()


def about(prompt_id: str, *names: str) -> Callable[[Event], bool]:
    return lambda event: event.name in names and event.data.get("prompt_id") == prompt_id


def new_seed() -> int:
    """A seed that no other prompt of this session has."""
    return next(_seeds)


def generate(**changed: Any) -> Node:  # noqa: ANN401 - JSON
    """A generate node; the seed is new unless given."""
    inputs = {
        "prompt": "a lighthouse",
        "model": "Seedream 5.0 Lite",
        "image_size": "2K",
        "aspect_ratio": "1:1",
        "output_format": "jpeg",
        "batch_count": 1,
        "web_search": False,
    }
    return {"class_type": "WeShopSeedreamGenerate", "inputs": {**inputs, "seed": new_seed(), **changed}}


def shows(source: str, output: int = 0) -> Node:
    """An output node that shows text."""
    return {"class_type": "PreviewAny", "inputs": {"source": [source, output]}}


def node(class_type: str, **inputs: Any) -> Node:  # noqa: ANN401 - JSON
    return {"class_type": class_type, "inputs": inputs}


def one_run(**changed: Any) -> Prompt:  # noqa: ANN401 - JSON
    """A prompt that makes one run and shows its id."""
    return {"generate": generate(**changed), "id": shows("generate", 1)}


def whole_way(*, pictures: int = 1, size: int = 64, **changed: Any) -> Prompt:  # noqa: ANN401 - JSON
    """Upload, generate, load."""
    return {
        "noise": node("NeighbourNoise", size=size, count=pictures, seed=new_seed()),
        "upload": node("WeShopUploadReference", image=["noise", 0], image_urls="", encoding="auto"),
        "generate": generate(references=["upload", 0], **changed),
        "load": node("WeShopLoadResult", run=["generate", 0], execution_id="", when_sizes_differ="pad"),
        "preview": node("PreviewImage", images=["load", 0]),
    }


def a_list(count: int, **changed: Any) -> Prompt:  # noqa: ANN401 - JSON
    """A list of prompts into one generate node."""
    return {
        "prompts": node("NeighbourPrompts", text=f"ship {new_seed()}", count=count),
        "generate": generate(prompt=["prompts", 0], **changed),
        "id": shows("generate", 1),
    }


def load_of(execution_id: str) -> Prompt:
    """Fetch and decode a finished run; never from the host's cache, because the blanks after the id differ."""
    blanks = " " * (new_seed() % 1000)
    loads = node("WeShopLoadResult", execution_id=execution_id + blanks, when_sizes_differ="pad")
    name = f"load {new_seed()}"
    return {name: loads, f"preview of {name}": node("PreviewImage", images=[name, 0])}
