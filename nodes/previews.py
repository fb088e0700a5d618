"""Pictures of a batch that are finished while the rest of the run is still going, shown together on the node."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING

from PIL import Image

from ..weshop_api import Phase, Progress, WeShopError
from . import host, images

if TYPE_CHECKING:
    from typing_extensions import Self

    from ..weshop_api import Result, Run, WeShop

# The host scales previews down to this.
SHEET_SIDE_PIXELS = 512
GAP_PIXELS = 4
# Whoever loads the run needs these pictures anyway and finds them fetched.
LAST_PICTURES_SECONDS = 3.0
EMPTY = (48, 48, 48)
GROUND = (24, 24, 24)
log = logging.getLogger("weshop")


class Previews:
    """Fetches what is finished and hands a sheet of it to ``show``. For one run, in the background loop.

    A convenience: it never fails, and holds up nothing for long. ``count`` is the number of pictures asked for.
    """

    def __init__(self, weshop: WeShop, count: int, show: Callable[[Image.Image], None]) -> None:
        self._weshop = weshop
        self._count = count
        self._show = show
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._ready: dict[int, Image.Image] = {}
        self._stop = threading.Event()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()  # A thread cannot be cancelled with its task.
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def note(self, progress: Progress) -> None:
        """Begin to fetch what is new. A run whose pictures come all at once needs no preview."""
        if progress.phase is Phase.WATCHING and len(progress.results) < self._count:
            self._begin(progress.execution_id, progress.results)

    async def complete(self, run: Run) -> None:
        """Wait a moment for the last pictures of a run that had previews, so that no gap stays on the node."""
        if self._tasks:
            self._begin(run.execution_id, run.usable)
            await asyncio.wait(self._tasks.values(), timeout=LAST_PICTURES_SECONDS)

    def _begin(self, execution_id: str, results: tuple[Result, ...]) -> None:
        for result in results:
            if result.number not in self._tasks and 1 <= result.number <= self._count:
                self._tasks[result.number] = asyncio.create_task(self._add(execution_id, result))

    async def _add(self, execution_id: str, result: Result) -> None:
        try:
            data = await self._weshop.fetch_early(execution_id, result)
            small = await host.in_picture_thread(images.preview, data, SHEET_SIDE_PIXELS, self._stop)
            self._ready[result.number] = small
            self._show(await host.in_picture_thread(sheet, dict(self._ready), self._count))
        except WeShopError as error:
            log.debug("No preview of picture %d: %s", result.number, error)


def sheet(pictures: Mapping[int, Image.Image], count: int) -> Image.Image:
    """Lay out small RGB pictures, numbered from 1, row by row; the places of missing ones are grey."""
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    first = next(iter(pictures.values()))
    scale = (SHEET_SIDE_PIXELS / max(columns, rows) - GAP_PIXELS) / max(first.size)
    width, height = (max(1, int(side * scale)) for side in first.size)
    canvas = Image.new("RGB", (columns * (width + GAP_PIXELS), rows * (height + GAP_PIXELS)), GROUND)
    for index in range(count):
        corner = (index % columns * (width + GAP_PIXELS), index // columns * (height + GAP_PIXELS))
        picture = pictures.get(index + 1)
        canvas.paste(
            EMPTY if picture is None else picture.resize((width, height)),
            (*corner, corner[0] + width, corner[1] + height),
        )
    return canvas
