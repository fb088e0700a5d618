"""One downloaded file as pixels: what Pillow makes of its bytes, turned into upright RGB floats strip by strip.

Part of ``images``, which is the only module that imports it. Nothing here trusts the file: the format comes from the
content, the size is bounded before anything is decoded, and neither the file's name nor Pillow's global settings,
which other packs change, decide anything.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError, features

from ..weshop_api.errors import DownloadError, UndeliveredError, WeShopError

Floats = NDArray[np.float32]

MAX_RESULT_PIXELS = 64_000_000
# Of the thread's own processor time, so that a busy machine makes no difference; the largest picture takes about two.
MAX_READING_SECONDS = 30.0

# Within one block a progressive JPEG can ask for hundreds of passes over all its pixels, and nothing ends it there.
_PROGRESSIVE_BLOCK_BYTES = 1 << 12
_EXIF = b"Exif\0\0"
_MAX_EXIF_BYTES = 1 << 16

# A strip stays in the processor's cache between the steps that work on it, and bounds the wait for a stop.
_STRIP_PIXELS = 1 << 17

_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
# What Pillow raises for files that are damaged, hostile or no pictures. Warnings are among them for programs that run
# with warnings as errors.
_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    ArithmeticError,
    LookupError,
    AttributeError,
    EOFError,
    Warning,
    Image.DecompressionBombError,
)

_AGAIN = "Load the run again by its execution id; that costs no points."

_GREY_MODES = ("1", "L", "LA", "I;16", "I")
_ALPHA_MODES = ("LA", "PA", "RGBA", "La", "RGBa")
_SIXTEEN_BIT_MODES = ("I;16", "I")  # Pillow before 10.3 reads grey of 16 bits as "I".
_LOW_BYTES = {"RGB;16B": "RGB;16L", "RGBA;16B": "RGBA;16L"}

# Which input mode of a colour transform belongs to which colour space of a profile.
_PROFILE_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
# The whole range of colours in steps; a profile that moves none of them further than this is sRGB under some name.
_PROBE_STEPS = 17
_SAME_COLOUR_LEVELS = 2

# EXIF's numbers for pictures that lie on their side.
_SIDEWAYS = (5, 6, 7, 8)


class StoppedError(WeShopError):
    """Work on a picture ended early because its ``stop`` event was set."""

    def __init__(self) -> None:
        super().__init__("The work on the pictures was stopped.")


@contextmanager
def allocating() -> Iterator[None]:
    """Call it MemoryError, as everybody else does, when torch gets no memory."""
    try:
        yield
    except RuntimeError as error:
        raise MemoryError from error


def raise_if_stopped(stop: threading.Event | None) -> None:
    """Raise StoppedError after ``stop`` was set."""
    if stop is not None and stop.is_set():
        raise StoppedError


def strips(height: int, width: int, stop: threading.Event | None) -> Iterator[slice]:
    """Yield the rows of a picture in slices small enough to stop between them."""
    step = max(1, _STRIP_PIXELS // max(1, width))
    for top in range(0, height, step):
        raise_if_stopped(stop)
        yield slice(top, min(top + step, height))


@contextmanager
def reading(name: str, missing: tuple[int, ...] = ()) -> Iterator[None]:
    """Turn what Pillow raises about a file into DownloadError, and a lack of memory for it into UndeliveredError.

    ``name`` is what the message calls the picture.
    """
    try:
        yield
    except UnidentifiedImageError as error:
        raise DownloadError(
            f"{name} could not be read: the file is no JPEG, PNG, WebP, GIF or BMP picture. {_AGAIN}", missing=missing
        ) from error
    except MemoryError as error:  # Pillow's has no words.
        sentence = f"{name} could not be read: there is not enough memory for it. {_AGAIN}"
        raise UndeliveredError(sentence, missing=missing) from error
    except _BROKEN as error:
        raise DownloadError(f"{name} could not be read: {error}. {_AGAIN}", missing=missing) from error


class _Source(io.BytesIO):
    """The bytes of a file as Pillow reads them, block by block, and for a limited time.

    Reading past the end is an error here: other packs set ``ImageFile.LOAD_TRUNCATED_IMAGES`` for the whole process,
    and then Pillow fills what is missing with grey.
    """

    def __init__(self, data: bytes, stop: threading.Event | None, max_seconds: float) -> None:
        super().__init__(data)
        self._stop = stop
        self._max_seconds = max_seconds
        self._until_seconds = time.thread_time() + max_seconds

    def read(self, size: int | None = -1, /) -> bytes:
        raise_if_stopped(self._stop)
        if time.thread_time() > self._until_seconds:
            raise OSError(f"it takes more than {self._max_seconds:g} s")
        block = super().read(size)
        if not block and size != 0:
            raise OSError("the file ends too early")
        return block


def open_picture(
    data: bytes, stop: threading.Event | None = None, max_seconds: float = MAX_READING_SECONDS
) -> Image.Image:
    """Read the head of a file; its pixels stay undecoded. Raises OSError and others: call it inside ``reading``."""
    image = Image.open(_Source(_with_one_exif(data), stop, max_seconds), formats=_FORMATS)
    if image.info.get("progressive"):
        image.decodermaxblock = _PROGRESSIVE_BLOCK_BYTES
    width, height = image.size
    if width * height > MAX_RESULT_PIXELS:
        raise ValueError(f"it has {width} x {height} pixels, more than {MAX_RESULT_PIXELS / 1e6:g} megapixels")
    return image


def _with_one_exif(data: bytes) -> bytes:
    """Hide all EXIF segments of a JPEG but the first: Pillow joins them, at a cost that grows with their square."""
    if not data.startswith(b"\xff\xd8") or data.count(_EXIF) < 2:  # noqa: PLR2004 - more than one
        return data
    end = data.index(_EXIF) + len(_EXIF)
    return data[:end] + data[end:].replace(_EXIF, b"Hidden")


@dataclass(frozen=True)
class Decoded:
    """One decoded picture, still in Pillow's memory.

    ``low`` holds the lower bytes of a colour picture with 16 bits per channel: Pillow reads only one byte of the two,
    so such a file is read twice. ``transform`` converts from ``transform_mode`` to sRGB.
    """

    image: Image.Image
    mode: str
    orientation: int = 1
    low: Image.Image | None = None
    transform: ImageCms.ImageCmsTransform | None = None
    transform_mode: str = ""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the upright picture."""
        width, height = self.image.size
        return (height, width) if self.orientation in _SIDEWAYS else (width, height)

    def write(self, target: Floats, stop: threading.Event | None = None) -> None:
        """Fill ``target`` [H,W,3] with the upright picture: x/255, or x/65535 where the file has 16 bits.

        Transparent parts are laid over white, as a browser's page shows them: the colours that files hold under
        full transparency were never meant to be seen.
        """
        stored = _as_stored(target, self.orientation)
        for rows in strips(stored.shape[0], stored.shape[1], stop):
            levels = self._levels(rows)
            full = np.float32(np.iinfo(levels.dtype).max)
            out = stored[rows]
            np.divide(levels[:, :, :3], full, out=out, dtype=np.float32)
            if levels.shape[2] == 4:  # noqa: PLR2004 - red, green, blue, alpha
                alpha = np.divide(levels[:, :, 3:], full, dtype=np.float32)
                out *= alpha
                out += 1 - alpha

    def _levels(self, rows: slice) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """Rows of the stored picture as whole numbers [rows, width, 1, 3 or 4]."""
        box = (0, rows.start, self.image.width, rows.stop)
        strip = self.image.crop(box)
        if self.mode in _SIXTEEN_BIT_MODES:
            return np.asarray(strip).astype(np.uint16)[:, :, None]
        if self.low is not None:
            levels = np.asarray(strip).astype(np.uint16)
            levels *= 256
            levels += np.asarray(self.low.crop(box))
            return levels
        if strip.mode != self.mode:
            strip = strip.convert(self.mode)
        eight_bit = np.asarray(self._in_srgb(strip))
        return eight_bit if eight_bit.ndim == 3 else eight_bit[:, :, None]  # noqa: PLR2004 - grey has no axis for channels

    def _in_srgb(self, strip: Image.Image) -> Image.Image:
        if self.transform is None:
            return strip
        colours = self.transform.apply(strip.convert(self.transform_mode))
        if strip.mode == "RGBA":
            colours.putalpha(strip.getchannel("A"))
        return colours


def decode(data: bytes, stop: threading.Event | None = None, max_seconds: float = MAX_READING_SECONDS) -> Decoded:
    """Decode a complete file. Raises OSError and others: call it inside ``reading``."""
    image = open_picture(data, stop, max_seconds)
    low = _low_bytes(data, image, stop)
    image.load()
    transform, transform_mode = _transform_to_srgb(image)
    if transform is not None:
        image, low = _in_eight_bits(image), None
    return Decoded(image, _working_mode(image, transform_mode), _orientation(image), low, transform, transform_mode)


def small(data: bytes, max_side: int, stop: threading.Event | None = None) -> Image.Image:
    """Decode a file into an upright RGB picture of at most ``max_side`` pixels. Call it inside ``reading``."""
    image = open_picture(data, stop)
    image.draft("RGB", (max_side, max_side))
    image.load()
    orientation = _orientation(image)
    transform, transform_mode = _transform_to_srgb(image)
    image = _in_eight_bits(image)
    mode = _working_mode(image, transform_mode)
    image = image.convert(mode)
    image.thumbnail((max_side, max_side))
    decoded = Decoded(image, mode, orientation, None, transform, transform_mode)
    width, height = decoded.size
    floats = np.empty((height, width, 3), dtype=np.float32)
    decoded.write(floats)
    return Image.fromarray(np.rint(floats * 255).astype(np.uint8))


def _low_bytes(data: bytes, image: Image.Image, stop: threading.Event | None) -> Image.Image | None:
    """Read a PNG of 16 bits per colour once more, as if its bytes were the other way round."""
    if image.format != "PNG" or len(image.tile) != 1:  # type: ignore[attr-defined]  # only files that were opened have tiles
        return None
    decoder, extents, offset, raw_mode = image.tile[0]  # type: ignore[attr-defined]  # only files that were opened have tiles
    if raw_mode not in _LOW_BYTES:
        return None
    low = open_picture(data, stop)
    make = getattr(image.tile[0], "_make", tuple)  # type: ignore[attr-defined] # Before Pillow 11 it is a plain tuple.
    low.tile = [make((decoder, extents, offset, _LOW_BYTES[raw_mode]))]  # type: ignore[attr-defined]  # only files that were opened have tiles
    low.load()
    return low


def _in_eight_bits(image: Image.Image) -> Image.Image:
    if image.mode not in _SIXTEEN_BIT_MODES:
        return image
    return Image.fromarray((np.asarray(image).astype(np.float32) / 257).round().astype(np.uint8))


def _working_mode(image: Image.Image, transform_mode: str) -> str:
    if image.mode in _SIXTEEN_BIT_MODES:
        return image.mode
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        return "RGBA"
    if image.mode in _GREY_MODES:
        return "L"
    return "CMYK" if transform_mode == "CMYK" else "RGB"


def _transform_to_srgb(image: Image.Image) -> tuple[ImageCms.ImageCmsTransform | None, str]:
    """Make the conversion that the file's colour profile asks for; None where it is sRGB already.

    A profile that is damaged, or made for another kind of picture, is passed over as browsers do: the pixels are
    there, and sRGB is the best guess.
    """
    profile_bytes = image.info.get("icc_profile")
    if not profile_bytes or not features.check("littlecms2"):
        return None, ""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(profile_bytes))
        mode = _PROFILE_MODES.get(profile.profile.xcolor_space.strip(), "")
        if not _profile_fits(mode, image.mode):
            return None, ""
        transform = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError):
        return None, ""
    return (None, "") if _changes_nothing(transform, mode) else (transform, mode)


def _profile_fits(profile_mode: str, mode: str) -> bool:
    if profile_mode == "L":
        return mode in _GREY_MODES
    return bool(profile_mode) and (profile_mode == "CMYK") == (mode == "CMYK")


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether a transform leaves all colours as they are, but for rounding. Names of profiles prove nothing."""
    if mode == "CMYK":
        return False
    steps = np.linspace(0, 255, _PROBE_STEPS).astype(np.uint8)
    if mode == "L":
        probe = Image.fromarray(steps[None])
    else:
        probe = Image.fromarray(np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3))
    before = np.asarray(probe.convert("RGB")).astype(np.int16)
    after = np.asarray(transform.apply(probe)).astype(np.int16)
    return bool(np.abs(before - after).max() <= _SAME_COLOUR_LEVELS)


def _orientation(image: Image.Image) -> int:
    """How the picture has to be turned, as EXIF numbers it; 1 (not at all) when that is unreadable.

    Pillow up to 12 copies what an entry refers to for each entry anew: a file of 1 MB took 2 GB.
    """
    if any(len(image.info.get(name, "")) > _MAX_EXIF_BYTES for name in ("exif", "Raw profile type exif")):
        return 1
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except _BROKEN:
        return 1
    return orientation if isinstance(orientation, int) else 1


def _as_stored(upright: Floats, orientation: int) -> Floats:
    """View an upright picture in the order in which the file stores it, so that turning it needs no second copy."""
    if orientation in _SIDEWAYS:
        upright = upright.swapaxes(0, 1)
    if orientation in (3, 4, 6, 7):
        upright = upright[::-1]
    if orientation in (2, 3, 7, 8):
        upright = upright[:, ::-1]
    return upright
