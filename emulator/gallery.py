"""Result pictures made when they are first asked for, in worker threads, and kept within a bound of memory."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from concurrent.futures import Executor
from functools import partial

from .pictures import render
from .service import PictureOrder

_KEPT_BYTES = 128 * 1024 * 1024
SMALL_SIDE_PIXELS = 256

_Key = tuple[str, int, tuple[int, int]]


class Gallery:
    """Draws each picture once for all who ask at the same time. Used from the server's loop only."""

    def __init__(self, workers: Executor, *, small: bool) -> None:
        """Draw in these threads; `small` shrinks every picture to 256 pixels on its longer side."""
        self._workers, self._small = workers, small
        self._under_way: dict[_Key, asyncio.Future[bytes]] = {}
        self._kept: OrderedDict[_Key, bytes] = OrderedDict()
        self._kept_bytes = 0

    async def picture(self, order: PictureOrder, pixel_size: tuple[int, int] | None = None) -> bytes:
        """Return the file of a result, in its own size or exactly in another one."""
        size = pixel_size or (_shrink(order.pixel_size) if self._small else order.pixel_size)
        key = (order.execution_id, order.number, size)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        future = self._under_way.get(key)
        if future is None:
            loop = asyncio.get_running_loop()
            future = loop.run_in_executor(self._workers, partial(render, order, size))
            self._under_way[key] = future
        try:
            body = await asyncio.shield(future)
        finally:
            self._under_way.pop(key, None)
        self._keep(key, body)
        return body

    def _keep(self, key: _Key, body: bytes) -> None:
        if key in self._kept:
            return
        self._kept[key] = body
        self._kept_bytes += len(body)
        while self._kept_bytes > _KEPT_BYTES:
            _, dropped = self._kept.popitem(last=False)
            self._kept_bytes -= len(dropped)


def _shrink(size: tuple[int, int]) -> tuple[int, int]:
    share = SMALL_SIDE_PIXELS / max(size)
    return max(1, round(size[0] * share)), max(1, round(size[1] * share))
