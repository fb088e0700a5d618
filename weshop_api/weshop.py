"""The whole library behind one object: upload, generate, bring back, load.

What costs points passes through the ledger, and what the ledger knows is never bought again.
"""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from . import protocol
from .background import Background
from .client import WeShopClient
from .delivering import Deliverer
from .errors import InvalidRequestError, NotFoundError, RunFailedError, RunTimeoutError
from .ledger import Ledger, RunPlan, RunState
from .limits import AdaptiveLimit
from .models import RunStatus
from .progress import Phase, Progress, silent
from .schedule import next_poll_delay_seconds
from .seedream import Run
from .spool import FOLDER_NAME, Spool
from .submitting import Submitter
from .uploading import Uploader
from .watching import Watch, Watches, accounts_for_all, look

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from typing_extensions import Self

    from .ledger import RunRecord
    from .models import Estimate, Execution, Result
    from .seedream import SeedreamRequest
    from .uploading import PictureSource, Uploaded
    from .watching import Ending, PollDelay

    Report = Callable[[Progress], None]

DEFAULT_TIMEOUT_SECONDS = 15 * 60.0
DRAIN_SECONDS = 5.0
LEDGER_FILE = "ledger.sqlite3"
MAX_RUNS_VARIABLE = "WESHOP_MAX_RUNS"
MOST_RUNS = 1000
# Not Pending, which is also what a run looks like that the service has nothing to say about any more.
_GOING = (RunStatus.SEGMENTING, RunStatus.RUNNING)
log = logging.getLogger("weshop")


def default_folder() -> Path:
    """Where runs are remembered: beside ComfyUI's users when this package lies in its custom_nodes, else at home."""
    for comfyui in Path(__file__).resolve().parents[3:4]:
        if (comfyui / "custom_nodes").is_dir() and (comfyui / "user").is_dir():
            return comfyui / "user" / "__weshop"
    return Path.home() / ".local" / "share" / "weshop"


@dataclass(frozen=True)
class Limits:
    """How much goes on at once in this process. ``runs`` is where the adaptive limit starts."""

    runs: int = 4
    uploads: int = 4
    downloads: int = 8

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Limits:
        """The usual limits, with the number of runs from WESHOP_MAX_RUNS. Raises InvalidRequestError."""
        text = environ.get(MAX_RUNS_VARIABLE, "").strip()
        if not text:
            return cls()
        if not (text.isascii() and text.isdigit() and len(text) <= len(str(MOST_RUNS)) and 1 <= int(text) <= MOST_RUNS):
            raise InvalidRequestError(
                f"The environment variable {MAX_RUNS_VARIABLE} must be a whole number from 1 to {MOST_RUNS}."
            )
        return cls(runs=int(text))


class WeShop:
    """The service for people: what costs points happens once, and what was paid for can be had again.

    ``client`` None connects as the environment says. ``folder`` is where the ledger and the pictures that wait for
    their delivery are kept; None is ``default_folder()``. ``next_poll_delay_seconds`` decides when to poll next: it is
    called with a run's age and with how long such runs took, all in seconds.
    Every method raises only members of the error tree in ``errors``. Use it from one event loop, and close it.
    """

    def __init__(
        self,
        client: WeShopClient | None = None,
        folder: Path | None = None,
        limits: Limits | None = None,
        *,
        next_poll_delay_seconds: PollDelay = next_poll_delay_seconds,
    ) -> None:
        self.client = client = client or WeShopClient.from_environment()
        limits = limits or Limits()
        scope = client.scope
        folder = folder or default_folder()
        self.ledger = Ledger(folder / LEDGER_FILE, warn=log.warning)
        self._scope = scope
        self._watches = Watches(client, next_poll_delay_seconds)
        self._background = Background()
        self._runs = AdaptiveLimit(limits.runs)
        spool = Spool(folder / FOLDER_NAME, warn=log.warning)
        self._submitter = Submitter(client, self.ledger, self._background, self._runs)
        self._uploader = Uploader(client, self.ledger, self._background, AdaptiveLimit(limits.uploads), scope)
        self._deliverer = Deliverer(
            client, self.ledger, spool, self._background, AdaptiveLimit(limits.downloads), scope
        )

    @property
    def upload_generation(self) -> int:
        """Grows when remembered uploads turned out to be gone."""
        return self._submitter.upload_generation

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Complete what is being written down, then close the connections."""
        self._submitter.close()
        await self._background.drain(DRAIN_SECONDS)
        self.ledger.close()
        await self.client.aclose()

    async def upload(self, sources: Sequence[PictureSource], report: Report = silent) -> Uploaded:
        """Make references of pictures, in order. One that the service has already is not sent again.

        Raises what a source raises, such as UnusablePictureError, and the error of the first upload that fails.
        """
        return await self._uploader.upload(sources, report)

    async def estimate(self, request: SeedreamRequest) -> Estimate | None:
        """What the service expects ``request`` to cost, None where it offers no estimates. Costs nothing itself.

        Raises InvalidRequestError before anything is sent when the model does not offer what is asked for.
        """
        request.check()
        body = protocol.submit_body(request, request.references.urls, request.task_name)
        return await self.client.estimate(body)

    async def generate(
        self,
        request: SeedreamRequest,
        seed: int = 0,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        report: Report = silent,
    ) -> Run:
        """The finished run of this request and seed: the one that exists already, or a new one.

        Raises InvalidRequestError before anything is sent when the model does not offer what is asked for,
        OutcomeUnknownError when nobody knows whether the service accepted the run, RunTimeoutError when it is still
        going after ``timeout_seconds``, RunFailedError when it ended without a usable picture.
        """
        request.check()
        plan = self._plan(request, seed)
        turn = self._submitter.turn(plan)
        known = await self._background.call(self.ledger.current, plan.scope, plan.fingerprint)
        seen = await self._sign_of_life(known) if known and known.state is RunState.FAILED else None
        if known and (known.state in (RunState.RUNNING, RunState.SUCCESS) or seen):
            return await self._conclude(known, request, timeout_seconds, report, is_reused=True, seen=seen)
        async with self._runs.slot(on_wait=lambda ahead: report(Progress(Phase.WAITING_FOR_SLOT, ahead=ahead))):
            record, is_reused = await self._submitter.submit(request, turn, timeout_seconds, report)
            return await self._conclude(record, request, timeout_seconds, report, is_reused=is_reused)

    async def fetch(
        self, execution_id: str, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS, report: Report = silent
    ) -> Run:
        """Bring back a run of the account by its id, from the ledger or from the service.

        A run that is still going is waited for. A failed run is brought back too when it has usable pictures.
        Raises InvalidRequestError for what cannot be an id, NotFoundError when the service does not know it,
        RunTimeoutError when it is still going after ``timeout_seconds``, RunFailedError when it has no usable picture.
        """
        execution_id = protocol.check_execution_id(execution_id)
        record, seen = await self._background.call(self.ledger.find_run, execution_id, self._scope), None
        if record is None:
            record, seen = await self._adopt(execution_id)
        return await self._conclude(record, None, timeout_seconds, report, is_reused=True, seen=seen)

    async def load(self, run: Run, deliver: Callable[[int, bytes], Awaitable[None]], report: Report = silent) -> None:
        """Call ``deliver(index, data)`` once for each usable picture of ``run``, in any order, counting from 0.

        Raises DownloadError that names the pictures which could not be had; the others are kept, and the next call
        fetches only what is missing.
        """
        await self._deliverer.load(run, deliver, report)

    async def fetch_early(self, execution_id: str, result: Result) -> bytes:
        """The file of one picture of a run that is still going. ``load`` does not fetch it again.

        Raises DownloadError when it could not be fetched.
        """
        return await self._deliverer.fetch_early(execution_id, result)

    def _plan(self, request: SeedreamRequest, seed: int) -> RunPlan:
        urls = request.references.urls
        return RunPlan(
            fingerprint=protocol.fingerprint(request, seed),
            scope=self._scope,
            body_hash=protocol.body_hash(protocol.submit_body(request, urls, request.task_name)),
            reference_urls=urls,
            model=request.model.name,
            image_size=request.image_size,
            aspect_ratio=request.aspect_ratio,
            batch_count=request.batch_count,
            task_name=request.task_name,
        )

    async def _adopt(self, execution_id: str) -> tuple[RunRecord, Execution]:
        """Take a run into the ledger that was not submitted from here, once the service says that it exists."""
        try:
            seen = await self.client.read(execution_id)
        except NotFoundError as error:
            error.add(f"The id asked for was {execution_id}. Check it, and that the API key belongs to its account.")
            raise
        return await self._background.call(self.ledger.adopt, execution_id, self._scope), seen

    async def _conclude(  # noqa: PLR0913 - what is known of the run, and how to wait for it
        self,
        record: RunRecord,
        request: SeedreamRequest | None,
        timeout_seconds: float,
        report: Report,
        *,
        is_reused: bool,
        seen: Execution | None = None,
    ) -> Run:
        """Follow an accepted run to its end, unless the ledger knows the end already. ``seen`` was just read of it."""
        if record.state is not RunState.SUCCESS:
            ending = await self._watch(record, timeout_seconds, report, is_new=not is_reused, seen=seen)
            execution = ending.execution
            if request is None and execution.status is not RunStatus.SUCCESS and execution.usable:
                # Somebody asks for this very run: what it has is handed out, and it stays a failed one.
                run = _run(replace(record, results=execution.results), request, execution.status, is_reused=True)
                log.info("%s", _summary(record, _came_of(execution), run.reused_from))
                return run
            record = await self._settle(record, ending)
        elif not accounts_for_all(record.results, record.batch_count):
            record = await self._with_late_pictures(record)
        run = _run(record, request, RunStatus.SUCCESS, is_reused=is_reused)
        log.info("%s", _summary(record, _pictures(len(run.usable)), run.reused_from))
        return run

    async def _sign_of_life(self, record: RunRecord) -> Execution | None:
        """What shows that a run that was called failed has not, so that no other one has to be paid for."""
        seen = await look(self.client, record.execution_id)
        lives = seen and (seen.status in _GOING or (seen.status is RunStatus.SUCCESS and seen.usable))
        return seen if lives else None

    async def _with_late_pictures(self, record: RunRecord) -> RunRecord:
        """A success that lacked pictures, with those that the service lists by now."""
        seen = await look(self.client, record.execution_id)
        known = sum(bool(result.url) for result in record.results)
        if seen is None or seen.status is not RunStatus.SUCCESS or len(seen.usable) <= known:
            return record
        return await self._background.call(self.ledger.finished, record, seen.results)

    async def _watch(
        self, record: RunRecord, timeout_seconds: float, report: Report, *, is_new: bool, seen: Execution | None
    ) -> Ending:
        known = await self._background.call(self.ledger.durations_seconds, record)
        what = Watch(
            execution_id=record.execution_id,
            timeout_seconds=timeout_seconds,
            # The row may have been written long before: a submission waits for the limit, or is repeated the next day.
            age_seconds=0.0 if is_new else max(0.0, time.time() - record.submitted_at),
            known_durations_seconds=known,
            batch_count=record.batch_count,
            is_new=is_new,
            seen=seen,
        )
        try:
            return await self._watches.follow(what, report)
        except RunTimeoutError:
            log.info("%s", _summary(record, f"not ended after a wait of {timeout_seconds:.0f} s"))
            raise

    async def _settle(self, record: RunRecord, ending: Ending) -> RunRecord:
        """Write down how the run ended. Raises RunFailedError when that is without a usable picture."""
        execution, seconds = ending.execution, ending.seconds
        if execution.status is RunStatus.SUCCESS and execution.usable:
            return await self._background.call(self.ledger.finished, record, execution.results, seconds=seconds)
        record = await self._background.call(self.ledger.failed, record, seconds=seconds)
        log.info("%s", _summary(record, _came_of(execution)))
        raise _failure(execution)


def _run(record: RunRecord, request: SeedreamRequest | None, status: RunStatus, *, is_reused: bool) -> Run:
    clock = time.strftime("%H:%M", time.localtime(record.submitted_at)) if is_reused else ""
    return Run(
        record.execution_id,
        status,
        record.results,
        request,
        record.charge,
        record.seconds,
        reused_from=clock,
        batch_count=record.batch_count,
    )


def _failure(execution: Execution) -> RunFailedError:
    ended = f"Run {execution.execution_id} ended with the status {execution.status_text} "
    if execution.usable:
        return RunFailedError(
            f"{ended}after {_pictures(len(execution.usable))}. WeShop Load Result loads what there is by the execution "
            "id. Queueing the same request again makes a new run.",
            execution_id=execution.execution_id,
        )
    return RunFailedError(
        f"{ended}and without a usable picture. WeShop gives no reason; prompts and references that its content check "
        "refuses end this way. Change them, or queue again as they are to make a new run.",
        execution_id=execution.execution_id,
    )


def _summary(record: RunRecord, came_of: str, reused_from: str = "") -> str:
    """One line about a run for the log: id, model, size, what came of it, seconds, points."""
    parts = [f"run {record.execution_id}", record.model, record.image_size, came_of]
    parts += [f"{record.seconds:.1f} s"] if record.seconds is not None else []
    parts += [f"{record.charge.charged_points:g} points"] if record.charge.charged_points is not None else []
    parts += [f"reused from {reused_from}"] if reused_from else []
    return ", ".join(part for part in parts if part)


def _came_of(execution: Execution) -> str:
    return f"{execution.status_text}, {_pictures(len(execution.usable))}"


def _pictures(count: int) -> str:
    return "1 picture" if count == 1 else f"{count} pictures"
