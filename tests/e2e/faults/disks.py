"""What can be wrong with the folder of the ledger. Permissions do not stop root, so file systems have to."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

TINY_DISK_BYTES = 1_000_000
NEWER_VERSION = 999
FILLER = "filler"


@contextlib.contextmanager
def in_place_of(
    folder: Path,
    prepare: Callable[[Path], contextlib.AbstractContextManager[None]],
    moving: Callable[[], contextlib.AbstractContextManager[None]],
) -> Iterator[None]:
    """Give a folder another content for a while; it is moved within ``moving``."""
    kept = folder.with_name(f"{folder.name}.kept")
    folder.mkdir(parents=True, exist_ok=True)
    with moving():
        folder.rename(kept)
        folder.mkdir()
    try:
        with prepare(folder):
            yield
    finally:
        with moving():
            folder.rename(folder.with_name(f"{folder.name}.used-{time.monotonic_ns()}"))
            kept.rename(folder)


@contextlib.contextmanager
def tiny_disk(folder: Path) -> Iterator[None]:
    """A file system of its own, small enough to be filled."""
    _mount("-t", "tmpfs", "-o", f"size={TINY_DISK_BYTES},mode=700", "tmpfs", str(folder))
    try:
        yield
    finally:
        _as_root("umount", "--lazy", str(folder))


def fill(folder: Path) -> None:
    """Leave not a byte on the disk of this folder."""
    with contextlib.suppress(OSError), (folder / FILLER).open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    assert shutil.disk_usage(folder).free == 0, f"{folder} is not full"


@contextlib.contextmanager
def mounted_on_itself(folder: Path) -> Iterator[None]:
    """A second way to the folder that can be made read-only while files are open on the first."""
    yield
    _as_root("umount", "--lazy", str(folder))


def make_read_only(folder: Path) -> None:
    """Let nobody write any more through this path."""
    _mount("--bind", str(folder), str(folder))
    _mount("-o", "remount,bind,ro", str(folder))


def _mount(*arguments: str) -> None:
    _as_root("mount", *arguments)


def _as_root(*command: str) -> None:
    """Run a command of the system; the test fails with a sentence where that is not allowed."""
    said = "there is no such command on this system"
    if sys.platform == "linux":
        sudo = [] if os.geteuid() == 0 else ["sudo", "--non-interactive"]
        done = subprocess.run([*sudo, *command], check=False, capture_output=True, text=True)
        if not done.returncode:
            return
        said = done.stderr.strip()
    raise AssertionError(
        "A disk that is full or read-only can be shown only where this test may mount file systems: run it on Linux as "
        f"root, or as a user with password-less sudo. {' '.join(command)}: {said}"
    )


@contextlib.contextmanager
def _folder_in_its_place(folder: Path) -> Iterator[None]:
    (folder / "ledger.sqlite3").mkdir()
    yield


@contextlib.contextmanager
def _garbage(folder: Path) -> Iterator[None]:
    (folder / "ledger.sqlite3").write_bytes(b"garbage " * 1000)
    yield


@contextlib.contextmanager
def _newer_version(folder: Path) -> Iterator[None]:
    with contextlib.closing(sqlite3.connect(folder / "ledger.sqlite3")) as connection:
        connection.execute(f"PRAGMA user_version = {NEWER_VERSION}")
        connection.execute("CREATE TABLE of_the_future (id INTEGER)")
    yield


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with contextlib.closing(sqlite3.connect(folder / "ledger.sqlite3", isolation_level=None)) as connection:
        connection.execute("CREATE TABLE of_the_other (id INTEGER)")
        connection.execute("BEGIN EXCLUSIVE")
        yield


TROUBLES: dict[str, Callable[[Path], contextlib.AbstractContextManager[None]]] = {
    "a folder in its place": _folder_in_its_place,
    "garbage": _garbage,
    "written by a newer version": _newer_version,
    "locked by another program": _locked,
}
