"""The fault table: the phases of a run times what can go wrong in each, with what must come of it by rule.

A fault of the wire is written down once, with two facts about it: whether its answer proves that nothing was accepted,
and whether a client may ask again by itself. What has to happen in each phase follows from these.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace

from emulator import ByPolls, BySeconds, Fault, Where

from .rows import UNKNOWN_OUTCOME, WANTED_PICTURES, Blow, End, Moment, Order, Phase, Row, Strike

CREATING = (Phase.UPLOAD, Phase.SUBMIT, Phase.REPLAY)
EVERYWHERE = tuple(Phase)
API = (*CREATING, Phase.WATCH)
"""Where the service's envelope means something; a file server knows only HTTP's status."""
SECOND_RESULT = Where(result=2)
ENDLESS = BySeconds(pending_seconds=3600)
UNUSABLE = b"\x00 this is no picture"


@dataclass(frozen=True)
class WireFault:
    """A fault of one request. ``carried_out`` says whether the service did what it was asked to."""

    name: str
    fault: Fault
    carried_out: bool = False
    proves_refusal: bool = False
    is_repeated: bool = True
    """Whether a request without side effects is repeated after it, and a refused submission."""
    is_harmless: bool = False
    """Whether a good answer arrives after all."""
    phases: tuple[Phase, ...] = EVERYWHERE


def _refusal(name: str, fault: Fault, *, is_repeated: bool = True, phases: tuple[Phase, ...] = EVERYWHERE) -> WireFault:
    return WireFault(name, fault, proves_refusal=True, is_repeated=is_repeated, phases=phases)


WIRE_FAULTS = (
    WireFault("reset before the request is read", Fault.reset("before")),
    WireFault("reset instead of an answer", Fault.reset("after"), carried_out=True),
    WireFault("reset amid the answer", Fault.reset("during"), carried_out=True),
    WireFault("silence, then a reset", Fault.stall(1.0)),
    WireFault(
        "silence after accepting, then a reset", Fault.stall(1.0, accepted=True), carried_out=True, phases=CREATING
    ),
    WireFault("answer cut off", Fault.truncate(0.5), carried_out=True),
    _refusal("429 with Retry-After", Fault.refuse(429, "42900", retry_after_seconds=1)),
    _refusal("429 page", Fault.refuse(429, envelope="none")),
    _refusal("40005", Fault.refuse(429, "40005", retryable=True)),
    _refusal("40005 as HTTP 200", Fault.refuse(200, "40005", envelope="legacy"), phases=API),
    _refusal("500 with envelope, retryable", Fault.refuse(500, "50001", retryable=True)),
    _refusal(
        "500 with envelope, not retryable", Fault.refuse(500, "50001", retryable=False), is_repeated=False, phases=API
    ),
    WireFault("502 page", Fault.refuse(502, envelope="none")),
    WireFault("502 page after accepting", Fault.refuse(502, envelope="none", accepted=True), True, phases=CREATING),
    _refusal("503 with envelope, retryable", Fault.refuse(503, "50003", retryable=True)),
    WireFault("503 page", Fault.refuse(503, envelope="none")),
    WireFault("503 page after accepting", Fault.refuse(503, envelope="none", accepted=True), True, phases=CREATING),
    WireFault("unreadable JSON", Fault.answer(b'{"success": tru'), is_repeated=False),
    WireFault(
        "unreadable JSON after accepting", Fault.answer(b"<<<", accepted=True), True, False, False, phases=CREATING
    ),
    WireFault("JSON of another shape", Fault.answer(b'{"success": true, "data": [1, 2]}'), is_repeated=False),
    WireFault("a list instead of an object", Fault.answer(b"[]", accepted=True), True, False, False, phases=CREATING),
    WireFault("an empty answer", Fault.answer(b""), is_repeated=False),
    WireFault("a good answer two seconds late", Fault.late(2.0), carried_out=True, is_harmless=True),
    WireFault("a good answer, slowly", Fault.slow(20_000), carried_out=True, is_harmless=True),
)

UPLOADING = Moment(
    "while a picture is uploaded", Phase.UPLOAD, "upload", orders=(Order("upload", Fault.late(1.5)),), is_accepted=False
)
SUBMITTING = Moment(
    "while the submission is unread",
    Phase.SUBMIT,
    "submit",
    orders=(Order("submit", Fault.stall(1.5)),),
    is_accepted=False,
)
ANSWERING = Moment(
    "accepted, with the answer on its way", Phase.SUBMIT, "submit", orders=(Order("submit", Fault.late(1.5)),)
)
SILENT = Moment(
    "accepted, without an answer", Phase.SUBMIT, "submit", orders=(Order("submit", Fault.stall(1.5, accepted=True)),)
)
REFUSED = Moment(
    "between two attempts",
    Phase.SUBMIT,
    "submit",
    answered=True,
    orders=(Order("submit", Fault.refuse(429, "40005", retryable=True, retry_after_seconds=4)),),
    is_accepted=False,
)
ACCEPTED = Moment("accepted, before the first poll", Phase.WATCH, "submit", answered=True)
RUNNING = Moment(
    "while the run is going",
    Phase.WATCH,
    "poll",
    answered=True,
    orders=(Order("submit", Fault.outcome(pace=ByPolls(3))),),
)
POLLING = Moment("while a poll hangs", Phase.WATCH, "poll", orders=(Order("poll", Fault.stall(3.0)),))
DOWNLOADING = Moment(
    "while a picture is on its way",
    Phase.DOWNLOAD,
    "download",
    count=WANTED_PICTURES,
    orders=(Order("download", Fault.late(1.5), where=SECOND_RESULT),),
)
SOME_INSTANTS = tuple(
    Moment(
        f"{milliseconds} ms after queueing",
        Phase.SUBMIT,
        "submit",
        0,
        is_accepted=None,
        after_seconds=milliseconds / 1000,
    )
    for milliseconds in (20, 60, 120, 250, 500, 1000, 1300)
)
MOMENTS = (UPLOADING, SUBMITTING, ANSWERING, SILENT, REFUSED, ACCEPTED, RUNNING, POLLING, DOWNLOADING)
ENDED_BY = {Blow.INTERRUPT: End.INTERRUPTED, Blow.SIBLING: End.ERROR, Blow.KILL: End.KILLED}
COLLECT = "Queue again with the same seed to collect it"
FAREWELLS = {Phase.UPLOAD: "", Phase.SUBMIT: COLLECT, Phase.WATCH: COLLECT, Phase.DOWNLOAD: ""}
CAN_MOUNT = sys.platform == "linux"  # A disk that is full or read-only is a file system of the test's own.
FILE_TROUBLES = ("a folder in its place", "garbage", "written by a newer version", "locked by another program")


def table(*, can_mount: bool = CAN_MOUNT) -> tuple[Row, ...]:
    """All rows that a system can show: without mounts, the disks that fail are left out."""
    return (
        *(_wire_row(phase, wire) for wire in WIRE_FAULTS for phase in wire.phases),
        *(_struck_row(blow, moment) for blow in ENDED_BY for moment in MOMENTS),
        *(_struck_row(Blow.KILL, instant) for instant in SOME_INSTANTS),
        *(_weathered_row(Blow.OFFLINE, moment) for moment in (RUNNING, DOWNLOADING)),
        *(_disk_rows() if can_mount else ()),
        *(Row(Phase.SUBMIT, f"the ledger is {trouble}", file_trouble=trouble, seconds=15) for trouble in FILE_TROUBLES),
        *_upload_rows(),
        *_submit_rows(),
        *_watch_rows(),
        *_ending_rows(),
        *_download_rows(),
        *_timeout_rows(),
        *_twin_rows(),
    )


def _wire_row(phase: Phase, wire: WireFault) -> Row:
    where = SECOND_RESULT if phase is Phase.DOWNLOAD else Where()
    orders = (Order(phase.operation, wire.fault, where=where),)
    if phase.operation == "submit":
        return _wire_row_of_submit(phase, wire, orders)
    if phase is Phase.WATCH or wire.is_harmless or wire.is_repeated:
        return Row(phase, wire.name, orders)
    return _failed_upload(wire.name, orders) if phase is Phase.UPLOAD else _failed_download(wire.name, orders)


def _wire_row_of_submit(phase: Phase, wire: WireFault, orders: tuple[Order, ...]) -> Row:
    was_there = int(phase is Phase.REPLAY)
    row = Row(phase, wire.name, orders, submits=1 + was_there)
    if wire.is_harmless or (wire.proves_refusal and wire.is_repeated):
        return row
    if wire.proves_refusal:
        says = ("An earlier submission of this run got no answer",) if was_there else ("Queue again",)
        return replace(row, first=End.ERROR, says=says, runs=(was_there, 1))
    return replace(
        row,
        first=End.ERROR,
        says=(UNKNOWN_OUTCOME,),
        runs=(int(was_there or wire.carried_out), 1),
        submits=1 + was_there + wire.carried_out,
    )


def _failed_upload(name: str, orders: tuple[Order, ...]) -> Row:
    return Row(Phase.UPLOAD, name, orders, first=End.ERROR, says=("picture 1",), runs=(0, 1))


def _failed_download(name: str, orders: tuple[Order, ...], *missing: int, seconds: float = 3.0) -> Row:
    """The message names the pictures, the others are kept, and only the missing ones are fetched again."""
    missing = missing or (2,)
    kept = WANTED_PICTURES - len(missing)
    says = ("{id}", ", ".join(str(number) for number in missing), *((f"The other {kept}",) if kept else ()))
    return Row(Phase.DOWNLOAD, name, orders, first=End.ERROR, says=says, fetched_again=missing, seconds=seconds)


def _struck_row(blow: Blow, moment: Moment) -> Row:
    return Row(
        moment.phase,
        f"{blow.value} {moment.name}",
        moment.orders,
        Strike(blow, moment),
        first=ENDED_BY[blow],
        shows="" if blow is Blow.KILL else FAREWELLS[moment.phase],
        runs=(None if moment.is_accepted is None else int(moment.is_accepted), 1),
        submits=_submits(blow, moment),
        seconds=14 if blow is Blow.KILL else 4,
    )


def _submits(blow: Blow, moment: Moment) -> int | None:
    """Where the answer is lost with whoever waited for it, the request is repeated under the same key."""
    # A host that is killed just after the answer left may not have written it down yet: both are right.
    if moment.is_accepted is None or (moment is ACCEPTED and blow is Blow.KILL):
        return None
    return 2 if moment is SILENT or (moment is ANSWERING and blow is Blow.KILL) else 1


def _disk_rows() -> Iterator[Row]:
    """Once the disk is mended, what was remembered in memory reaches the file a minute later."""
    for blow in (Blow.DISK_FULL, Blow.READ_ONLY):
        for moment in (ANSWERING, RUNNING, DOWNLOADING):
            yield _weathered_row(blow, moment)
    row = _weathered_row(Blow.DISK_FULL, ANSWERING)
    yield replace(row, fault=f"{row.fault}, and is mended", disk_is_mended=True, seconds=80)


def _weathered_row(blow: Blow, moment: Moment) -> Row:
    """What nobody notices but the log."""
    seconds = 5 if blow is Blow.OFFLINE else 15
    return Row(moment.phase, f"{blow.value} {moment.name}", moment.orders, Strike(blow, moment), seconds=seconds)


def _upload_rows() -> Iterator[Row]:
    for name, fault in (
        ("for ever reset", Fault.reset("before")),
        ("for ever 502", Fault.refuse(502, envelope="none")),
        ("for ever cut off", Fault.truncate(0.3)),
    ):
        yield replace(_failed_upload(name, (Order("upload", fault, None),)), seconds=9)
    for name, fault in _refusals():
        yield _failed_upload(name, (Order("upload", fault),))
    expired = Fault.refuse(422, "40000", "image 1 has expired", retryable=False)
    yield Row(
        Phase.UPLOAD,
        "accepted, and unknown when the run is submitted",
        (Order("submit", expired),),
        first=End.ERROR,
        says=("image 1 has expired", "queue again"),
        runs=(0, 1),
    )


def _refusals() -> Iterator[tuple[str, Fault]]:
    yield "the key is refused", Fault.refuse(401, "40001", retryable=False)
    yield "a parameter is refused", Fault.refuse(422, "40000", retryable=False)


def _submit_rows() -> Iterator[Row]:
    for place in ("data", "meta"):
        yield Row(Phase.SUBMIT, f"execution id only in {place}", (Order("submit", Fault.id_only_in(place)),))
    for name, fault in (("no execution id", Fault.without_id()), ("two execution ids", Fault.two_ids())):
        yield Row(Phase.SUBMIT, name, (Order("submit", fault),), first=End.ERROR, says=(UNKNOWN_OUTCOME,), submits=2)
    few = "too few points", Fault.refuse(402, "INSUFFICIENT_POINTS", "not enough points", retryable=False)
    for name, fault in (*_refusals(), few):
        yield Row(Phase.SUBMIT, name, (Order("submit", fault),), first=End.ERROR, runs=(0, 1))
    again = Fault.refuse(429, "40005", retryable=True)
    yield Row(Phase.SUBMIT, "40005 six times", (Order("submit", again, 6),), seconds=25)


def _watch_rows() -> Iterator[Row]:
    for times, seconds in ((1, 3.0), (5, 15.0), (20, 120.0)):
        yield Row(Phase.WATCH, f"{times} polls fail", (Order("poll", Fault.reset("before"), times),), seconds=seconds)
    pages = Order("poll", Fault.refuse(502, envelope="none"), 5)
    yield Row(Phase.WATCH, "5 polls answered with a page", (pages,), seconds=15)
    yield Row(Phase.WATCH, "a poll hangs", (Order("poll", Fault.stall()),), seconds=18)
    for name, fault in (("404", Fault.refuse(404, "NOT_FOUND")), ("401", Fault.refuse(401, "40001"))):
        yield Row(Phase.WATCH, f"{name} once", (Order("poll", fault),))
        told = Row(
            Phase.WATCH,
            f"{name} until queued again",
            (Order("poll", fault, None),),
            first=End.ERROR,
            says=("{id}", "not submitted again"),
            seconds=6,
        )
        yield told
    yield Row(
        Phase.WATCH,
        "404 for ever",
        (Order("poll", Fault.refuse(404, "NOT_FOUND"), None),),
        first=End.ERROR,
        says=("{id}", "not submitted again"),
        again=End.ERROR,
        pictures=0,
        faults_stay=True,
        seconds=10,
    )
    for name, fault in (
        ("no execution is listed", Fault.no_executions()),
        ("other executions come first", Fault.several_executions("last")),
        ("other executions come last", Fault.several_executions("first")),
        ("an unheard-of status", Fault.shows_status("Reticulating")),
        ("null instead of results", Fault.null_results()),
    ):
        yield Row(Phase.WATCH, name, (Order("poll", fault),))


def _ending_rows() -> Iterator[Row]:
    everything = tuple(range(1, WANTED_PICTURES + 1))
    for status in ("Failed", "Cancelled"):
        yield _failed_run(f"the run ends as {status}", Order("submit", Fault.outcome(status)))
    for way in ("failed", "without image", "left out"):
        outcome = Fault.outcome(missing=(2,), missing_as=way)
        yield Row(
            Phase.WATCH,
            f"result 2 is missing, {way}",
            (Order("submit", outcome),),
            shows=f"1 of {WANTED_PICTURES} pictures missing",
            pictures=WANTED_PICTURES - 1,
            seconds=5,
        )
        nothing = Fault.outcome(missing=everything, missing_as=way)
        yield _failed_run(f"all results are missing, {way}", Order("submit", nothing))


def _failed_run(name: str, order: Order) -> Row:
    """The one case in which the next queueing pays again, and says so before."""
    return Row(
        Phase.WATCH, name, (order,), first=End.ERROR, says=("{id}", "new run"), runs=(1, 2), submits=2, seconds=5
    )


def _download_rows() -> Iterator[Row]:
    gone = Fault.refuse(403, envelope="none")
    for status in (403, 404, 410):
        fault = Fault.refuse(status, envelope="none")
        yield Row(Phase.DOWNLOAD, f"{status} once", (Order("download", fault, where=SECOND_RESULT),))
    for name, fault, seconds in (
        ("reset", Fault.reset("before"), 9.0),
        ("reset amid the file", Fault.reset("during"), 9.0),
        ("truncated", Fault.truncate(0.5), 9.0),
        ("403", gone, 3.0),
        ("500", Fault.refuse(500, envelope="none"), 9.0),
    ):
        one = (Order("download", fault, None, SECOND_RESULT),)
        yield _failed_download(f"result 2 for ever {name}", one, seconds=seconds)
        every = (Order("download", fault, None),)
        numbers = tuple(range(1, WANTED_PICTURES + 1))
        yield _failed_download(f"every result for ever {name}", every, *numbers, seconds=seconds)
    yield _failed_download("wrong bytes", (Order("download", Fault.answer(UNUSABLE), where=SECOND_RESULT),))
    expired = _failed_download("403, and the addresses expire", (Order("download", gone, None, SECOND_RESULT),))
    yield replace(expired, results_expire=True)
    yield Row(Phase.DOWNLOAD, "very slow", (Order("download", Fault.slow(8_000), where=SECOND_RESULT),), seconds=8)


def _timeout_rows() -> Iterator[Row]:
    """The real limits of the client, waited for: 60 s of silence, 30 s for a file, the run's own time-out."""
    yield Row(Phase.UPLOAD, "time-out", (Order("upload", Fault.stall()),), seconds=65)
    for phase in (Phase.SUBMIT, Phase.REPLAY):
        orders = (Order("submit", Fault.stall()),)
        lost = int(phase is Phase.REPLAY)
        row = Row(phase, "time-out", orders, first=End.ERROR, says=(UNKNOWN_OUTCOME,), seconds=65)
        yield replace(row, runs=(lost, 1), submits=1 + lost)
    accepted = (Order("submit", Fault.stall(accepted=True)),)
    yield Row(
        Phase.SUBMIT,
        "time-out after accepting",
        accepted,
        first=End.ERROR,
        says=(UNKNOWN_OUTCOME,),
        submits=2,
        seconds=65,
    )
    yield Row(
        Phase.WATCH,
        "time-out of the run",
        (Order("submit", Fault.outcome(pace=ENDLESS)),),
        first=End.ERROR,
        says=("{id}", "not lost", "queue again"),
        timeout_minutes=1,
        seconds=65,
    )
    yield Row(Phase.DOWNLOAD, "time-out", (Order("download", Fault.stall(), where=SECOND_RESULT),), seconds=35)


def _twin_rows() -> Iterator[Row]:
    """Two equal nodes in one prompt."""
    for name, order in (
        ("the answer is late", Order("submit", Fault.late(1.0))),
        ("40005 once", Order("submit", Fault.refuse(429, "40005", retryable=True))),
        ("a result is reset once", Order("download", Fault.reset("before"), where=SECOND_RESULT)),
    ):
        yield Row(Phase.SUBMIT, f"two equal nodes, {name}", (order,), twins=2)
    for name, fault in (
        ("reset", Fault.reset("after")),
        ("502 page", Fault.refuse(502, envelope="none", accepted=True)),
    ):
        order = Order("submit", fault)
        row = Row(Phase.SUBMIT, f"two equal nodes, {name}", (order,), twins=2, submits=2)
        yield replace(row, first=End.ERROR, says=(UNKNOWN_OUTCOME,))
