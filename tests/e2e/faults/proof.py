"""How a row is executed, and how many are at the same time: each on a station of its own, long ones first."""

from __future__ import annotations

import contextlib
import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from emulator import Fault
from tools.environment import Environment

from .disks import FILLER, TROUBLES, fill, in_place_of, make_read_only, mounted_on_itself, tiny_disk
from .rows import Blow, End, Phase, Row, Strike
from .station import LedgerRow, Queueing, Station, prompt_for

BYPASSED = "cannot be used at the moment"
OFFLINE_SECONDS = 3.0
RETURN_SECONDS = 61.0
"""The ledger tries its file again every minute."""


@dataclass(frozen=True)
class Outcome:
    """What came of a row."""

    first: Queueing
    again: Queueing
    unused_faults: tuple[object, ...]
    ledger: tuple[LedgerRow, ...]
    """What the file says at the end; empty where it could not be written."""
    log: str
    """What the host printed meanwhile."""
    seconds: float


class Proof:
    """Executes rows on several stations side by side. A context manager that stops them."""

    def __init__(self, environment: Environment, folder: Path, stations: int) -> None:
        """Set up; a station is started when its first row comes."""
        self._environment, self._folder = environment, folder
        self._free: SimpleQueue[Station] = SimpleQueue()
        self._workers = ThreadPoolExecutor(stations, "station")
        self._seeds = itertools.count(1)
        self._numbers = itertools.count(1)
        self._resources = contextlib.ExitStack()
        self._starting = threading.Lock()

    def __enter__(self) -> Proof:  # noqa: PYI034 - Self came with Python 3.11
        """Wait for rows."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the stations; rows that have not begun are left out."""
        self._workers.shutdown(cancel_futures=True)
        self._resources.close()

    def begin(self, rows: Sequence[Row]) -> dict[str, Future[Outcome]]:
        """Execute all rows in the background; their outcomes by name."""
        longest_first = sorted(rows, key=lambda row: row.seconds, reverse=True)
        return {row.name: self._workers.submit(self._execute, row, next(self._seeds)) for row in longest_first}

    def _execute(self, row: Row, seed: int) -> Outcome:
        station = self._station()
        try:
            station.make_ready()
            return _Case(station, row, seed).execute()
        finally:
            self._free.put(station)

    def _station(self) -> Station:
        with self._starting:
            if not self._free.empty():
                return self._free.get()
            folder = self._folder / f"station{next(self._numbers)}"
        station = Station(self._environment, folder)
        self._resources.enter_context(station)
        return station


class _Case:
    """One row on one station."""

    def __init__(self, station: Station, row: Row, seed: int) -> None:
        self.station, self.row, self.seed = station, row, seed
        self.task_name = f"row {seed}"
        self.signal = station.host.base_directory / f"fail {seed}"

    def execute(self) -> Outcome:
        """Queue, suffer, queue again, look."""
        station, row = self.station, self.row
        began, log_before = time.monotonic(), len(station.host.log_text())
        with self._file_trouble():
            if row.phase is Phase.REPLAY:
                self._lose_an_answer()
            for order in row.orders:
                station.emulator.order(
                    order.operation, order.fault, order.times or 1, forever=order.times is None, where=order.where
                )
            first = station.queue(self._prompt(), self.task_name, self._meanwhile(), listen=not self._is_killed)
            unused = station.emulator.unused_faults
            self._between()
            again = station.queue(self._prompt(again_after=first.end), self.task_name)
            ledger = () if self._loses_the_file else tuple(station.ledger(self.task_name))
        log = station.host.log_text()[log_before:]
        if row.file_trouble or row.disk_is_mended or self._loses_the_file:
            station.host.restart()
        return Outcome(first, again, unused, ledger, log, time.monotonic() - began)

    @property
    def _is_killed(self) -> bool:
        return self.row.strike is not None and self.row.strike.blow is Blow.KILL

    @property
    def _loses_the_file(self) -> bool:
        blow = self.row.strike.blow if self.row.strike and not self.row.disk_is_mended else None
        return blow in (Blow.DISK_FULL, Blow.READ_ONLY) or self.row.file_trouble not in ("", "garbage")

    def _prompt(self, again_after: End | None = None) -> dict[str, dict[str, object]]:
        row = self.row
        # Another time-out is not another request, but keeps ComfyUI from answering out of its own cache.
        is_cached = again_after is End.SUCCESS
        is_struck = row.strike is not None and row.strike.blow is Blow.SIBLING and again_after is None
        return prompt_for(
            self.task_name,
            self.seed,
            uploads=row.phase is Phase.UPLOAD,
            twins=row.twins,
            timeout_minutes=row.timeout_minutes + is_cached,
            sibling=str(self.signal) if is_struck else "",
        )

    def _lose_an_answer(self) -> None:
        self.station.emulator.order("submit", Fault.reset("after"))
        lost = self.station.queue(self._prompt(), self.task_name)
        assert (lost.end, lost.runs) == (End.ERROR, 1), lost

    def _between(self) -> None:
        if not self.row.faults_stay:
            self.station.emulator.withdraw_faults()
        if self.row.results_expire:
            self.station.emulator.expire_results()
        if self.row.disk_is_mended:
            (self.station.state_folder / FILLER).unlink()
            time.sleep(RETURN_SECONDS)
        self.station.emulator.finish_runs()

    # Blows -----------------------------------------------------------------------------------------------------

    def _meanwhile(self) -> Callable[[], None] | None:
        strike = self.row.strike
        if strike is None:
            return None
        requests_before = len(self.station.emulator.requests)

        def act() -> None:
            self.station.wait_for(strike.moment, requests_before)
            self._strike(strike)

        return act

    def _strike(self, strike: Strike) -> None:
        station = self.station
        if strike.blow is Blow.INTERRUPT:
            station.host.client.interrupt()
        elif strike.blow is Blow.SIBLING:
            self.signal.touch()
        elif strike.blow is Blow.KILL:
            station.host.kill()
            station.host.start()
        elif strike.blow is Blow.OFFLINE:
            station.emulator.stop()
            time.sleep(OFFLINE_SECONDS)
            station.emulator.start()
        elif strike.blow is Blow.DISK_FULL:
            fill(station.state_folder)
        else:
            make_read_only(station.state_folder)

    def _file_trouble(self) -> contextlib.AbstractContextManager[None]:
        strike, folder = self.row.strike, self.station.state_folder
        if strike and strike.blow is Blow.DISK_FULL:
            return in_place_of(folder, tiny_disk, self._moving)
        if strike and strike.blow is Blow.READ_ONLY:
            return in_place_of(folder, mounted_on_itself, self._moving)
        if self.row.file_trouble:
            return in_place_of(folder, TROUBLES[self.row.file_trouble], self._moving)
        return contextlib.nullcontext()

    @contextlib.contextmanager
    def _moving(self) -> Iterator[None]:
        """Windows moves no folder in which a file is open, so the host lets go of its ledger there."""
        if sys.platform == "win32":
            self.station.host.stop()
        yield
        if sys.platform == "win32":
            self.station.host.start()
