"""The command line of `dev.py`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import dev
from tools.environment import ROOT


def test_arguments_of_test_reach_pytest_in_order() -> None:
    arguments = ["tests/e2e", "-k", "boot", "-x", "--durations=5"]

    chosen, rest = dev.parse(["test", *arguments])

    assert chosen.command == "test"
    assert rest == arguments


def test_other_commands_take_no_unknown_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        dev.parse(["check", "--fast"])

    assert "unrecognized arguments: --fast" in capsys.readouterr().err


def test_the_demo_knows_its_switches() -> None:
    chosen, _ = dev.parse(["demo", "--live", "--ui"])

    assert (chosen.live, chosen.ui) == (True, True)


def test_the_demo_is_handed_its_examples_and_a_folder_that_is_meant_from_here() -> None:
    chosen, rest = dev.parse(["demo", "Text to image", "--out", "pictures"])

    handed = dev._module_and_arguments(chosen, rest)

    assert handed == ["-m", "tools.demo", f"--out={Path.cwd() / 'pictures'}", "Text to image"]


def test_the_script_needs_only_the_standard_library() -> None:
    command = [sys.executable, "-S", "dev.py", "--help"]  # -S: without any installed package.

    shown = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout

    assert "COMFYUI_PATH" in shown


def test_the_benchmark_takes_topics() -> None:
    chosen, _ = dev.parse(["bench", "pictures", "polling"])

    assert chosen.topics == ["pictures", "polling"]


def test_modules_to_break_can_be_chosen() -> None:
    everything, _ = dev.parse(["mutate"])
    some, _ = dev.parse(["mutate", "--minutes", "5", "protocol", "schedule"])

    assert (everything.minutes, everything.modules) == (60.0, [])
    assert (some.minutes, some.modules) == (5.0, ["protocol", "schedule"])
