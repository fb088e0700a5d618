"""Many pictures become one batch, decoded by several threads, in one allocation."""

from __future__ import annotations

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image
from weshop_pack.nodes import images

from weshop_api.errors import DownloadError

SMALL, WIDE, TALL = (30, 20), (40, 20), (20, 50)


def plain_file(size: tuple[int, int], level: int) -> bytes:
    """A PNG of one grey level; ``size`` is width and height."""
    buffer = io.BytesIO()
    Image.new("RGB", size, (level, level, level)).save(buffer, "PNG")
    return buffer.getvalue()


def batch_of(policy: images.SizePolicy, *sizes: tuple[int, int]) -> images.Pictures:
    """Pictures of the given sizes; the level of each is its number times ten."""
    batch = images.PictureBatch(len(sizes), policy)
    for index, size in enumerate(sizes):
        batch.add(index, plain_file(size, 10 * (index + 1)))
    return batch.finish()


def value(number: int) -> torch.Tensor:
    return torch.tensor(10 * number) / torch.tensor(255.0)


def test_pictures_added_by_many_threads_land_in_their_places() -> None:
    batch = images.PictureBatch(16, "error")

    with ThreadPoolExecutor(8) as workers:
        list(workers.map(lambda index: batch.add(index, plain_file(SMALL, index * 3)), reversed(range(16))))

    pictures = batch.finish()
    assert pictures.images.shape == (16, 20, 30, 3)
    assert all((picture == index * 3 / np.float32(255)).all() for index, picture in enumerate(pictures.images))


@pytest.fixture(params=[torch.float16, torch.bfloat16])
def default_of_another_pack(request: pytest.FixtureRequest) -> Iterator[None]:
    """What loaders of models set while they work, for the whole process."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(request.param)
    yield
    torch.set_default_dtype(before)


@pytest.mark.usefixtures("default_of_another_pack")
@pytest.mark.parametrize("sizes", [(SMALL, SMALL), (SMALL, WIDE)])
def test_pictures_stay_exact_while_another_pack_loads_a_model(sizes: tuple[tuple[int, int], ...]) -> None:
    pictures = batch_of("pad", *sizes)

    assert {picture.dtype for picture in (pictures.images, *pictures.image_list)} == {torch.float32}


def test_pictures_of_one_size_are_views_of_the_batch() -> None:
    pictures = batch_of("error", SMALL, SMALL, SMALL)

    assert [tuple(picture.shape) for picture in pictures.image_list] == [(1, 20, 30, 3)] * 3
    assert [picture.data_ptr() for picture in pictures.image_list] == [row.data_ptr() for row in pictures.images]
    assert pictures.images.is_contiguous()


@pytest.mark.parametrize("policy", ["pad", "resize", "crop"])
def test_the_list_gives_each_picture_untouched(policy: images.SizePolicy) -> None:
    pictures = batch_of(policy, SMALL, WIDE, TALL, SMALL)

    assert [tuple(p.shape) for p in pictures.image_list] == [
        (1, 20, 30, 3),
        (1, 20, 40, 3),
        (1, 50, 20, 3),
        (1, 20, 30, 3),
    ]
    assert all((picture == value(number)).all() for number, picture in enumerate(pictures.image_list, start=1))


def test_pad_centres_on_the_largest_canvas() -> None:
    batch = batch_of("pad", SMALL, WIDE, TALL).images

    assert batch.shape == (3, 50, 40, 3)
    assert (batch[0, 15:35, 5:35] == value(1)).all()
    assert (batch[1, 15:35, :] == value(2)).all()
    assert (batch[2, :, 10:30] == value(3)).all()
    assert batch[0].count_nonzero() == 20 * 30 * 3


def test_crop_keeps_the_middle_that_all_have() -> None:
    batch = images.PictureBatch(2, "crop")
    columns = np.arange(40, dtype=np.uint8)[None, :, None].repeat(20, axis=0).repeat(3, axis=2)
    buffer = io.BytesIO()
    Image.fromarray(columns).save(buffer, "PNG")
    batch.add(0, buffer.getvalue())
    batch.add(1, plain_file((30, 50), 7))

    cropped = batch.finish().images

    assert cropped.shape == (2, 20, 30, 3)
    assert torch.equal(cropped[0, 0, :, 0], torch.arange(5, 35) / torch.tensor(255.0))


def test_resize_brings_all_to_the_size_of_the_first() -> None:
    batch = batch_of("resize", SMALL, WIDE, TALL).images

    assert batch.shape == (3, 20, 30, 3)
    assert torch.equal(batch[0], value(1).expand(20, 30, 3))
    assert (batch[1] - value(2)).abs().max() < 1e-6
    assert (batch[2] - value(3)).abs().max() < 1e-6


def test_resize_stays_within_the_range_of_values() -> None:
    batch = images.PictureBatch(2, "resize")
    batch.add(0, plain_file((33, 21), 0))
    checks = (np.indices((20, 30)).sum(axis=0) // 5 % 2 * 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(checks).save(buffer, "PNG")
    batch.add(1, buffer.getvalue())

    resized = batch.finish().images[1]

    assert resized.min() >= 0
    assert resized.max() <= 1


def test_error_refuses_sizes_that_differ_and_names_them() -> None:
    with pytest.raises(DownloadError, match=r"30 x 20, 20 x 50 pixels.*pad, resize or crop"):
        batch_of("error", SMALL, TALL, SMALL)


def test_the_first_to_arrive_need_not_be_like_the_others() -> None:
    batch = images.PictureBatch(3, "resize")
    for index, size in ((2, TALL), (0, SMALL), (1, SMALL)):
        batch.add(index, plain_file(size, 10 * (index + 1)))

    pictures = batch.finish()

    assert pictures.images.shape == (3, 20, 30, 3)
    assert (pictures.images[1] == value(2)).all()


def test_a_picture_that_was_never_added_is_not_handed_out_black() -> None:
    batch = images.PictureBatch(4, "pad")
    batch.add(1, plain_file(SMALL, 10))

    with pytest.raises(DownloadError, match=r"1, 3, 4 of 4") as refusal:
        batch.finish()

    assert refusal.value.missing == (1, 3, 4)


def test_a_picture_that_failed_may_be_added_again() -> None:
    batch = images.PictureBatch(1, "pad")
    with pytest.raises(DownloadError):
        batch.add(0, plain_file(SMALL, 10)[:60])

    batch.add(0, plain_file(SMALL, 10))

    assert (batch.finish().images == value(1)).all()


def test_a_batch_of_nothing_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="at least one"):
        images.PictureBatch(0, "pad")
