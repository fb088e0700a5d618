"""The test harness against the real ComfyUI: what its client and the conversion of workflows rely on is true."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tools.comfyui import ComfyUIProcess, PromptFailedError, PromptRefusedError
from tools.environment import Environment
from tools.to_api import ConversionError, to_api

TIMEOUT_SECONDS = 60.0


def page_node(node_id: int, node_type: str, values: list[Any], **places: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {"id": node_id, "type": node_type, "mode": 0, "widgets_values": values, **places}


PAGE_WORKFLOW = {
    "version": 0.4,
    "nodes": [
        page_node(1, "EmptyImage", [32, 16, 1, 255], outputs=[{"name": "IMAGE", "type": "IMAGE", "links": [1]}]),
        page_node(2, "SaveImage", ["harness"], inputs=[{"name": "images", "type": "IMAGE", "link": 1}]),
    ],
    "links": [[1, 1, 0, 2, 0, "IMAGE"]],
}


def test_a_workflow_of_the_page_is_executed(host: ComfyUIProcess, environment: Environment) -> None:
    prompt = to_api(PAGE_WORKFLOW, host.client.object_info(), environment.tools_python)

    result = host.client.run(prompt, timeout_seconds=TIMEOUT_SECONDS)

    (saved,) = result.saved_pictures()
    assert Image.open(BytesIO(host.client.fetch(saved))).size == (32, 16)
    assert (host.output_folder / saved.filename).is_file()


def test_a_workflow_that_is_none_is_refused_in_comfy_clis_words(environment: Environment) -> None:
    with pytest.raises(ConversionError, match="missing 'nodes' or 'links' list"):
        to_api({}, {}, environment.tools_python)


def test_a_workflow_without_nodes_is_refused(environment: Environment) -> None:
    with pytest.raises(ConversionError, match="no node that would be executed"):
        to_api({"nodes": [], "links": []}, {}, environment.tools_python)


def test_a_missing_comfy_cli_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="comfy-cli could not be run"):
        to_api(PAGE_WORKFLOW, {}, tmp_path / "no-such-python")


def test_validation_of_the_host_is_understood(host: ComfyUIProcess) -> None:
    prompt = {"1": {"class_type": "SaveImage", "inputs": {"filename_prefix": "x"}}}

    with pytest.raises(PromptRefusedError, match=r"node 1 \(SaveImage\): Required input is missing - images"):
        host.client.queue(prompt)


def test_a_prompt_without_an_output_is_understood(host: ComfyUIProcess) -> None:
    with pytest.raises(PromptRefusedError, match="Prompt has no outputs"):
        host.client.queue({})


def test_a_failing_node_of_the_host_is_understood(host: ComfyUIProcess) -> None:
    name = host.client.upload_image("broken.png", b"not a picture")
    prompt = {
        "1": {"class_type": "LoadImage", "inputs": {"image": name}},
        "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    }

    with pytest.raises(PromptFailedError, match=r"Node 1 \(LoadImage\) failed with .*UnidentifiedImageError"):
        host.client.run(prompt, timeout_seconds=TIMEOUT_SECONDS)


def test_a_text_preview_is_read(host: ComfyUIProcess) -> None:
    prompt = {
        "1": {"class_type": "PrimitiveString", "inputs": {"value": "shown"}},
        "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
    }

    assert host.client.run(prompt, timeout_seconds=TIMEOUT_SECONDS).texts("2") == ("shown",)
    assert host.client.queue_length() == 0
