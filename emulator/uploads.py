"""Uploaded references: the multipart body taken apart, the limits checked, a thumbnail kept for the pictures."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from email.parser import BytesParser
from email.policy import HTTP

from PIL import Image, ImageOps

from .replies import PARAMETER_ERROR, Refusal, RefusedError, refuse_parameter

ACCEPTED_FORMATS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "BMP": "bmp", "TIFF": "tiff", "GIF": "gif"}
THUMBNAIL_PIXELS = 512
_MIN_SIDE_PIXELS = 15
_MAX_PROPORTION = 16
_ORIENTATION_TAG = 0x0112
_FIRST_TURNED_ORIENTATION = 5


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """What an upload may be. The numbers are ByteDance's for Seedream 5.0 Lite; the service's own are unknown."""

    max_bytes: int = 10 * 1024 * 1024
    max_pixels: int = 36_000_000


@dataclass(frozen=True, slots=True)
class UploadRecord:
    """A picture that really arrived."""

    url: str
    file_name: str
    content_type: str
    """As the client declared it; empty when it declared nothing."""
    data: bytes
    sha256: str
    picture_format: str
    """As Pillow names it, found from the bytes."""
    width: int
    height: int
    is_expired: bool
    created_at_seconds: float


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded upload: what it is, and a small RGB copy that is never changed."""

    picture_format: str
    width: int
    height: int
    thumbnail: Image.Image


@dataclass(frozen=True, slots=True)
class FilePart:
    """The one file of an upload."""

    file_name: str
    content_type: str
    data: bytes


def read_multipart(content_type: str, body: bytes) -> FilePart:
    """Take the file out of a multipart body; exactly one part, named `image`, with a file name."""
    header = BytesParser(policy=HTTP).parsebytes(
        b"Content-Type: " + content_type.encode() + b"\r\n\r\n", headersonly=True
    )
    boundary = header.get_boundary()
    if header.get_content_type() != "multipart/form-data" or not boundary:
        raise refuse_parameter("the upload must be multipart/form-data with a boundary", 400)
    sections = (b"\r\n" + body).split(b"\r\n--" + boundary.encode())
    if len(sections) < 3 or not sections[-1].startswith(b"--"):  # noqa: PLR2004 - before, one part, after
        raise refuse_parameter("the multipart body is incomplete", 400)
    parts = [_read_part(section) for section in sections[1:-1]]
    if len(parts) != 1:
        raise refuse_parameter("one file per request", 400)
    return parts[0]


def _read_part(section: bytes) -> FilePart:
    head, separator, data = section.partition(b"\r\n\r\n")
    headers = BytesParser(policy=HTTP).parsebytes(head.lstrip() + b"\r\n\r\n", headersonly=True)
    disposition = headers.get("Content-Disposition")
    name = None if disposition is None else disposition.params.get("name")
    file_name = headers.get_filename()
    if not separator or name != "image" or not file_name:
        raise refuse_parameter("the file must be the part named 'image', with a file name", 400)
    return FilePart(file_name, str(headers.get("Content-Type", "")), data)


def decode_upload(data: bytes, limits: UploadLimits) -> Picture:
    """Decode an upload whole, so that a damaged one is refused; CPU-bound, for a worker thread."""
    if len(data) > limits.max_bytes:
        message = f"the file has {len(data)} bytes; at most {limits.max_bytes} are taken"
        raise RefusedError(Refusal(413, PARAMETER_ERROR, message))
    try:
        with Image.open(io.BytesIO(data), formats=tuple(ACCEPTED_FORMATS)) as image:
            _check_size(image.width, image.height, limits)
            # Cameras write JPEG files with a second picture inside, which Pillow calls MPO.
            picture_format = "JPEG" if image.format == "MPO" else str(image.format)
            turned = image.getexif().get(_ORIENTATION_TAG, 1) >= _FIRST_TURNED_ORIENTATION
            width, height = image.size[::-1] if turned else image.size
            image.draft("RGB", (THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
            thumbnail = _thumbnail(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        message = f"the file is not a readable picture ({', '.join(ACCEPTED_FORMATS)})"
        raise refuse_parameter(message) from error
    return Picture(picture_format, width, height, thumbnail)


def _thumbnail(image: Image.Image) -> Image.Image:
    """Return a small RGB copy, upright, with transparency shown on white."""
    small = ImageOps.exif_transpose(image)
    small.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS), reducing_gap=2.0)
    if small.mode.startswith("I"):
        small = small.convert("F").point(lambda value: value / 257).convert("L")
    if not small.has_transparency_data:
        return small.convert("RGB")
    ground = Image.new("RGBA", small.size, "white")
    ground.alpha_composite(small.convert("RGBA"))
    return ground.convert("RGB")


def _check_size(width: int, height: int, limits: UploadLimits) -> None:
    if min(width, height) < _MIN_SIDE_PIXELS:
        raise refuse_parameter(f"the picture is {width}x{height}; each side must be more than 14 pixels")
    if max(width, height) > _MAX_PROPORTION * min(width, height):
        raise refuse_parameter(f"the picture is {width}x{height}; its ratio must be between 1/16 and 16")
    if width * height > limits.max_pixels:
        raise refuse_parameter(f"the picture has {width * height} pixels; at most {limits.max_pixels} are taken")


def content_hash(data: bytes) -> str:
    """Return the SHA-256 of the bytes in hex."""
    return hashlib.sha256(data).hexdigest()
