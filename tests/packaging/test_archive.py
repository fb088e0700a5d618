"""What the registry gets: a description without complaints, and an archive with what users need and nothing else."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from tools.environment import ROOT

from .conftest import Programs

# Everything in the archive is one of these; a new kind of file has to be thought about here.
FOR_USERS = (
    r"__init__\.py|pyproject\.toml|requirements\.txt|README\.md|CHANGELOG\.md|LICENSE"
    r"|docs/(paid-runs|security)\.md"
    r"|(nodes|weshop_api)/\w+\.py"
    r"|web/[\w-]+\.(js|css)|web/[\w-]+/[\w-]+\.(js|css)"
    r"|web/docs/\w+\.md|web/docs/\w+/[\w-]+\.(md|png|jpg|webp|svg)"
    r"|locales/\w+/\w+\.json"
    r"|subgraphs/[^/]+\.json"
    r"|example_workflows/[^/]+\.(json|jpg)|example_workflows/inputs/\w+\.(jpg|png)"
)
LARGEST_ARCHIVE_BYTES = 5_000_000


@pytest.fixture(scope="module")
def names(archive: Path) -> set[str]:
    return set(zipfile.ZipFile(archive).namelist())


def project() -> str:
    return (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_the_description_is_valid_without_a_warning(checkout: Path, programs: Programs) -> None:
    ended = programs.run("comfy", "--skip-prompt", "node", "validate", cwd=checkout)

    assert "All validation checks passed" in ended.stdout + ended.stderr
    assert "Warning" not in ended.stdout + ended.stderr
    assert "Security warnings" not in ended.stdout + ended.stderr


def test_the_archive_holds_what_users_need(names: set[str]) -> None:
    needed = ["__init__.py", "pyproject.toml", "requirements.txt", "README.md", "CHANGELOG.md", "LICENSE"]
    needed += ["docs/paid-runs.md", "docs/security.md"]
    for pattern in ("nodes/*.py", "weshop_api/*.py", "web/**/*.*", "locales/**/*.json", "subgraphs/*.json"):
        needed += [path.relative_to(ROOT).as_posix() for path in ROOT.glob(pattern)]
    needed += [path.relative_to(ROOT).as_posix() for path in ROOT.glob("example_workflows/**/*.*")]

    assert set(needed) - names == set()


def test_the_archive_holds_nothing_else(names: set[str]) -> None:
    assert sorted(name for name in names if not re.fullmatch(FOR_USERS, name)) == []


def test_the_archive_is_small(archive: Path) -> None:
    assert archive.stat().st_size < LARGEST_ARCHIVE_BYTES


@pytest.mark.parametrize(("field", "size"), [("Icon", (400, 400)), ("Banner", (1680, 720))])
def test_the_pictures_of_the_description_are_here_and_have_the_registrys_shape(
    field: str, size: tuple[int, int]
) -> None:
    repository = re.search(r'^Repository = "https://github\.com/(.+)"$', project(), re.MULTILINE)
    address = re.search(
        rf'^{field} = "https://raw\.githubusercontent\.com/(.+)/main/(assets/.+)"$', project(), re.MULTILINE
    )

    assert repository is not None
    assert address is not None
    assert address[1] == repository[1]
    with Image.open(ROOT / address[2]) as picture:
        assert picture.size == size


def test_the_same_oldest_python_is_named_everywhere() -> None:
    classified = re.findall(r'"Programming Language :: Python :: 3\.(\d+)"', project())
    (required,) = re.findall(r'^requires-python = ">=3\.(\d+)"$', project(), re.MULTILINE)

    assert classified[0] == required == "10"
    assert f"Python 3.{required} or newer" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_same_oldest_comfyui_is_named_everywhere() -> None:
    (required,) = re.findall(r'^requires-comfyui = ">=([\d.]+)"$', project(), re.MULTILINE)

    assert f"ComfyUI {required} or newer" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_changelog_speaks_of_this_version() -> None:
    (version,) = re.findall(r'^version = "([\d.]+)"$', project(), re.MULTILINE)

    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert version in headings
