"""A Python that has what ComfyUI itself requires, then the pack's `requirements.txt`, and nothing else.

The environment of `dev.py` holds test tools beside ComfyUI's packages, and a second one with its own torch would be
5 GB more.  So a new virtual environment sees, through links, exactly those packages of the first that ComfyUI's
requirements lead to.
"""

from __future__ import annotations

import json
import re
import subprocess
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from tools.comfyui.process import link_or_copy
from tools.environment import ROOT, Environment, python_of

PIP_TIMEOUT_SECONDS = 300
HOST_REQUIREMENTS = ROOT / "tools" / "requirements" / "comfyui.txt"


def make_bare_python(environment: Environment, folder: Path) -> Path:
    """Return the interpreter of a new virtual environment that has ComfyUI's own requirements only."""
    shared = folder / "comfyui-packages"
    shared.mkdir(parents=True)
    for entry in sorted(_entries(_closure(_names(environment.comfyui_folder / "requirements.txt", HOST_REQUIREMENTS)))):
        link_or_copy(entry, shared / entry.name)
    subprocess.run([environment.python, "-m", "venv", folder / "venv"], check=True, timeout=PIP_TIMEOUT_SECONDS)
    python = python_of(folder / "venv")
    (_site_packages(python) / "comfyui.pth").write_text(f"{shared}\n", encoding="utf-8")
    return python


def install(python: Path, requirements: Path) -> None:
    """Do what the README says: `pip install -r requirements.txt`."""
    quietly = ["--quiet", "--disable-pip-version-check"]
    command = [str(python), "-m", "pip", "install", *quietly, "--requirement", str(requirements)]
    subprocess.run(command, check=True, timeout=PIP_TIMEOUT_SECONDS)


def installed(python: Path) -> set[str]:
    """Return the names of the packages that this interpreter sees, pip itself left out."""
    command = [str(python), "-m", "pip", "list", "--format", "json", "--disable-pip-version-check"]
    listed = subprocess.run(command, check=True, capture_output=True, timeout=PIP_TIMEOUT_SECONDS)
    return {_canonical(each["name"]) for each in json.loads(listed.stdout)} - {"pip", "setuptools"}


def _names(*files: Path) -> set[str]:
    lines = [line.split("#")[0].strip() for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    return {_canonical(Requirement(line).name) for line in lines if line}


def _closure(names: set[str]) -> set[str]:
    """Return these packages and all that they require on this machine, as far as they are installed."""
    seen: set[str] = set()
    waiting = [(name, "") for name in names]
    asked: set[tuple[str, str]] = set()
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in asked:
            continue
        asked.add((name, extra))
        try:
            requires = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # Wanted by an optional part, or on another system.
            continue
        seen.add(name)
        for requirement in map(Requirement, requires):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                waiting += [(_canonical(requirement.name), each) for each in ("", *requirement.extras)]
    return seen


def _entries(names: set[str]) -> set[Path]:
    """Return the files and folders in `site-packages` that belong to these packages."""
    entries = set()
    for name in names:
        distribution = metadata.distribution(name)
        for file in distribution.files or ():
            if file.parts[0] not in ("..", "__pycache__"):
                entries.add(Path(str(distribution.locate_file(file.parts[0]))))
    return entries


def _site_packages(python: Path) -> Path:
    program = "import sysconfig; print(sysconfig.get_path('purelib'))"
    return Path(subprocess.run([python, "-c", program], check=True, capture_output=True, text=True).stdout.strip())


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
