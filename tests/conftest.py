"""What every test gets: a clean environment, and the pack importable in the way the host imports it.

The host imports the whole folder as ONE package, in which `nodes` reaches its neighbour as `..weshop_api`.  Programs
import `weshop_api` by itself.  In one test process both have to be the same modules, or an error raised through one
name would not be caught through the other.  So the folder is importable as `weshop_pack`, and everything below
`weshop_pack.weshop_api` *is* the top-level `weshop_api`.  Tests write `from weshop_api import ...` for the library and
`from weshop_pack.nodes import ...` for the nodes.

The nodes import the host's modules, so the real ones of the ComfyUI that `dev.py` found are made importable as soon as
`weshop_pack.nodes` is asked for, and `import nodes` means the host's module of that name, as it does inside the host.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest

from tools.environment import Environment

ROOT = Path(__file__).resolve().parent.parent
PACK = "weshop_pack"
LIBRARY = "weshop_api"


class _SameModule(importlib.abc.Loader):
    """Load a module by handing out one that is already loaded under its real name."""

    def __init__(self, real_name: str) -> None:
        self._real_name = real_name

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:  # noqa: ARG002 - the protocol
        module = importlib.import_module(self._real_name)
        self._real_spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._real_spec  # The import system has just put the alias's specification there.


class _PackFinder(importlib.abc.MetaPathFinder):
    """Find the pack as `weshop_pack`, the library in it as the library itself, and the host's own `nodes`."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 - the import system's protocol
        target: ModuleType | None = None,  # noqa: ARG002 - the same
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname == PACK:
            return importlib.util.spec_from_file_location(
                PACK, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
            )
        if fullname == f"{PACK}.nodes":
            _load_host_settings()
        if fullname == "nodes":
            comfyui_folder = Environment.from_variables(os.environ).comfyui_folder
            return importlib.util.spec_from_file_location("nodes", comfyui_folder / "nodes.py")
        inside_pack = fullname.removeprefix(f"{PACK}.")
        if inside_pack != fullname and inside_pack.split(".")[0] == LIBRARY:
            return importlib.machinery.ModuleSpec(fullname, _SameModule(inside_pack))
        return None


def _load_host_settings() -> None:
    """Make the host's modules importable, set as `--cpu --base-directory <a temporary folder>` would set them.

    They come last in the search, so that nothing of ours is hidden by them.
    """
    comfyui_folder = str(Environment.from_variables(os.environ).comfyui_folder)
    if comfyui_folder not in sys.path:
        sys.path.append(comfyui_folder)
        importlib.import_module(
            "utils.extra_config"
        )  # First, as in main.py: nodes.py makes `utils` mean another module.
        arguments = importlib.import_module("comfy.cli_args").args
        arguments.cpu = True
        arguments.base_directory = _HOST_FOLDER.name


_HOST_FOLDER = tempfile.TemporaryDirectory(prefix="weshop-host-")
sys.meta_path.insert(0, _PackFinder())


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Hide the developer's key, settings and proxies from code that runs in the test process."""
    for name in set(os.environ) - {"WESHOP_CLI_FOLDER"}:  # That one is a place in .cache/, for the vendor's client.
        if name.upper().startswith("WESHOP_") or name.upper().endswith("_PROXY"):
            monkeypatch.delenv(name)
    home = str(tmp_path_factory.mktemp("home"))
    for name in ("HOME", "USERPROFILE", "XDG_CONFIG_HOME", "APPDATA"):
        monkeypatch.setenv(name, home)
