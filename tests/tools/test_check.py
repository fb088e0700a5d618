"""The sources pass every check, so that a green test run is a green `dev.py check`."""

from __future__ import annotations

import io
import re
import tokenize

import pytest

from tools.check import CHECKS
from tools.environment import ROOT

SWITCHED_OFF = re.compile(r"#\s*(?:type:\s*ignore|noqa|pragma:|mypy:|ruff:)")
WITH_A_REASON = re.compile(r"(?:# type: ignore\[[a-z,-]+\] +# |# noqa: [A-Z0-9, ]+ - )\w")


def comments_of(source: str) -> list[str]:
    """The comments of a Python file; what strings hold is none."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return [token.string for token in tokens if token.type == tokenize.COMMENT]


def without_a_reason(source: str) -> list[str]:
    """The places where a rule is switched off and nobody says why."""
    switched_off = [comment for comment in comments_of(source) if SWITCHED_OFF.search(comment)]
    return [comment for comment in switched_off if not WITH_A_REASON.search(comment)]


@pytest.mark.parametrize("name", CHECKS)
def test_the_sources_pass_the_check(name: str) -> None:
    outcome = CHECKS[name]()

    assert outcome.passed, outcome.text


@pytest.mark.parametrize(
    "line",
    [
        "import psutil  # type: ignore[import-untyped]",
        "import psutil  # type: ignore",
        "import psutil  # noqa: F401",
        "import psutil  # noqa",
        "import psutil  # noqa: F401 -",
        "import psutil  # pragma: no cover",
    ],
)
def test_a_rule_that_is_switched_off_without_a_reason_is_found(line: str) -> None:
    assert without_a_reason(f"{line}\n") == [line.removeprefix("import psutil  ")]


@pytest.mark.parametrize(
    "line", ["import psutil  # type: ignore[import-untyped]  # no types", "import os  # noqa: F401, I001 - for show"]
)
def test_a_rule_that_is_switched_off_with_a_reason_is_let_through(line: str) -> None:
    assert without_a_reason(f"{line}\n") == []


def test_every_rule_that_is_switched_off_has_its_reason_beside_it() -> None:
    folders = [place for place in ROOT.iterdir() if place.is_dir() and not place.name.startswith(".")]
    files = [*ROOT.glob("*.py"), *(file for folder in folders for file in folder.rglob("*.py"))]
    found = {
        str(file.relative_to(ROOT)): bare
        for file in files
        if (bare := without_a_reason(file.read_text(encoding="utf-8")))
    }

    assert len(files) > 100
    assert found == {}
