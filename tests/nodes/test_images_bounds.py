"""Pictures that are each within their bounds do not exhaust the memory together."""

from __future__ import annotations

import io

import pytest
from PIL import Image
from weshop_pack.nodes.images import PictureBatch, SizePolicy

from weshop_api.errors import UndeliveredError

COMPLAINT = "megapixels of memory"


def blank(width: int, height: int) -> bytes:
    """Return a picture in a file that is far smaller than its pixels."""
    buffer = io.BytesIO()
    Image.new("1", (width, height)).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_batch_that_is_too_large_is_refused_before_it_is_allocated() -> None:
    batch = PictureBatch(16, "pad", max_pixels=500_000)

    with pytest.raises(UndeliveredError, match=COMPLAINT):
        batch.add(0, blank(200, 200))


def test_memory_that_no_machine_has_is_told_in_a_sentence() -> None:
    batch = PictureBatch(10_000_000, "pad", max_pixels=10**18)

    with pytest.raises(UndeliveredError, match=r"^Picture 1 could not be read: there is not enough memory for it"):
        batch.add(0, blank(6_000, 6_000))


def test_pictures_of_other_sizes_count_as_well() -> None:
    batch = PictureBatch(3, "crop", max_pixels=30_000)
    batch.add(0, blank(20, 20))
    batch.add(1, blank(150, 150))

    with pytest.raises(UndeliveredError, match=COMPLAINT):
        batch.add(2, blank(140, 140))


@pytest.mark.parametrize("policy", ["pad", "resize"])
def test_a_wide_and_a_high_picture_do_not_span_a_huge_canvas(policy: SizePolicy) -> None:
    """Both are small; padded to one canvas, or resampled from one form to the other, they are not."""
    batch = PictureBatch(2, policy, max_pixels=500_000)
    batch.add(0, blank(2_000, 10))
    batch.add(1, blank(10, 2_000))

    with pytest.raises(UndeliveredError, match=COMPLAINT):
        batch.finish()


@pytest.mark.parametrize("policy", ["pad", "resize", "crop"])
def test_sixteen_of_the_largest_results_are_within_the_bounds(policy: SizePolicy) -> None:
    batch = PictureBatch(16, policy, max_pixels=800_000)
    for index in range(16):
        batch.add(index, blank(100 + index % 2, 200 + index % 3))

    assert batch.finish().images.shape[0] == 16
