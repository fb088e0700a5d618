"""The vendor's own command-line client, unchanged, against the emulator: it judges what we imitate.

`dev.py test` installs npm's weshop-cli@0.2.22 and names its folder in WESHOP_CLI_FOLDER. Where that is missing, the
tests fail and say so: without them nobody but ourselves would have looked at the emulator.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import requests
from PIL import Image

from emulator import ByPolls, Emulator, Fault

from .caller import png

TIMEOUT_SECONDS = 60


@pytest.fixture(scope="session")
def vendor_client() -> list[str]:
    """Return the command that starts the vendor's client."""
    node, folder = shutil.which("node"), os.environ.get("WESHOP_CLI_FOLDER")
    if node is None:
        pytest.fail("Node.js is missing, which the vendor's client needs. Install it and run the tests again.")
    if not folder:
        pytest.fail(
            "WESHOP_CLI_FOLDER is not set: run the tests with `python3 dev.py test`, which installs the client."
        )
    places = (Path(folder), Path(folder) / "node_modules" / "weshop-cli")
    scripts = [place / "dist" / "index.js" for place in places if (place / "dist" / "index.js").is_file()]
    if not scripts:
        pytest.fail(f"WESHOP_CLI_FOLDER names {folder}, where no weshop-cli is installed.")
    return [node, str(scripts[0])]


class VendorClient:
    """Runs the vendor's client against one emulator, with a home folder of its own (it remembers uploads there)."""

    def __init__(self, command: list[str], emulator: Emulator, home: Path) -> None:
        self._command, self.emulator, self.home = command, emulator, home

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "HOME": str(self.home),
            "USERPROFILE": str(self.home),
            "WESHOP_BASE_URL": self.emulator.base_url,
            "WESHOP_API_KEY": "emulator",
        }
        command = [*self._command, *arguments]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS
        )


@pytest.fixture
def client(vendor_client: list[str], tmp_path: Path) -> VendorClient:
    (tmp_path / "reference.png").write_bytes(png("green", (90, 60)))
    return VendorClient(vendor_client, Emulator(port=0, pace=ByPolls(1)), tmp_path)


def test_the_vendors_client_generates_from_a_reference(client: VendorClient) -> None:
    reference = str(client.home / "reference.png")
    with client.emulator:
        done = client.run("seedream", "--image", reference, "--prompt", "image 1 at night", "--batch", "2")
        urls = re.findall(r"^    url: (\S+)$", done.stdout, re.MULTILINE)
        pictures = [Image.open(io.BytesIO(requests.get(url, timeout=20).content)) for url in urls]

    assert done.returncode == 0, done.stderr
    assert "  status: Success\n" in done.stdout
    assert "  powerConsumption: 20\n" in done.stdout
    assert [picture.size for picture in pictures] == [(1248, 832), (1248, 832)]
    (run,) = client.emulator.runs
    assert run.references == (client.emulator.uploads[0].url,)
    assert run.idempotency_key is not None


def test_the_vendors_client_reads_the_price(client: VendorClient) -> None:
    with client.emulator:
        done = client.run("seedream", "--prompt", "a boat", "--batch", "3", "--calculate-power")

    assert done.returncode == 0, done.stderr
    assert "  totalPower: 30\n" in done.stdout
    assert client.emulator.runs == ()


def test_the_vendors_client_reads_a_refusal(client: VendorClient) -> None:
    client.emulator.order("submit", Fault.refuse(429, "40005", "too many at once", retryable=True))
    with client.emulator:
        done = client.run("seedream", "--prompt", "a boat")

    assert done.returncode == 1
    assert "  code: 40005\n  retryable: true\n  httpStatus: 429\n  message: too many at once\n" in done.stderr


def test_the_vendors_client_reads_the_status_of_a_run(client: VendorClient) -> None:
    with client.emulator:
        client.run("seedream", "--prompt", "a boat", "--no-wait")
        done = client.run("status", client.emulator.runs[0].execution_id)

    assert done.returncode == 0, done.stderr
    assert "  status: Success\n" in done.stdout


def test_the_vendors_client_uploads(client: VendorClient) -> None:
    with client.emulator:
        done = client.run("upload", str(client.home / "reference.png"))

    assert client.emulator.uploads[0].url in done.stdout


def test_the_vendors_client_reads_the_agent_info(client: VendorClient) -> None:
    with client.emulator:
        done = client.run("info", "aimodel")

    assert done.returncode == 0, done.stderr
    assert "No preset IDs available" in done.stdout
