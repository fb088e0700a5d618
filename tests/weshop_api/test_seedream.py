"""The agent's contract as data: what each model offers, and the sentence that tells how to mend a request."""

from __future__ import annotations

import re

import pytest

from weshop_api.errors import InvalidRequestError
from weshop_api.models import Reference, References, Result, RunStatus
from weshop_api.seedream import (
    LITE,
    MODELS,
    PRO,
    Model,
    Run,
    SeedreamRequest,
    all_aspect_ratios,
    all_image_sizes,
    model_by_label,
)

RATIOS = ("1:1", "2:3", "3:2", "4:3", "3:4", "16:9", "9:16", "21:9")


def complaint(request: SeedreamRequest) -> str:
    with pytest.raises(InvalidRequestError) as caught:
        request.check()
    return str(caught.value)


def connected(count: int) -> References:
    return References(tuple(Reference(f"https://host.example/{number}.png") for number in range(count)))


@pytest.mark.parametrize(
    ("model", "sizes", "ratios", "most_references"),
    [(LITE, ("2K", "3K"), RATIOS, 14), (PRO, ("1K", "2K"), (*RATIOS, "auto"), 10)],
    ids=["Lite", "Pro"],
)
def test_a_model_offers_what_is_documented(
    model: Model, sizes: tuple[str, ...], ratios: tuple[str, ...], most_references: int
) -> None:
    assert (model.image_sizes, model.aspect_ratios, model.max_references) == (sizes, ratios, most_references)


@pytest.mark.parametrize(
    ("model", "size", "ratio", "pixels"),
    [
        (LITE, "2K", "3:4", (1728, 2304)),
        (LITE, "3K", "21:9", (4704, 2016)),
        (PRO, "1K", "16:9", (1424, 800)),
        (PRO, "2K", "3:4", (1776, 2368)),
        (PRO, "1K", "auto", None),
        (PRO, "3K", "1:1", None),
    ],
)
def test_the_pixels_of_a_picture_are_known_beforehand(
    model: Model, size: str, ratio: str, pixels: tuple[int, int] | None
) -> None:
    assert SeedreamRequest("x", model, size, ratio).pixel_size == pixels


def test_a_form_for_all_models_lists_every_choice_once() -> None:
    assert all_image_sizes() == ("1K", "2K", "3K")
    assert all_aspect_ratios() == (*RATIOS, "auto")


@pytest.mark.parametrize("model", MODELS)
def test_a_model_is_found_by_what_the_form_shows(model: Model) -> None:
    assert model_by_label(model.label) is model
    assert model_by_label(model.name) is model


def test_an_unknown_model_is_refused_with_those_there_are() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        model_by_label("Seedream 9")

    assert str(caught.value) == 'There is no model "Seedream 9". Choose Seedream 5.0 Lite or Seedream 5.0 Pro.'


@pytest.mark.parametrize(
    "request_",
    [
        SeedreamRequest("x"),
        SeedreamRequest("x", LITE, "3K", "21:9", "png", 16, web_search=True, references=connected(14)),
        SeedreamRequest("x", PRO, "1K", "auto", references=connected(10)),
    ],
    ids=["defaults", "Lite at its limits", "Pro at its limits"],
)
def test_what_a_model_offers_is_accepted(request_: SeedreamRequest) -> None:
    request_.check()


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        (SeedreamRequest(" \n "), "The prompt is empty. Describe the picture you want."),
        (
            SeedreamRequest("x", LITE, "1K"),
            "Seedream 5.0 Lite does not offer the image size 1K. Choose 2K or 3K, or choose Seedream 5.0 Pro.",
        ),
        (
            SeedreamRequest("x", PRO, "3K", "1:1"),
            "Seedream 5.0 Pro does not offer the image size 3K. Choose 1K or 2K, or choose Seedream 5.0 Lite.",
        ),
        (
            SeedreamRequest("x", LITE, "2K", "auto"),
            (
                "Seedream 5.0 Lite does not offer the aspect ratio auto. Choose 1:1, 2:3, 3:2, 4:3, 3:4, 16:9, 9:16 "
                "or 21:9, or choose Seedream 5.0 Pro."
            ),
        ),
        (
            SeedreamRequest("x", output_format="webp"),
            "Seedream 5.0 Lite does not offer the output format webp. Choose jpeg or png.",
        ),
        (
            SeedreamRequest("x", PRO, "1K", "1:1", web_search=True),
            "Seedream 5.0 Pro cannot search the web. Switch web_search off, or choose Seedream 5.0 Lite.",
        ),
        (SeedreamRequest("x", batch_count=17), "A run makes 1 to 16 pictures, not 17. Change batch_count."),
        (SeedreamRequest("x", batch_count=0), "A run makes 1 to 16 pictures, not 0. Change batch_count."),
        (
            SeedreamRequest("x", PRO, "1K", "1:1", references=connected(12)),
            (
                "Seedream 5.0 Pro takes at most 10 references, and 12 are connected. "
                "Remove 2, or choose Seedream 5.0 Lite."
            ),
        ),
        (
            SeedreamRequest("x", references=connected(15)),
            "Seedream 5.0 Lite takes at most 14 references, and 15 are connected. Remove 1.",
        ),
    ],
    ids=lambda value: re.sub(r"\W+", "-", value)[:50] if isinstance(value, str) else "",
)
def test_what_a_model_does_not_offer_is_refused_with_the_way_out(request_: SeedreamRequest, sentence: str) -> None:
    assert complaint(request_) == sentence


def a_run(batch_count: int, *urls: str) -> Run:
    results = tuple(Result(number, url, "Success" if url else "Failed") for number, url in enumerate(urls, start=1))
    return Run("id", RunStatus.SUCCESS, results, batch_count=batch_count)


def test_a_run_says_how_many_pictures_are_missing() -> None:
    run = a_run(4, "https://host.example/1.png", "", "https://host.example/3.png")

    assert run.missing_count == 2
    assert run.urls == ("https://host.example/1.png", "https://host.example/3.png")
    assert [result.number for result in run.usable] == [1, 3]


def test_of_a_run_that_was_not_submitted_from_here_the_listed_results_are_expected() -> None:
    assert a_run(0, "https://host.example/1.png", "").missing_count == 1


def test_more_pictures_than_asked_for_are_not_a_negative_number_of_missing_ones() -> None:
    assert a_run(1, "https://host.example/1.png", "https://host.example/2.png").missing_count == 0
