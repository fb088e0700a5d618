"""The demo: a picture that it leaves, the examples that it runs, and the key, which only `--live` needs and uses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tools.demo import chosen_files
from tools.environment import ROOT, EnvironmentProblem, live_variables
from tools.examples import ExampleError, example_files

TIMEOUT_SECONDS = 180


def test_the_demo_leaves_the_picture_of_an_example(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    command = [sys.executable, "-m", "tools.demo", "--out", str(folder), "Text to image"]

    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=TIMEOUT_SECONDS)

    assert done.returncode == 0, done.stdout + done.stderr
    (picture,) = folder.iterdir()
    assert "Pictures made: 1" in done.stdout
    assert str(picture.relative_to(tmp_path)) in done.stdout
    with Image.open(picture) as image:
        assert image.size == (1728, 2304)
        assert len(image.convert("RGB").resize((64, 64)).getcolors(4096) or ()) > 8, "a blank picture"


def test_all_examples_are_run_unless_some_are_named() -> None:
    assert chosen_files([]) == example_files()
    assert [file.stem for file in chosen_files(["Text to image"])] == ["Text to image"]


def test_a_name_that_no_example_has_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ExampleError, match=r'no example Text to video.*"Text to image"'):
        chosen_files(["Text to video"])


@pytest.mark.parametrize("key", ["", "  "])
def test_the_live_demo_without_a_key_says_where_to_get_one(key: str) -> None:
    with pytest.raises(EnvironmentProblem, match=r"WESHOP_API_KEY.*https://open\.weshop\.ai/authorization/apikey"):
        live_variables({"WESHOP_API_KEY": key})


def test_the_live_demo_passes_on_the_key_and_the_way_to_the_service() -> None:
    outside = {
        "WESHOP_API_KEY": "test-key-not-real",
        "https_proxy": "http://127.0.0.1:3128",
        "WESHOP_BASE_URL": "http://127.0.0.1:1/openapi",
        "OTHER_TOKEN": "stays-here",
    }

    assert set(live_variables(outside)) == {"WESHOP_API_KEY", "https_proxy"}
