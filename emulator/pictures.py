"""Result pictures: a painted ground and, on a pane of frosted glass, what the request said and which references came.

The same order always gives the same bytes. Nothing is generated; the pane says so.
"""

from __future__ import annotations

import hashlib
import io
import math
import random
from dataclasses import dataclass
from urllib.parse import urlsplit

from PIL import Image, ImageDraw, ImageFilter

from .lettering import Colour, Text, draw_line, fit, measure
from .scenery import paint, palette_from_pictures, palette_from_words
from .service import PictureOrder

JPEG_QUALITY = 90
PNG_LEVEL = 1
_GROUND_PIXELS = 1280
_WHITE: Colour = (250, 249, 246)
_MUTED: Colour = (206, 208, 214)
_GLASS: Colour = (20, 22, 30)
_GLASS_SHARE = 0.62
_LANDSCAPE = 1.2
_IN_ONE_ROW = 7


def render(order: PictureOrder, pixel_size: tuple[int, int]) -> bytes:
    """Draw a result and return its file; CPU-bound, for a worker thread."""
    image = draw(order, pixel_size)
    buffer = io.BytesIO()
    if order.generation.output_format == "png":
        image.save(buffer, "PNG", compress_level=PNG_LEVEL)
    else:
        image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def draw(order: PictureOrder, pixel_size: tuple[int, int]) -> Image.Image:
    """Draw a result as an RGB image of this size (width, height)."""
    dice = random.Random(_seed(order))  # noqa: S311 - it only picks shapes and colours
    thumbnails = [picture.thumbnail for _, picture in order.references if picture is not None]
    palette = palette_from_pictures(thumbnails) if thumbnails else palette_from_words(dice)
    share = min(1.0, _GROUND_PIXELS / max(pixel_size))
    small = (max(1, round(pixel_size[0] * share)), max(1, round(pixel_size[1] * share)))
    motif = dice.randrange(4) + order.number
    ground = paint(small, palette, random.Random(f"{_seed(order)} {order.number}"), motif)  # noqa: S311 - the same
    image = ground.resize(pixel_size, Image.Resampling.BICUBIC)
    _Pane(image, ground, order, palette[4]).draw()
    return image


def _seed(order: PictureOrder) -> str:
    names = [name for name, _ in order.references]
    return hashlib.sha256("\n".join([order.generation.prompt, *names]).encode("utf-8", "replace")).hexdigest()


@dataclass(frozen=True, slots=True)
class _Pane:
    """The pane and what stands on it. All lengths are in pixels, in multiples of a hundredth of the mean side."""

    image: Image.Image
    ground: Image.Image
    order: PictureOrder
    accent: Colour

    def unit(self, count: float) -> int:
        """Return so many hundredths of the mean side, in pixels."""
        width, height = self.image.size
        return max(1, round(count * math.sqrt(width * height) / 100))

    def _is_wide(self) -> bool:
        return self.image.width > _LANDSCAPE * self.image.height

    def draw(self) -> None:
        """Measure everything first, then draw: the pane is as high as what stands on it."""
        width, height = self.image.size
        margin, padding, gap = self.unit(4), self.unit(4), self.unit(3)
        pane_width = width - 2 * margin
        if self._is_wide():
            many = len(self.order.references) > _IN_ONE_ROW
            pane_width = max(round(width * (0.64 if many else 0.42)), self.unit(58))
        inner = pane_width - 2 * padding
        chips = self._chips(inner)
        chips_height = (len(chips) - 1) * self.unit(5.2) + self.unit(4.2)
        fixed = 2 * padding + self.unit(2.8) + gap + self._references_height(inner) + chips_height
        room = round(height * (0.87 if self._is_wide() else 0.7)) - fixed - gap
        sizes = tuple(self.unit(size) for size in (7, 6, 5, 4.2, 3.5, 2.9, 2.4, 2))
        prompt = fit(self.order.generation.prompt, inner, max(room, self.unit(4)), sizes)
        pane_height = fixed + prompt.height + gap
        left, top = margin, height - margin - pane_height
        self._glass(left, top, pane_width, pane_height)
        self._content(left + padding, top + padding, inner, prompt, chips)

    def _glass(self, left: int, top: int, width: int, height: int) -> None:
        """Blur and darken the ground behind the pane. It is blurred small, where that costs nothing."""
        share = self.ground.width / self.image.width
        box = tuple(round(edge * share) for edge in (left, top, left + width, top + height))
        behind = self.ground.crop((box[0], box[1], max(box[2], box[0] + 1), max(box[3], box[1] + 1)))
        blurred = behind.filter(ImageFilter.GaussianBlur(max(1.0, self.ground.width / 40)))
        pane = Image.blend(blurred, Image.new("RGB", behind.size, _GLASS), _GLASS_SHARE)
        mask = Image.new("L", (width, height), 0)
        ImageDraw.Draw(mask).rounded_rectangle((0, 0, width - 1, height - 1), self.unit(2.4), fill=255)
        self.image.paste(pane.resize((width, height), Image.Resampling.BICUBIC), (left, top), mask)

    def _content(self, left: int, top: int, inner: int, prompt: Text, chips: list[list[str]]) -> None:
        draw, gap = ImageDraw.Draw(self.image), self.unit(3)
        self._header(draw, left, top, inner)
        top += self.unit(2.8) + gap
        prompt.draw(draw, left, top, _WHITE)
        top += prompt.height + gap
        for number in range(1, len(self.order.references) + 1):
            self._reference(draw, (left, top), inner, number)
        top += self._references_height(inner)
        self._draw_chips(draw, left, top, chips)

    def _header(self, draw: ImageDraw.ImageDraw, left: int, top: int, inner: int) -> None:
        """Which picture of the batch this is, in words and as a row of dots; at the right, who drew it."""
        size, count = self.unit(2.3), self.order.generation.batch_count
        words, maker = f"picture {self.order.number} of {count}", "drawn by the emulator"
        draw_line(draw, (left, top), words, size, _WHITE)
        start = left + inner - round(measure(maker, size))
        draw_line(draw, (start, top), maker, size, _MUTED)
        radius, step = self.unit(0.5), self.unit(1.7)
        place = left + round(measure(words, size)) + self.unit(2)
        if count == 1 or place + count * step > start:
            return
        for number in range(1, count + 1):
            middle = (place + (number - 1) * step + radius, top + round(size * 0.66))
            box = (middle[0] - radius, middle[1] - radius, middle[0] + radius, middle[1] + radius)
            is_this = number == self.order.number
            draw.ellipse(box, fill=_WHITE if is_this else None, outline=_WHITE if is_this else _MUTED)

    # References ------------------------------------------------------------------------------------------------

    def _grid(self, inner: int) -> tuple[int, int, int]:
        """Return columns, side of a cell, height of a row with its label."""
        count = len(self.order.references)
        columns = count if count <= _IN_ONE_ROW else (count + 1) // 2
        largest = self.unit(8 if count > _IN_ONE_ROW and self._is_wide() else 22)
        side = min(largest, (inner - (columns - 1) * self.unit(1.4)) // max(columns, 1))
        return columns, max(1, side), max(1, side) + self.unit(4)

    def _references_height(self, inner: int) -> int:
        count = len(self.order.references)
        if not count:
            return 0
        columns, _, row = self._grid(inner)
        return -(-count // columns) * row + self.unit(1.6)

    def _reference(self, draw: ImageDraw.ImageDraw, corner: tuple[int, int], inner: int, number: int) -> None:
        name, picture = self.order.references[number - 1]
        columns, side, row = self._grid(inner)
        left = corner[0] + (number - 1) % columns * (side + self.unit(1.4))
        top = corner[1] + (number - 1) // columns * row
        cell = (left, top, left + side - 1, top + side - 1)
        draw.rounded_rectangle(cell, self.unit(1), fill=(44, 47, 57))
        if picture is None:
            host = urlsplit(name).hostname or ""
            note = fit(f"{host}\nnot fetched", round(side * 0.86), round(side * 0.8), (self.unit(1.8), self.unit(1.4)))
            note.draw(draw, left + round(side * 0.07), top + round(side * 0.1), _MUTED)
        else:
            self._paste(picture.thumbnail, left, top, side)
        size = min(self.unit(2), round(side / 4.3))
        draw_line(draw, (left, top + side + self.unit(0.5)), f"image {number}", size, _WHITE)

    def _paste(self, thumbnail: Image.Image, left: int, top: int, side: int) -> None:
        """Paste the whole reference into its cell, with the cell's round corners."""
        share = side / max(thumbnail.size)
        size = (max(1, round(thumbnail.width * share)), max(1, round(thumbnail.height * share)))
        offset = ((side - size[0]) // 2, (side - size[1]) // 2)
        mask = Image.new("L", (side, side), 0)
        ImageDraw.Draw(mask).rounded_rectangle((0, 0, side - 1, side - 1), self.unit(1), fill=255)
        mask = mask.crop((*offset, offset[0] + size[0], offset[1] + size[1]))
        shown = thumbnail.resize(size, Image.Resampling.LANCZOS)
        self.image.paste(shown, (left + offset[0], top + offset[1]), mask)

    # Parameters ------------------------------------------------------------------------------------------------

    def _words(self) -> list[str]:
        generation, (width, height) = self.order.generation, self.order.pixel_size
        words = [generation.model.title, generation.size, generation.ratio, f"{width} x {height}"]
        return [
            *words,
            generation.output_format.upper(),
            *(tool.replace("_", " ") for tool in generation.tools),
            "no seed",
        ]

    def _chips(self, inner: int) -> list[list[str]]:
        """Set the parameters in rows that fit."""
        rows: list[list[str]] = [[]]
        used = 0
        for word in self._words():
            needed = self._chip_width(word) + self.unit(1)
            if rows[-1] and used + needed > inner:
                rows.append([])
                used = 0
            rows[-1].append(word)
            used += needed
        return rows

    def _chip_width(self, word: str) -> int:
        return round(measure(word, self.unit(2.1))) + self.unit(3)

    def _draw_chips(self, draw: ImageDraw.ImageDraw, left: int, top: int, rows: list[list[str]]) -> None:
        size, height = self.unit(2.1), self.unit(4.2)
        for number, row in enumerate(rows):
            at, line = left, top + number * self.unit(5.2)
            for word in row:
                box = (at, line, at + self._chip_width(word), line + height)
                draw.rounded_rectangle(box, height / 2, outline=self.accent, width=self.unit(0.18))
                draw_line(draw, (at + self.unit(1.5), line + round((height - size * 1.2) / 2)), word, size, _WHITE)
                at += self._chip_width(word) + self.unit(1)
