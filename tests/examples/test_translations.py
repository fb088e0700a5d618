"""English stands in the code; Chinese stands in `locales/`, complete and without leftovers."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tools.environment import ROOT

from .forms import our_nodes

CHINESE = re.compile(r"[\u4e00-\u9fff]")
NODES = ("WeShopUploadReference", "WeShopSeedreamGenerate", "WeShopLoadResult")


def translated(name: str) -> dict[str, Any]:
    texts: dict[str, Any] = json.loads((ROOT / "locales" / "zh" / f"{name}.json").read_text(encoding="utf-8"))
    return texts


def inputs_of(node: str) -> dict[str, Any]:
    info = our_nodes()[node]["input"]
    return {**info["required"], **info["optional"]}


def test_the_translated_nodes_are_ours() -> None:
    assert set(translated("nodeDefs")) == set(our_nodes()) == set(NODES)


@pytest.mark.parametrize("node", NODES)
def test_every_english_text_is_there(node: str) -> None:
    info = our_nodes()[node]

    assert info["display_name"].startswith("WeShop ")
    assert info["description"]
    assert [name for name, (_, settings) in inputs_of(node).items() if not settings["tooltip"]] == []
    assert all(info["output_tooltips"])
    assert all(name != kind for name, kind in zip(info["output_name"], info["output"], strict=True))


@pytest.mark.parametrize("node", NODES)
def test_every_input_and_output_is_translated_and_no_other(node: str) -> None:
    texts = translated("nodeDefs")[node]

    assert set(texts["inputs"]) == set(inputs_of(node))
    assert list(texts["outputs"]) == [str(index) for index in range(len(our_nodes()[node]["output"]))]
    for slot in (*texts["inputs"].values(), *texts["outputs"].values()):
        assert set(slot) == {"name", "tooltip"}
        assert CHINESE.search(slot["name"])
        assert CHINESE.search(slot["tooltip"])
    assert CHINESE.search(texts["display_name"])
    assert CHINESE.search(texts["description"])


@pytest.mark.parametrize("node", NODES)
def test_what_a_tooltip_says_of_an_option_is_said_in_both_languages(node: str) -> None:
    """The page translates no options, so tooltips name them as they are."""
    texts = translated("nodeDefs")[node]["inputs"]
    for name, (_, settings) in inputs_of(node).items():
        for option in settings.get("options", ()):
            word = re.compile(rf"(?<![\w:]){re.escape(option)}(?!\w)", re.ASCII)
            assert not word.search(settings["tooltip"]) or word.search(texts[name]["tooltip"]), (name, option)


def test_the_category_and_the_link_types_have_names() -> None:
    texts = translated("main")
    types = {kind for info in our_nodes().values() for kind in info["output"] if kind.startswith("WESHOP_")}

    assert set(texts["nodeCategories"]) == {info["category"] for info in our_nodes().values()}
    assert set(texts["dataTypes"]) == types
