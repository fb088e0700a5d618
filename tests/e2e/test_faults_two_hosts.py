"""Two ComfyUIs that share one ledger queue the identical request at the same time: one run, and both get its pictures.

The second host queues while the first is at the named moment, or both begin together; then both queue once more.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from emulator import Fault
from tests.e2e.faults.rows import UNKNOWN_OUTCOME, WANTED_PICTURES, Blow, End, Moment, Order
from tests.e2e.faults.station import Queueing, Station, prompt_for
from tests.e2e.faults.table import ANSWERING, DOWNLOADING, ENDED_BY, RUNNING, SECOND_RESULT, SILENT
from tools.environment import Environment

SECOND_HOST_SECONDS = 0.5
_seeds = itertools.count(1)


@dataclass(frozen=True)
class PairRow:
    """What goes wrong, and how the first queueing ends on both hosts, in any order where nothing is struck."""

    name: str
    orders: tuple[Order, ...]
    ends: tuple[End, End] = (End.SUCCESS, End.SUCCESS)
    blow: Blow | None = None
    moment: Moment = ANSWERING


def pair_rows() -> Iterator[PairRow]:
    """Faults of one request that both need, and blows to one host while the other waits for it."""
    accepted_page = Fault.refuse(502, envelope="none", accepted=True)
    for name, fault in (
        ("nothing goes wrong", None),
        ("the answer is late", Fault.late(1.5)),
        ("40005 once", Fault.refuse(429, "40005", retryable=True)),
        ("unreachable once", Fault.refuse(503, "50003", retryable=True)),
    ):
        yield PairRow(f"together, {name}", () if fault is None else (Order("submit", fault),))
    reset_download = Order("download", Fault.reset("during"), 2, SECOND_RESULT)
    yield PairRow("together, downloads are reset", (reset_download,))
    for name, fault in (
        ("reset instead of an answer", Fault.reset("after")),
        ("silence before accepting", Fault.stall(1.5)),
        ("silence after accepting", Fault.stall(1.5, accepted=True)),
        ("502 page after accepting", accepted_page),
    ):
        # One of them is told; the other, who waited, asks again with the same key.
        yield PairRow(f"together, {name}", (Order("submit", fault),), (End.ERROR, End.SUCCESS))
    for blow in (Blow.INTERRUPT, Blow.KILL):
        for moment in (ANSWERING, SILENT, RUNNING, DOWNLOADING):
            ends = (ENDED_BY[blow], End.SUCCESS)
            yield PairRow(f"one {blow.value} {moment.name}", moment.orders, ends, blow, moment)


@pytest.fixture(scope="module")
def station(environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    """Two hosts with one user directory."""
    folder = tmp_path_factory.mktemp("pair")
    with Station(environment, folder / "one", folder / "other") as running:
        yield running


@pytest.mark.parametrize("row", list(pair_rows()), ids=lambda row: row.name)
def test_two_hosts_make_one_run_and_both_get_its_pictures(row: PairRow, station: Station) -> None:
    seed = next(_seeds)
    station.make_ready()
    for order in row.orders:
        station.emulator.order(order.operation, order.fault, order.times or 1, where=order.where)

    first = queue_on_both(station, seed, row)
    assert station.emulator.unused_faults == ()
    again = queue_on_both(station, seed, PairRow("again", ()))

    ends = tuple(queueing.end for queueing in first)
    assert (ends if row.blow else tuple(sorted(ends))) == row.ends, [queueing.message for queueing in first]
    for queueing in first:
        assert queueing.end is not End.ERROR or UNKNOWN_OUTCOME in queueing.message
        assert queueing.end is not End.SUCCESS or queueing.pictures == (WANTED_PICTURES,)
    assert [queueing.pictures for queueing in again] == [(WANTED_PICTURES,)] * 2, [one.message for one in again]
    assert len(station.runs(task_name(seed))) == 1
    (known,) = station.ledger(task_name(seed))
    assert (known.state, known.delivered) == ("success", True)


def task_name(seed: int) -> str:
    return f"pair {seed}"


def queue_on_both(station: Station, seed: int, row: PairRow) -> list[Queueing]:
    """Queue on both hosts; strike the first at the moment, with the second waiting beside it."""
    prompt = prompt_for(task_name(seed), seed, timeout_minutes=16 if row.name == "again" else 15)
    requests_before = len(station.emulator.requests)
    with ThreadPoolExecutor(2) as threads:
        others = []

        def meanwhile() -> None:
            if row.blow:
                station.wait_for(row.moment, requests_before)
            others.append(threads.submit(station.queue, prompt, task_name(seed), host=1))
            if row.blow:
                time.sleep(SECOND_HOST_SECONDS)
            if row.blow is Blow.INTERRUPT:
                station.host.client.interrupt()
            elif row.blow is Blow.KILL:
                station.host.kill()
                station.host.start()

        one = station.queue(prompt, task_name(seed), meanwhile, listen=row.blow is not Blow.KILL)
        return [one, others[0].result()]
