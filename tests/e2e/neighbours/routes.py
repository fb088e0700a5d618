"""A look into the process of the host: threads, tasks of the background loop, sockets, memory, lag of the loops."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from dataclasses import asdict, dataclass, field
from typing import Any

import psutil  # type: ignore[import-untyped]
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


_lag = Lag()


def add_routes() -> None:
    """Put the routes beside the host's own."""
    routes = PromptServer.instance.routes
    routes.get("/neighbours/report")(_report)
    routes.post("/neighbours/lag")(_switch_lag)
    routes.post("/neighbours/environ")(_set_variable)


async def _report(_: web.Request) -> web.Response:
    process = psutil.Process()
    times = process.cpu_times()
    lags = {"server": sorted(_lag.server), "background": sorted(_lag.background)}
    return web.json_response(
        {
            "threads": sorted(thread.name for thread in threading.enumerate()),
            "tasks": sorted(_tasks()),
            "connections": _connections(process),
            "rss_bytes": process.memory_info().rss,
            "cpu_seconds": times.user + times.system,
            "at_seconds": time.monotonic(),
            "lags": {name: {"worst": max(values, default=0.0), "p99": _p99(values)} for name, values in lags.items()},
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


def _p99(values: list[float]) -> float:
    return values[int(len(values) * 0.99)] if values else 0.0


async def _switch_lag(request: web.Request) -> web.Response:
    """Begin to measure afresh, or end."""
    body: dict[str, Any] = await request.json()
    _lag.is_on = False
    await asyncio.sleep(2 * LAG_STEP_SECONDS)
    if body["on"]:
        _lag.server, _lag.background, _lag.is_on = [], [], True
        asyncio.get_running_loop().create_task(_probe(_lag.server))
        loop = background_loop()
        if loop is not None:
            asyncio.run_coroutine_threadsafe(_probe(_lag.background), loop)
    return web.json_response({key: len(value) for key, value in asdict(_lag).items() if key != "is_on"})


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
