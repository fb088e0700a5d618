"""Everything a host has written and served, as bytes to be searched for something that must not be there."""

from __future__ import annotations

import asyncio
import base64
import io
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, final

import aiohttp
import psutil  # type: ignore[import-untyped]  # it has no types
import requests
from PIL import Image

from tools.comfyui import ComfyUIProcess

ROUTES = (
    *("/history", "/object_info", "/queue", "/prompt", "/settings", "/users", "/userdata?dir=.&recurse=true"),
    *("/internal/logs", "/internal/logs/raw", "/internal/folder_paths", "/system_stats", "/features", "/extensions"),
    *("/i18n", "/workflow_templates", "/embeddings", "/models", "/experiment/models", "/global_subgraphs"),
    *("/weshop/key", "/api/weshop/key", "/extensions/weshop-seedream/settings.js", "/view_metadata/checkpoints"),
)
WINDOW_CHARACTERS = 8


@final
class Listener:
    """Keeps every byte that the host sends to a page's websocket. A context manager with a thread of its own."""

    def __init__(self, url: str, client_id: str) -> None:
        self.received = bytearray()
        self._url = f"{url.replace('http', 'ws', 1)}/ws?clientId={client_id}"
        self._connected = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._listen()), daemon=True)

    def __enter__(self) -> Listener:
        self._thread.start()
        assert self._connected.wait(20), "the host's websocket did not open"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._leave.set)
        self._thread.join(10)

    async def _listen(self) -> None:
        self._loop, self._leave = asyncio.get_running_loop(), asyncio.Event()
        async with aiohttp.ClientSession() as session, session.ws_connect(self._url, max_msg_size=0) as socket:
            leaving = asyncio.ensure_future(self._leave.wait())
            keeping = asyncio.ensure_future(self._keep(socket))
            await asyncio.wait({leaving, keeping}, return_when=asyncio.FIRST_COMPLETED)
            keeping.cancel()
            leaving.cancel()

    async def _keep(self, socket: aiohttp.ClientWebSocketResponse[Any]) -> None:
        async for message in socket:
            self._connected.set()
            self.received += message.data.encode() if isinstance(message.data, str) else message.data


def served(host: ComfyUIProcess) -> dict[str, bytes]:
    """What the host answers to whoever asks, without any credentials."""
    session = requests.Session()
    session.trust_env = False
    return {f"GET {route}": session.get(host.url + route, timeout=30).content for route in ROUTES}


def written(host: ComfyUIProcess, *, without: Iterable[Path] = ()) -> dict[str, bytes]:
    """Every file of the host's base directory: log, ledger, spool, user, temp, output. Packs are only read."""
    left_out = set(without)
    files: dict[str, bytes] = {}
    for path in sorted(host.base_directory.rglob("*")):
        inside = path.relative_to(host.base_directory)
        if inside.parts[0] != "custom_nodes" and path.is_file() and path not in left_out:
            name = inside.as_posix()
            files[name] = path.read_bytes()
            if path.suffix == ".png":
                files[f"texts in {name}"] = texts_in_png(files[name])
    return files


def texts_in_png(data: bytes) -> bytes:
    """The texts of a PNG, the compressed ones included."""
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return "\n".join(f"{name}: {text}" for name, text in image.info.items() if isinstance(text, str)).encode()


def command_lines() -> dict[str, bytes]:
    """How every process of this machine was started."""
    lines: dict[str, bytes] = {}
    for process in psutil.process_iter(["cmdline"]):
        lines[f"command line of {process.pid}"] = "\0".join(process.info["cmdline"] or ()).encode()
    return lines


def places_of(secret: str, evidence: Mapping[str, bytes]) -> list[str]:
    """Where any eight characters of a secret stand in a row, but for the last four, in any usual encoding."""
    windows = [secret[i : i + WINDOW_CHARACTERS] for i in range(len(secret) - WINDOW_CHARACTERS + 1)]
    needles = [window.encode(encoding) for window in windows for encoding in ("ascii", "utf-16-le")]
    needles += [window.encode().hex().encode() for window in windows]
    # Base64 looks different at each of three offsets; the first and last characters depend on what stands around.
    needles += [base64.b64encode(b"x" * pad + secret.encode())[4:-4] for pad in range(3)]
    return sorted({name for name, data in evidence.items() if any(needle in data for needle in needles)})
