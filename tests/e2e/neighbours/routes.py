"""A look into the process of the host: threads, tasks of the background loop, sockets, memory, lag of the loops."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import psutil  # type: ignore[import-untyped]  # it has no types
from aiohttp import web
from server import PromptServer

from .nodes import pack_host

LAG_STEP_SECONDS = 0.01


@dataclass
class Lag:
    """How much later than it wanted a sleeping task was woken, in seconds."""

    is_on: bool = False
    server: list[float] = field(default_factory=list)
    background: list[float] = field(default_factory=list)


@dataclass
class Collections:
    """How long Python collected garbage at a stretch; every thread stands still meanwhile, whatever the loops do."""

    began_seconds: float = 0.0
    longest_seconds: float = 0.0

    def note(self, phase: str, _: dict[str, int]) -> None:
        """Called by Python when a collection begins and when it ends."""
        now_seconds = time.perf_counter()
        if phase == "start":
            self.began_seconds = now_seconds
        else:
            self.longest_seconds = max(self.longest_seconds, now_seconds - self.began_seconds)


_lag = Lag()
_collections = Collections()


def add_routes() -> None:
    """Put the routes beside the host's own."""
    routes = PromptServer.instance.routes
    routes.get("/neighbours/report")(_report)
    routes.post("/neighbours/lag")(_switch_lag)
    routes.post("/neighbours/environ")(_set_variable)
    gc.callbacks.append(_collections.note)


async def _report(_: web.Request) -> web.Response:
    process = psutil.Process()
    times = process.cpu_times()
    lags = {"server": _lag.server, "background": _lag.background}
    return web.json_response(
        {
            "threads": sorted(thread.name for thread in threading.enumerate()),
            "tasks": sorted(_tasks()),
            "connections": _connections(process),
            "rss_bytes": process.memory_info().rss,
            "cpu_seconds": times.user + times.system,
            "at_seconds": time.monotonic(),
            "lags": {name: _figures(values) for name, values in lags.items()},
            "longest_collection_seconds": _collections.longest_seconds,
        }
    )


def _tasks() -> list[str]:
    """What the background loop is busy with, without our own probe."""
    loop = background_loop()
    if loop is None:
        return []
    names = (getattr(task.get_coro(), "__qualname__", "?") for task in asyncio.all_tasks(loop))
    return [name for name in names if name != _probe.__qualname__]


def background_loop() -> asyncio.AbstractEventLoop | None:
    """The pack's loop, None before its first use."""
    service = pack_host()._state.service
    return None if service is None else service._loop


def _connections(process: psutil.Process) -> list[tuple[int, int]]:
    """The local and the remote port of every open TCP connection."""
    return sorted((one.laddr.port, one.raddr.port) for one in process.net_connections("tcp") if one.raddr)


def _figures(values: list[float]) -> dict[str, float]:
    """How many there are, below what 95 and 99 of a hundred stay, and the worst."""
    in_order = sorted(values) or [0.0]
    parts = {f"p{percent}": in_order[len(in_order) * percent // 100] for percent in (95, 99)}
    return {"count": len(values), "worst": in_order[-1], **parts}


async def _switch_lag(request: web.Request) -> web.Response:
    """Begin to measure afresh, or end."""
    body: dict[str, Any] = await request.json()
    _lag.is_on = False
    await asyncio.sleep(2 * LAG_STEP_SECONDS)
    if body["on"]:
        _lag.server, _lag.background, _lag.is_on = [], [], True
        _collections.longest_seconds = 0.0
        asyncio.get_running_loop().create_task(_probe(_lag.server))
        loop = background_loop()
        if loop is not None:
            asyncio.run_coroutine_threadsafe(_probe(_lag.background), loop)
    return web.json_response({})


async def _probe(lags: list[float]) -> None:
    while _lag.is_on:
        before = time.perf_counter()
        await asyncio.sleep(LAG_STEP_SECONDS)
        lags.append(time.perf_counter() - before - LAG_STEP_SECONDS)


async def _set_variable(request: web.Request) -> web.Response:
    """Change an environment variable of the running host; null removes it."""
    body: dict[str, Any] = await request.json()
    if body["value"] is None:
        os.environ.pop(body["name"], None)
    else:
        os.environ[body["name"]] = body["value"]
    return web.json_response({})
