"""A running emulator for each test, with small pictures, and somebody to call it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from emulator import Emulator

from .caller import Caller


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(port=0, pictures="small") as running:
        yield running


@pytest.fixture
def caller(emulator: Emulator) -> Caller:
    return Caller(emulator)
