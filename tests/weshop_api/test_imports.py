"""The rooms of the pack: who may import whom. The tables stand here as data, read from bottom to top."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Each module with what it may import of the library. It stands below whatever imports it.
LIBRARY = {
    "errors": "",
    "models": "",
    "limits": "",
    "schedule": "",
    "spool": "",
    "seedream": "errors models",
    "protocol": "errors models seedream",
    "progress": "models",
    "background": "errors",
    "addresses": "errors",
    "credentials": "errors addresses",
    "retry": "errors",
    "network": "errors addresses background",
    "transport": "errors addresses credentials network",
    "http": "errors models addresses background credentials network transport",
    "client": "errors models protocol credentials retry http",
    "ledger_records": "models",
    "ledger_schema": "models ledger_records",
    "ledger_file": "ledger_schema",
    "ledger_rescue": "ledger_schema ledger_file",
    "ledger_storage": "ledger_schema ledger_file ledger_rescue",
    "ledger": "models ledger_records ledger_schema ledger_file ledger_storage",
    "watching": "errors models progress schedule background client",
    "submitting": "errors models seedream protocol progress limits background client ledger",
    "uploading": "errors models progress limits background client ledger",
    "delivering": "errors models seedream progress limits spool background client ledger",
    "weshop": (
        "errors models seedream protocol progress schedule limits spool background client ledger "
        "watching submitting uploading delivering"
    ),
    "commands": "errors models seedream addresses progress ledger uploading weshop",
    "__main__": "commands",
    "__init__": "errors models seedream addresses progress retry client uploading weshop",
}

# What is neither of the standard library nor ours. Whoever is not named here may import nothing else.
FOREIGN = {
    "network": "httpx httpcore certifi",
    "transport": "httpx httpcore",
    "http": "httpx",
    "retry": "tenacity",
}
FOR_TYPES_ONLY = {"typing_extensions"}

# Each module of the nodes with the modules of the nodes that it may import.
NODES = {
    "_callers": "",
    "_decoding": "",
    "_items": "",
    "images": "_decoding",
    "links": "",
    "host": "_items",
    "logs": "",
    "settings": "_callers host",
    "estimates": "settings host",
    "previews": "images host",
    "upload_reference": "links images host",
    "seedream_generate": "links previews host",
    "load_result": "links images host",
    "__init__": "upload_reference seedream_generate load_result settings estimates logs",
}
# Tensors and pictures; the host's internals; and its public interface, which every node needs.
TENSORS = {"torch", "numpy", "PIL"}
WITH_TENSORS = {"images", "_decoding", "previews"}
INTERNALS = {"comfy", "comfy_execution", "folder_paths", "server", "aiohttp"}
WITH_INTERNALS = {"host", "settings", "estimates"}
INTERFACE = {"comfy_api"}

OURS = {"nodes", "weshop_api", "emulator", "tools", "tests", "bench", "dev"}


@dataclass(frozen=True)
class Imported:
    """One import: ``parents`` dots, then a dotted name. ``is_for_types`` under ``if TYPE_CHECKING``."""

    parents: int
    name: str
    is_for_types: bool


def imports_of(path: Path) -> Iterator[Imported]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Imported(0, alias.name, node in for_types) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield Imported(node.level, node.module, node in for_types)
        elif isinstance(node, ast.ImportFrom):
            yield from (Imported(node.level, alias.name, node in for_types) for alias in node.names)


def modules(folder: str) -> dict[str, Path]:
    return {path.stem: path for path in sorted((ROOT / folder).glob("*.py"))}


def foreign(path: Path) -> set[str]:
    """Return the packages a module imports that are not of the standard library, other than for types."""
    names = {it.name.split(".")[0] for it in imports_of(path) if not it.parents}
    for_types = {it.name.split(".")[0] for it in imports_of(path) if not it.parents and it.is_for_types}
    return names - sys.stdlib_module_names - (for_types & FOR_TYPES_ONLY)


@pytest.mark.parametrize("table", [LIBRARY, NODES], ids=["library", "nodes"])
def test_the_tables_lead_one_way_only(table: dict[str, str]) -> None:
    seen: set[str] = set()
    for module, allowed in table.items():
        assert set(allowed.split()) <= seen, module
        seen.add(module)


@pytest.mark.parametrize(("folder", "table"), [("weshop_api", LIBRARY), ("nodes", NODES)], ids=["library", "nodes"])
def test_every_module_has_its_place_in_the_table(folder: str, table: dict[str, str]) -> None:
    assert set(modules(folder)) == set(table)


@pytest.mark.parametrize("module", LIBRARY)
def test_a_library_module_imports_only_what_stands_below_it(module: str) -> None:
    imported = list(imports_of(modules("weshop_api")[module]))

    assert {it.name.split(".")[0] for it in imported if it.parents} <= set(LIBRARY[module].split())
    assert {it.parents for it in imported} <= {0, 1}


@pytest.mark.parametrize("module", LIBRARY)
def test_a_library_module_uses_only_the_packages_of_its_room(module: str) -> None:
    assert foreign(modules("weshop_api")[module]) <= set(FOREIGN.get(module, "").split())


@pytest.mark.parametrize("module", NODES)
def test_a_module_of_the_nodes_imports_only_what_stands_below_it(module: str) -> None:
    imported = list(imports_of(modules("nodes")[module]))

    assert {it.name for it in imported if it.parents == 1} <= set(NODES[module].split())
    assert {it.name.split(".")[0] for it in imported if it.parents > 1} <= {"weshop_api"}
    assert {it.parents for it in imported} <= {0, 1, 2}


@pytest.mark.parametrize("module", NODES)
def test_a_module_of_the_nodes_uses_only_the_packages_of_its_room(module: str) -> None:
    allowed = set(INTERFACE)
    allowed |= TENSORS if module in WITH_TENSORS else set()
    allowed |= INTERNALS if module in WITH_INTERNALS else set()
    path = modules("nodes")[module]
    for_types = {it.name.split(".")[0] for it in imports_of(path) if it.is_for_types}

    assert foreign(path) - (for_types & TENSORS) <= allowed


def test_inside_the_pack_all_imports_of_ours_are_relative() -> None:
    """The host has a top-level module ``nodes`` of its own, and imports the pack under a name of its choice."""
    paths = [ROOT / "__init__.py", *modules("nodes").values(), *modules("weshop_api").values()]
    absolute = [(path.name, it.name) for path in paths for it in imports_of(path) if not it.parents]

    assert [(file, name) for file, name in absolute if name.split(".")[0] in OURS] == []


def test_the_entry_of_the_pack_imports_the_nodes_only_when_asked_for_them() -> None:
    tree = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))
    at_once = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]

    assert {ast.unparse(node) for node in at_once} <= {
        "from __future__ import annotations",
        "from typing import TYPE_CHECKING",
    }


def test_the_emulator_imports_nothing_of_the_library() -> None:
    """One misreading of the service must not stand on both sides."""
    imported = [it for path in modules("emulator").values() for it in imports_of(path)]

    assert {it.name.split(".")[0] for it in imported if not it.parents} & (OURS - {"emulator"}) == set()
    assert {it.parents for it in imported} <= {0, 1}


def loaded_by(statement: str) -> set[str]:
    """Return the top-level packages that are loaded after this statement in a fresh interpreter."""
    program = f"import sys; {statement}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.split())


def test_importing_the_library_is_cheap() -> None:
    loaded = loaded_by("import weshop_api")

    assert "weshop_api" in loaded
    assert loaded & {"torch", "numpy", "PIL", "comfy", "httpx", "httpcore", "tenacity", "asyncio", "sqlite3"} == set()


def test_the_whole_library_needs_neither_torch_nor_the_host() -> None:
    statement = "import weshop_api; [getattr(weshop_api, name) for name in weshop_api.__all__]"
    loaded = loaded_by(statement)

    assert "httpx" in loaded
    assert loaded & {"torch", "numpy", "PIL", "comfy", "comfy_api", "folder_paths", "aiohttp"} == set()
