"""The unpacked archive in a ComfyUI with nothing but the pack's requirements, seen by programs from outside."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tools.environment import ROOT
from tools.examples import EXAMPLES, needs_execution_id

from .conftest import BareHost, Programs

NAMES = sorted(file.stem for file in EXAMPLES.glob("*.json"))
FIRST = "Text to image"
# What the two packages bring where ComfyUI does not have it already, by docs/dependencies.md.
MAY_BE_ADDED = {"httpx", "tenacity", "httpcore", "h11", "anyio", "certifi", "idna", "exceptiongroup"}


@pytest.fixture(scope="module")
def object_info(bare_host: BareHost, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the host says about its nodes, in a file."""
    file = tmp_path_factory.mktemp("nodes") / "object_info.json"
    file.write_text(json.dumps(bare_host.host.client.object_info()), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def earlier_run(bare_host: BareHost, programs: Programs) -> str:
    """The execution id of a run that the host has made."""
    before = len(bare_host.emulator.runs)
    run(FIRST, bare_host, programs, bare_host.pack / "example_workflows" / f"{FIRST}.json")
    assert len(bare_host.emulator.runs) == before + 1
    return bare_host.emulator.runs[-1].execution_id


def run(name: str, bare: BareHost, programs: Programs, file: Path) -> dict[str, Any]:
    """Run an example with comfy-cli, and return what it reports."""
    place = ("--host", "127.0.0.1", "--port", bare.host.port)
    command = ("comfy", "--skip-prompt", "--json", "run", "--workflow", file, "--wait", *place)
    ended = programs.run(*command, cwd=bare.pack)
    assert ended.returncode == 0, f"{name}: {ended.stdout}{ended.stderr}"
    report: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return report


def test_installing_the_pack_adds_its_two_packages_and_what_they_bring(bare_host: BareHost) -> None:
    assert {"httpx", "tenacity"} <= bare_host.added_packages <= MAY_BE_ADDED


@pytest.mark.parametrize("name", NAMES)
def test_comfy_cli_finds_nothing_wrong_with_an_example(
    name: str, bare_host: BareHost, object_info: Path, programs: Programs
) -> None:
    file = bare_host.pack / "example_workflows" / f"{name}.json"

    command = ("comfy", "--skip-prompt", "--json", "workflow", "validate", "--input", object_info, "--workflow", file)
    ended = programs.run(*command, cwd=bare_host.pack)

    said = json.loads(ended.stdout.splitlines()[-1])["data"]
    assert (ended.returncode, said["valid"], said["errors"], said["warnings"]) == (0, True, [], [])
    assert said["spends_credits"] is False  # Those would be credits of an account other than WeShop's.


def test_comfy_cli_notices_a_broken_example(
    bare_host: BareHost, object_info: Path, programs: Programs, tmp_path: Path
) -> None:
    text = (bare_host.pack / "example_workflows" / f"{FIRST}.json").read_text(encoding="utf-8")
    broken = tmp_path / "broken.json"
    broken.write_text(text.replace("Seedream 5.0 Lite", "Seedream 4.9"), encoding="utf-8")

    command = ("comfy", "--skip-prompt", "--json", "workflow", "validate", "--input", object_info, "--workflow", broken)
    ended = programs.run(*command, cwd=bare_host.pack)

    assert ended.returncode == 1
    assert "Seedream 4.9" in ended.stdout


@pytest.mark.parametrize("name", NAMES)
def test_comfy_cli_runs_an_example_in_the_bare_host(
    name: str, bare_host: BareHost, programs: Programs, earlier_run: str, tmp_path: Path
) -> None:
    workflow = json.loads((bare_host.pack / "example_workflows" / f"{name}.json").read_text(encoding="utf-8"))
    if needs_execution_id(workflow):
        load = next(node for node in workflow["nodes"] if node["type"] == "WeShopLoadResult")
        assert load["widgets_values"][0] == ""
        load["widgets_values"][0] = earlier_run
    file = tmp_path / f"{name}.json"
    file.write_text(json.dumps(workflow), encoding="utf-8")

    report = run(name, bare_host, programs, file)

    assert report["data"]["status"] == "completed"
    saved = [address for address in report["data"]["outputs"] if "type=output" in address]
    assert len(saved) == 1


def test_comfy_test_finds_nothing_wrong_with_the_checkout(checkout: Path, programs: Programs) -> None:
    ended = programs.run("comfy-test", "lint", ".", cwd=checkout)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "[SYNTAX] PASSED" in ended.stdout
    assert "[JAVASCRIPT] PASSED" in ended.stdout


def test_comfy_test_passes_the_running_pack(bare_host: BareHost, programs: Programs) -> None:
    shutil.copy(ROOT / "comfy-test.toml", bare_host.pack)

    ended = programs.run("comfy-test", "run", "--server-url", bare_host.host.url, cwd=bare_host.pack)

    said = ended.stdout + ended.stderr
    assert ended.returncode == 0, said
    assert "Warnings check: clean" in said
    assert "Hazards check: clean" in said
    levels = ("SYNTAX", "WARNINGS", "HAZARDS", "INSTALL", "REGISTRATION", "JAVASCRIPT")
    assert [level for level in levels if f"[{level}] PASSED" not in said] == []
