"""What the README says is so: its links, its table of pixels, its messages and its program."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from emulator import Emulator
from tools.environment import ROOT
from tools.examples import EXAMPLES
from weshop_api import seedream

README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_every_link_to_a_file_leads_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text(encoding="utf-8"))

    assert [target for target in targets if not (document.parent / target).exists()] == []


def test_every_example_is_named() -> None:
    text = " ".join(README.split())

    assert [file.stem for file in EXAMPLES.glob("*.json") if file.stem not in text] == []


def test_the_table_of_pixels_is_the_agents() -> None:
    rows = {
        row[0]: row[1:]
        for row in re.findall(r"^\| (\d+:\d+) \| (.+) \| (.+) \| (.+) \| (.+) \|$", README, re.MULTILINE)
    }

    columns = [pixels for model in seedream.MODELS for pixels in model.pixels.values()]
    expected = {
        ratio: tuple("{} x {}".format(*pixels[ratio]) for pixels in columns)
        for ratio in seedream.all_aspect_ratios()
        if ratio != seedream.FOLLOW_FIRST_REFERENCE
    }
    assert rows == expected


def test_the_table_of_models_is_the_agents() -> None:
    rows = dict(
        re.findall(
            r"^\| (sizes|references|pictures a run|web search|ratio `auto`)[^|]* \| (.+) \|$", README, re.MULTILINE
        )
    )

    models = seedream.MODELS
    assert rows == {
        "sizes": " | ".join(", ".join(model.image_sizes) for model in models),
        "references": " | ".join(f"up to {model.max_references}" for model in models),
        "pictures a run": " | ".join(f"up to {seedream.MAX_BATCH_COUNT}" for _ in models),
        "web search": " | ".join("yes" if model.web_search else "no" for model in models),
        "ratio `auto`": " | ".join("yes" if model.follows_reference_ratio else "no" for model in models),
    }


def test_every_message_in_the_table_exists() -> None:
    quoted = re.findall(r'^\| "([^"]+)" \|', README, re.MULTILINE)
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "weshop_api").glob("*.py")]
    texts = [
        node.value
        for source in sources
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]

    assert quoted
    assert [words for words in quoted if not any(words in text for text in texts)] == []


def test_every_variable_in_the_table_is_read() -> None:
    named = re.findall(r"^\| `(WESHOP_\w+)` \|", README, re.MULTILINE)
    sources = [
        path.read_text(encoding="utf-8") for place in ("weshop_api", "nodes") for path in (ROOT / place).glob("*.py")
    ]

    assert named
    assert [name for name in named if not any(f'"{name}"' in source for source in sources)] == []


def test_the_program_makes_its_picture(tmp_path: Path) -> None:
    (program,) = re.findall(r"```python\n(.+?)```", README, re.DOTALL)

    with Emulator(port=0) as emulator:
        variables = {**os.environ, "WESHOP_BASE_URL": emulator.base_url, "PYTHONPATH": str(ROOT)}
        for _ in range(2):
            subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=variables, check=True, timeout=60)
        runs = emulator.runs

    assert (tmp_path / "lighthouse-1.jpg").read_bytes().startswith(b"\xff\xd8")
    assert len(runs) == 1


def test_every_command_of_the_terminal_is_shown_as_it_is() -> None:
    block = README.partition("## From the terminal")[2].partition("```\n")[2].partition("```")[0]
    shown = [line.partition("#")[0].split() for line in block.splitlines()]
    helped = subprocess.run(
        [sys.executable, "-m", "weshop_api", "--help"], cwd=ROOT, check=True, capture_output=True, text=True, timeout=60
    )

    offered = re.findall(r"^    (\w+) ", helped.stdout, re.MULTILINE)
    assert [words[:3] for words in shown] == [["python3", "-m", "weshop_api"]] * len(shown)
    assert [words[3] for words in shown] == offered
