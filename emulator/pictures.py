"""Result pictures."""

from __future__ import annotations

import io

from PIL import Image

from .service import PictureOrder


def render(order: PictureOrder, pixel_size: tuple[int, int]) -> bytes:
    """Draw a result and return its file."""
    buffer = io.BytesIO()
    Image.new("RGB", pixel_size, "gray").save(buffer, order.generation.output_format.upper())
    return buffer.getvalue()
