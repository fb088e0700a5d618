"""The service itself, without sockets: uploads, runs, points and what each call answers.

Everything here is quick and guarded by one lock, so it may be called from the server's loop and from tests alike.
Points and prices are synthetic: the service publishes none.
"""

from __future__ import annotations

import copy
import ipaddress
import secrets
import threading
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any
from urllib.parse import urlsplit

from .contract import Generation, read_generation
from .fault_queue import Where
from .faults import Outcome
from .replies import (
    NOT_ENOUGH_POINTS,
    NOT_FOUND,
    TOO_MANY_AT_ONCE,
    WRONG_KEY,
    Refusal,
    RefusedError,
    Reply,
    refuse_parameter,
    success,
)
from .runs import PENDING, RUNNING, SUCCESS, ByPolls, Ending, Pace, RunRecord
from .uploads import ACCEPTED_FORMATS, FilePart, Picture, UploadRecord, content_hash


@dataclass(frozen=True, slots=True)
class Settings:
    """How the emulated service behaves. All numbers about points are synthetic."""

    pace: Pace = ByPolls(3)  # noqa: RUF009 - a frozen value
    strict: bool = True
    max_runs_at_once: int | None = None
    """More runs in flight than this are refused with 40005 (None: no limit)."""
    points_balance: int = 100_000
    points_per_picture: int = 10
    says_points: bool = True
    """Whether a submit answers `powerConsumption` and `powerBalanceAmount`."""
    rejected_keys: Collection[str] = ("rejected",)


@dataclass(slots=True)
class _Run:
    number: int
    execution_id: str
    task_id: str
    idempotency_key: str | None
    body: dict[str, Any]
    generation: Generation
    pixel_size: tuple[int, int]
    pace: Pace
    ending: Ending
    charged: int
    balance_after: int
    created_at_seconds: float
    execution_time: str
    polls: int = 0
    submits: int = 1
    tokens: list[str] = field(default_factory=list)
    """One for each picture; part of its URL, exchanged when results expire."""


@dataclass(frozen=True, slots=True)
class PictureOrder:
    """All that decides what a result looks like."""

    run: int
    number: int
    execution_id: str
    generation: Generation
    pixel_size: tuple[int, int]
    references: tuple[tuple[str, Picture | None], ...]
    """(content hash or URL, picture) in order; None for a public URL, which is never fetched."""


class Service:
    """Uploads, runs and points."""

    def __init__(self, settings: Settings, clock: Callable[[], float]) -> None:
        self._settings, self._clock = settings, clock
        self._lock = threading.RLock()
        self._uploads: dict[str, UploadRecord] = {}
        self._pictures: dict[str, Picture] = {}
        self._runs: dict[str, _Run] = {}
        self._by_key: dict[str, _Run] = {}
        self._balance = settings.points_balance
        self._all_end_now_below = 0
        self.files_url = ""

    # Calls of the API ------------------------------------------------------------------------------------------

    def check_key(self, authorization: str | None) -> None:
        """Refuse a missing, prefixed or rejected key."""
        problem = None
        if not authorization or not authorization.strip():
            problem = "the Authorization header with the API key is missing"
        elif authorization.lower().startswith("bearer "):
            problem = "the API key stands in Authorization as it is, without 'Bearer '"
        elif authorization in self._settings.rejected_keys:
            problem = "the API key is wrong"
        if problem:
            raise RefusedError(Refusal(401, WRONG_KEY, problem))

    def upload(self, part: FilePart, picture: Picture) -> Reply:
        """Keep an uploaded picture and name its URL."""
        extension = ACCEPTED_FORMATS[picture.picture_format]
        day = datetime.now(timezone.utc).strftime("%Y%m%d")
        path = f"/uploads/{day}_1_{uuid.uuid4()}_{picture.width}x{picture.height}.{extension}"
        record = UploadRecord(
            url=self.files_url + path,
            file_name=part.file_name,
            content_type=part.content_type,
            data=part.data,
            sha256=content_hash(part.data),
            picture_format=picture.picture_format,
            width=picture.width,
            height=picture.height,
            is_expired=False,
            created_at_seconds=self._clock(),
        )
        with self._lock:
            self._uploads[path] = record
            self._pictures[record.sha256] = picture
        return success({"image": record.url})

    def submit(self, document: object, idempotency_key: str | None, outcome: Outcome | None) -> tuple[Reply, bool]:
        """Create a run, or answer the first one again; also say whether the ordered outcome was given to a run."""
        with self._lock:
            first = self._by_key.get(idempotency_key or "")
            if first is not None:
                return self._replay(first, document), False
            generation = read_generation(document, strict=self._settings.strict)
            self._check_references(generation)
            self._check_capacity(generation)
            ending = Ending() if outcome is None else outcome.ending
            fits = max((*ending.missing, 0)) <= generation.batch_count
            run = self._create(document, generation, idempotency_key)
            if outcome is not None and fits:
                run.ending, run.pace = ending, outcome.pace or run.pace
            return self._accepted(run), fits

    def estimate(self, document: object) -> Reply:
        """Say what a run would cost; creates nothing."""
        generation = read_generation(document, strict=self._settings.strict)
        total = self._settings.points_per_picture * generation.batch_count
        with self._lock:
            enough = total <= self._balance
        data = {"totalPower": total, "type": "image", "exclusive": False, "paidPowerNotEnough": not enough}
        return success({**data, "isEstimated": True})

    def situation_of_poll(self, execution_id: str) -> Where:
        """Say what the next poll of this run is about to show, without advancing it."""
        with self._lock:
            run = self._runs.get(execution_id)
            if run is None:
                return Where(run=0, result=0, status="")
            return Where(run=run.number, status=self._state(run, run.polls + 1)[0])

    def poll(self, execution_id: str) -> Reply:
        """Advance a run by one poll and show it."""
        with self._lock:
            run = self._runs.get(execution_id)
            if run is None:
                raise RefusedError(Refusal(404, NOT_FOUND, "no run has this execution id"))
            run.polls += 1
            status, results = self._state(run, run.polls)
            execution = {
                "executionId": run.execution_id,
                "status": status,
                "executionTime": run.execution_time,
                "params": copy.deepcopy(run.body["params"]),
                "result": results,
            }
            agent = run.body["agent"]
            data = {
                "agentName": agent["name"],
                "agentVersion": agent["version"],
                "initParams": copy.deepcopy(run.body["input"]),
                "executions": [execution],
            }
            return success(data, run.execution_id)

    # Files -----------------------------------------------------------------------------------------------------

    def uploaded_file(self, path: str) -> UploadRecord | None:
        """Return the upload at this path of the files server."""
        with self._lock:
            return self._uploads.get(path)

    def situation_of_download(self, execution_id: str, number: int) -> Where:
        """Say which run and result a download is about."""
        with self._lock:
            run = self._runs.get(execution_id)
            return Where(run=0 if run is None else run.number, result=number)

    def picture_order(self, execution_id: str, number: int, token: str) -> PictureOrder:
        """Return what to draw for a result's URL; refuse unknown (404) and expired ones (403)."""
        with self._lock:
            run = self._runs.get(execution_id)
            if run is None or not 1 <= number <= run.generation.batch_count or number in run.ending.missing:
                raise RefusedError(Refusal(404, NOT_FOUND, "no such file"))
            if run.tokens[number - 1] != token:
                raise RefusedError(Refusal(403, NOT_FOUND, "the link has expired"))
            references = tuple(self._reference(url) for url in run.generation.references)
            return PictureOrder(run.number, number, execution_id, run.generation, run.pixel_size, references)

    # What tests see and do -------------------------------------------------------------------------------------

    @property
    def runs(self) -> tuple[RunRecord, ...]:
        """All runs in the order of creation."""
        with self._lock:
            return tuple(self._record(run) for run in self._runs.values())

    @property
    def uploads(self) -> tuple[UploadRecord, ...]:
        """All uploads in the order of arrival."""
        with self._lock:
            return tuple(self._uploads.values())

    @property
    def points_balance(self) -> int:
        """What is left of the synthetic points."""
        with self._lock:
            return self._balance

    def expire_uploads(self) -> None:
        """Make every URL uploaded so far unusable."""
        with self._lock:
            self._uploads = {path: replace(record, is_expired=True) for path, record in self._uploads.items()}

    def expire_results(self) -> None:
        """Make every result URL handed out so far answer 403; the next poll gives fresh ones."""
        with self._lock:
            for run in self._runs.values():
                run.tokens = _tokens(run.generation.batch_count)

    def finish_runs(self) -> None:
        """Let every run created so far be at its end with the next poll, whatever its pace."""
        with self._lock:
            self._all_end_now_below = len(self._runs) + 1

    # Inside ----------------------------------------------------------------------------------------------------

    def _create(self, document: object, generation: Generation, idempotency_key: str | None) -> _Run:
        if not isinstance(document, dict):
            raise TypeError("a checked document is an object")
        charge = self._settings.points_per_picture * generation.batch_count
        self._balance -= charge
        first = self._reference(generation.references[0])[1] if generation.references else None
        size = None if first is None else (first.width, first.height)
        run = _Run(
            number=len(self._runs) + 1,
            execution_id=secrets.token_hex(12),
            task_id=secrets.token_hex(12),
            idempotency_key=idempotency_key,
            body=copy.deepcopy(document),
            generation=generation,
            pixel_size=generation.model.pixels(generation.size, generation.ratio, size),
            pace=self._settings.pace,
            ending=Ending(),
            charged=charge,
            balance_after=self._balance,
            created_at_seconds=self._clock(),
            execution_time=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%S"),
            tokens=_tokens(generation.batch_count),
        )
        self._runs[run.execution_id] = run
        if idempotency_key:
            self._by_key[idempotency_key] = run
        return run

    def _accepted(self, run: _Run) -> Reply:
        data: dict[str, Any] = {"executionId": run.execution_id, "taskId": run.task_id}
        if self._settings.says_points:
            data.update(powerConsumption=run.charged, powerBalanceAmount=run.balance_after)
        return success(data, run.execution_id)

    def _replay(self, first: _Run, document: object) -> Reply:
        if document != first.body:
            raise refuse_parameter("this Idempotency-Key was used for another request", 409)
        first.submits += 1
        return self._accepted(first)

    def _check_capacity(self, generation: Generation) -> None:
        limit = self._settings.max_runs_at_once
        in_flight = sum(self._state(run, run.polls)[0] in {PENDING, RUNNING} for run in self._runs.values())
        if limit is not None and in_flight >= limit:
            message = "the plan's limit of simultaneous executions is exceeded"
            raise RefusedError(Refusal(429, TOO_MANY_AT_ONCE, message, retryable=True))
        if self._settings.points_per_picture * generation.batch_count > self._balance:
            message = "Insufficient points: the balance is not enough for this run"
            raise RefusedError(Refusal(402, NOT_ENOUGH_POINTS, message))

    def _check_references(self, generation: Generation) -> None:
        for number, url in enumerate(generation.references, start=1):
            if url.startswith(self.files_url + "/"):
                record = self._uploads.get(url.removeprefix(self.files_url))
                if record is None or record.is_expired:
                    raise refuse_parameter(f"image {number} cannot be read: its URL has expired or never existed")
            elif not _is_public_https(url):
                raise refuse_parameter(f"image {number} is neither an uploaded picture nor a public https URL")

    def _reference(self, url: str) -> tuple[str, Picture | None]:
        record = self._uploads.get(url.removeprefix(self.files_url))
        return (url, None) if record is None else (record.sha256, self._pictures[record.sha256])

    def _state(self, run: _Run, polls: int) -> tuple[str, list[dict[str, str]]]:
        count = run.generation.batch_count
        progress = run.pace.progress(polls, self._clock() - run.created_at_seconds, count)
        if progress.phase == "ended" or (run.number < self._all_end_now_below and polls > 0):
            return run.ending.status, self._results(run, count) if run.ending.status == SUCCESS else []
        if progress.phase == "pending":
            return PENDING, []
        return RUNNING, self._results(run, progress.finished)

    def _results(self, run: _Run, finished: int) -> list[dict[str, str]]:
        results = []
        for number in range(1, finished + 1):
            if number not in run.ending.missing:
                results.append({"status": SUCCESS, "image": self._result_url(run, number)})
            elif run.ending.missing_as == "failed":
                results.append({"status": "Failed"})
            elif run.ending.missing_as == "without image":
                results.append({"status": SUCCESS})
        return results

    def _result_url(self, run: _Run, number: int) -> str:
        width, height = run.pixel_size
        name = f"{number}_{run.tokens[number - 1]}_{width}x{height}.{run.generation.output_format}"
        return f"{self.files_url}/results/{run.execution_id}/{name}"

    def _record(self, run: _Run) -> RunRecord:
        generation = run.generation
        return RunRecord(
            number=run.number,
            execution_id=run.execution_id,
            idempotency_key=run.idempotency_key,
            body=copy.deepcopy(run.body),
            status=self._state(run, run.polls)[0],
            model=generation.model.name,
            image_size=generation.size,
            aspect_ratio=generation.ratio,
            output_format=generation.output_format,
            batch_count=generation.batch_count,
            prompt=generation.prompt,
            references=generation.references,
            pixel_size=run.pixel_size,
            power_consumption=run.charged,
            created_at_seconds=run.created_at_seconds,
            submits=run.submits,
            polls=run.polls,
        )


def _tokens(count: int) -> list[str]:
    return [secrets.token_hex(8) for _ in range(count)]


def _is_public_https(url: str) -> bool:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    if parts.scheme != "https" or parts.username is not None:
        return False
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return "." in host and not host.endswith((".local", ".localhost", ".internal"))
