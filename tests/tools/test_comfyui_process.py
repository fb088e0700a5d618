"""What a host is started with.  That it starts, dies and comes back is tested end to end."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tools.comfyui.process import child_variables, free_port, link_or_copy


def test_no_key_and_no_proxy_reaches_the_host() -> None:
    ours = {"PATH": "/bin", "WESHOP_API_KEY": "test-key-not-real", "HTTPS_PROXY": "http://proxy", "PYTHONPATH": "."}

    variables = child_variables(ours, Path("base"), {"WESHOP_BASE_URL": "http://127.0.0.1:1/openapi"})

    assert variables == {
        "PATH": "/bin",
        "HOME": "base",
        "USERPROFILE": "base",
        "PYTHONUTF8": "1",
        "WESHOP_BASE_URL": "http://127.0.0.1:1/openapi",
    }


def test_a_free_port_can_be_listened_on() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", free_port()))
        listener.listen()

        assert listener.getsockname()[1] < 32768  # Systems give temporary ports from there up.


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    for name in ("nodes", "tests", ".cache"):
        (folder / name).mkdir(parents=True)
    (folder / "__init__.py").write_text("entry", encoding="utf-8")
    return folder


def test_a_pack_appears_in_its_place(tmp_path: Path, checkout: Path) -> None:
    link_or_copy(checkout, tmp_path / "pack")

    assert (tmp_path / "pack" / "__init__.py").read_text(encoding="utf-8") == "entry"


def test_where_links_are_forbidden_the_pack_is_copied_without_what_only_developers_need(
    tmp_path: Path, checkout: Path
) -> None:
    link_or_copy(checkout, tmp_path / "pack", link=forbid)

    assert {place.name for place in (tmp_path / "pack").iterdir()} == {"__init__.py", "nodes"}


def test_where_links_are_forbidden_a_file_is_copied(tmp_path: Path, checkout: Path) -> None:
    link_or_copy(checkout / "__init__.py", tmp_path / "entry.py", link=forbid)

    assert (tmp_path / "entry.py").read_text(encoding="utf-8") == "entry"


def forbid(source: Path, place: Path) -> None:
    raise PermissionError(f"no link from {place} to {source}")
