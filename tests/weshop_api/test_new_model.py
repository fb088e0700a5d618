"""A model or a ratio is data: a copy of the pack with one more entry in ``seedream.py`` offers, checks and sends it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tools.environment import Environment
from weshop_api import seedream

ROOT = Path(__file__).resolve().parents[2]
MODELS = "MODELS = (LITE, PRO)\n"
# What somebody writes who adds a model: this entry, with a ratio and a size that no other model has.
ENTRY = """\
SIX = Model(
    label="Seedream 6",
    name="Seedream_60",
    max_references=20,
    web_search=True,
    follows_reference_ratio=False,
    pixels={"4K": {"1:1": (4096, 4096), "5:4": (4560, 3648)}},
)

MODELS = (LITE, PRO, SIX)
"""
# Runs beside ComfyUI's modules, as the host would run it, and prints what the pack makes of the entry.
PROGRAM = """
import json, sys
sys.path.append(sys.argv[1])
import utils.extra_config
from comfy.cli_args import args
args.cpu = True
from weshop_pack.nodes.seedream_generate import WeShopSeedreamGenerate as Node
from weshop_pack.weshop_api import InvalidRequestError, Reference, References, SeedreamRequest, protocol, seedream

def complaint(**fields):
    request = SeedreamRequest("a lighthouse", **fields)
    try:
        request.check()
    except InvalidRequestError as error:
        return str(error)
    return ""

six = seedream.model_by_label("Seedream 6")
many = References(tuple(Reference(f"https://host.example/{number}.png") for number in range(18)))
request = SeedreamRequest("a lighthouse", six, "4K", "5:4", references=many)
print(json.dumps({
    "choices": {each.id: each.options for each in Node.define_schema().inputs if hasattr(each, "options")},
    "accepted": Node.validate_inputs("a lighthouse", "Seedream 6", "4K", "5:4", True),
    "refused": Node.validate_inputs("a lighthouse", "Seedream 6", "2K", "5:4", False),
    "too small": complaint(model=seedream.LITE, image_size="4K"),
    "wrong ratio": complaint(model=seedream.PRO, image_size="1K", aspect_ratio="5:4"),
    "too many": complaint(model=seedream.LITE, references=many),
    "searching": complaint(model=seedream.PRO, image_size="1K", web_search=True),
    "unknown": str(Node.validate_inputs("a lighthouse", "Seedream 9", "2K", "3:4", False)),
    "most references": seedream.MAX_REFERENCES,
    "pixels": request.pixel_size,
    "check": complaint(model=six, image_size="4K", aspect_ratio="5:4", references=many),
    "body": json.loads(protocol.submit_body(request, request.references.urls, "")),
    "fingerprints": [protocol.fingerprint(request, 1), protocol.fingerprint(SeedreamRequest("a lighthouse"), 1)],
}))
"""


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what users get, with the entry and no other change."""
    folder = tmp_path_factory.mktemp("pack") / "weshop_pack"
    folder.mkdir()
    shutil.copy(ROOT / "__init__.py", folder)
    for name in ("nodes", "weshop_api"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    data = folder / "weshop_api" / "seedream.py"
    text = data.read_text(encoding="utf-8")
    assert text.count(MODELS) == 1
    data.write_text(text.replace(MODELS, ENTRY), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def six(pack: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the copied pack says about it."""
    comfyui = Environment.from_variables(os.environ).comfyui_folder
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(comfyui)],
        cwd=tmp_path_factory.mktemp("elsewhere"),
        env={**os.environ, "PYTHONPATH": str(pack.parent)},
        check=False,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    said: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return said


def test_the_form_offers_it(six: dict[str, Any]) -> None:
    choices = six["choices"]

    assert choices["model"] == ["Seedream 5.0 Lite", "Seedream 5.0 Pro", "Seedream 6"]
    assert choices["image_size"] == ["1K", "2K", "3K", "4K"]
    assert choices["aspect_ratio"] == [*list(seedream.all_aspect_ratios())[:-1], "5:4", "auto"]


def test_what_it_offers_is_accepted(six: dict[str, Any]) -> None:
    assert six["accepted"] is True
    assert six["check"] == ""
    assert six["most references"] == 20
    assert six["pixels"] == [4560, 3648]


def test_what_it_does_not_offer_is_refused_with_its_own_choices(six: dict[str, Any]) -> None:
    assert six["refused"] == (
        "Seedream 6 does not offer the image size 2K. Choose 4K, or choose Seedream 5.0 Lite or Seedream 5.0 Pro."
    )


def test_refusals_of_the_other_models_lead_to_it(six: dict[str, Any]) -> None:
    assert six["too small"].endswith("Choose 2K or 3K, or choose Seedream 6.")
    assert six["wrong ratio"].endswith("or auto, or choose Seedream 6.")
    assert six["too many"].endswith("Remove 4, or choose Seedream 6.")
    assert six["searching"].endswith("or choose Seedream 5.0 Lite or Seedream 6.")
    assert six["unknown"].endswith("Choose Seedream 5.0 Lite, Seedream 5.0 Pro or Seedream 6.")


def test_the_request_names_it(six: dict[str, Any]) -> None:
    params = six["body"]["params"]

    assert (params["modelName"], params["imageSize"], params["aspectRatio"]) == ("Seedream_60", "4K", "5:4")
    assert len(params["images"]) == 18
    assert len(set(six["fingerprints"])) == 2


def test_the_terminal_offers_it(pack: Path) -> None:
    helped = subprocess.run(
        [sys.executable, "-m", "weshop_api", "generate", "--help"],
        cwd=pack,
        env={**os.environ, "COLUMNS": "300"},
        check=True,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )

    assert "Seedream 6" in helped.stdout
    assert "5:4" in helped.stdout
