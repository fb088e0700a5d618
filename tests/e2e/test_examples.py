"""Every example workflow, run by a real ComfyUI: the pictures on disk are counted, measured and compared."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import pytest
import requests
from PIL import Image

from emulator import Emulator, RunRecord
from tools.comfyui import ComfyUIProcess
from tools.environment import Environment
from tools.examples import EXAMPLES, ExampleOutcome, example_files, prepare_example, run_example

TIMEOUT_SECONDS = 120.0


@dataclass(frozen=True)
class Expected:
    """What an example is to make: pictures saved, their size, pictures paid for, references that arrive."""

    saved: int
    size: tuple[int, int]
    batch_count: int = 1
    references: int = 0


EXPECTED = {
    "Bring back an earlier run": Expected(saved=1, size=(1728, 2304), batch_count=0),
    "Edit with references": Expected(saved=1, size=(2048, 2048), references=2),
    "Four variations, pick one": Expected(saved=1, size=(2048, 2048), batch_count=4),
    "Product photo on a new background": Expected(saved=1, size=(2304, 1728), references=1),
    "Seedream before a local upscale": Expected(saved=1, size=(3744, 2496)),
    "Several references in one picture": Expected(saved=1, size=(2304, 1728), references=3),
    "Text to image": Expected(saved=1, size=(1728, 2304)),
}
WITH_REFERENCES = [name for name, expected in EXPECTED.items() if expected.references]


@dataclass(frozen=True)
class Ran:
    """One example that was run, and what reached the service for it."""

    outcome: ExampleOutcome
    pictures: tuple[Image.Image, ...]
    runs: tuple[RunRecord, ...]


@pytest.fixture(scope="module")
def examples(environment: Environment, emulator: Emulator, shared_host: ComfyUIProcess) -> dict[str, Ran]:
    """All examples, run once in the order of the demo."""
    ran: dict[str, Ran] = {}
    last_id = ""
    for file in example_files():
        before = len(emulator.runs)
        outcome = run_example(
            file,
            shared_host.client,
            environment.tools_python,
            timeout_seconds=TIMEOUT_SECONDS,
            earlier_execution_id=last_id,
        )
        last_id = next(iter(outcome.execution_ids), last_id)
        saved = [picture for picture in outcome.result.saved_pictures() if picture.folder_type == "output"]
        pictures = tuple(_decoded(shared_host.client.fetch(picture)) for picture in saved)
        ran[file.stem] = Ran(outcome, pictures, emulator.runs[before:])
    return ran


def _decoded(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def test_every_example_is_expected_here() -> None:
    assert {file.stem for file in example_files()} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_an_example_saves_its_pictures_at_their_size(name: str, examples: dict[str, Ran]) -> None:
    expected, ran = EXPECTED[name], examples[name]

    assert [picture.size for picture in ran.pictures] == [expected.size] * expected.saved
    assert all(len(np.unique(np.asarray(picture.resize((16, 16))))) > 8 for picture in ran.pictures), "a blank picture"


@pytest.mark.parametrize("name", EXPECTED)
def test_an_example_pays_for_one_run_at_the_most(name: str, examples: dict[str, Ran]) -> None:
    expected, ran = EXPECTED[name], examples[name]

    paid = [(run.batch_count, len(run.body["params"].get("images", ()))) for run in ran.runs]
    assert paid == ([(expected.batch_count, expected.references)] if expected.batch_count else [])


def test_a_saved_picture_is_the_very_picture_that_the_service_made(
    examples: dict[str, Ran], emulator: Emulator
) -> None:
    ran = examples["Text to image"]
    run_url = f"{emulator.base_url}/agent/runs/{ran.runs[0].execution_id}"
    answer = requests.get(run_url, headers={"Authorization": "emulator"}, timeout=30).json()
    served = requests.get(answer["data"]["executions"][0]["result"][0]["image"], timeout=30)

    assert np.array_equal(np.asarray(ran.pictures[0].convert("RGB")), np.asarray(_decoded(served.content)))


def test_the_earlier_run_that_is_brought_back_is_the_one_asked_for(examples: dict[str, Ran]) -> None:
    assert np.array_equal(
        np.asarray(examples["Bring back an earlier run"].pictures[0]), np.asarray(examples["Text to image"].pictures[0])
    )


@pytest.mark.parametrize("name", WITH_REFERENCES)
def test_another_reference_makes_another_picture(
    name: str, examples: dict[str, Ran], environment: Environment, shared_host: ComfyUIProcess, emulator: Emulator
) -> None:
    """Where there are several, the last one is another: whether it counts shows that none before it got lost."""
    prompt = prepare_example(EXAMPLES / f"{name}.json", shared_host.client, environment.tools_python)
    replaced = _png(Image.new("RGB", (320, 240), "purple"))
    loaders = [node for node in prompt.values() if node["class_type"] == "LoadImage"]
    loaders[-1]["inputs"]["image"] = shared_host.client.upload_image("another.png", replaced)

    result = shared_host.client.run(prompt, timeout_seconds=TIMEOUT_SECONDS)

    picture = _decoded(shared_host.client.fetch(result.saved_pictures()[0]))
    assert len(loaders) == EXPECTED[name].references
    assert np.mean(np.asarray(picture) != np.asarray(examples[name].pictures[0])) > 0.05
    assert np.array_equal(np.asarray(_decoded(emulator.uploads[-1].data)), np.asarray(_decoded(replaced)))


def _png(image: Image.Image) -> bytes:
    parcel = io.BytesIO()
    image.save(parcel, "PNG")
    return parcel.getvalue()
