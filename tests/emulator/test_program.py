"""The emulator as a program, its page, and its documentation."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from emulator.page import ASSUMED, IMITATED, LEFT_OUT, as_markdown

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "emulator"]


@pytest.fixture
def program() -> Iterator[subprocess.Popen[str]]:
    options = ["--port", "0", "--small-pictures", "--verbose"]
    with subprocess.Popen(
        [*COMMAND, *options], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        yield process
        process.kill()


def line_of(program: subprocess.Popen[str]) -> str:
    assert program.stdout is not None
    return program.stdout.readline().strip()


def base_url_of(program: subprocess.Popen[str]) -> str:
    found = re.search(r"WESHOP_BASE_URL=(http://127\.0\.0\.1:\d+/openapi)", line_of(program))
    assert found is not None
    return found[1]


def test_it_says_its_address_and_one_line_for_each_answer_when_asked(program: subprocess.Popen[str]) -> None:
    base_url = base_url_of(program)
    requests.get(f"{base_url}/agent/runs/x?key=private", timeout=5)

    assert line_of(program) == "GET /openapi/agent/runs/x -> 401"


def test_it_stops_when_asked(program: subprocess.Popen[str]) -> None:
    base_url_of(program)
    program.send_signal(signal.SIGTERM if sys.platform == "win32" else signal.SIGINT)

    assert program.wait(10) == (1 if sys.platform == "win32" else 0)


def test_a_taken_port_is_said_in_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        process = subprocess.run(
            [*COMMAND, "--port", port], cwd=ROOT, capture_output=True, text=True, check=False, timeout=20
        )

    assert process.returncode == 1
    assert process.stderr.startswith(f"Port {port} on 127.0.0.1 cannot be used")
    assert process.stderr.count("\n") == 1


@pytest.mark.parametrize("options", [["--port", "70000"], ["--seconds-per-picture", "-1"], ["--files-port", "x"]])
def test_meaningless_options_are_refused(options: list[str]) -> None:
    process = subprocess.run([*COMMAND, *options], cwd=ROOT, capture_output=True, text=True, check=False, timeout=20)

    assert process.returncode == 2
    assert "usage:" in process.stderr


def test_the_page_lists_what_is_imitated_assumed_and_left_out(program: subprocess.Popen[str]) -> None:
    page = requests.get(base_url_of(program).removesuffix("openapi"), timeout=5)

    assert page.headers["Content-Type"].startswith("text/html")
    assert page.text.count("<li>") == len(IMITATED) + len(ASSUMED) + len(LEFT_OUT)


def test_the_documentation_carries_the_same_lists() -> None:
    text = (ROOT / "docs" / "emulator.md").read_text(encoding="utf-8")

    assert as_markdown() in text
