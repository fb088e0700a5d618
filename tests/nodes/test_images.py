"""Pictures on their way out: tensors become the files that are uploaded."""

from __future__ import annotations

import io
import threading
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from weshop_pack.nodes import images

from weshop_api.errors import UnusablePictureError
from weshop_api.models import Picture
from weshop_api.seedream import MAX_REFERENCE_BYTES, MAX_REFERENCE_PIXELS

LEVELS = arrays(np.uint8, st.tuples(st.integers(15, 20), st.integers(15, 20), st.sampled_from([1, 3, 4])))
CHANGED_EVERY_TIME = settings(max_examples=40, deadline=None)


def opened(picture: Picture) -> Image.Image:
    return Image.open(io.BytesIO(picture.data))


def levels_of(picture: Picture) -> np.ndarray[Any, Any]:
    levels = np.asarray(opened(picture))
    return levels if levels.ndim == 3 else levels[:, :, None]


def noise(height: int, width: int, channels: int = 3) -> torch.Tensor:
    return torch.rand(height, width, channels, generator=torch.Generator().manual_seed(1))


@CHANGED_EVERY_TIME
@given(LEVELS)
def test_eight_bit_pixels_survive_the_way_out_unchanged(levels: np.ndarray[Any, Any]) -> None:
    picture = images.encode(torch.from_numpy(levels) / 255)

    assert picture.media_type == "image/png"
    assert np.array_equal(levels_of(picture), levels)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_every_float_type_is_clipped_and_rounded_to_the_nearest_level(dtype: torch.dtype) -> None:
    ramp = torch.linspace(-0.3, 1.3, 15 * 20 * 3, dtype=torch.float64).reshape(15, 20, 3).to(dtype)

    picture = images.encode(ramp)

    nearest = np.rint(np.clip(ramp.double().numpy(), 0, 1) * 255)
    assert np.array_equal(levels_of(picture), nearest)


def test_infinite_values_are_clipped_like_any_other() -> None:
    tensor = torch.full((15, 15, 3), torch.inf)
    tensor[0] = -torch.inf

    levels = levels_of(images.encode(tensor))

    assert (levels[0] == 0).all()
    assert (levels[1:] == 255).all()


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_the_channels_decide_the_mode_of_the_file(channels: int, mode: str) -> None:
    picture = images.encode(noise(16, 18, channels))

    assert opened(picture).mode == mode
    assert (picture.width, picture.height) == opened(picture).size == (18, 16)
    assert picture.note == ""


def test_a_tensor_that_is_not_contiguous_is_read_in_the_right_order() -> None:
    channels_first = noise(40, 30).permute(2, 0, 1).contiguous()
    view = channels_first.permute(1, 2, 0)[::2, 1:]

    picture = images.encode(view)

    assert not view.is_contiguous()
    assert np.array_equal(levels_of(picture), np.rint(view.numpy() * 255))


def test_a_tensor_that_remembers_gradients_is_encoded() -> None:
    tensor = noise(16, 16).requires_grad_()

    picture = images.encode(tensor)

    assert np.array_equal(levels_of(picture), np.rint(tensor.detach().numpy() * 255))


def test_files_carry_nothing_but_pixels() -> None:
    assert opened(images.encode(noise(16, 16))).info == {}


# --- splitting and refusing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 14])
def test_every_picture_of_a_batch_is_a_view_in_order(count: int) -> None:
    batch = torch.rand(count, 16, 17, 3)

    pictures = images.split_batch(batch)

    assert len(pictures) == count
    assert all(torch.equal(picture, batch[index]) for index, picture in enumerate(pictures))
    assert pictures[-1].data_ptr() == batch[-1].data_ptr()


def test_a_single_picture_needs_no_batch_axis() -> None:
    assert [tuple(picture.shape) for picture in images.split_batch(noise(16, 17))] == [(16, 17, 3)]


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((2, 16), "shape"),
        ((1, 1, 16, 16, 3), "shape"),
        ((0, 16, 16, 3), "0 image(s)"),
        ((1, 0, 16, 3), "0 pixels"),
        ((1, 14, 14, 3), "14 x 14 pixels"),
        ((1, 16, 16, 2), "not 2"),
        ((1, 16, 16, 5), "not 5"),
        ((1, 16, 16, 0), "not 0"),
        ((1, 15, 241, 3), "241 x 15 pixels"),
        ((1, 241, 15, 3), "15 x 241 pixels"),
    ],
)
def test_a_form_the_service_would_refuse_is_refused_here(shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(UnusablePictureError) as refusal:
        images.split_batch(torch.zeros(shape))

    assert words in str(refusal.value)


@pytest.mark.parametrize("shape", [(15, 15, 3), (15, 240, 3), (240, 15, 3)])
def test_the_smallest_and_narrowest_pictures_allowed_pass(shape: tuple[int, ...]) -> None:
    assert levels_of(images.encode(torch.zeros(shape))).shape == shape


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool, torch.complex64])
def test_numbers_that_are_no_floats_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(UnusablePictureError, match="floating point"):
        images.split_batch(torch.zeros(1, 16, 16, 3, dtype=dtype))


def test_a_value_that_is_not_a_number_is_refused_with_the_pictures_name() -> None:
    tensor = noise(600, 600)
    tensor[599, 599, 2] = torch.nan

    with pytest.raises(UnusablePictureError, match=r"^Image 3 contains .*NaN"):
        images.encode(tensor, name="Image 3")
    with pytest.raises(UnusablePictureError, match=r"^Image 3 contains .*NaN"):
        images.content_hash(tensor, "auto", name="Image 3")


# --- the service's limits --------------------------------------------------------------------------------------------


def test_auto_sends_jpeg_only_when_the_png_passes_the_limit() -> None:
    tensor = noise(1900, 1900)

    picture = images.encode(tensor, "auto")

    assert picture.media_type == "image/jpeg"
    assert len(picture.data) <= MAX_REFERENCE_BYTES
    assert opened(picture).quantization == quantization_of_quality(95)  # type: ignore[attr-defined]  # only JPEGs have it
    assert subsampling_of(picture) == "4:4:4"
    assert "JPEG" in picture.note
    assert "10 MB" in picture.note


def test_png_that_passes_the_limit_is_refused_with_the_way_out() -> None:
    with pytest.raises(UnusablePictureError, match=r"^Image 2 is over 10 MB as PNG.*auto or jpeg"):
        images.encode(noise(1900, 1900), "png", name="Image 2")


def test_jpeg_is_sent_when_asked_for() -> None:
    picture = images.encode(noise(64, 64), "jpeg")

    assert picture.media_type == "image/jpeg"
    assert opened(picture).format == "JPEG"
    assert subsampling_of(picture) == "4:4:4"
    assert picture.note == ""


def test_a_jpeg_that_passes_the_limit_gets_the_next_lower_quality_that_fits() -> None:
    picture = images.encode(noise(2200, 2200), "jpeg")

    assert len(picture.data) <= MAX_REFERENCE_BYTES
    assert opened(picture).size == (2200, 2200)
    assert opened(picture).quantization == quantization_of_quality(90)  # type: ignore[attr-defined]  # only JPEGs have it
    assert "quality 90" in picture.note


def test_a_picture_that_no_quality_brings_under_the_limit_is_refused() -> None:
    with pytest.raises(UnusablePictureError, match=r"^Image 1 is over 10 MB even as JPEG"):
        images.encode(noise(4400, 4400), "auto", name="Image 1")


def test_transparent_parts_become_white_in_jpeg() -> None:
    tensor = torch.zeros(32, 32, 4)
    tensor[16:, :, 3] = 1

    picture = images.encode(tensor, "jpeg")

    levels = levels_of(picture)
    assert (levels[:8] == 255).all()
    assert (levels[24:] == 0).all()
    assert "white" in picture.note


@pytest.mark.parametrize(("height", "width"), [(6100, 6000), (1600, 25000), (25600, 1600), (3001, 12000)])
def test_a_picture_over_the_pixel_limit_is_scaled_once_as_a_whole(height: int, width: int) -> None:
    ramp = torch.linspace(0.2, 0.8, width).expand(height, width)[:, :, None]

    picture = images.encode(ramp)

    assert picture.width * picture.height <= MAX_REFERENCE_PIXELS
    assert max(picture.width, picture.height) <= 16 * min(picture.width, picture.height)
    assert picture.width / picture.height == pytest.approx(width / height, rel=1e-3)
    assert picture.width * picture.height > 0.999 * MAX_REFERENCE_PIXELS
    assert f"{width} x {height} to {picture.width} x {picture.height}" in picture.note
    row = levels_of(picture)[picture.height // 2, :, 0]
    assert np.abs(row - np.linspace(51, 204, picture.width)).max() <= 1


def test_a_picture_of_exactly_the_pixel_limit_is_not_scaled() -> None:
    picture = images.encode(torch.zeros(6000, 6000, 1))

    assert (picture.width, picture.height, picture.note) == (6000, 6000, "")


def test_scaling_averages_what_is_finer_than_a_pixel() -> None:
    stripes = torch.zeros(12000, 12000, 1)
    stripes[:, ::2] = 1

    levels = levels_of(images.encode(stripes))

    assert levels.shape == (6000, 6000, 1)
    assert np.abs(levels[:, 10:-10].astype(int) - 127.5).max() < 2


def test_scaling_in_strips_leaves_no_seams() -> None:
    tensor = torch.linspace(0.2, 0.8, 6100).expand(6000, 6100).T[:, :, None]

    picture = images.encode(tensor)

    column = levels_of(picture)[:, picture.width // 2, 0]
    assert np.abs(column - np.linspace(51, 204, picture.height)).max() <= 1


def test_scaling_stops_between_strips() -> None:
    strips_before_scaling = 6100 // (2**17 // 6000) + 1

    with pytest.raises(images.StoppedError):
        images.encode(torch.zeros(6100, 6000, 1), stop=StopAt(strips_before_scaling + 20))


def test_scaling_does_not_let_hidden_colours_bleed_into_visible_ones() -> None:
    row = torch.zeros(6000, 4)
    row[:3001] = torch.tensor([1.0, 0, 0, 1])
    row[3001:, 1] = 1
    tensor = row.expand(6100, 6000, 4)

    picture = images.encode(tensor)

    levels = levels_of(picture)
    assert (levels[levels[:, :, 3] > 32][:, 1] == 0).all()


# --- hashing ---------------------------------------------------------------------------------------------------------


@CHANGED_EVERY_TIME
@given(LEVELS, st.integers(0, 10**6), st.integers(1, 255))
def test_one_changed_level_changes_the_hash(levels: np.ndarray[Any, Any], place: int, change: int) -> None:
    other = levels.copy()
    other.flat[place % other.size] ^= np.uint8(change)

    assert hash_of(levels) != hash_of(other)
    assert hash_of(levels) == hash_of(levels.copy())


def hash_of(levels: np.ndarray[Any, Any]) -> str:
    return images.content_hash(torch.from_numpy(levels) / 255, "auto")


def test_pictures_that_become_the_same_file_have_the_same_hash() -> None:
    tensor = (noise(700, 600) * 255).round() / 255

    assert images.content_hash(tensor, "png") == images.content_hash(tensor + 1e-4, "png")
    assert images.content_hash(tensor, "png") == images.content_hash(tensor.double(), "png")


def test_the_hash_tells_apart_shapes_with_the_same_bytes() -> None:
    tensor = noise(16, 30)

    assert images.content_hash(tensor, "png") != images.content_hash(tensor.reshape(30, 16, 3), "png")


def test_the_hash_tells_apart_encodings() -> None:
    tensor = noise(16, 16)

    assert len({images.content_hash(tensor, encoding) for encoding in get_args(images.Encoding)}) == 3


# --- stopping --------------------------------------------------------------------------------------------------------


class StopAt(threading.Event):
    """Is set from the given look on."""

    def __init__(self, look: int) -> None:
        super().__init__()
        self.looks_left = look

    def is_set(self) -> bool:
        self.looks_left -= 1
        return self.looks_left < 0


def test_hashing_stops_between_strips() -> None:
    with pytest.raises(images.StoppedError):
        images.content_hash(noise(1000, 1000), "auto", stop=StopAt(3))


@pytest.mark.parametrize("encoding", ["png", "jpeg"])
@pytest.mark.parametrize("look", [0, 3, 12])
def test_encoding_stops_between_strips_and_between_blocks_of_the_file(encoding: images.Encoding, look: int) -> None:
    with pytest.raises(images.StoppedError):
        images.encode(noise(1000, 1000), encoding, stop=StopAt(look))


def test_an_event_that_is_never_set_changes_nothing() -> None:
    tensor = noise(300, 300)

    assert images.encode(tensor, stop=threading.Event()) == images.encode(tensor)


def quantization_of_quality(quality: int) -> dict[int, list[int]]:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).quantization  # type: ignore[attr-defined,no-any-return]  # the same


def subsampling_of(picture: Picture) -> str:
    layers = opened(picture).layer  # type: ignore[attr-defined]  # only JPEGs have it
    return "4:4:4" if all(layer[1:3] == (1, 1) for layer in layers) else "other"
