"""One fuzzer: `python3 -m tests.fuzz.fuzzer TARGET [arguments of libFuzzer]`. Started by `dev.py fuzz` and the tests.

The program imports what it fuzzes under instrumentation, so that inputs which reach new code are kept and changed on.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from pathlib import Path
from types import ModuleType

import atheris

ROOT = Path(__file__).resolve().parents[2]
PACK = "weshop_pack"
INSTRUMENTED = ["weshop_api", PACK, "PIL"]


def main(arguments: list[str]) -> None:
    """Fuzz until told to stop; ends the process with libFuzzer's exit code."""
    warnings.simplefilter("ignore")  # Pillow warns of broken details for each file anew.
    with atheris.instrument_imports(include=INSTRUMENTED, enable_loader_override=False):
        place_pack_without_host()
        targets = importlib.import_module("tests.fuzz.targets").TARGETS
        for name in ("Png", "Jpeg", "WebP", "Gif", "Bmp"):
            importlib.import_module(f"PIL.{name}ImagePlugin")
    target = targets[arguments[1]]
    atheris.Setup([arguments[0], *arguments[2:]], lambda data: target(data) and None)
    atheris.Fuzz()


def place_pack_without_host() -> None:
    """Make `weshop_pack.nodes.images` importable without the nodes, and so without ComfyUI."""
    for name, place in ((PACK, ROOT), (f"{PACK}.nodes", ROOT / "nodes")):
        package = ModuleType(name)
        package.__path__ = [str(place)]
        sys.modules[name] = package
    for module in ("", ".errors", ".models", ".seedream", ".protocol", ".addresses"):
        # The same modules under both names, or the errors of one would be foreign to the other.
        sys.modules[f"{PACK}.weshop_api{module}"] = importlib.import_module(f"weshop_api{module}")


if __name__ == "__main__":
    main(sys.argv)
