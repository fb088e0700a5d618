"""Pictures that were downloaded but not yet handed on, kept on disk until their whole run has been delivered.

Losing one costs a second download and nothing else, so the spool never raises: what cannot be kept is not kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

DEFAULT_MAX_BYTES = 2_000_000_000
FOLDER_NAME = "undelivered"  # Beside the ledger.

_NAME_DIGITS = 32
_ADDRESS_DIGITS = 16
_CHECKSUM_DIGITS = 64
_UNFINISHED_SUFFIX = ".unfinished"
_UNFINISHED_STALE_SECONDS = 3600.0


class Spool:
    """Files in one folder: a subfolder for each run, a file for each picture, its checksum in the name.

    A picture goes by the address it was fetched from: its number may belong to another one while the run is going.
    ``folder`` None keeps nothing. ``max_bytes`` bounds the whole folder; what was kept longest ago goes first.
    ``clock`` gives unix seconds and is compared with the times of the files. Several processes may share a folder.
    """

    def __init__(
        self,
        folder: Path | None,
        *,
        warn: Callable[[str], None],
        max_bytes: int = DEFAULT_MAX_BYTES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder
        self._warn = warn
        self._max_bytes = max_bytes
        self._clock = clock
        self._has_warned = False

    def keep(self, execution_id: str, address: str, data: bytes) -> bool:
        """Keep the picture of this run that came from ``address``. False when that was not possible."""
        if self._folder is None or len(data) > self._max_bytes:
            return False
        run_folder = _run_folder(self._folder, execution_id)
        try:
            self._make_room(self._folder, len(data), spared=run_folder)
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                _write(run_folder, address, data)
            except FileNotFoundError:
                # Another process that delivered this run has just removed its folder.
                _write(run_folder, address, data)
        except OSError as error:
            self._warn_once(self._folder, error)
            return False
        return True

    def get(self, execution_id: str, address: str) -> bytes | None:
        """The kept picture, exactly as it arrived; None when there is none or when it was damaged since."""
        if self._folder is None:
            return None
        for path in _pictures(_run_folder(self._folder, execution_id), address):
            with contextlib.suppress(OSError):
                data = path.read_bytes()
                if path.name == _picture_name(address, data):
                    return data
        return None

    def discard(self, execution_id: str, address: str) -> None:
        """Remove one picture, for instance one that turned out to be none."""
        if self._folder is not None:
            for path in _pictures(_run_folder(self._folder, execution_id), address):
                _remove_file(path)

    def drop(self, execution_id: str) -> None:
        """Remove all pictures of this run."""
        if self._folder is not None:
            shutil.rmtree(_run_folder(self._folder, execution_id), ignore_errors=True)

    def sweep(self, older_than_seconds: float) -> None:
        """Remove what nobody came for, and what writing left behind when its process was killed."""
        if self._folder is None:
            return
        now = self._clock()
        for kept in _everything(self._folder):
            limit_seconds = older_than_seconds
            if kept.path.suffix == _UNFINISHED_SUFFIX:
                limit_seconds = min(limit_seconds, _UNFINISHED_STALE_SECONDS)
            if now - kept.changed_at > limit_seconds:
                _remove_file(kept.path)

    def _make_room(self, folder: Path, needed_bytes: int, spared: Path) -> None:
        """Remove the oldest pictures of other runs, and of this one where that does not suffice."""
        kept = sorted(_everything(folder), key=lambda file: (file.path.parent == spared, file.changed_at))
        excess_bytes = sum(file.size_bytes for file in kept) + needed_bytes - self._max_bytes
        for file in kept:
            if excess_bytes <= 0:
                return
            if file.path.suffix != _UNFINISHED_SUFFIX:
                _remove_file(file.path)
                excess_bytes -= file.size_bytes

    def _warn_once(self, folder: Path, error: OSError) -> None:
        if self._has_warned:
            return
        self._has_warned = True
        self._warn(
            f"Downloaded pictures cannot be kept in {folder} ({error.strerror or error}). Everything works without; "
            "only when one picture of a run cannot be fetched, the others are downloaded again with it. Make sure that "
            "the folder can be written and that the disk is not full."
        )


@dataclass(frozen=True, slots=True)
class _Kept:
    """A file in the spool; ``changed_at`` in unix seconds."""

    path: Path
    size_bytes: int
    changed_at: float


_BINARY = getattr(os, "O_BINARY", 0)
_HEXADECIMAL = re.compile("[0-9a-f]+")


def _run_folder(folder: Path, execution_id: str) -> Path:
    """The id comes from outside and may be anything, so its checksum serves as the name."""
    return folder / _digest(execution_id)[:_NAME_DIGITS]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()


def _write(run_folder: Path, address: str, data: bytes) -> None:
    run_folder.mkdir(mode=0o700, exist_ok=True)
    unfinished = run_folder / f"{uuid.uuid4().hex}{_UNFINISHED_SUFFIX}"
    try:
        with os.fdopen(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY | _BINARY, 0o600), "wb") as file:
            file.write(data)
        # The name holds the checksum, so a file that a power failure left half written is found out when it is read,
        # and there is no need to wait for the disk here.
        unfinished.replace(run_folder / _picture_name(address, data))
    except BaseException:
        _remove_file(unfinished)
        raise


def _picture_name(address: str, data: bytes) -> str:
    return f"{_digest(address)[:_ADDRESS_DIGITS]}-{hashlib.sha256(data).hexdigest()}"


def _pictures(run_folder: Path, address: str) -> list[Path]:
    """What is kept of this address: one file, or two when two processes fetched different bytes."""
    beginning = f"{_digest(address)[:_ADDRESS_DIGITS]}-"
    with contextlib.suppress(OSError):
        return [path for path in run_folder.iterdir() if path.name.startswith(beginning)]
    return []


def _everything(folder: Path) -> Iterator[_Kept]:
    """Only what the spool wrote itself: a folder that somebody pointed elsewhere must not lose its files."""
    for run_folder in _entries(folder):
        if len(run_folder.name) != _NAME_DIGITS or run_folder.is_symlink():
            continue
        for path in _entries(run_folder):
            with contextlib.suppress(OSError):
                if _is_ours(path):
                    status = path.stat()
                    yield _Kept(path, status.st_size, status.st_mtime)


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _is_ours(path: Path) -> bool:
    # Version 0.1.0 wrote a picture's number where the digest of its address stands now.
    beginning, _, checksum = path.name.partition("-")
    is_picture = bool(_HEXADECIMAL.fullmatch(beginning)) and len(checksum) == _CHECKSUM_DIGITS
    return is_picture or path.suffix == _UNFINISHED_SUFFIX


def _remove_file(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
    with contextlib.suppress(OSError):
        path.parent.rmdir()
