"""What an example needs is found in its saved file and given to it."""

from __future__ import annotations

from typing import Any

import pytest

from tools.examples import needs_execution_id, with_execution_id_shown


@pytest.mark.parametrize(
    ("inputs", "needs"),
    [([], True), ([{"name": "run", "link": None}], True), ([{"name": "run", "link": 3}], False)],
)
def test_only_an_unconnected_load_needs_an_earlier_run(inputs: list[dict[str, Any]], needs: bool) -> None:  # noqa: FBT001 - a parameter of the test's table
    workflow = {"nodes": [{"type": "SaveImage"}, {"type": "WeShopLoadResult", "inputs": inputs}]}

    assert needs_execution_id(workflow) is needs


def test_a_workflow_that_loads_nothing_needs_no_run() -> None:
    assert not needs_execution_id({"nodes": [{"type": "SaveImage"}]})


def test_every_generate_node_gets_a_preview_of_its_execution_id() -> None:
    prompt: dict[str, dict[str, Any]] = {
        "4": {"class_type": "WeShopSeedreamGenerate", "inputs": {}},
        "5": {"class_type": "SaveImage", "inputs": {}},
    }

    shown = with_execution_id_shown(prompt)

    assert shown == {
        **prompt,
        "execution_id_of_4": {"class_type": "PreviewAny", "inputs": {"source": ["4", 1]}},
    }
