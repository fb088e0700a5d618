"""Pictures that are finished early on one sheet, each in its place."""

from __future__ import annotations

import pytest
from PIL import Image
from weshop_pack.nodes.previews import EMPTY, SHEET_SIDE_PIXELS, sheet

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
