"""Each subgraph blueprint is one the page can offer; a plain workflow there makes it complain at every start."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tools.environment import ROOT

from .saved import GRAPH_CHECKS, Graph, Json, private_texts

FILES = sorted((ROOT / "subgraphs").glob("*.json"))


def read(file: Path) -> Json:
    blueprint: Json = json.loads(file.read_text(encoding="ascii"))
    return blueprint


def definition_of(blueprint: Json) -> Json:
    (definition,) = blueprint["definitions"]["subgraphs"]
    return dict(definition)


def test_both_blueprints_are_there() -> None:
    assert [definition_of(read(file))["name"] for file in FILES] == [
        "Seedream: edit images",
        "Seedream: prompt to image",
    ]


def test_the_file_name_is_the_title_with_a_dash_for_the_colon() -> None:
    """The page shows the file name, and Windows allows no colon in one."""
    for file in FILES:
        assert file.stem == definition_of(read(file))["name"].replace(": ", " - ")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_root_of_a_blueprint_is_its_subgraph_alone(file: Path) -> None:
    blueprint = read(file)

    assert [node["type"] for node in blueprint["nodes"]] == [definition_of(blueprint)["id"]]
    assert blueprint["links"] == []
    assert blueprint["extra"]["BlueprintDescription"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_inside_of_a_blueprint_is_as_the_page_saves_it(file: Path) -> None:
    graph = Graph.of_subgraph(definition_of(read(file)))

    assert [complaint for check in GRAPH_CHECKS for complaint in check(graph)] == []
    assert list(private_texts(read(file))) == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_outside_of_a_blueprint_shows_what_the_inside_offers(file: Path) -> None:
    blueprint = read(file)
    (node,), definition = blueprint["nodes"], definition_of(blueprint)

    for side in ("inputs", "outputs"):
        inside = [(slot["name"], slot["type"]) for slot in definition[side]]
        assert [(slot["name"], slot["type"]) for slot in node[side]] == inside
    widgets = [slot for slot in node["inputs"] if "widget" in slot]
    assert len(node["widgets_values"]) == len(widgets)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_seed_of_a_blueprint_is_an_input_like_the_others(file: Path) -> None:
    """Newer pages take the saved values for those of promoted widgets first, so that a promoted seed becomes empty."""
    (node,) = read(file)["nodes"]

    assert "proxyWidgets" not in node["properties"]
    assert [slot["name"] for slot in node["inputs"] if "widget" in slot][-1] == "seed"
    assert node["widgets_values"][-1] == 0
