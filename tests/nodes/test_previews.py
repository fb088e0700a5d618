"""Pictures that are finished early on one sheet, each in its place."""

from __future__ import annotations

import asyncio
import io
import time
from typing import TYPE_CHECKING, cast

import pytest
from PIL import Image
from weshop_pack.nodes import host
from weshop_pack.nodes.previews import EMPTY, SHEET_SIDE_PIXELS, Previews, sheet

from weshop_api import Phase, Progress, Result

if TYPE_CHECKING:
    from weshop_api import WeShop

Colour = tuple[int, int, int]
RED: Colour = (200, 0, 0)
BLUE: Colour = (0, 0, 200)


def colours(made: Image.Image, columns: int, rows: int) -> list[object]:
    """What stands in the middle of each place, row by row."""
    width, height = made.width / columns, made.height / rows
    return [
        made.getpixel((int(width * (column + 0.5)), int(height * (row + 0.5))))
        for row in range(rows)
        for column in range(columns)
    ]


def test_each_picture_stands_in_its_place_and_the_rest_is_grey() -> None:
    made = sheet({3: Image.new("RGB", (90, 120), BLUE), 1: Image.new("RGB", (90, 120), RED)}, 4)

    assert made.mode == "RGB"
    assert colours(made, 2, 2) == [RED, EMPTY, BLUE, EMPTY]


@pytest.mark.parametrize("count", range(1, 17))
@pytest.mark.parametrize("size", [(100, 100), (50, 200), (200, 50)])
def test_a_sheet_is_no_larger_than_what_the_host_shows(count: int, size: tuple[int, int]) -> None:
    made = sheet({count: Image.new("RGB", size, RED)}, count)

    assert max(made.size) <= SHEET_SIDE_PIXELS
    assert RED in {colour for _, colour in made.getcolors(made.width * made.height) or ()}


class SlowPictures:
    """A WeShop whose pictures take a long time to read: JPEGs of thousands of scans."""

    def __init__(self) -> None:
        buffer = io.BytesIO()
        Image.new("L", (2000, 2000), 128).save(buffer, "JPEG", progressive=True, optimize=True)
        data = buffer.getvalue()
        self._file = data[:-2] + data[data.rindex(b"\xff\xda") : -2] * 10_000 + data[-2:]

    async def fetch_early(self, _execution_id: str, _result: Result) -> bytes:
        return self._file


def test_previews_that_nobody_waits_for_any_more_leave_the_threads_of_pictures() -> None:
    results = tuple(Result(number, "https://pictures.example/a.jpg", "Success") for number in (1, 2))

    async def scenario() -> float:
        async with Previews(cast("WeShop", SlowPictures()), 4, lambda _: None) as previews:
            previews.note(Progress(Phase.WATCHING, total=4, execution_id="x", results=results))
            await asyncio.sleep(0.5)
        started = time.monotonic()
        await asyncio.gather(*(host.in_picture_thread(int) for _ in range(host.PICTURE_THREADS)))
        return time.monotonic() - started

    assert asyncio.run(scenario()) < 8.0
