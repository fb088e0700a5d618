"""Lint, formatting and strict typing of everything: `python3 dev.py check`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass

from .comfyui.process import link_or_copy
from .environment import CACHE, ROOT

TYPING = CACHE / "typing"
PACK = "weshop_pack"
CHECKED_PLACES = ("dev.py", "bench", "emulator", "tests", "tools", "weshop_api")


@dataclass(frozen=True)
class Outcome:
    """What a checker said."""

    passed: bool
    text: str


def lint() -> Outcome:
    """Look for mistakes and bad habits."""
    return _run("ruff", "check", ".")


def formatting() -> Outcome:
    """Look for files that the formatter would write differently."""
    return _run("ruff", "format", "--check", ".")


def typing() -> Outcome:
    """Check all types strictly, the nodes as the host imports them."""
    place_pack_for_typing()
    places = [place for place in CHECKED_PLACES if (ROOT / place).exists()]
    outcome = _run("mypy", *places, str(TYPING / PACK))
    return Outcome(outcome.passed, outcome.text.replace(f".cache/typing/{PACK}/".replace("/", os.sep), ""))


CHECKS = {"lint": lint, "formatting": formatting, "typing": typing}


def place_pack_for_typing() -> None:
    """Make the pack a package named `weshop_pack` for the type checker, whatever the checkout is called.

    In it, each library module stands for the top-level one of the same name, as in the tests: two copies would be two
    sets of types.
    """
    pack = TYPING / PACK
    shutil.rmtree(pack, ignore_errors=True)
    (pack / "weshop_api").mkdir(parents=True)
    for name in ("__init__.py", "nodes"):
        if (ROOT / name).exists():
            link_or_copy(ROOT / name, pack / name)
    for module in (ROOT / "weshop_api").glob("*.py"):
        real_name = "weshop_api" if module.stem == "__init__" else f"weshop_api.{module.stem}"
        (pack / "weshop_api" / f"{module.stem}.pyi").write_text(f"from {real_name} import *\n", encoding="utf-8")


def _run(module: str, *arguments: str) -> Outcome:
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, encoding="utf-8", errors="replace")
    return Outcome(done.returncode == 0, (done.stdout + done.stderr).strip())


def main() -> int:
    """Run every check, print what it said and return 0 when all passed."""
    all_passed = True
    for name, check in CHECKS.items():
        outcome = check()
        print(f"{name}: {'passed' if outcome.passed else 'FAILED'}\n{outcome.text}\n", flush=True)
        all_passed = all_passed and outcome.passed
    return 0 if all_passed else 1


if __name__ == "__main__":
    sys.exit(main())
