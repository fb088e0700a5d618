"""The workflows of the code host: pinned, with the fewest rights, on every system and Python that is promised."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # comes with ComfyUI, its types do not

from tests.e2e.visitor import SCREENSHOTS
from tools.environment import ROOT

FOLDER = ROOT / ".github" / "workflows"
FILES = sorted(FOLDER.glob("*.yml"))
PINNED = re.compile(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
EVERY_FILE = pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)


def read(file: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return document


def steps(file: Path) -> list[dict[str, Any]]:
    return [step for job in read(file)["jobs"].values() for step in job.get("steps", ())]


def test_there_is_a_workflow_for_tests_and_one_for_releases() -> None:
    assert [file.name for file in FILES] == ["release.yml", "test.yml"]


@EVERY_FILE
def test_everything_from_elsewhere_is_pinned_by_its_full_hash_and_says_its_version(file: Path) -> None:
    used = re.findall(r"^\s*(?:- )?uses: (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)

    assert used
    assert [name for name in used if not name.startswith("./") and not PINNED.fullmatch(name)] == []


def test_an_action_has_the_same_version_everywhere() -> None:
    used = {line for file in FILES for line in re.findall(r"uses: ([^./].+)$", file.read_text("utf-8"), re.MULTILINE)}

    assert len({line.split("@")[0] for line in used}) == len(used)


@EVERY_FILE
def test_a_workflow_may_do_nothing_and_its_jobs_may_only_read(file: Path) -> None:
    document = read(file)

    assert document["permissions"] == {}
    assert [job["permissions"] for job in document["jobs"].values()] == [{"contents": "read"}] * len(document["jobs"])


@EVERY_FILE
def test_no_token_stays_in_the_checkout(file: Path) -> None:
    checkouts = [step for step in steps(file) if step.get("uses", "").startswith("actions/checkout@")]

    assert [step["with"]["persist-credentials"] for step in checkouts] == [False] * len(checkouts)


@EVERY_FILE
def test_no_command_has_a_value_pasted_into_its_text(file: Path) -> None:
    """What comes from a tag or a secret reaches a shell as an environment variable, never as a piece of program."""
    assert [step["run"] for step in steps(file) if "${{" in step.get("run", "")] == []


def test_only_the_last_step_of_a_release_knows_the_token() -> None:
    *others, last = steps(FOLDER / "release.yml")

    assert last["env"] == {"TOKEN": "${{ secrets.REGISTRY_ACCESS_TOKEN }}"}
    assert [step for step in others if "secrets." in str(step)] == []


def test_every_system_is_tested_with_every_python() -> None:
    matrix = read(FOLDER / "test.yml")["jobs"]["library"]["strategy"]["matrix"]
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    pythons = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', project)

    tested = set(product(matrix["system"], matrix["python"]))
    assert tested == set(product(["ubuntu-latest", "windows-latest", "macos-latest"], pythons))


def test_a_release_is_tested_before_it_is_published() -> None:
    jobs = read(FOLDER / "release.yml")["jobs"]

    assert jobs["test"]["uses"] == "./.github/workflows/test.yml"
    assert jobs["publish"]["needs"] == "test"


def test_what_the_tests_saw_in_the_page_is_kept_whatever_became_of_them() -> None:
    (upload,) = [step for step in steps(FOLDER / "test.yml") if "/upload-artifact@" in step.get("uses", "")]

    assert upload["if"] == "always()"
    assert (ROOT / upload["with"]["path"], upload["with"]["include-hidden-files"]) == (SCREENSHOTS, True)


def test_the_hooks_run_what_there_is() -> None:
    document: dict[str, Any] = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))

    entries = [hook["entry"].split() for repository in document["repos"] for hook in repository["hooks"]]
    assert [entry[:2] for entry in entries] == [["python3", "dev.py"]] * len(entries)
    named = [word for entry in entries for word in entry if word.startswith("tests/")]
    assert named
    assert [word for word in named if not (ROOT / word).exists()] == []
