"""The example workflows: find them, give them what they need, and run them through ComfyUI's HTTP API.

An example is one file as the page saves it; nothing else about it is kept by hand.  Pictures it loads are looked up by
name in `example_workflows/inputs/`.  An example that brings back an earlier run is saved with an empty execution id.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .comfyui import ComfyUIClient, PromptResult
from .environment import ROOT
from .to_api import to_api

EXAMPLES = ROOT / "example_workflows"
INPUTS = EXAMPLES / "inputs"

ID_PREVIEW = "execution_id_of_"
"""Node ids of the text previews with which `with_execution_id_shown` makes execution ids visible."""

ApiPrompt = dict[str, dict[str, Any]]


class ExampleError(Exception):
    """An example workflow is not what the demo and the tests rely on."""


@dataclass(frozen=True)
class ExampleOutcome:
    """What one example made."""

    result: PromptResult
    execution_ids: tuple[str, ...]
    """The WeShop runs it followed."""


def example_files() -> list[Path]:
    """Return all examples, those that need an earlier run last."""
    return sorted(EXAMPLES.glob("*.json"), key=lambda file: (needs_execution_id(_read(file)), file.name))


def needs_execution_id(workflow: Mapping[str, Any]) -> bool:
    """Whether a saved workflow loads a run that it has not made itself."""
    return any(_is_unconnected_load(node) for node in workflow["nodes"])


def run_example(
    file: Path,
    client: ComfyUIClient,
    tools_python: Path,
    *,
    timeout_seconds: float,
    earlier_execution_id: str = "",
) -> ExampleOutcome:
    """Upload what an example needs, run it and return what it made."""
    prompt = prepare_example(file, client, tools_python, earlier_execution_id=earlier_execution_id)
    result = client.run(with_execution_id_shown(prompt), timeout_seconds=timeout_seconds)
    shown = [node_id for node_id in result.outputs if node_id.startswith(ID_PREVIEW)]
    return ExampleOutcome(result, tuple(text for node_id in shown for text in result.texts(node_id)))


def prepare_example(
    file: Path, client: ComfyUIClient, tools_python: Path, *, earlier_execution_id: str = ""
) -> ApiPrompt:
    """Upload the pictures an example loads and return its API form, ready to be queued."""
    workflow = _read(file)
    prompt = to_api(workflow, client.object_info(), tools_python)
    for node in _nodes_of_type(prompt, "LoadImage"):
        _upload_input(node["inputs"]["image"], file, client)
    for node in _nodes_of_type(prompt, "WeShopLoadResult"):
        if "run" not in node["inputs"] and not node["inputs"].get("execution_id"):
            if not earlier_execution_id:
                raise ExampleError(
                    f"{file.name} brings back an earlier run, but there is none whose execution id is known."
                )
            node["inputs"]["execution_id"] = earlier_execution_id
    return prompt


def with_execution_id_shown(prompt: ApiPrompt) -> ApiPrompt:
    """Return the prompt with a text preview on every generate node's execution id, as a curious user would add one."""
    previews: ApiPrompt = {
        f"{ID_PREVIEW}{node_id}": {"class_type": "PreviewAny", "inputs": {"source": [node_id, 1]}}
        for node_id, node in prompt.items()
        if node["class_type"] == "WeShopSeedreamGenerate"
    }
    return {**prompt, **previews}


def _read(file: Path) -> dict[str, Any]:
    workflow: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return workflow


def _is_unconnected_load(node: Mapping[str, Any]) -> bool:
    inputs: Sequence[Mapping[str, Any]] = node.get("inputs") or ()
    connected = any(each.get("name") == "run" and each.get("link") is not None for each in inputs)
    return node.get("type") == "WeShopLoadResult" and not connected


def _nodes_of_type(prompt: ApiPrompt, class_type: str) -> list[dict[str, Any]]:
    return [node for node in prompt.values() if node["class_type"] == class_type]


def _upload_input(name: str, example: Path, client: ComfyUIClient) -> None:
    picture = INPUTS / name
    if not picture.is_file():
        raise ExampleError(f"{example.name} loads the picture {name}, but there is no such file in {INPUTS}.")
    client.upload_image(name, picture.read_bytes())
