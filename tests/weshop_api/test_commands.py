"""The library from the terminal, as a child process against the emulator."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from emulator import Emulator, Fault

ROOT = Path(__file__).resolve().parents[2]
PROMPT = "a stone bridge at dawn"


class Terminal:
    """Runs ``python3 -m weshop_api`` with a ledger of its own."""

    def __init__(self, folder: Path, emulator: Emulator) -> None:
        self.folder = folder
        self.emulator = emulator

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "weshop_api", "--folder", str(self.folder / "state"), *arguments]
        environment = {**os.environ, "WESHOP_BASE_URL": self.emulator.base_url}
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    def generate(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run("generate", PROMPT, "--out", str(self.folder / "out"), "--seed", "1", *arguments)

    @property
    def pictures(self) -> list[Path]:
        return sorted((self.folder / "out").iterdir())


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    with Emulator(port=0) as emulator:
        yield Terminal(tmp_path, emulator)


def _size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        size: tuple[int, int] = image.size
    return size


def _execution_id(output: str) -> str:
    found = re.search(r"run ([0-9a-f]{24}), seed 1", output)
    assert found, output
    return found[1]


def test_generate_uploads_the_references_and_saves_each_picture(terminal: Terminal) -> None:
    reference = terminal.folder / "reference.png"
    Image.new("RGB", (40, 30), "red").save(reference)

    ended = terminal.generate(
        "--batch-count", "2", "--reference", str(reference), "--reference", "https://example.com/b.png"
    )

    execution_id = _execution_id(ended.stdout)
    assert [path.name for path in terminal.pictures] == [f"{execution_id}_1.jpg", f"{execution_id}_2.jpg"]
    assert [_size(path) for path in terminal.pictures] == [(1728, 2304)] * 2
    sent = terminal.emulator.runs[0].body["params"]
    assert sent["textDescription"] == PROMPT
    assert sent["images"][1] == "https://example.com/b.png"
    assert "downloading 2 of 2" in ended.stderr


def test_a_second_call_with_the_same_seed_is_the_same_run(terminal: Terminal) -> None:
    first, second = terminal.generate(), terminal.generate()

    assert _execution_id(first.stdout) == _execution_id(second.stdout)
    assert len(terminal.emulator.runs) == 1


def test_runs_fetch_and_forget_work_on_the_same_ledger(terminal: Terminal) -> None:
    execution_id = _execution_id(terminal.generate("--task-name", "bridge").stdout)

    listed = terminal.run("runs").stdout
    fetched = terminal.run("fetch", execution_id, str(terminal.folder / "again"))
    forgotten = terminal.run("forget", execution_id).stdout

    assert re.search(rf"{execution_id}  .*success +Seedream_50_Lite  2K  x1  delivered  bridge\n", listed)
    assert fetched.returncode == 0
    assert len(list((terminal.folder / "again").iterdir())) == 1
    assert forgotten == "1 run forgotten.\n"
    assert "There are no runs" in terminal.run("runs").stdout


def test_an_error_is_one_paragraph_and_no_traceback(terminal: Terminal) -> None:
    terminal.emulator.order("submit", Fault.refuse(status=402, code="", message="not enough points"))

    ended = terminal.generate()

    assert ended.returncode == 1
    assert "too few points" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert terminal.emulator.unused_faults == ()


def test_a_seed_that_nobody_gave_is_told_when_it_is_needed_to_go_on(terminal: Terminal) -> None:
    terminal.emulator.order("submit", Fault.reset("after"))

    ended = terminal.run("generate", PROMPT, "--out", str(terminal.folder / "out"))
    seed = re.search(r"repeat the command with --seed (\d+)", ended.stderr)
    assert seed, ended.stderr
    again = terminal.run("generate", PROMPT, "--out", str(terminal.folder / "out"), "--seed", seed[1])

    assert again.returncode == 0
    assert [run.submits for run in terminal.emulator.runs] == [2]


def test_a_folder_that_cannot_be_made_is_told_before_anything_is_submitted(terminal: Terminal) -> None:
    (terminal.folder / "out").write_text("a file in its place")

    ended = terminal.generate()

    assert ended.returncode == 1
    assert ended.stderr.startswith(f"The folder {terminal.folder / 'out'} cannot be used:")
    assert terminal.emulator.requests == ()


def test_a_picture_that_cannot_be_written_is_told_in_one_paragraph(terminal: Terminal) -> None:
    execution_id = _execution_id(terminal.generate().stdout)
    (terminal.pictures[0]).unlink()
    (terminal.folder / "out" / f"{execution_id}_1.jpg").mkdir()

    ended = terminal.generate()

    assert ended.returncode == 1
    assert f"{execution_id}_1.jpg cannot be written: " in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_reference_that_cannot_be_sent_is_named_before_anything_is_submitted(terminal: Terminal) -> None:
    wrong = terminal.folder / "notes.txt"
    wrong.write_text("no picture")

    missing, not_a_picture, not_public = (
        terminal.generate("--reference", place) for place in ("gone.png", str(wrong), "http://example.com/b.png")
    )

    assert "gone.png cannot be read" in missing.stderr
    assert "notes.txt must be a PNG or JPEG file" in not_a_picture.stderr
    assert 'http://example.com/b.png" cannot be used: it does not begin with https://' in not_public.stderr
    assert terminal.emulator.requests == ()


def test_forget_without_saying_what_is_refused(terminal: Terminal) -> None:
    assert "Say what to forget" in terminal.run("forget").stderr
