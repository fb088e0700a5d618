"""Each example is a workflow that the page could have saved, and a damaged one would be noticed."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tools.examples import EXAMPLES, INPUTS

from .forms import our_nodes
from .saved import Json, complaints

FILES = sorted(EXAMPLES.glob("*.json"))
FEWEST_EXAMPLES = 7
CHEAP_SIZE = "2K"
MOST_PICTURES = 4

NOT_IN_A_FILE_NAME = set('<>:"/\\|?*')


def read(file: Path) -> Json:
    workflow: Json = json.loads(file.read_text(encoding="utf-8"))
    return workflow


def the_example(name: str) -> Json:
    return read(EXAMPLES / f"{name}.json")


def values_of(workflow: Json, node_type: str) -> list[list[Any]]:
    return [node["widgets_values"] for node in workflow["nodes"] if node["type"] == node_type]


def test_all_examples_are_there() -> None:
    assert len(FILES) >= FEWEST_EXAMPLES


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_example_is_as_the_page_saves_it(file: Path) -> None:
    assert complaints(read(file), INPUTS) == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_example_is_small_and_cheap(file: Path) -> None:
    for values in values_of(read(file), "WeShopSeedreamGenerate"):
        _, model, image_size, _, _, batch_count, web_search, *_ = values

        assert (model, image_size, web_search) == ("Seedream 5.0 Lite", CHEAP_SIZE, False)
        assert batch_count <= MOST_PICTURES


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_example_belongs_to_the_pack_by_its_file(file: Path) -> None:
    workflow = read(file)

    assert workflow["version"] == 0.4
    assert file.read_bytes().isascii()
    assert not NOT_IN_A_FILE_NAME & set(file.name)
    for node in workflow["nodes"]:
        assert node["type"] not in our_nodes() or node["properties"]["cnr_id"] == "weshop-seedream"


def test_no_two_examples_are_the_same_run() -> None:
    seeds = [values[7] for file in FILES for values in values_of(read(file), "WeShopSeedreamGenerate")]

    assert len(set(seeds)) == len(seeds)


def test_every_input_picture_is_used() -> None:
    used = {values[0] for file in FILES for values in values_of(read(file), "LoadImage")}

    assert {picture.name for picture in INPUTS.iterdir()} == used


def test_the_prompt_names_exactly_the_references_that_are_wired() -> None:
    for file in FILES:
        workflow = read(file)
        count = len(values_of(workflow, "WeShopUploadReference"))
        for values in values_of(workflow, "WeShopSeedreamGenerate"):
            named = {number for number in range(1, 20) if f"image {number}" in values[0].replace(".", " ")}

            assert named == set(range(1, count + 1)), file.name


def node_of(workflow: Json, node_type: str) -> Json:
    return next(node for node in workflow["nodes"] if node["type"] == node_type)


def give_an_id_twice(workflow: Json) -> None:
    workflow["nodes"][0]["id"] = workflow["nodes"][1]["id"]


def forget_a_link_at_its_origin(workflow: Json) -> None:
    node_of(workflow, "WeShopSeedreamGenerate")["outputs"][0]["links"] = []


def forget_a_link_at_its_target(workflow: Json) -> None:
    node_of(workflow, "SaveImage")["inputs"][0]["link"] = None


def remove_a_link(workflow: Json) -> None:
    workflow["links"].pop()


def wire_the_wrong_output(workflow: Json) -> None:
    workflow["links"][-1][2] = 2


def wire_a_missing_slot(workflow: Json) -> None:
    workflow["links"][-1][4] = 9


def use_a_foreign_node(workflow: Json) -> None:
    node_of(workflow, "LoadImage")["type"] = "SomebodysLoader"


def drop_a_value(workflow: Json) -> None:
    node_of(workflow, "WeShopSeedreamGenerate")["widgets_values"].pop()


def forget_the_companion_of_the_seed(workflow: Json) -> None:
    node_of(workflow, "WeShopSeedreamGenerate")["widgets_values"].remove("fixed")


def choose_an_unknown_model(workflow: Json) -> None:
    node_of(workflow, "WeShopSeedreamGenerate")["widgets_values"][1] = "Seedream 4"


def ask_for_seventeen_pictures(workflow: Json) -> None:
    node_of(workflow, "WeShopSeedreamGenerate")["widgets_values"][5] = 17


def rename_an_input(workflow: Json) -> None:
    node_of(workflow, "WeShopUploadReference")["inputs"][0]["name"] = "picture"


def rename_an_output(workflow: Json) -> None:
    node_of(workflow, "WeShopLoadResult")["outputs"][0]["name"] = "pictures"


def push_a_node_onto_another(workflow: Json) -> None:
    node_of(workflow, "SaveImage")["pos"] = list(node_of(workflow, "WeShopLoadResult")["pos"])


def move_a_node_across_a_frame(workflow: Json) -> None:
    node_of(workflow, "SaveImage")["pos"][0] += 100


def load_a_missing_picture(workflow: Json) -> None:
    node_of(workflow, "LoadImage")["widgets_values"][0] = "holiday.jpg"


def save_outside(workflow: Json) -> None:
    node_of(workflow, "SaveImage")["widgets_values"][0] = "/home/somebody/pictures"


def leave_a_key(workflow: Json) -> None:
    node_of(workflow, "WeShopSeedreamGenerate")["widgets_values"][9] = "0123456789abcdef0123456789abcdef"


def remove_the_notes(workflow: Json) -> None:
    workflow["nodes"] = [node for node in workflow["nodes"] if node["type"] != "MarkdownNote"]


def forget_the_last_id(workflow: Json) -> None:
    workflow["last_node_id"] = 1


DAMAGES: tuple[tuple[Callable[[Json], None], str], ...] = (
    (give_an_id_twice, "given twice"),
    (forget_a_link_at_its_origin, "not known at its origin"),
    (forget_a_link_at_its_target, "not known at its target"),
    (remove_a_link, "that does not exist"),
    (wire_the_wrong_output, "joins STRING and IMAGE"),
    (wire_a_missing_slot, "a slot that does not exist"),
    (use_a_foreign_node, "neither ours nor"),
    (drop_a_value, "10 values for 11 widgets"),
    (forget_the_companion_of_the_seed, "10 values for 11 widgets"),
    (choose_an_unknown_model, "cannot have 'Seedream 4' for model"),
    (ask_for_seventeen_pictures, "cannot have 17 for batch_count"),
    (rename_an_input, "has the inputs"),
    (rename_an_output, "has the outputs"),
    (push_a_node_onto_another, "covers"),
    (move_a_node_across_a_frame, "cuts through"),
    (load_a_missing_picture, "no such file"),
    (save_outside, "an absolute path"),
    (leave_a_key, "something like a key"),
    (remove_the_notes, "no note"),
    (forget_the_last_id, "the last node id is 1"),
)


@pytest.mark.parametrize(("damage", "words"), DAMAGES, ids=lambda each: getattr(each, "__name__", ""))
def test_a_damaged_example_is_noticed(damage: Callable[[Json], None], words: str) -> None:
    workflow = copy.deepcopy(the_example("Edit with references"))

    damage(workflow)

    assert words in " | ".join(complaints(workflow, INPUTS))
