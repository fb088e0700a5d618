"""The rooms of the pack: who may import whom, as the drawing and the tables of ``docs/architecture.md`` say."""

from __future__ import annotations

import ast
import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

DOCUMENT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")

# The two things of the host that only some modules of the nodes reach, and what all of them need.
REACHES = {
    "tensors": {"torch", "numpy", "PIL"},
    "internals": {"comfy", "comfy_execution", "folder_paths", "server", "aiohttp"},
}
INTERFACE = {"comfy_api"}
FOR_TYPES_ONLY = {"typing_extensions"}
# Beside `__init__`, the rooms that the drawing shows.
ROOMS = ("nodes", "weshop_api", "emulator", "tools", "bench", "dev")

OURS = {"nodes", "weshop_api", "emulator", "tools", "tests", "bench", "dev"}


@dataclass(frozen=True)
class Row:
    """One module in a table: what it may import of the modules in the same table, and its last column."""

    imports: frozenset[str]
    others: frozenset[str]


def table(folder: str) -> dict[str, Row]:
    """Read the table of a folder's modules, from its first row to its last."""
    text = DOCUMENT.partition(f"| module of `{folder}/` |")[2].partition("\n\n")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[2:]]
    words = [[frozenset(cell.replace("`", "").split()) for cell in row] for row in cells]
    return {row[0].strip("`"): Row(each[2], each[3]) for row, each in zip(cells, words, strict=True)}


LIBRARY = table("weshop_api")
NODES = table("nodes")


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
def test_the_tables_lead_one_way_only(table: dict[str, Row]) -> None:
    seen: set[str] = set()
    for module, row in table.items():
        assert row.imports <= seen, module
        seen.add(module)


@pytest.mark.parametrize(("folder", "table"), [("weshop_api", LIBRARY), ("nodes", NODES)], ids=["library", "nodes"])
def test_every_module_has_its_place_in_the_table(folder: str, table: dict[str, Row]) -> None:
    assert set(modules(folder)) == set(table), "docs/architecture.md has the table"


@pytest.mark.parametrize("module", LIBRARY)
def test_a_library_module_imports_only_what_stands_below_it(module: str) -> None:
    imported = list(imports_of(modules("weshop_api")[module]))

    assert {it.name.split(".")[0] for it in imported if it.parents} <= LIBRARY[module].imports
    assert {it.parents for it in imported} <= {0, 1}


@pytest.mark.parametrize("module", LIBRARY)
def test_a_library_module_uses_only_the_packages_of_its_room(module: str) -> None:
    assert foreign(modules("weshop_api")[module]) <= LIBRARY[module].others


@pytest.mark.parametrize("module", NODES)
def test_a_module_of_the_nodes_imports_only_what_stands_below_it(module: str) -> None:
    imported = list(imports_of(modules("nodes")[module]))

    assert {it.name for it in imported if it.parents == 1} <= NODES[module].imports
    assert {it.name.split(".")[0] for it in imported if it.parents > 1} <= {"weshop_api"}
    assert {it.parents for it in imported} <= {0, 1, 2}


@pytest.mark.parametrize("module", NODES)
def test_a_module_of_the_nodes_uses_only_the_packages_of_its_room(module: str) -> None:
    allowed = set(INTERFACE)
    for place in NODES[module].others:
        allowed |= REACHES[place]
    path = modules("nodes")[module]
    for_types = {it.name.split(".")[0] for it in imports_of(path) if it.is_for_types}

    assert foreign(path) - (for_types & REACHES["tensors"]) <= allowed


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


def drawn_arrows() -> set[tuple[str, str]]:
    """Return who imports whom in the drawing, by room."""
    drawing = DOCUMENT.partition("```mermaid")[2].partition("```")[0]
    chains = [line.split("-->") for line in drawing.splitlines() if "-->" in line]
    return {(left.strip(), right.strip()) for chain in chains for left, right in itertools.pairwise(chain)}


def rooms_imported_by(room: str) -> Iterator[str]:
    for path in [ROOT / f"{room}.py"] if (ROOT / f"{room}.py").is_file() else (ROOT / room).rglob("*.py"):
        depth = len(path.relative_to(ROOT).parts) - 1
        for it in imports_of(path):
            if it.parents in (0, depth + 1) and it.name.split(".")[0] in {*ROOMS, "tests"} - {room}:
                yield it.name.split(".")[0]


@pytest.mark.parametrize("room", ["__init__", *ROOMS])
def test_the_drawing_has_an_arrow_for_each_room_that_a_room_imports(room: str) -> None:
    assert set(rooms_imported_by(room)) == {end for start, end in drawn_arrows() if start == room}


def loaded_by(statement: str) -> set[str]:
    """Return the top-level packages that are loaded after this statement in a fresh interpreter."""
    program = f"import sys; {statement}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    # Whoever measures which branches are taken would load packages of its own.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=60)
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
