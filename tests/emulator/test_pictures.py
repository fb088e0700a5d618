"""Result pictures are true to size and format and show what the request was made of."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator

import pytest
from PIL import Image, ImageChops, ImageStat

from emulator import Emulator
from emulator.lettering import fit, measure

from .caller import Caller, png, request, with_references

LITE = "Seedream_50_Lite"
PRO = "Seedream_50_Pro"

# Width and height as ByteDance recommends them; written out here once more, so that a slip in the table is seen.
SIZES = [
    (LITE, "2K", "1:1", (2048, 2048)),
    (LITE, "2K", "3:4", (1728, 2304)),
    (LITE, "2K", "4:3", (2304, 1728)),
    (LITE, "2K", "16:9", (2848, 1600)),
    (LITE, "2K", "9:16", (1600, 2848)),
    (LITE, "3K", "2:3", (2496, 3744)),
    (LITE, "3K", "21:9", (4704, 2016)),
    (PRO, "1K", "3:2", (1248, 832)),
    (PRO, "1K", "9:16", (800, 1424)),
    (PRO, "2K", "4:3", (2368, 1776)),
    (PRO, "2K", "3:4", (1776, 2368)),
    (PRO, "2K", "16:9", (2816, 1584)),
]


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(port=0) as running:
        yield running


def body_of(caller: Caller, document: object, number: int = 1) -> bytes:
    return caller.download(caller.finished(document)["result"][number - 1]["image"]).content


def opened(body: bytes) -> Image.Image:
    return Image.open(io.BytesIO(body)).convert("RGB")


def differing_share(first: Image.Image, second: Image.Image) -> float:
    """Return the share of pixels that clearly differ."""
    difference = ImageChops.difference(first, second).convert("L").point(lambda value: 255 if value > 12 else 0)
    return ImageStat.Stat(difference).mean[0] / 255


@pytest.mark.parametrize(("model", "size", "ratio", "expected"), SIZES)
def test_pictures_have_the_size_of_model_tier_and_ratio(
    caller: Caller, model: str, size: str, ratio: str, expected: tuple[int, int]
) -> None:
    picture = caller.picture(request(modelName=model, imageSize=size, aspectRatio=ratio))

    assert picture.size == expected


@pytest.mark.parametrize(("output_format", "expected"), [("jpeg", "JPEG"), ("png", "PNG")])
def test_pictures_have_the_requested_format(caller: Caller, output_format: str, expected: str) -> None:
    picture = caller.picture(request(outputFormat=output_format))

    assert (picture.format, picture.mode) == (expected, "RGB")


def test_left_out_parameters_mean_pro_at_1k_in_jpeg(caller: Caller) -> None:
    document = request(modelName=None, imageSize=None, aspectRatio=None, outputFormat=None, batchCount=None)
    picture = caller.picture(document)

    assert (picture.size, picture.format) == ((1024, 1024), "JPEG")


@pytest.mark.parametrize(
    ("reference", "expected"), [((600, 400), (1248, 832)), ((100, 1500), (272, 3968)), ((90, 90), (1024, 1024))]
)
def test_auto_follows_the_first_reference(
    caller: Caller, reference: tuple[int, int], expected: tuple[int, int]
) -> None:
    first, second = caller.uploaded_url(png(size=reference)), caller.uploaded_url(png("blue", (800, 90)))

    assert caller.picture(with_references(first, second, aspectRatio="auto")).size == expected


def test_the_same_picture_is_the_same_bytes(caller: Caller) -> None:
    url = caller.finished()["result"][0]["image"]

    assert caller.download(url).content == caller.download(url).content


def test_every_picture_of_a_batch_is_clearly_different(caller: Caller) -> None:
    results = caller.finished(request(batchCount=5))["result"]
    pictures = [opened(caller.download(item["image"]).content) for item in results]
    shares = [differing_share(one, other) for at, one in enumerate(pictures) for other in pictures[at + 1 :]]

    assert min(shares) > 0.2


def test_another_prompt_gives_another_picture(caller: Caller) -> None:
    one, other = (opened(body_of(caller, request(textDescription=text))) for text in ("a red boat", "a blue boat"))

    assert differing_share(one, other) > 0.01


def test_a_reference_shows_in_its_own_colours(caller: Caller) -> None:
    url = caller.uploaded_url(png("#12e5c3", (200, 200)))
    without, shown = (opened(body_of(caller, document)) for document in (request(), with_references(url)))

    def share_of_colour(picture: Image.Image) -> float:
        apart = ImageChops.difference(picture, Image.new("RGB", picture.size, "#12e5c3")).convert("L")
        return ImageStat.Stat(apart.point(lambda value: 255 if value < 8 else 0)).mean[0] / 255

    assert share_of_colour(without) < 0.001
    assert share_of_colour(shown) > 0.02


def test_the_order_of_references_changes_the_picture(caller: Caller) -> None:
    red, blue = caller.uploaded_url(png("red")), caller.uploaded_url(png("blue"))
    one, other = (opened(body_of(caller, with_references(*urls))) for urls in ((red, blue), (blue, red)))

    assert differing_share(one, other) > 0.02


def test_one_changed_pixel_of_a_reference_changes_the_picture(caller: Caller) -> None:
    changed = Image.new("RGB", (60, 40), "red")
    changed.putpixel((5, 5), (250, 0, 0))
    buffer = io.BytesIO()
    changed.save(buffer, "PNG")
    plain, other = caller.uploaded_url(), caller.uploaded_url(buffer.getvalue())

    assert body_of(caller, with_references(plain)) != body_of(caller, with_references(other))


@pytest.mark.parametrize(
    "prompt",
    [
        "x",
        "word " * 3000,
        "unbroken" * 400,
        "\u4e00\u53ea\u732b\u5750\u5728\u7a97\u53f0\u4e0a" * 40,
        "\u0642\u0637\u0629 \u05d7\u05ea\u05d5\u05dc \u0e41\u0e21\u0e27",
        "\U0001f431\u200d\U0001f680 e\u0301 \ufdfa",
        "a\tb\r\nc\n\n\nd\x00\x07",
        "\ud800 lone surrogate",
    ],
    ids=["one letter", "long", "unbroken", "Chinese", "other scripts", "emoji", "control characters", "surrogate"],
)
def test_any_prompt_can_be_drawn(caller: Caller, prompt: str) -> None:
    assert caller.picture(request(textDescription=prompt)).size == (1024, 1024)


@pytest.mark.parametrize(
    "text", ["word " * 3000, "unbroken" * 400, "\u732b" * 1400], ids=["words", "one word", "tiles"]
)
def test_text_that_is_too_long_is_cut_to_its_place(text: str) -> None:
    fitted = fit(text, 300, 200, (40, 20, 10))

    assert fitted.height <= 200
    assert max(measure(line, fitted.size) for line in fitted.lines) <= 300
    assert fitted.lines[-1].endswith("...")


def test_text_that_fits_is_whole_and_as_large_as_possible() -> None:
    fitted = fit("a quiet harbour", 300, 200, (400, 30, 10))

    assert (" ".join(fitted.lines), fitted.size) == ("a quiet harbour", 30)


@pytest.mark.parametrize("ratio", ["1:1", "9:16", "21:9"])
def test_as_many_references_as_a_model_takes_can_be_drawn(caller: Caller, ratio: str) -> None:
    urls = [caller.uploaded_url(png(f"hsl({number * 25},80%,50%)", (80, 60 + number))) for number in range(13)]
    document = with_references(*urls, "https://example.com/a.png", modelName=LITE, imageSize="2K", aspectRatio=ratio)

    assert caller.picture(document).format == "JPEG"


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "I;16", "1"])
def test_references_of_any_mode_can_be_drawn(caller: Caller, mode: str) -> None:
    buffer = io.BytesIO()
    Image.new(mode, (40, 40)).save(buffer, "PNG")
    url = caller.uploaded_url(buffer.getvalue())

    assert caller.picture(with_references(url)).size == (1024, 1024)


def test_small_pictures_are_small() -> None:
    with Emulator(port=0, pictures="small") as emulator:
        picture = Caller(emulator).picture(request(modelName=LITE, imageSize="3K", aspectRatio="16:9"))

    assert picture.size == (256, 144)


def test_a_large_picture_is_made_within_seconds(caller: Caller) -> None:
    """The bound is generous: the machine may be busy; it is there to catch a slip by an order of magnitude."""
    document = request(modelName=LITE, imageSize="3K", aspectRatio="21:9", outputFormat="png")
    url = caller.finished(document)["result"][0]["image"]
    began = time.monotonic()
    caller.download(url)

    assert time.monotonic() - began < 8
