"""An emulator whose runs end with the first poll, services that talk to it, and ledgers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from emulator import ByPolls, Emulator
from weshop_api.ledger import Ledger, StorageSettings

from .ledgers import IMPATIENT, Clock
from .shops import Shops


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(pictures="small", pace=ByPolls(1)) as running:
        yield running


@pytest.fixture
def shops(emulator: Emulator, tmp_path: Path) -> Shops:
    return Shops(emulator, tmp_path / "weshop")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["file", "memory"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Ledger]:
    """Both places keep the same promises; a warning fails the test."""
    path = tmp_path / "weshop" / "ledger.sqlite3" if request.param == "file" else None
    ledger = Ledger(path, clock=clock, warn=pytest.fail)
    yield ledger
    ledger.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "weshop" / "ledger.sqlite3"


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def opened(path: Path, clock: Clock, warnings: list[str]) -> Iterator[Callable[..., Ledger]]:
    """Open the ledger, as another program start would."""
    ledgers: list[Ledger] = []

    def again(settings: StorageSettings = IMPATIENT) -> Ledger:
        ledgers.append(Ledger(path, clock=clock, warn=warnings.append, settings=settings))
        return ledgers[-1]

    yield again
    for ledger in ledgers:
        ledger.close()
