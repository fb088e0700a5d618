"""Pictures on their way out and in: the only place where tensors become bytes and bytes become tensors.

Out: an IMAGE tensor is split, checked, hashed and encoded for upload. In: downloaded files are decoded, each straight
into its place in one batch. Both kinds of work are meant for worker threads: Pillow, numpy and torch let go of the
interpreter while they work, and a ``stop`` event ends either within a strip of rows or a block of the file.
"""

from __future__ import annotations

import hashlib
import io
import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from ..weshop_api.errors import DownloadError, UndeliveredError, UnusablePictureError
from ..weshop_api.models import Picture
from ..weshop_api.seedream import (
    MAX_REFERENCE_BYTES,
    MAX_REFERENCE_PIXELS,
    MAX_REFERENCE_RATIO,
    MIN_REFERENCE_SIDE_PIXELS,
)
from ._decoding import StoppedError, allocating, decode, raise_if_stopped, reading, small, strips

__all__ = [
    "Encoding",
    "PictureBatch",
    "Pictures",
    "SizePolicy",
    "StoppedError",
    "content_hash",
    "encode",
    "preview",
    "split_batch",
]

Encoding = Literal["auto", "png", "jpeg"]
SizePolicy = Literal["pad", "resize", "crop", "error"]
Floats = NDArray[np.float32]

# 16 pictures of 25 megapixels, far more than any run makes: 4.8 GB. A service that lies must not exhaust the memory.
MAX_BATCH_PIXELS = 400_000_000

_CHANNELS = {1: "grey", 3: "RGB", 4: "RGBA"}
# Run lengths pack photographs smallest, whatever the level, and hardly any pair is faster (docs/performance.md).
_PNG_OPTIONS = {"compress_level": 1, "compress_type": 3}
_JPEG_QUALITIES = (95, 90, 85, 75)
_HASH_VERSION = b"1"  # Another way to encode needs another number: the ledger remembers uploads by this hash.


# --- out: tensors to bytes -------------------------------------------------------------------------------------------


def split_batch(image: object) -> list[torch.Tensor]:
    """Views [H,W,C] of the pictures in an IMAGE [B,H,W,C] or of a single one [H,W,C], in order, nothing copied.

    Raises UnusablePictureError for everything that can be told from the shape and the type, so that a picture the
    service would refuse is refused before the first is uploaded.
    """
    if not isinstance(image, torch.Tensor):
        raise UnusablePictureError(f"An image is a tensor, not {type(image).__name__}. Connect an IMAGE.")
    if image.ndim == 3:  # noqa: PLR2004 - height, width, channels
        image = image[None]
    _check_form(image)
    return list(image)


def content_hash(
    picture: torch.Tensor, encoding: Encoding, *, name: str = "The image", stop: threading.Event | None = None
) -> str:
    """Identify what ``encode`` would make of a picture [H,W,C] without encoding it: 32 hexadecimal digits.

    Equal for pictures whose 8-bit pixels, size, channels and encoding are equal. Raises as ``encode`` does.
    """
    _check_form(picture[None])
    digest = hashlib.blake2b(f"{tuple(picture.shape)} {encoding}".encode(), digest_size=16, salt=_HASH_VERSION)
    for _, levels in _strips_of_levels(picture, name, stop):
        digest.update(levels.data)
    return digest.hexdigest()


def encode(
    picture: torch.Tensor,
    encoding: Encoding = "auto",
    *,
    name: str = "The image",
    stop: threading.Event | None = None,
) -> Picture:
    """Make the file that is uploaded for a picture [H,W,C] of any float type on any device.

    Values are clipped to 0..1 and rounded to the nearest of 256 levels. ``name`` is what messages call the picture.
    Raises UnusablePictureError for a picture that cannot be sent, StoppedError after ``stop`` was set.
    """
    _check_form(picture[None])
    image, notes = _within_pixel_limit(_to_image(picture, name, stop), stop)
    if encoding != "jpeg":
        data = _packed(image, "PNG", stop, **_PNG_OPTIONS)
        if data is not None:
            return Picture(data, "image/png", *image.size, note=" ".join(notes))
        if encoding == "png":
            msg = (
                f"{name} is over {_MEGABYTES} as PNG, more than the service takes. "
                "Set encoding to auto or jpeg, or scale the image down."
            )
            raise UnusablePictureError(msg)
        notes.append(f"Sent as JPEG, because it is over {_MEGABYTES} as PNG.")
    return _encode_jpeg(image, notes, name, stop)


_MEGABYTES = f"{MAX_REFERENCE_BYTES / 1e6:g} MB"


def _check_form(batch: torch.Tensor) -> None:
    complaint = _form_complaint(batch)
    if complaint:
        raise UnusablePictureError(complaint)


def _form_complaint(batch: torch.Tensor) -> str:
    if batch.ndim != 4:  # noqa: PLR2004 - batch, height, width, channels
        return f"An image has the shape [batch, height, width, channels], not {list(batch.shape)}. Connect an IMAGE."
    if not batch.is_floating_point():
        return f"An image holds floating point numbers from 0 to 1, not {batch.dtype}. Divide whole numbers by 255."
    count, height, width, channels = batch.shape
    if channels not in _CHANNELS:
        return f"An image has 1, 3 or 4 channels (grey, RGB or RGBA), not {channels}. Connect an IMAGE, not a mask."
    if not count or min(height, width) < MIN_REFERENCE_SIDE_PIXELS:
        return (
            f"{count} image(s) of {width} x {height} pixels cannot be a reference: there has to be one, and each side "
            f"has to have at least {MIN_REFERENCE_SIDE_PIXELS} pixels. Enlarge it first."
        )
    if max(height, width) > MAX_REFERENCE_RATIO * min(height, width):
        return (
            f"An image of {width} x {height} pixels is too narrow: the longer side may be at most "
            f"{MAX_REFERENCE_RATIO} times the shorter one. Crop or pad it first."
        )
    return ""


def _strips_of_levels(
    picture: torch.Tensor, name: str, stop: threading.Event | None
) -> Iterator[tuple[slice, NDArray[np.uint8]]]:
    """Yield strips of rows as 8-bit levels [rows,W,C].

    numpy does the arithmetic: torch would spread each strip over all cores, where the other workers already are.
    """
    for rows in strips(picture.shape[0], picture.shape[1], stop):
        strip = picture[rows].detach()
        exact = strip.cpu() if strip.dtype == torch.float64 else strip.to("cpu", torch.float32)
        scaled = np.clip(exact.numpy(), 0, 1, order="C")
        if np.isnan(scaled.max()):
            msg = f"{name} contains values that are not numbers (NaN). Look for the node that makes them."
            raise UnusablePictureError(msg)
        scaled *= np.float32(255)
        yield rows, np.rint(scaled, out=scaled).astype(np.uint8)


def _to_image(picture: torch.Tensor, name: str, stop: threading.Event | None) -> Image.Image:
    levels = np.empty(picture.shape, dtype=np.uint8)
    for rows, strip in _strips_of_levels(picture, name, stop):
        levels[rows] = strip
    return Image.fromarray(levels[:, :, 0] if levels.shape[2] == 1 else levels)


def _within_pixel_limit(image: Image.Image, stop: threading.Event | None) -> tuple[Image.Image, list[str]]:
    width, height = image.size
    scale = math.sqrt(MAX_REFERENCE_PIXELS / (width * height))
    if scale >= 1:
        return image, []
    short = int(min(width, height) * scale)
    long = min(int(max(width, height) * scale), MAX_REFERENCE_RATIO * short)
    size = (short, long) if width < height else (long, short)
    note = (
        f"Scaled from {width} x {height} to {size[0]} x {size[1]} pixels, because the service takes at most "
        f"{MAX_REFERENCE_PIXELS / 1e6:g} megapixels."
    )
    return _scaled(image, size, stop), [note]


def _scaled(image: Image.Image, size: tuple[int, int], stop: threading.Event | None) -> Image.Image:
    """Resample in strips, which look at the rows beyond their edges: the result is that of one step, but it can stop.

    Colours are weighted by alpha, so that what is hidden under transparency does not bleed into what is seen.
    """
    source = image.convert("RGBa") if image.mode == "RGBA" else image
    scaled = Image.new(source.mode, size)
    ratio = source.height / size[1]
    for rows in strips(size[1], size[0], stop):
        box = (0, rows.start * ratio, source.width, min(rows.stop * ratio, source.height))
        strip = source.resize((size[0], rows.stop - rows.start), Image.Resampling.LANCZOS, box=box)
        scaled.paste(strip, (0, rows.start))
    return scaled.convert(image.mode)


def _encode_jpeg(image: Image.Image, notes: list[str], name: str, stop: threading.Event | None) -> Picture:
    if image.mode == "RGBA":
        image = _on_white(image)
        notes.append("Transparent parts became white, because JPEG has no transparency.")
    for quality in _JPEG_QUALITIES:
        data = _packed(image, "JPEG", stop, quality=quality, subsampling=0)
        if data is None:
            continue
        if quality < _JPEG_QUALITIES[0]:
            notes.append(f"JPEG quality {quality} instead of {_JPEG_QUALITIES[0]}, to stay within {_MEGABYTES}.")
        return Picture(data, "image/jpeg", *image.size, note=" ".join(notes))
    msg = f"{name} is over {_MEGABYTES} even as JPEG of quality {_JPEG_QUALITIES[-1]}. Scale the image down first."
    raise UnusablePictureError(msg)


def _on_white(image: Image.Image) -> Image.Image:
    canvas = Image.new("RGB", image.size, "white")
    canvas.paste(image, mask=image.getchannel("A"))
    return canvas


class _TooLargeError(Exception):
    """The file has passed the limit. Never leaves this module."""


class _Parcel(io.BytesIO):
    """A file in the making that ends when it passes the limit or is to stop: the encoders write block by block."""

    def __init__(self, stop: threading.Event | None) -> None:
        super().__init__()
        self._stop = stop

    def write(self, block: bytes, /) -> int:  # type: ignore[override]  # Pillow writes nothing but bytes
        raise_if_stopped(self._stop)
        if self.tell() + len(block) > MAX_REFERENCE_BYTES:
            raise _TooLargeError
        return super().write(block)


def _packed(image: Image.Image, kind: str, stop: threading.Event | None, **options: int) -> bytes | None:
    """Encode; None when the file would pass the limit."""
    parcel = _Parcel(stop)
    try:
        image.save(parcel, kind, **options)
    except _TooLargeError:
        return None
    return parcel.getvalue()


# --- in: bytes to tensors --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pictures:
    """``images`` is one batch [N,H,W,3], float32 from 0 to 1; ``image_list`` each picture [1,H,W,3] at its own size."""

    images: torch.Tensor
    image_list: tuple[torch.Tensor, ...]

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Width and height of each picture as it was decoded."""
        return tuple((picture.shape[2], picture.shape[1]) for picture in self.image_list)


class PictureBatch:
    """Decodes pictures into one batch while others are still on their way; safe to share between threads.

    ``count`` is the number of pictures that will be added: the batch is allocated once, at the size of the first to
    arrive. Each picture that has this size is decoded straight into its place; the others are kept beside it until
    ``finish`` applies the policy. ``max_pixels`` bounds what all of them take together.
    """

    def __init__(
        self,
        count: int,
        when_sizes_differ: SizePolicy,
        *,
        stop: threading.Event | None = None,
        max_pixels: int = MAX_BATCH_PIXELS,
    ) -> None:
        if count < 1:
            msg = f"A batch has at least one picture, not {count}."
            raise ValueError(msg)
        self._policy = when_sizes_differ
        self._stop = stop
        self._lock = threading.Lock()
        self._batch: Floats | None = None
        self._pixels = 0
        self._max_pixels = max_pixels
        self._pictures: list[Floats | None] = [None] * count

    def add(self, index: int, data: bytes) -> None:
        """Decode a complete file as picture number ``index + 1``.

        Raises DownloadError, with the number in ``missing``, for a file that is no picture, damaged or too large, and
        StoppedError after ``stop`` was set.
        """
        with reading(f"Picture {index + 1}", (index + 1,)):
            decoded = decode(data, self._stop)
            place = self._place(index, *decoded.size)
            decoded.write(place, self._stop)
        self._pictures[index] = place

    def finish(self) -> Pictures:
        """Hand out the batch. Raises DownloadError when a picture was never added, or sizes differ and must not."""
        missing = tuple(index + 1 for index, picture in enumerate(self._pictures) if picture is None)
        if missing:
            msg = f"Pictures are missing: {', '.join(map(str, missing))} of {len(self._pictures)}."
            raise DownloadError(msg, missing=missing)
        image_list = tuple(torch.from_numpy(picture)[None] for picture in self._pictures if picture is not None)
        if self._batch is not None and all(picture.shape[1:] == self._batch.shape[1:] for picture in image_list):
            return Pictures(torch.from_numpy(self._batch), image_list)
        with reading("The batch"), allocating():
            return Pictures(_combine(image_list, self._policy, self._max_pixels), image_list)

    def _place(self, index: int, width: int, height: int) -> Floats:
        with self._lock:
            if self._batch is None:
                self._claim(len(self._pictures) * height * width)
                # By torch, not numpy: numpy asks Linux for huge pages, which virtual machines can be slow to give.
                # The type is named because other packs change the default of the process while they load a model.
                with allocating():
                    self._batch = torch.empty(len(self._pictures), height, width, 3, dtype=torch.float32).numpy()
            place: Floats = self._batch[index]
            if place.shape[:2] != (height, width):
                self._claim(height * width)
                place = np.empty((height, width, 3), dtype=np.float32)
        return place

    def _claim(self, pixels: int) -> None:
        self._pixels += pixels
        _check_total(self._pixels, self._max_pixels)


def _check_total(pixels: int, max_pixels: int) -> None:
    if pixels > max_pixels:
        raise UndeliveredError(
            f"The pictures would take {pixels / 1e6:,.0f} megapixels of memory, more than {max_pixels / 1e6:,.0f}. "
            "If they differ in size, set when_sizes_differ to crop; nothing else that Seedream makes is so large."
        )


def _combine(pictures: tuple[torch.Tensor, ...], policy: SizePolicy, max_pixels: int) -> torch.Tensor:
    """Make one batch [N,H,W,3] of pictures [1,H,W,3] that differ in size."""
    sizes = [(picture.shape[1], picture.shape[2]) for picture in pictures]
    if policy == "error":
        listed = ", ".join(f"{width} x {height}" for height, width in dict.fromkeys(sizes))
        msg = f"The pictures differ in size ({listed} pixels). Set when_sizes_differ to pad, resize or crop."
        raise DownloadError(msg)
    if policy == "resize":
        # Resampling goes over the width first, so for a moment a picture has its own height and the new width.
        _check_total(max(len(pictures) * sizes[0][0], *(height for height, _ in sizes)) * sizes[0][1], max_pixels)
        return torch.cat([_resized(picture, sizes[0]) for picture in pictures])
    pad = policy == "pad"
    choose = max if pad else min
    height, width = choose(h for h, _ in sizes), choose(w for _, w in sizes)
    _check_total(len(pictures) * height * width, max_pixels)
    batch = torch.zeros(len(pictures), height, width, 3, dtype=torch.float32)
    for place, picture in zip(batch, pictures, strict=True):
        if pad:
            _middle(place, picture.shape[1], picture.shape[2]).copy_(picture[0])
        else:
            place.copy_(_middle(picture[0], height, width))
    return batch


def _middle(picture: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """View the middle of a picture [H,W,C]."""
    top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
    return picture[top : top + height, left : left + width]


def _resized(picture: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Resample a picture [1,H,W,C] to ``size`` (height, width)."""
    planes = picture.movedim(-1, 1)
    planes = torch.nn.functional.interpolate(planes, size, mode="bicubic", antialias=True)
    return planes.clamp_(0, 1).movedim(1, -1)


def preview(data: bytes, max_side: int = 512, stop: threading.Event | None = None) -> Image.Image:
    """Make a small upright RGB picture of a file, fast for JPEG. Raises DownloadError, StoppedError after ``stop``."""
    with reading("The picture", ()):
        return small(data, max_side, stop)
