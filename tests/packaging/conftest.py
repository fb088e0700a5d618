"""The archive that users get, a Python with nothing but what they install, and a ComfyUI made of both."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from emulator import ByPolls, Emulator
from tools.comfyui import ComfyUIProcess
from tools.comfyui.process import PACK_FOLDER_NAME
from tools.environment import ROOT, Environment
from tools.examples import INPUTS

from .bare_python import install, installed, make_bare_python

PROGRAM_TIMEOUT_SECONDS = 180
NOT_COPIED = (".git", ".cache", "demo_output", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache")


@dataclass(frozen=True)
class Programs:
    """The programs of the tools environment, with a home folder of their own and without telling anybody."""

    folder: Path
    home: Path

    def run(self, *command: object, cwd: Path) -> subprocess.CompletedProcess[str]:
        """Run one of them and return what it said."""
        variables = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "TEMP", "TMP") if name in os.environ}
        variables |= {"HOME": str(self.home), "USERPROFILE": str(self.home), "DO_NOT_TRACK": "1", "PYTHONUTF8": "1"}
        variables |= {"PATH": f"{self.folder}{os.pathsep}{variables.get('PATH', '')}", "COLUMNS": "200"}
        program, *arguments = map(str, command)
        found = shutil.which(program, path=str(self.folder))
        assert found, f"there is no {program} in {self.folder}"
        return subprocess.run(
            [found, *arguments],
            cwd=cwd,
            env=variables,
            check=False,
            capture_output=True,
            encoding="utf-8",
            timeout=PROGRAM_TIMEOUT_SECONDS,
        )


@dataclass(frozen=True)
class BareHost:
    """A ComfyUI that has the unpacked archive and `pip install -r requirements.txt`, and nothing else of ours."""

    host: ComfyUIProcess
    emulator: Emulator
    pack: Path
    added_packages: frozenset[str]


@pytest.fixture(scope="session")
def environment() -> Environment:
    return Environment.from_variables(os.environ)


@pytest.fixture(scope="session")
def programs(environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> Programs:
    return Programs(environment.tools_python.parent, tmp_path_factory.mktemp("home-of-programs"))


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this checkout in which git knows every file that is not ignored: what a commit would make public."""
    folder = tmp_path_factory.mktemp("checkout") / PACK_FOLDER_NAME
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*NOT_COPIED))
    for command in (["git", "init", "--quiet"], ["git", "add", "--all"]):
        subprocess.run(command, cwd=folder, check=True, timeout=60)
    return folder


@pytest.fixture(scope="session")
def archive(checkout: Path, programs: Programs) -> Path:
    """What `comfy node pack` makes of the checkout."""
    packed = programs.run("comfy", "--skip-prompt", "node", "pack", cwd=checkout)
    assert packed.returncode == 0, packed.stdout + packed.stderr
    return checkout / "node.zip"


@pytest.fixture(scope="session")
def bare_host(archive: Path, environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BareHost]:
    """The archive in a running ComfyUI, beside an emulator of the service."""
    folder = tmp_path_factory.mktemp("bare-host")
    pack = folder / "custom_nodes" / PACK_FOLDER_NAME
    zipfile.ZipFile(archive).extractall(pack)
    python = make_bare_python(environment, tmp_path_factory.mktemp("bare-python"))
    before = installed(python)
    install(python, pack / "requirements.txt")
    bare = dataclasses.replace(environment, comfyui_python=python)
    with Emulator(pictures="small", pace=ByPolls(2)) as emulator:
        variables = {"WESHOP_BASE_URL": emulator.base_url}
        with ComfyUIProcess(bare, folder, variables=variables, packs={PACK_FOLDER_NAME: pack}) as host:
            for picture in INPUTS.iterdir():
                host.client.upload_image(picture.name, picture.read_bytes())
            yield BareHost(host, emulator, pack, frozenset(installed(python) - before))
