"""What the nodes use of ComfyUI: only what its oldest supported version offers as well."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import weshop_pack.nodes  # noqa: F401 - makes the host's modules importable

NODES = Path(__file__).resolve().parents[2] / "nodes"
PACKAGES = ("comfy", "comfy_api", "comfy_execution", "folder_paths", "server")

EVERYWHERE: Mapping[str, str] = {
    "comfy.model_management.InterruptProcessingException": "",
    "comfy.model_management.processing_interrupted": "",
    "comfy_api.latest.ComfyAPI.Execution": "",
    "comfy_api.latest.ComfyExtension": "",
    "comfy_api.latest.io.Boolean.Input": "default tooltip",
    "comfy_api.latest.io.Combo.Input": "options default tooltip",
    "comfy_api.latest.io.ComfyNode": "",
    "comfy_api.latest.io.Custom": "",
    "comfy_api.latest.io.Image.Input": "optional tooltip",
    "comfy_api.latest.io.Image.Output": "display_name is_output_list tooltip",
    "comfy_api.latest.io.Input": "",
    "comfy_api.latest.io.Int.Input": "control_after_generate default max min optional tooltip",
    "comfy_api.latest.io.NodeOutput": "ui",
    "comfy_api.latest.io.Schema": "category description display_name inputs node_id outputs",
    "comfy_api.latest.io.String.Input": "default multiline optional tooltip",
    "comfy_api.latest.io.String.Output": "display_name is_output_list tooltip",
    "comfy_api.latest.io.WidgetInput": "",
    "comfy_execution.utils.get_executing_context": "",
    "folder_paths": "",
    "folder_paths.get_user_directory": "",
    "server.PromptServer": "",
}
"""Names, and the keywords they are called with, as found in ComfyUI 0.3.64, the oldest supported version."""

ASKED_FOR = {
    "folder_paths.get_system_user_directory",  # Since 0.3.76; `host` looks whether it is there.
    "server.PromptServer.instance",  # There as soon as there is a server.
}


def dotted(node: ast.expr, roots: Mapping[str, str]) -> str | None:
    """The full name of what an expression like `io.Combo.Input` stands for, when it is the host's."""
    if isinstance(node, ast.Name):
        return roots.get(node.id)
    if isinstance(node, ast.Attribute) and (before := dotted(node.value, roots)):
        return f"{before}.{node.attr}"
    return None


def imported(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """The names that a module takes from the host: what it calls them, and their full names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.asname or alias.name, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((alias.asname or alias.name, f"{node.module}.{alias.name}") for alias in node.names)


def used() -> dict[str, set[str]]:
    """Every name of the host in `nodes/`, with the keywords of all calls. Parts of longer names are left out."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in NODES.glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        roots = {name: full for name, full in imported(tree) if full.split(".")[0] in PACKAGES}
        parts = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Name | ast.Attribute) and id(node) not in parts and (name := dotted(node, roots)):
                found[name] |= set()
            if isinstance(node, ast.Call) and (name := dotted(node.func, roots)):
                found[name] |= {keyword.arg for keyword in node.keywords if keyword.arg}
    return found


def test_nothing_is_used_of_the_host_that_its_oldest_version_may_lack() -> None:
    """A new line belongs into the table when ComfyUI 0.3.64 has it; for what is newer, ask with `hasattr`."""
    table = {name: set(keywords.split()) for name, keywords in EVERYWHERE.items()}

    assert {name: keywords for name, keywords in used().items() if name not in ASKED_FOR} == table


@pytest.mark.parametrize("name", EVERYWHERE)
def test_the_host_has_what_is_used_of_it(name: str) -> None:
    module, *attributes = name.split(".")
    thing: Any = importlib.import_module(module)
    for attribute in attributes:
        if not hasattr(thing, attribute):
            importlib.import_module(f"{thing.__name__}.{attribute}")
        thing = getattr(thing, attribute)

    keywords = EVERYWHERE[name].split()
    assert not keywords or set(keywords) <= set(inspect.signature(thing).parameters)
