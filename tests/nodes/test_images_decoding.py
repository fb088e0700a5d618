"""Pictures on their way in: what a downloaded file shows is what the tensor holds."""

from __future__ import annotations

import io
import struct
import threading
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays
from PIL import ExifTags, Image, ImageCms, ImageOps
from weshop_pack.nodes import _decoding, images

from .files import Array, chunk, decoded, file_of, shown, some_levels

FEW = settings(max_examples=40, deadline=None)
SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40))


# --- exact values ----------------------------------------------------------------------------------------------------


@FEW
@given(arrays(np.uint8, st.tuples(st.integers(1, 30), st.integers(1, 30), st.just(3))))
def test_png_values_are_exact_bit_for_bit(levels: Array) -> None:
    assert np.array_equal(decoded(file_of(Image.fromarray(levels))), shown(levels))


@pytest.mark.parametrize("options", [{"quality": 80}, {"quality": 95, "subsampling": 0}, {"progressive": True}])
def test_jpeg_values_are_those_of_the_decoded_file(options: dict[str, Any]) -> None:
    data = file_of(Image.fromarray(some_levels(333, 777, 3)), "JPEG", **options)

    assert np.array_equal(decoded(data), shown(np.asarray(Image.open(io.BytesIO(data)))))


@pytest.mark.parametrize(("kind", "options"), [("WEBP", {"lossless": True}), ("BMP", {})])
def test_other_formats_are_recognised_by_their_content(kind: str, options: dict[str, Any]) -> None:
    levels = some_levels(35, 20, 3)

    assert np.array_equal(decoded(file_of(Image.fromarray(levels), kind, **options)), shown(levels))


def test_a_tall_picture_is_complete_to_its_last_row() -> None:
    levels = some_levels(70001, 7, 3)

    assert np.array_equal(decoded(file_of(Image.fromarray(levels))), shown(levels))


def test_grey_becomes_three_equal_channels() -> None:
    levels = some_levels(20, 30, 1)

    result = decoded(file_of(Image.fromarray(levels[:, :, 0])))

    assert np.array_equal(result, shown(np.repeat(levels, 3, axis=2)))


def test_one_bit_pictures_are_black_and_white() -> None:
    bits = some_levels(9, 17, 1)[:, :, 0] > 127

    result = decoded(file_of(Image.fromarray(bits)))

    assert np.array_equal(result, np.repeat(bits[:, :, None], 3, axis=2).astype(np.float32))


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_palette_colours_are_looked_up(kind: str) -> None:
    image = Image.fromarray(some_levels(20, 20, 1)[:, :, 0] // 64, "P")
    colours = np.array([[1, 2, 3], [250, 9, 77], [0, 255, 128], [90, 90, 91]], dtype=np.uint8)
    image.putpalette(colours.tobytes())

    assert np.array_equal(decoded(file_of(image, kind)), shown(colours[np.asarray(image)]))


def test_grey_of_sixteen_bits_keeps_all_of_them() -> None:
    levels = some_levels(20, 30, 1, full=65535)

    result = decoded(file_of(Image.fromarray(levels[:, :, 0])))

    assert np.array_equal(result, shown(np.repeat(levels, 3, axis=2), 65535))


@pytest.mark.parametrize("interlaced", [False, True])
def test_colour_of_sixteen_bits_keeps_all_of_them(interlaced: bool) -> None:  # noqa: FBT001 - from the parameters
    levels = some_levels(19, 31, 3, full=65535)

    result = decoded(png_of_sixteen_bits(levels, interlaced=interlaced))

    assert np.array_equal(result, shown(levels, 65535))


def test_sixteen_bits_are_read_where_pillow_describes_the_file_by_plain_tuples() -> None:
    """As it does before version 11."""
    levels = some_levels(19, 31, 3, full=65535)
    data = png_of_sixteen_bits(levels)
    image = _decoding.open_picture(data)
    image.tile = [tuple(image.tile[0])]  # type: ignore[attr-defined]  # only files that were opened have tiles

    low = _decoding._low_bytes(data, image, None)

    assert np.array_equal(np.asarray(low), levels % 256)


def test_opaque_pixels_of_sixteen_bits_with_alpha_are_exact() -> None:
    levels = some_levels(20, 30, 4, full=65535)
    levels[:, :, 3] = 65535

    assert np.array_equal(decoded(png_of_sixteen_bits(levels)), shown(levels[:, :, :3], 65535))


def png_of_sixteen_bits(levels: Array, *, interlaced: bool = False) -> bytes:
    """A PNG written by hand, because Pillow writes none; every row is filtered by difference to its left."""
    height, width, channels = levels.shape
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    parts = [levels[y::dy, x::dx] for y, x, dy, dx in passes] if interlaced else [levels]
    rows = b"".join(left_filtered(row) for part in parts if part.size for row in part)
    colour_type = {3: 2, 4: 6}[channels]
    head = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, int(interlaced))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def left_filtered(row: Array) -> bytes:
    values = row.astype(">u2").view(np.uint8).reshape(len(row), -1)
    difference = values.copy()
    difference[1:] -= values[:-1]
    return b"\x01" + bytes(difference.tobytes())


# --- transparency ----------------------------------------------------------------------------------------------------


def test_transparent_parts_lie_over_white() -> None:
    levels = np.array([[[9, 80, 200, 255], [9, 80, 200, 0], [255, 0, 51, 51]]], dtype=np.uint8)

    result = decoded(file_of(Image.fromarray(levels)))

    assert np.array_equal(result[0, 0], shown(levels[0, 0, :3]))
    assert np.array_equal(result[0, 1], [1, 1, 1])
    assert result[0, 2] == pytest.approx([1, 0.8, 0.84], abs=1e-6)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_opaque_pixels_with_alpha_are_exact(kind: str) -> None:
    levels = some_levels(40, 40, 4)
    levels[:, :, 3] = 255

    result = decoded(file_of(Image.fromarray(levels), kind, lossless=True))

    assert np.array_equal(result, shown(levels[:, :, :3]))


def test_a_grey_picture_with_alpha_lies_over_white() -> None:
    image = Image.fromarray(np.array([[[40, 255], [40, 0]]], dtype=np.uint8), "LA")

    assert np.array_equal(decoded(file_of(image)), shown(np.array([[[40] * 3, [255] * 3]])))


@pytest.mark.parametrize(("mode", "colour"), [("P", 0), ("L", 60), ("RGB", (60, 60, 60))])
def test_a_colour_that_the_file_calls_transparent_is_white(mode: str, colour: int | tuple[int, ...]) -> None:
    image = Image.new(mode, (4, 1), colour)
    if mode == "P":
        image.putpalette([60, 60, 60, 30, 30, 30])
    image.putpixel((3, 0), 1 if mode == "P" else 30 if mode == "L" else (30, 30, 30))

    result = decoded(file_of(image, transparency=colour))

    assert (result[0, :3] == 1).all()
    assert np.array_equal(result[0, 3], shown(np.array([30, 30, 30])))


# --- orientation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_pictures_are_turned_upright_as_exif_says(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    data = file_of(Image.fromarray(some_levels(50, 30, 3)), kind, exif=exif)

    result = decoded(data)

    assert np.array_equal(result, shown(np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))))


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0garbage", b"\0" * 30])
def test_unreadable_exif_leaves_the_picture_as_it_is(exif: bytes) -> None:
    levels = some_levels(9, 8, 3)

    assert np.array_equal(decoded(file_of(Image.fromarray(levels), exif=exif)), shown(levels))


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_turns_nothing(orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    levels = some_levels(9, 8, 3)

    assert np.array_equal(decoded(file_of(Image.fromarray(levels), exif=exif)), shown(levels))


# --- colour ----------------------------------------------------------------------------------------------------------

# Chromaticities adapted to D50, the white of profiles: columns are red, green and blue.
SRGB_TO_XYZ = np.array([[0.4360, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606], [0.0139, 0.0971, 0.7141]])
DISPLAY_P3_TO_XYZ = np.array([[0.5151, 0.2919, 0.1572], [0.2412, 0.6922, 0.0666], [-0.0010, 0.0419, 0.7841]])


def profile(to_xyz: Array, gamma: float, *, space: bytes = b"RGB ", samples: Array | None = None) -> bytes:
    """A small colour profile (ICC version 2): primaries and one curve, a power or its samples from 0 to 1."""

    def xyz(values: Array) -> bytes:
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *np.rint(values * 65536).astype(int).tolist())

    points = [round(gamma * 256)] if samples is None else np.rint(samples * 65535).astype(int).tolist()
    curve = b"curv\0\0\0\0" + struct.pack(f">I{len(points)}H", len(points), *points)
    curve += b"\0" * (-len(curve) % 4)
    description = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + b"\0" * 78 + b"\0"
    tags = {b"desc": description, b"cprt": b"text\0\0\0\0none\0\0\0\0", b"wtpt": xyz(np.array([0.9642, 1, 0.8249]))}
    if space == b"GRAY":
        tags[b"kTRC"] = curve
    else:
        tags |= {b"rXYZ": xyz(to_xyz[:, 0]), b"gXYZ": xyz(to_xyz[:, 1]), b"bXYZ": xyz(to_xyz[:, 2])}
        tags |= {b"rTRC": curve, b"gTRC": curve, b"bTRC": curve}
    table, body, offset = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">II", offset + len(body), len(content))
        body += content
    white = struct.pack(">3i", 63190, 65536, 54061)
    head = struct.pack(">I", offset + len(body)) + b"\0\0\0\0\x02\x10\0\0mntr" + space + b"XYZ " + b"\0" * 12
    return (head + b"acsp" + b"\0" * 28 + white).ljust(128, b"\0") + table + body


def in_srgb(levels: Array, to_xyz: Array, gamma: float) -> Array:
    """What a profile means, by the book and without any library for colours."""
    light = (levels / 255.0) ** gamma @ to_xyz.T @ np.linalg.inv(SRGB_TO_XYZ).T
    light = np.clip(light, 0, 1)
    curved: Array = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return curved


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_wide_profile_is_converted_to_srgb(kind: str) -> None:
    patch = np.array([[[200, 60, 40], [40, 180, 90], [30, 60, 210], [128, 128, 128]]], dtype=np.uint8)
    levels = patch.repeat(16, axis=0).repeat(16, axis=1)
    data = file_of(Image.fromarray(levels), kind, icc_profile=profile(DISPLAY_P3_TO_XYZ, 2.2))

    result = decoded(data)

    stored = np.asarray(Image.open(io.BytesIO(data)))
    assert np.abs(result - in_srgb(stored, DISPLAY_P3_TO_XYZ, 2.2)).max() < 1.6 / 255
    assert np.abs(result - shown(stored)).max() > 0.05


def test_alpha_survives_the_conversion_of_colours() -> None:
    levels = np.array([[[200, 60, 40, 255], [200, 60, 40, 0]]], dtype=np.uint8)

    result = decoded(file_of(Image.fromarray(levels), icc_profile=profile(DISPLAY_P3_TO_XYZ, 2.2)))

    assert np.abs(result[0, 0] - in_srgb(levels[0, 0, :3], DISPLAY_P3_TO_XYZ, 2.2)).max() < 1.6 / 255
    assert (result[0, 1] == 1).all()


def test_an_srgb_profile_changes_no_bit() -> None:
    levels = some_levels(40, 50, 3)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()

    assert np.array_equal(decoded(file_of(Image.fromarray(levels), icc_profile=srgb)), shown(levels))


def test_a_profile_that_is_srgb_but_for_rounding_changes_no_bit() -> None:
    steps = np.linspace(0, 1, 20)
    coarse = profile(
        SRGB_TO_XYZ, 0, samples=np.where(steps <= 0.04045, steps / 12.92, ((steps + 0.055) / 1.055) ** 2.4)
    )
    levels = np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, axis=2)
    image = Image.fromarray(levels)
    srgb = ImageCms.createProfile("sRGB")

    converted = ImageCms.profileToProfile(image, ImageCms.ImageCmsProfile(io.BytesIO(coarse)), srgb)

    assert converted is not None
    assert not np.array_equal(np.asarray(converted), levels)
    assert np.array_equal(decoded(file_of(image, icc_profile=coarse)), shown(levels))


def test_a_grey_profile_is_converted() -> None:
    ramp = np.arange(256, dtype=np.uint8)[None]
    data = file_of(Image.fromarray(ramp), icc_profile=profile(SRGB_TO_XYZ, 1.8, space=b"GRAY"))

    expected = in_srgb(np.repeat(ramp[:, :, None], 3, axis=2), SRGB_TO_XYZ, 1.8)

    assert np.abs(decoded(data) - expected).max() < 1.6 / 255


def test_sixteen_bits_with_a_wide_profile_are_converted() -> None:
    levels = np.full((4, 4), 32896, dtype=np.uint16)
    data = file_of(Image.fromarray(levels), icc_profile=profile(SRGB_TO_XYZ, 1.8, space=b"GRAY"))

    expected = in_srgb(np.full((4, 4, 3), 128), SRGB_TO_XYZ, 1.8)

    assert np.abs(decoded(data) - expected).max() < 1.6 / 255


@pytest.mark.parametrize(
    "broken",
    [b"no profile", profile(DISPLAY_P3_TO_XYZ, 2.2)[:200], profile(SRGB_TO_XYZ, 2.2, space=b"GRAY"), b"\0" * 500],
    ids=["text", "cut off", "for grey pictures", "zeros"],
)
def test_a_profile_that_cannot_be_used_is_passed_over(broken: bytes) -> None:
    levels = some_levels(8, 8, 3)

    assert np.array_equal(decoded(file_of(Image.fromarray(levels), icc_profile=broken)), shown(levels))


@pytest.mark.parametrize(
    ("inks", "colour"),
    [
        ((0, 0, 0, 0), (1, 1, 1)),
        ((0, 255, 255, 0), (1, 0, 0)),
        ((255, 0, 0, 0), (0, 1, 1)),
        ((0, 0, 0, 255), (0, 0, 0)),
    ],
)
def test_inks_become_the_colours_they_print(inks: tuple[int, ...], colour: tuple[int, ...]) -> None:
    data = file_of(Image.new("CMYK", (16, 16), inks), "JPEG", quality=95)

    assert b"Adobe" in data
    assert np.abs(decoded(data) - colour).max() < 0.02


# --- animations ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_an_animation_gives_its_first_frame(kind: str) -> None:
    frames = [Image.new("RGB", (12, 10), colour) for colour in ("red", "lime", "blue")]
    data = file_of(frames[0], kind, save_all=True, append_images=frames[1:], lossless=True)

    assert np.array_equal(decoded(data), np.broadcast_to([1, 0, 0], (10, 12, 3)))


# --- previews --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "I;16"])
def test_a_preview_is_small_and_always_rgb(mode: str) -> None:
    image = Image.new("I;16", (900, 600)) if mode == "I;16" else Image.new("RGB", (900, 600), "navy").convert(mode)

    small = images.preview(file_of(image), 300)

    assert (small.mode, small.size) == ("RGB", (300, 200))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_preview_shows_the_upright_picture(kind: str) -> None:
    image = Image.new("RGB", (800, 400), "red")
    image.paste("blue", (400, 0, 800, 400))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6

    small = images.preview(file_of(image, kind, exif=exif), 100)

    assert small.size == (50, 100)
    assert np.abs(np.asarray(small)[10, 25].astype(int) - [255, 0, 0]).max() < 5
    assert np.abs(np.asarray(small)[90, 25].astype(int) - [0, 0, 255]).max() < 5


def test_a_preview_can_be_stopped() -> None:
    stop = threading.Event()
    stop.set()

    with pytest.raises(images.StoppedError):
        images.preview(file_of(Image.new("RGB", (30, 20))), stop=stop)


def test_a_small_picture_is_not_enlarged_for_its_preview() -> None:
    assert images.preview(file_of(Image.new("RGB", (30, 20))), 512).size == (30, 20)
