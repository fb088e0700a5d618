"""A running emulator whose runs end with the first poll, and services that talk to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from emulator import ByPolls, Emulator

from .shops import Shops


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(pictures="small", pace=ByPolls(1)) as running:
        yield running


@pytest.fixture
def shops(emulator: Emulator, tmp_path: Path) -> Shops:
    return Shops(emulator, tmp_path / "weshop")
