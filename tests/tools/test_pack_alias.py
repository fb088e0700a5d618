"""The pack under the name the tests give it, see `tests/conftest.py`."""

from __future__ import annotations

import importlib

import weshop_pack.weshop_api
from weshop_pack.weshop_api import errors

import weshop_api.errors


def test_the_library_in_the_pack_is_the_library() -> None:
    assert weshop_pack.weshop_api is weshop_api
    assert errors is weshop_api.errors
    assert importlib.import_module("weshop_pack.weshop_api.errors") is weshop_api.errors


def test_the_library_keeps_its_own_name() -> None:
    specification = weshop_api.errors.__spec__

    assert specification is not None
    assert specification.name == weshop_api.errors.__name__ == "weshop_api.errors"


def test_a_nodes_module_belongs_to_the_pack() -> None:
    nodes = importlib.import_module("weshop_pack.nodes")

    assert nodes.__name__ == "weshop_pack.nodes"
    assert nodes.__package__ == "weshop_pack.nodes"


def test_the_hosts_own_nodes_are_the_hosts() -> None:
    importlib.import_module("weshop_pack.nodes")

    assert "SaveImage" in importlib.import_module("nodes").NODE_CLASS_MAPPINGS
