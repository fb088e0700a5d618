"""Photographs made by a script: the material of the benchmarks and of some tests.

Random noise compresses like nothing a camera or a model makes, and a plain gradient compresses far too well. These
pictures have the parts that decide how large a file gets and how long it takes to pack: light that changes slowly,
texture at every scale, hard edges, and a little sensor noise. A 3K picture becomes a JPEG of about 3 MB and a PNG of
about 16 MB, as the service's own results do. The same seed always gives the same picture.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

if TYPE_CHECKING:
    from numpy.typing import NDArray

Size = tuple[int, int]

SIZE_2K: Size = (1776, 2368)
SIZE_3K: Size = (2592, 3456)
JPEG_QUALITY = 92

_SHAPES = 60
_COARSEST_TEXTURE_PIXELS = 64
_FINEST_TEXTURE_PIXELS = 2
_TEXTURE_LEVELS = 15.0
_TEXTURE_FALLOFF = 0.95
_NOISE_SIGMA_LEVELS = 1.6


def photograph(size: Size, seed: int) -> Image.Image:
    """An RGB picture of ``size`` (width, height)."""
    random = np.random.default_rng(seed)
    scene = _paint_shapes(_light(size, random), random)
    levels = np.asarray(scene, dtype=np.float32)
    levels += _texture(size, random)[:, :, None]
    levels += random.standard_normal(levels.shape, dtype=np.float32) * _NOISE_SIGMA_LEVELS
    return Image.fromarray(np.clip(levels, 0, 255, out=levels).astype(np.uint8))


def jpeg(picture: Image.Image, quality: int = JPEG_QUALITY) -> bytes:
    """The picture as a baseline 4:2:0 JPEG file."""
    return _file(picture, "JPEG", quality=quality)


def png(picture: Image.Image) -> bytes:
    """The picture as a PNG file, packed as most programs do."""
    return _file(picture, "PNG", compress_level=6)


def _file(picture: Image.Image, kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def _light(size: Size, random: np.random.Generator) -> Image.Image:
    """Colours that change slowly across the picture."""
    corners = random.integers(30, 225, (4, 3, 3)).astype(np.uint8)
    return Image.fromarray(corners).resize(size, Image.Resampling.BICUBIC)


def _paint_shapes(picture: Image.Image, random: np.random.Generator) -> Image.Image:
    """Things with edges: discs, boxes and poles, softened by about one pixel as a lens does."""
    width, height = picture.size
    draw = ImageDraw.Draw(picture)
    for _ in range(_SHAPES):
        x, y = random.integers(0, (width, height)).tolist()
        across = int(random.integers(8, max(9, width // 5)))
        colour = tuple(random.integers(10, 245, 3).tolist())
        shape = (draw.ellipse, draw.rectangle)[int(random.integers(2))]
        shape((x, y, x + across, y + int(across * random.uniform(0.3, 3))), fill=colour)
    return picture.filter(ImageFilter.GaussianBlur(0.8))


def _texture(size: Size, random: np.random.Generator) -> NDArray[np.float32]:
    """Fine structure in levels, weaker the finer it is, and not equally strong everywhere."""
    width, height = size
    total = np.zeros((height, width), dtype=np.float32)
    cell, strength = _COARSEST_TEXTURE_PIXELS, _TEXTURE_LEVELS
    while cell >= _FINEST_TEXTURE_PIXELS:
        total += _smooth_noise(size, cell, random) * strength
        cell //= 2
        strength *= _TEXTURE_FALLOFF
    total *= np.abs(_smooth_noise(size, 512, random)) + np.float32(0.35)
    return total


def _smooth_noise(size: Size, cell: int, random: np.random.Generator) -> NDArray[np.float32]:
    width, height = size
    coarse = random.standard_normal((height // cell + 2, width // cell + 2), dtype=np.float32)
    return np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC), dtype=np.float32)
