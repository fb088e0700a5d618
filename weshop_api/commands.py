"""What ``python3 -m weshop_api`` does: make pictures, list past runs, bring them back, forget them, find trouble.

The ledger is the one that ComfyUI uses when this folder is installed there, so that both know the same runs.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import io
import os
import secrets
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from . import doctor, seedream
from .addresses import check_public_url
from .delivering import UNDELIVERED_SECONDS
from .errors import InvalidRequestError, UndeliveredError, UnusablePictureError, WeShopError, clean_text
from .ledger import Ledger, RunRecord, RunState
from .models import Picture, Reference, References
from .progress import Progress
from .seedream import SeedreamRequest
from .spool import FOLDER_NAME, Spool
from .uploading import PictureSource
from .weshop import DEFAULT_TIMEOUT_SECONDS, LEDGER_FILE, WeShop, default_folder

if TYPE_CHECKING:
    from typing_extensions import Self

    from .seedream import Run

SECONDS_PER_DAY = 86_400
MOST_LABEL_CHARACTERS = 80
_FOLDER_HELP = "where the ledger is"
# How files begin that the service takes as references.
_SIGNATURES = ((b"\x89PNG\r\n\x1a\n", "image/png", ".png"), (b"\xff\xd8\xff", "image/jpeg", ".jpg"))


class _ProgressLine:
    """One line on the error stream that is written over; a line for each change where that is no terminal."""

    def __init__(self) -> None:
        self._shown = ""
        self._overwrites = sys.stderr.isatty()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._clear()

    def show(self, progress: Progress) -> None:
        """Tell how far things are."""
        if str(progress) == self._shown:
            return
        self._clear()
        self._shown = str(progress)
        print(self._shown, end="" if self._overwrites else "\n", file=sys.stderr, flush=True)

    def print(self, text: str) -> None:
        """Print a line that stays."""
        self._clear()
        print(text, flush=True)

    def _clear(self) -> None:
        if self._overwrites and self._shown:
            print("\r" + " " * len(self._shown) + "\r", end="", file=sys.stderr, flush=True)
        self._shown = ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is 1 after an error, which is told in one paragraph."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # As on the error stream: a name that the encoding of the output lacks must not end a command half-way.
        sys.stdout.reconfigure(errors="backslashreplace")
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int | None] = options.command
    try:
        return command(options) or 0
    except WeShopError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted. A run that was accepted goes on at WeShop; see the list of runs.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m weshop_api", description="Seedream 5.0 through WeShop.")
    parser.add_argument("--folder", type=Path, default=default_folder(), help=f"{_FOLDER_HELP} (default: %(default)s)")
    commands = parser.add_subparsers(required=True, metavar="generate | runs | fetch | forget | doctor")
    _add_generate(commands.add_parser("generate", help="make pictures; costs points of your WeShop account"))
    runs = commands.add_parser("runs", help="list past runs, newest first")
    runs.add_argument("--limit", type=int, default=20, help="how many (default: %(default)s)")
    runs.set_defaults(command=_list_runs)
    fetch = commands.add_parser("fetch", help="bring back the pictures of a run; costs nothing")
    fetch.add_argument("execution_id")
    fetch.add_argument("out", type=Path, help="folder for the pictures")
    fetch.set_defaults(command=lambda options: asyncio.run(_fetch(options)))
    forget = commands.add_parser("forget", help="remove runs and their kept pictures here; they stay at WeShop")
    forget.add_argument("ids", nargs="*", help="execution ids")
    forget.add_argument("--older-than-days", type=float, help="ended runs and uploads that are older than this")
    forget.set_defaults(command=_forget)
    examine = commands.add_parser("doctor", help="say what works and what does not; costs nothing")
    examine.set_defaults(command=_examine)
    for after in commands.choices.values():
        # Only where it is given, or what stands before the command would be overwritten.
        after.add_argument("--folder", type=Path, default=argparse.SUPPRESS, help=_FOLDER_HELP)
    return parser


def _add_generate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("prompt")
    parser.add_argument("--out", type=Path, required=True, help="folder for the pictures")
    parser.add_argument("--model", choices=[m.label for m in seedream.MODELS], default=seedream.DEFAULT_MODEL.label)
    parser.add_argument("--image-size", choices=seedream.all_image_sizes(), default=seedream.DEFAULT_IMAGE_SIZE)
    parser.add_argument("--aspect-ratio", choices=seedream.all_aspect_ratios(), default=seedream.DEFAULT_ASPECT_RATIO)
    parser.add_argument("--output-format", choices=seedream.OUTPUT_FORMATS, default=seedream.DEFAULT_OUTPUT_FORMAT)
    parser.add_argument("--batch-count", type=int, default=1, help="1 to 16; each picture costs points")
    parser.add_argument("--web-search", action="store_true", help="look things up first (Lite only)")
    parser.add_argument(
        "--reference", action="append", default=[], metavar="FILE_OR_URL", help="image 1, image 2, ... in the prompt"
    )
    parser.add_argument(
        "--seed", type=int, help="names the run: the same request and seed is charged once (default: a new one)"
    )
    parser.add_argument("--task-name", default="", help="a label in your WeShop account")
    parser.add_argument("--timeout-minutes", type=float, default=DEFAULT_TIMEOUT_SECONDS / 60)
    parser.set_defaults(command=lambda options: asyncio.run(_generate(options)))


async def _generate(options: argparse.Namespace) -> None:
    seed = secrets.randbelow(2**53) if options.seed is None else options.seed
    try:
        await _generate_with(seed, options)
    except (WeShopError, asyncio.CancelledError):
        if options.seed is None:
            # Without it nobody could ask for the same run again.
            print(f"To go on with this very run, repeat the command with --seed {seed}", file=sys.stderr)
        raise


async def _generate_with(seed: int, options: argparse.Namespace) -> None:
    async with WeShop(folder=options.folder) as weshop:
        request = SeedreamRequest(
            prompt=options.prompt,
            model=seedream.model_by_label(options.model),
            image_size=options.image_size,
            aspect_ratio=options.aspect_ratio,
            output_format=options.output_format,
            batch_count=options.batch_count,
            web_search=options.web_search,
            task_name=options.task_name,
        )
        request.check()
        _make_folder(options.out)
        request = replace(request, references=await _references(weshop, options.reference))
        with _ProgressLine() as line:
            run = await weshop.generate(request, seed, options.timeout_minutes * 60, line.show)
            await _save(weshop, run, options.out, line)
        print(f"run {run.execution_id}, seed {seed}")


async def _fetch(options: argparse.Namespace) -> None:
    async with WeShop(folder=options.folder) as weshop:
        with _ProgressLine() as line:
            run = await weshop.fetch(options.execution_id, report=line.show)
            await _save(weshop, run, options.out, line)


async def _save(weshop: WeShop, run: Run, folder: Path, line: _ProgressLine) -> None:
    """Write each picture as soon as it is there: ``<execution id>_1.jpg``."""
    _make_folder(folder)
    # The service chooses the id, but not where files go.
    name = quote(run.execution_id, safe="")

    async def deliver(index: int, data: bytes) -> None:
        ending = next((ending for signature, _, ending in _SIGNATURES if data.startswith(signature)), ".bin")
        path = folder / f"{name}_{run.usable[index].number}{ending}"
        await asyncio.to_thread(_write, path, data)
        line.print(str(path))

    await weshop.load(run, deliver, line.show)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidRequestError(f"The folder {folder} cannot be used: {error.strerror}.") from None


def _write(path: Path, data: bytes) -> None:
    """Write a file that is not there yet. Raises UndeliveredError when that is not possible."""
    is_begun = False
    try:
        with path.open("xb") as file:
            is_begun = True
            file.write(data)
    except OSError as error:
        if isinstance(error, FileExistsError) and path.is_file() and path.read_bytes() == data:
            return
        if is_begun:
            # The beginning of a picture would stand in the way of the whole one.
            path.unlink(missing_ok=True)
        raise UndeliveredError(
            f"{path} cannot be written: {error.strerror}. Remove what is in the way, or choose another folder."
        ) from None


async def _references(weshop: WeShop, places: Sequence[str]) -> References:
    """Files are uploaded, addresses are passed on; the order stays."""
    addresses = {place: _address(place) for place in places if "://" in place}
    sources = [_source(Path(place)) for place in places if place not in addresses]
    uploaded = iter((await weshop.upload(sources)).references.items)
    return References(tuple(addresses.get(place) or next(uploaded) for place in places))


def _address(url: str) -> Reference:
    check_public_url(url)
    return Reference(url)


def _source(path: Path) -> PictureSource:
    """A file as it is. Raises UnusablePictureError for what the service would not take."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UnusablePictureError(f"The reference {path} cannot be read: {error.strerror}.") from None
    media_type = next((media_type for signature, media_type, _ in _SIGNATURES if data.startswith(signature)), "")
    if not media_type or len(data) > seedream.MAX_REFERENCE_BYTES:
        limit = seedream.MAX_REFERENCE_BYTES // 1_000_000
        raise UnusablePictureError(f"The reference {path} must be a PNG or JPEG file of at most {limit} MB.")
    picture = Picture(data, media_type, 0, 0)

    async def content_hash() -> str:
        return hashlib.sha256(data).hexdigest()

    async def encode() -> Picture:
        return picture

    return PictureSource(content_hash, encode)


def _list_runs(options: argparse.Namespace) -> None:
    runs = _ledger(options).recent_runs(options.limit)
    if not runs:
        print(f"There are no runs in {options.folder / LEDGER_FILE}.")
    for run in runs:
        print(_row(run))


def _row(run: RunRecord) -> str:
    """Id, time, status, model, size, count, delivered or not."""
    clock = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.submitted_at))
    delivered = "delivered" if run.delivered else "not delivered" if run.state is RunState.SUCCESS else ""
    name = run.execution_id or f"({run.idempotency_key})"
    cells = (f"{name:<24}", clock, f"{run.state.value:<10}", run.model, run.image_size, f"x{run.batch_count}")
    return "  ".join((*cells, delivered, clean_text(run.task_name, MOST_LABEL_CHARACTERS))).rstrip()


def _forget(options: argparse.Namespace) -> None:
    if not options.ids and options.older_than_days is None:
        raise InvalidRequestError("Say what to forget: execution ids, or --older-than-days.")
    before = None if options.older_than_days is None else time.time() - options.older_than_days * SECONDS_PER_DAY
    gone = _ledger(options).forget(before=before, ids=options.ids)
    spool = Spool(options.folder / FOLDER_NAME, warn=_warn)
    for execution_id in gone:
        spool.drop(execution_id)
    spool.sweep(UNDELIVERED_SECONDS)
    print(f"{len(gone)} run{'' if len(gone) == 1 else 's'} forgotten.")


def _examine(options: argparse.Namespace) -> int:
    findings = asyncio.run(doctor.examine(os.environ, Path.home(), options.folder / LEDGER_FILE))
    print(*findings, sep="\n")
    return 0 if doctor.is_well(findings) else 1


def _ledger(options: argparse.Namespace) -> Ledger:
    return Ledger(options.folder / LEDGER_FILE, warn=_warn)


def _warn(text: str) -> None:
    print(text, file=sys.stderr)
