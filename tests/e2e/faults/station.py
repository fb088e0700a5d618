"""Where rows of the fault table are executed: a ComfyUI and an emulator that nobody else speaks to."""

from __future__ import annotations

import contextlib
import hashlib
import io
import re
import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from emulator import ByPolls, Emulator, RequestRecord, RunRecord
from tests.e2e.citizen import Event, Page
from tools.comfyui import (
    ComfyUIProcess,
    PromptFailedError,
    PromptInterruptedError,
    PromptResult,
)
from tools.comfyui.process import THIS_PACK, free_port
from tools.environment import Environment

from .rows import WANTED_PICTURES, End, Moment

SIBLING = Path(__file__).parent / "sibling"
PACKS: Mapping[str, Path] = {**THIS_PACK, "fault-table-sibling": SIBLING}
PROMPT_TIMEOUT_SECONDS = 170.0
MOMENT_TIMEOUT_SECONDS = 30.0
LOOK_SECONDS = 0.02
RESULT_NUMBER = re.compile(r"/results/[0-9a-f]+/([0-9]+)_")
CLIENT_ID = "fault-table"

Prompt = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Queueing:
    """What came of queueing a request: the end, what the user was told, and what was saved."""

    end: End
    message: str
    texts: tuple[str, ...]
    pictures: tuple[int, ...]
    """How many different pictures each of the twins delivered."""
    runs: int
    """How many runs of this request the service has afterwards."""
    submits: int
    """How many requests have led to them so far."""
    execution_ids: tuple[str, ...]
    downloads: tuple[int, ...]
    """The numbers of the results that were asked for meanwhile, in order, each once."""


@dataclass(frozen=True)
class LedgerRow:
    """What the ledger's file says about a run."""

    state: str
    execution_id: str
    delivered: bool


class Station:
    """A host with its own emulator, folder and page. A context manager."""

    def __init__(self, environment: Environment, folder: Path, *partners: Path) -> None:
        """``folder`` is the host's base directory; ``partners`` are those of more hosts with the same ledger."""
        # Ports of its own choice, because the emulator is stopped and started again under a host that goes on.
        port, files_port = free_port(), free_port()
        self.emulator = Emulator(port, files_port=files_port, pictures="small", pace=ByPolls(1), points_balance=10**9)
        self.state_folder = folder / "user" / "__weshop"
        variables = {"WESHOP_BASE_URL": f"http://127.0.0.1:{port}/openapi"}
        self.hosts = [ComfyUIProcess(environment, folder, variables=variables, packs=PACKS)]
        arguments = ("--user-directory", str(folder / "user"))
        for partner in partners:
            self.hosts.append(
                ComfyUIProcess(environment, partner, variables=variables, packs=PACKS, arguments=arguments)
            )
        self._resources = contextlib.ExitStack()

    @property
    def host(self) -> ComfyUIProcess:
        """The first host."""
        return self.hosts[0]

    def __enter__(self) -> Station:  # noqa: PYI034 - Self came with Python 3.11
        """Start everything."""
        self._resources.enter_context(self.emulator)
        for host in self.hosts:
            self._resources.callback(host.stop)
            host.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop everything."""
        self._resources.close()

    def make_ready(self) -> None:
        """Begin a row with live hosts, empty queues and no faults, whatever the row before has left behind."""
        self.emulator.withdraw_faults()
        for host in self.hosts:
            if host.is_running and host.client.queue_length():
                host.kill()
            if not host.is_running:
                host.start()

    # Queueing --------------------------------------------------------------------------------------------------

    def queue(
        self,
        prompt: Prompt,
        task_name: str,
        meanwhile: Callable[[], None] | None = None,
        *,
        host: int = 0,
        listen: bool = True,
    ) -> Queueing:
        """Queue a prompt, do something while it is executed, and wait for its end; listen to what the nodes show."""
        comfyui = self.hosts[host]
        requests_before = len(self.emulator.requests)
        with Page(comfyui.url, CLIENT_ID) if listen else contextlib.nullcontext() as page:
            prompt_id = comfyui.client.queue(prompt, client_id=CLIENT_ID)
            pid = comfyui.pid
            if meanwhile is not None:
                meanwhile()
            end, message, result = End.KILLED, "", None
            if comfyui.is_running and comfyui.pid == pid:
                end, message, result = _end_of(comfyui, prompt_id)
                if page:
                    page.wait_for(lambda event: _is_last_of(prompt_id, event))
            texts = tuple(page.texts()) if page else ()
        runs = self.runs(task_name)
        return Queueing(
            end=end,
            message=message,
            texts=texts,
            pictures=_saved(comfyui, result),
            runs=len(runs),
            submits=sum(run.submits for run in runs),
            execution_ids=tuple(run.execution_id for run in runs),
            downloads=self._downloads(requests_before),
        )

    def wait_for(self, moment: Moment, requests_before: int) -> None:
        """Return when the moment has come."""
        deadline = time.monotonic() + MOMENT_TIMEOUT_SECONDS
        while True:
            requests = [one for one in self.emulator.requests[requests_before:] if one.operation == moment.operation]
            if sum(_has_come(moment, one) for one in requests) >= moment.count:
                time.sleep(moment.after_seconds)
                return
            if time.monotonic() > deadline:
                raise AssertionError(f"the moment did not come: {moment.name}")
            time.sleep(LOOK_SECONDS)

    def runs(self, task_name: str) -> list[RunRecord]:
        """The runs of one request at the service."""
        return [run for run in self.emulator.runs if run.body["input"].get("taskName") == task_name]

    def ledger(self, task_name: str) -> list[LedgerRow]:
        """What the ledger's file knows about one request, oldest first."""
        address = f"{(self.state_folder / 'ledger.sqlite3').as_uri()}?mode=ro"
        statement = "SELECT state, execution_id, delivered FROM runs WHERE task_name = ? ORDER BY id"
        with contextlib.closing(sqlite3.connect(address, uri=True, timeout=10)) as connection:
            return [LedgerRow(row[0], row[1], bool(row[2])) for row in connection.execute(statement, (task_name,))]

    def _downloads(self, requests_before: int) -> tuple[int, ...]:
        matches = (RESULT_NUMBER.search(one.path) for one in self.emulator.requests[requests_before:])
        return tuple(sorted({int(match.group(1)) for match in matches if match}))


def prompt_for(  # noqa: PLR0913 - what differs between prompts, each with its name
    task_name: str, seed: int, *, uploads: bool = False, twins: int = 1, timeout_minutes: int = 15, sibling: str = ""
) -> Prompt:
    """A prompt with ``twins`` equal ways from the form to saved pictures."""
    inputs: dict[str, Any] = {
        "prompt": f"a lighthouse for {task_name}",
        "model": "Seedream 5.0 Lite",
        "image_size": "2K",
        "aspect_ratio": "1:1",
        "output_format": "jpeg",
        "batch_count": WANTED_PICTURES,
        "web_search": False,
        "seed": seed,
        "task_name": task_name,
        "timeout_minutes": timeout_minutes,
    }
    prompt: Prompt = {}
    if uploads:
        prompt["picture"] = _node("EmptyImage", width=64, height=64, batch_size=1, color=seed)
        prompt["upload"] = _node("WeShopUploadReference", image=["picture", 0], image_urls="", encoding="auto")
        inputs["references"] = ["upload", 0]
    for twin in range(twins):
        run, loaded = f"generate {twin}", f"load {twin}"
        prompt[run] = _node("WeShopSeedreamGenerate", **inputs)
        prompt[loaded] = _node("WeShopLoadResult", run=[run, 0], execution_id="", when_sizes_differ="pad")
        prompt[f"save {twin}"] = _node("SaveImage", images=[loaded, 0], filename_prefix=f"{seed} {twin}")
    if sibling:
        prompt["sibling"] = _node("FailsWhenTold", path=sibling)
    return prompt


def _node(class_type: str, **inputs: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {"class_type": class_type, "inputs": inputs}


def _has_come(moment: Moment, request: RequestRecord) -> bool:
    """Whether the service is as far with a request as the moment says: it arrived, was read, or was answered."""
    if moment.answered:
        return request.answered_status is not None
    # A run exists only from the last byte of its submission on, and a killed host would not send that.
    is_to_be_read = moment.operation == "submit" and moment.is_accepted
    return request.body_size > 0 or not is_to_be_read


def _is_last_of(prompt_id: str, event: Event) -> bool:
    """After this message the host sends nothing more about a prompt, not even what nodes show that it has ended."""
    is_last = event.name == "executing" and event.data.get("node") is None
    return is_last and event.data.get("prompt_id") == prompt_id


def _end_of(host: ComfyUIProcess, prompt_id: str) -> tuple[End, str, PromptResult | None]:
    try:
        return End.SUCCESS, "", host.client.wait(prompt_id, timeout_seconds=PROMPT_TIMEOUT_SECONDS)
    except PromptFailedError as error:
        return End.ERROR, error.exception_message, None
    except PromptInterruptedError:
        return End.INTERRUPTED, "", None


def _saved(host: ComfyUIProcess, result: PromptResult | None) -> tuple[int, ...]:
    """How many different pictures each saving node has saved."""
    found: dict[str, set[str]] = {}
    for picture in result.saved_pictures() if result else ():
        pixels = Image.open(io.BytesIO(host.client.fetch(picture))).tobytes()
        found.setdefault(picture.node_id, set()).add(hashlib.sha256(pixels).hexdigest())
    return tuple(len(pictures) for pictures in found.values())
