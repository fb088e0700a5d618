"""Files that are damaged, hostile or too large are refused with their number, and decoding stops when it is told to."""

from __future__ import annotations

import contextlib
import struct
import threading
import time
import tracemalloc
import warnings
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image, ImageFile
from weshop_pack.nodes import _decoding, images

from weshop_api.errors import DownloadError

from .files import chunk, decoded, file_of, shown, some_levels


def png_that_claims(width: int, height: int) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("side", "words"), [(8001, "64 megapixels"), (10_000, "pixels"), (60_000, "pixels")])
def test_a_file_that_claims_too_many_pixels_is_refused_before_it_is_decoded(side: int, words: str) -> None:
    with pytest.raises(DownloadError, match=f"^Picture 1 could not be read.*{words}") as refusal:
        decoded(png_that_claims(side, side))

    assert refusal.value.missing == (1,)


def test_the_largest_picture_allowed_passes() -> None:
    assert _decoding.open_picture(png_that_claims(8000, 8000)).size == (8000, 8000)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x89PNG\r\n\x1a\n",
        b"<html>404 Not Found</html>",
        b"GIF89a",
        b"\xff\xd8\xff",
        b"RIFF\xff\xff\xff\xffWEBPVP8 ",
        b"BM" + b"\0" * 60,
        b"II*\0" + b"\0" * 60,
        b"%PDF-1.4 " + b"\0" * 60,
        png_that_claims(0, 10),
        png_that_claims(10, 10),
    ],
)
def test_what_is_no_picture_is_refused_with_its_number(data: bytes) -> None:
    batch = images.PictureBatch(3, "pad")

    with pytest.raises(DownloadError, match=r"^Picture 3 could not be read") as refusal:
        batch.add(2, data)

    assert refusal.value.missing == (3,)
    assert "object at 0x" not in str(refusal.value)


@pytest.mark.parametrize("tolerant", [False, True])
@pytest.mark.parametrize(
    ("kind", "options"), [("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("WEBP", {})]
)
def test_a_file_that_ends_early_is_refused_whatever_other_packs_told_pillow(
    kind: str,
    options: dict[str, Any],
    tolerant: bool,  # noqa: FBT001 - from the parameters
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = file_of(Image.fromarray(some_levels(200, 200, 3)), kind, **options)
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", tolerant)

    for share in (0.02, 0.3, 0.6, 0.9, 0.99):
        with pytest.raises(DownloadError):
            decoded(data[: int(len(data) * share)])


@settings(max_examples=150, deadline=None)
@given(kind=st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "BMP"]), changes=st.data())
def test_a_damaged_file_raises_nothing_but_a_refusal(kind: str, changes: st.DataObject) -> None:
    data = bytearray(file_of(Image.fromarray(some_levels(24, 24, 3)), kind))
    for _ in range(changes.draw(st.integers(1, 6))):
        data[changes.draw(st.integers(0, len(data) - 1))] = changes.draw(st.integers(0, 255))

    with contextlib.suppress(DownloadError):
        result = decoded(bytes(data))

        assert result.min() >= 0
        assert result.max() <= 1


def test_what_follows_the_end_of_a_picture_is_ignored() -> None:
    levels = some_levels(20, 20, 3)

    result = decoded(file_of(Image.fromarray(levels)) + b"PK\x03\x04 and a whole archive")

    assert np.array_equal(result, shown(levels))


# --- stopping --------------------------------------------------------------------------------------------------------


def jpeg_with_many(segment: bytes, count: int) -> bytes:
    data = file_of(Image.new("L", (16, 16)), "JPEG")
    return data[:2] + segment * count + data[data.index(b"\xff\xdb") :]


def jpeg_of_many_scans(side: int, count: int) -> bytes:
    """A progressive JPEG whose last scan, of less than 100 bytes, comes again and again."""
    data = file_of(Image.new("L", (side, side), 128), "JPEG", progressive=True, optimize=True)
    return data[:-2] + data[data.rindex(b"\xff\xda") : -2] * count + data[-2:]


def test_a_file_that_takes_too_long_is_left_in_the_midst() -> None:
    data = jpeg_of_many_scans(2000, 1000)
    started = time.thread_time()

    with pytest.raises(DownloadError, match=r"takes more than 0\.2 s"), _decoding.reading("The picture"):
        _decoding.decode(data, max_seconds=0.2)
    seconds = time.thread_time() - started

    _decoding.decode(data)
    assert seconds < (time.thread_time() - started - seconds) / 2


def test_many_exif_segments_take_no_longer_than_their_bytes() -> None:
    segment = b"\xff\xe1" + struct.pack(">H", 18) + b"Exif\0\0" + bytes(10)
    few, many = (jpeg_with_many(segment, count) for count in (15_000, 150_000))
    started = time.thread_time()
    decoded(few)
    seconds = time.thread_time() - started

    decoded(many)

    assert time.thread_time() - started - seconds < 30 * max(seconds, 0.1)


def test_exif_whose_entries_share_their_data_is_passed_over_at_no_cost() -> None:
    size, count = 200_000, 300
    entries = b"".join(struct.pack(">HHLL", 1000 + number, 1, size, 8) for number in range(count))
    exif = b"MM\0*\0\0\0\x08" + struct.pack(">H", count) + entries + bytes(4) + bytes(size)
    png = file_of(Image.fromarray(some_levels(20, 20, 3)))
    data = png[:33] + chunk(b"eXIf", exif) + png[33:]

    tracemalloc.start()
    with warnings.catch_warnings(record=True) as complaints:
        warnings.simplefilter("always")
        decoded(data)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak_bytes < 10 * len(data)
    assert not complaints


class CountingEvent(threading.Event):
    """Counts the looks and is set from one of them on."""

    def __init__(self, look: int = 10**9) -> None:
        super().__init__()
        self.looks = 0
        self._last = look

    def is_set(self) -> bool:
        self.looks += 1
        return self.looks > self._last


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_decoding_stops_at_every_block_read_and_every_strip_written(kind: str) -> None:
    data = file_of(Image.fromarray(some_levels(700, 700, 3)), kind)
    event = CountingEvent()
    decoded(data, event)

    assert event.looks > len(data) / 65536 + 700 * 700 / 2**17
    for look in range(0, event.looks, 5):
        with pytest.raises(images.StoppedError):
            decoded(data, CountingEvent(look))


def test_decoding_stops_between_strips_of_a_file_that_is_read_at_once() -> None:
    data = file_of(Image.new("RGB", (1000, 2000)), "WEBP", lossless=True)
    event = CountingEvent()
    decoded(data, event)

    assert event.looks > 2000 * 1000 / 2**17 + 3
    with pytest.raises(images.StoppedError):
        decoded(data, CountingEvent(event.looks - 1))
