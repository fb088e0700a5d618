"""The library from the terminal, as a child process against the emulator."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from emulator import Emulator, Fault
from weshop_api import UndeliveredError, commands
from weshop_api.spool import Spool

ROOT = Path(__file__).resolve().parents[2]
PROMPT = "a stone bridge at dawn"


class Terminal:
    """Runs ``python3 -m weshop_api`` with a ledger of its own."""

    def __init__(self, folder: Path, emulator: Emulator) -> None:
        self.folder = folder
        self.emulator = emulator

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.call("--folder", str(self.folder / "state"), *arguments)

    def call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "weshop_api", *arguments]
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


def order_run(emulator: Emulator, execution_id: str, image: str) -> None:
    """Let the service choose the id of the next run, and let its picture be at this address."""
    execution = {"executionId": execution_id, "status": "Success", "result": [{"status": "Success", "image": image}]}
    answers = {"submit": {"executionId": execution_id}, "poll": {"executions": [execution]}}
    for operation, data in answers.items():
        body = json.dumps({"success": True, "data": data}).encode()
        emulator.order(operation, Fault.answer(body, content_type="application/json"))


def test_the_folder_may_be_named_before_or_after_the_command(terminal: Terminal) -> None:
    execution_id = _execution_id(terminal.generate().stdout)
    state, elsewhere = str(terminal.folder / "state"), str(terminal.folder / "elsewhere")

    before = terminal.call("--folder", state, "runs")
    after = terminal.call("runs", "--folder", state)
    both = terminal.call("--folder", elsewhere, "runs", "--folder", state)

    assert [ended.stdout.split()[:1] for ended in (before, after, both)] == [[execution_id]] * 3


def test_an_execution_id_leads_to_no_other_folder(terminal: Terminal) -> None:
    terminal.generate()
    order_run(terminal.emulator, "elsewhere/C:x<y>", address_of_first_picture(terminal))

    ended = terminal.run("generate", "another", "--out", str(terminal.folder / "safe"))

    assert ended.returncode == 0
    assert [path.name for path in (terminal.folder / "safe").iterdir()] == ["elsewhere%2FC%3Ax%3Cy%3E_1.jpg"]


def address_of_first_picture(terminal: Terminal) -> str:
    path = next(request.path for request in terminal.emulator.requests if request.operation == "download")
    return f"{terminal.emulator.files_url}{path}"


def test_a_picture_takes_the_place_of_no_other_file(terminal: Terminal) -> None:
    terminal.generate()
    order_run(terminal.emulator, "holiday", address_of_first_picture(terminal))
    mine = terminal.folder / "out" / "holiday_1.jpg"
    mine.write_bytes(b"my own")

    refused = terminal.run("generate", "another", "--out", str(terminal.folder / "out"))

    assert refused.returncode == 1
    assert "holiday_1.jpg cannot be written" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert mine.read_bytes() == b"my own"
    mine.unlink()
    assert terminal.run("fetch", "holiday", str(terminal.folder / "out")).returncode == 0
    assert terminal.run("fetch", "holiday", str(terminal.folder / "out")).returncode == 0


def test_a_label_of_a_workflow_takes_one_line_of_the_list_and_does_nothing_to_the_terminal(terminal: Terminal) -> None:
    terminal.generate("--task-name", "bridge\x1b]0;title\x07\n65f0c0ffee0000000000abcd  2026-01-01 10:00  success")

    listed = terminal.run("runs").stdout

    assert listed.count("\n") == 1
    assert listed.rstrip("\n").isprintable()


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


def test_a_picture_that_cannot_be_written_is_kept_for_another_folder(terminal: Terminal) -> None:
    execution_id = _execution_id(terminal.generate().stdout)
    terminal.pictures[0].unlink()
    (terminal.folder / "out" / f"{execution_id}_1.jpg").mkdir()
    terminal.generate()
    terminal.emulator.order("download", Fault.refuse(403, envelope="none"), forever=True)

    fetched = terminal.run("fetch", execution_id, str(terminal.folder / "elsewhere"))

    assert fetched.returncode == 0, fetched.stderr
    assert len(list((terminal.folder / "elsewhere").iterdir())) == 1


def test_half_a_picture_is_not_left_behind(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="Windows has no limit for the size of a file")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, hard))
    try:
        with pytest.raises(UndeliveredError, match="cannot be written"):
            commands._write(tmp_path / "large.jpg", b"x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert list(tmp_path.iterdir()) == []


def test_a_name_that_the_output_cannot_hold_is_written_out(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows gives a file or another program that takes the output an encoding of few characters."""
    monkeypatch.setenv("PYTHONIOENCODING", "cp1252")

    made = terminal.run("generate", PROMPT, "--out", str(terminal.folder / "\u6a4b"), "--task-name", "\u6a4b")
    listed = terminal.run("runs")

    assert (made.returncode, listed.returncode) == (0, 0), made.stderr + listed.stderr
    assert r"\u6a4b" in made.stdout
    assert r"  delivered  \u6a4b" in listed.stdout


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


def test_what_is_forgotten_leaves_no_picture_behind(terminal: Terminal) -> None:
    address, folder = "https://pictures.example/1.png", terminal.folder / "state" / "undelivered"
    spool = Spool(folder, warn=pytest.fail)
    forgotten = _execution_id(terminal.generate().stdout)
    spool.keep("run-that-nobody-came-for", address, b"picture")
    for path in folder.rglob("*"):
        os.utime(path, times=(0, 0))
    spool.keep(forgotten, address, b"picture")
    spool.keep("run-of-today", address, b"picture")

    ended = terminal.run("forget", forgotten)

    assert ended.stdout == "1 run forgotten.\n"
    runs = (forgotten, "run-that-nobody-came-for", "run-of-today")
    assert [spool.get(execution_id, address) for execution_id in runs] == [None, None, b"picture"]


def test_forgetting_by_age_removes_the_pictures_of_the_runs_it_removes(terminal: Terminal) -> None:
    spool = Spool(terminal.folder / "state" / "undelivered", warn=pytest.fail)
    forgotten = _execution_id(terminal.generate().stdout)
    spool.keep(forgotten, "https://pictures.example/1.png", b"picture")

    ended = terminal.run("forget", "--older-than-days", "0")

    assert ended.stdout == "1 run forgotten.\n"
    assert spool.get(forgotten, "https://pictures.example/1.png") is None


def test_forget_without_saying_what_is_refused(terminal: Terminal) -> None:
    assert "Say what to forget" in terminal.run("forget").stderr
