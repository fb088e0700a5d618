"""What users have to install: as little as possible, and the same in every place that says it."""

from __future__ import annotations

import ast
import re
from importlib import metadata

from packaging.requirements import Requirement

from tools.environment import ROOT


def requirements_in(file: str) -> list[str]:
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def names_brought_by(name: str, seen: frozenset[str] = frozenset()) -> frozenset[str]:
    """Return the names of all packages that installing `name` brings along on this machine."""
    if name in seen:
        return seen
    seen |= {name}
    for line in metadata.requires(name) or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            seen = names_brought_by(requirement.name.lower(), seen)
    return seen


def test_requirements_and_project_name_the_same_packages() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(r"^dependencies = (\[.*?\])$", project, re.MULTILINE | re.DOTALL)

    assert found is not None
    assert ast.literal_eval(found[1]) == requirements_in("requirements.txt")


def test_the_test_tools_do_not_hide_a_missing_requirement() -> None:
    pack = {Requirement(line).name for line in requirements_in("requirements.txt")}

    brought: frozenset[str] = frozenset()
    for line in requirements_in("tools/requirements/test.txt"):
        brought = names_brought_by(Requirement(line).name.lower(), brought)

    assert "pluggy" in brought  # The search looks into the packages that pytest brings.
    assert not brought & pack
