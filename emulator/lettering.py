"""Text on pictures with Pillow's built-in font: wrapping, and small tiles with the code for letters it lacks."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from PIL import ImageDraw, ImageFont

Colour = tuple[int, int, int]

MAX_CHARACTERS = 1500
"""More of a prompt would never fit; wrapping it would only cost time."""
_LINE_HEIGHT = 1.32
_SMALLEST_FONT_PIXELS = 5
_NO_CHARACTER = "\U0010ffff"
_ELLIPSIS = "..."


@dataclass(frozen=True, slots=True)
class Text:
    """Lines that fit a width, at one font size in pixels."""

    lines: tuple[str, ...]
    size: int

    @property
    def height(self) -> int:
        """The height of all lines in pixels."""
        return round(len(self.lines) * self.size * _LINE_HEIGHT)

    def draw(self, draw: ImageDraw.ImageDraw, left: int, top: int, colour: Colour) -> None:
        """Draw the lines, left-aligned."""
        for number, line in enumerate(self.lines):
            draw_line(draw, (left, round(top + number * self.size * _LINE_HEIGHT)), line, self.size, colour)


def fit(text: str, width: int, height: int, sizes: tuple[int, ...]) -> Text:
    """Wrap at the largest of the sizes (falling) that fits; at the smallest, cut with an ellipsis."""
    cleaned = _clean(text[:MAX_CHARACTERS]) + (_ELLIPSIS if len(text) > MAX_CHARACTERS else "")
    wrapped = Text((), 0)
    for size in sizes:
        wrapped = Text(tuple(_wrap(cleaned, width, size)), max(size, _SMALLEST_FONT_PIXELS))
        if wrapped.height <= height:
            return wrapped
    count = max(1, int(height / (wrapped.size * _LINE_HEIGHT)))
    *kept, last = wrapped.lines[:count]
    while last and measure(last + _ELLIPSIS, wrapped.size) > width:
        last = last[:-1]
    return Text((*kept, last.rstrip() + _ELLIPSIS), wrapped.size)


def measure(text: str, size: int) -> float:
    """Return the width of a line in pixels."""
    return sum(_advance(character, size) for character in text)


def draw_line(draw: ImageDraw.ImageDraw, place: tuple[int, int], line: str, size: int, colour: Colour) -> None:
    """Draw one line; runs of known letters as text, each unknown one as a tile."""
    left, top = float(place[0]), place[1]
    for run, is_known in _runs(line):
        if is_known:
            draw.text((round(left), top), run, colour, font(size))
            left += measure(run, size)
            continue
        for character in run:
            _draw_tile(draw, (round(left), top), character, size, colour)
            left += size


@lru_cache(maxsize=256)
def font(size: int) -> ImageFont.FreeTypeFont:
    """Return the built-in font in this size."""
    loaded = ImageFont.load_default(max(size, _SMALLEST_FONT_PIXELS))
    if not isinstance(loaded, ImageFont.FreeTypeFont):
        raise TypeError("the emulator's pictures need a Pillow with FreeType")
    return loaded


def _clean(text: str) -> str:
    """Turn everything invisible into spaces but the line breaks, and letters the font lacks into their plain ones."""
    composed = unicodedata.normalize("NFC", text).replace("\r\n", "\n")
    return "".join(_drawable(letter) for letter in composed)


def _drawable(letter: str) -> str:
    if letter == "\n":
        return letter
    if unicodedata.category(letter)[0] in "CZ":
        return " "
    plain = unicodedata.normalize("NFKD", letter)[0]
    return plain if not _is_known(letter) and _is_known(plain) else letter


def _wrap(text: str, width: int, size: int) -> Iterator[str]:
    for paragraph in text.strip().split("\n"):
        line, used = "", 0.0
        for word in paragraph.split(" "):
            for piece in _pieces(word, width, size):
                needed = measure(piece, size)
                gap = _advance(" ", size) if line else 0.0
                if line and used + gap + needed > width:
                    yield line
                    line, used = piece, needed
                else:
                    line, used = f"{line} {piece}" if line else piece, used + gap + needed
        yield line


def _pieces(word: str, width: int, size: int) -> Iterator[str]:
    """Break a word that is wider than a line; words of scripts without spaces are such words."""
    piece, used = "", 0.0
    for character in word:
        advance = _advance(character, size)
        if piece and used + advance > width:
            yield piece
            piece, used = "", 0.0
        piece, used = piece + character, used + advance
    yield piece


@lru_cache(maxsize=8192)
def _advance(character: str, size: int) -> float:
    return font(size).getlength(character) if _is_known(character) else float(size)


@lru_cache(maxsize=8192)
def _is_known(character: str) -> bool:
    probe = font(24)
    glyph, unknown = probe.getmask(character), probe.getmask(_NO_CHARACTER)
    return glyph.size != unknown.size or bytes(glyph) != bytes(unknown)


def _runs(line: str) -> Iterator[tuple[str, bool]]:
    run = ""
    for character in line:
        if run and _is_known(character) != _is_known(run[-1]):
            yield run, _is_known(run[-1])
            run = ""
        run += character
    if run:
        yield run, _is_known(run[-1])


def _draw_tile(draw: ImageDraw.ImageDraw, place: tuple[int, int], character: str, size: int, colour: Colour) -> None:
    """Draw the code point in hexadecimal, as browsers do for letters without a glyph."""
    left, top = place[0] + size * 0.06, place[1] + size * 0.14
    side = size * 0.88
    draw.rounded_rectangle((left, top, left + side, top + side), side * 0.16, outline=colour, width=max(1, size // 22))
    code = f"{ord(character):04X}"
    half = (len(code) + 1) // 2
    small = max(_SMALLEST_FONT_PIXELS, round(size * 0.3))
    for row, digits in enumerate((code[:half], code[half:])):
        middle = (left + side / 2, top + side * (0.3 + 0.4 * row))
        draw.text(middle, digits, colour, font(small), anchor="mm")
