"""The spool: pictures on disk between their download and their delivery."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from weshop_api.spool import Spool

from .file_modes import file_modes_count


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def spool(tmp_path: Path, warnings: list[str]) -> Iterator[Spool]:
    yield Spool(tmp_path / "undelivered", warn=warnings.append)
    assert warnings == []


@pytest.fixture
def read_only_folder() -> Iterator[Path]:
    """A folder in which this process cannot write."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o555)
        with file_modes_count():
            yield folder
        folder.chmod(0o755)


def test_a_kept_picture_comes_back_byte_for_byte(spool: Spool) -> None:
    data = bytes(range(256)) * 1000

    assert spool.keep("run-1", "2", data)

    assert spool.get("run-1", "2") == data


def test_a_kept_picture_is_found_by_another_process(spool: Spool, tmp_path: Path) -> None:
    spool.keep("run-1", "1", b"picture")

    assert Spool(tmp_path / "undelivered", warn=pytest.fail).get("run-1", "1") == b"picture"


def test_runs_and_addresses_are_kept_apart(spool: Spool) -> None:
    spool.keep("run-1", "1", b"one")
    spool.keep("run-1", "11", b"eleven")
    spool.keep("run-2", "1", b"other")

    assert spool.get("run-1", "1") == b"one"
    assert spool.get("run-1", "11") == b"eleven"
    assert spool.get("run-2", "1") == b"other"
    assert spool.get("run-2", "11") is None


def test_dropping_a_run_leaves_the_others(spool: Spool, tmp_path: Path) -> None:
    spool.keep("run-1", "1", b"one")
    spool.keep("run-2", "1", b"two")

    spool.drop("run-1")

    assert spool.get("run-1", "1") is None
    assert spool.get("run-2", "1") == b"two"
    assert len(list((tmp_path / "undelivered").iterdir())) == 1


def test_discarding_removes_one_picture(spool: Spool) -> None:
    spool.keep("run-1", "1", b"one")
    spool.keep("run-1", "11", b"eleven")

    spool.discard("run-1", "1")

    assert spool.get("run-1", "1") is None
    assert spool.get("run-1", "11") == b"eleven"


@given(execution_id=st.text(st.characters(), max_size=300))
@settings(max_examples=60, deadline=None)
def test_no_execution_id_leads_out_of_the_folder(execution_id: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "a" / "undelivered"
        spool = Spool(folder, warn=pytest.fail)

        spool.keep(execution_id, "1", b"picture")

        assert spool.get(execution_id, "1") == b"picture"
        files = [path for path in Path(name).rglob("*") if path.is_file()]
        assert [path.parent.parent for path in files] == [folder]
        assert len(files[0].parent.name) == 32


@pytest.mark.parametrize("damage", [b"", b"pict", b"picturE", b"picture and more"])
def test_a_picture_that_was_damaged_on_disk_is_not_handed_on(spool: Spool, tmp_path: Path, damage: bytes) -> None:
    spool.keep("run-1", "1", b"picture")
    (file,) = (path for path in tmp_path.rglob("*") if path.is_file())

    file.write_bytes(damage)

    assert spool.get("run-1", "1") is None


def test_files_and_folders_are_private(spool: Spool, tmp_path: Path) -> None:
    spool.keep("run-1", "1", b"picture")

    modes = {path.stat().st_mode & 0o077 for path in (tmp_path / "undelivered").rglob("*")}
    assert modes == {0} or os.name == "nt"


def test_the_oldest_pictures_make_room_for_new_ones(tmp_path: Path) -> None:
    spool = Spool(tmp_path, warn=pytest.fail, max_bytes=250)
    for number, run in enumerate(("old", "middle", "young")):
        spool.keep(run, "1", bytes([number]) * 80)
        for path in tmp_path.rglob("*"):
            os.utime(path, (path.stat().st_mtime - 10, path.stat().st_mtime - 10))

    assert spool.keep("new", "1", b"n" * 90)

    assert spool.get("old", "1") is None
    assert spool.get("middle", "1") is not None
    assert spool.get("young", "1") is not None
    assert spool.get("new", "1") == b"n" * 90


def test_a_run_makes_room_for_itself_last(tmp_path: Path) -> None:
    spool = Spool(tmp_path, warn=pytest.fail, max_bytes=250)
    spool.keep("mine", "1", b"1" * 80)
    spool.keep("other", "1", b"o" * 80)

    spool.keep("mine", "2", b"2" * 100)

    assert spool.get("mine", "1") is not None
    assert spool.get("other", "1") is None


def test_a_picture_larger_than_the_whole_spool_is_not_kept_and_removes_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path, warn=pytest.fail, max_bytes=100)
    spool.keep("run-1", "1", b"small")

    assert not spool.keep("run-2", "1", b"x" * 101)

    assert spool.get("run-1", "1") == b"small"


def test_foreign_files_in_the_folder_are_neither_counted_nor_removed(tmp_path: Path) -> None:
    spool = Spool(tmp_path, warn=pytest.fail, max_bytes=100)
    diary = tmp_path / "diary.txt"
    diary.write_bytes(b"d" * 1000)
    nested = tmp_path / ("a" * 32) / "notes.txt"
    nested.parent.mkdir()
    nested.write_bytes(b"n" * 900)

    spool.keep("run-1", "1", b"x" * 90)
    spool.sweep(older_than_seconds=-1)

    assert diary.exists()
    assert nested.exists()
    assert spool.get("run-1", "1") is None


def test_what_the_first_version_kept_under_a_number_is_swept_too(tmp_path: Path) -> None:
    old = tmp_path / ("a" * 32) / f"3-{'0' * 64}"
    old.parent.mkdir()
    old.write_bytes(b"picture")

    Spool(tmp_path, warn=pytest.fail).sweep(older_than_seconds=-1)

    assert not old.exists()


def test_sweeping_removes_what_nobody_came_for(tmp_path: Path) -> None:
    now = [1_000_000.0]
    spool = Spool(tmp_path, warn=pytest.fail, clock=lambda: now[0])
    spool.keep("run-1", "1", b"picture")
    written_at = next(path for path in tmp_path.rglob("*") if path.is_file()).stat().st_mtime

    now[0] = written_at + 99
    spool.sweep(older_than_seconds=100)
    kept_before = spool.get("run-1", "1")
    now[0] = written_at + 101
    spool.sweep(older_than_seconds=100)

    assert kept_before == b"picture"
    assert list(tmp_path.iterdir()) == []


def test_sweeping_removes_what_a_killed_process_left_half_written(tmp_path: Path) -> None:
    now = [1_000_000.0]
    spool = Spool(tmp_path, warn=pytest.fail, clock=lambda: now[0])
    spool.keep("run-1", "1", b"picture")
    finished = next(path for path in tmp_path.rglob("*") if path.is_file())
    unfinished = finished.with_name("0123.unfinished")
    unfinished.write_bytes(b"pict")

    now[0] = unfinished.stat().st_mtime + 3601
    spool.sweep(older_than_seconds=1_000_000)

    assert not unfinished.exists()
    assert spool.get("run-1", "1") == b"picture"


@pytest.mark.skipif(sys.platform == "win32", reason="on Windows no mode keeps anybody from writing into a folder")
def test_a_folder_that_cannot_be_written_is_warned_about_once(read_only_folder: Path, warnings: list[str]) -> None:
    spool = Spool(read_only_folder / "undelivered", warn=warnings.append)

    outcomes = [spool.keep("run-1", str(number), b"picture") for number in (1, 2)]
    found = spool.get("run-1", "1")
    spool.drop("run-1")
    spool.discard("run-1", "1")
    spool.sweep(0)

    assert outcomes == [False, False]
    assert found is None
    assert len(warnings) == 1
    assert str(read_only_folder) in warnings[0]


def test_a_file_in_the_place_of_the_folder_is_survived(tmp_path: Path, warnings: list[str]) -> None:
    place = tmp_path / "undelivered"
    place.write_text("not a folder")
    spool = Spool(place, warn=warnings.append)

    assert not spool.keep("run-1", "1", b"picture")

    assert spool.get("run-1", "1") is None
    assert len(warnings) == 1
    assert place.read_text() == "not a folder"


def test_a_write_that_fails_half_way_leaves_nothing_behind(tmp_path: Path, warnings: list[str]) -> None:
    resource = pytest.importorskip("resource", reason="only Unix can limit the size of a process's files")
    signal = pytest.importorskip("signal")
    spool = Spool(tmp_path, warn=warnings.append)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        outcome = spool.keep("run-1", "1", b"x" * 300_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)

    assert not outcome
    assert len(warnings) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_run_folder_that_vanishes_is_made_again(spool: Spool, tmp_path: Path) -> None:
    spool.keep("run-1", "1", b"one")
    Spool(tmp_path / "undelivered", warn=pytest.fail).drop("run-1")

    assert spool.keep("run-1", "2", b"two")

    assert spool.get("run-1", "2") == b"two"


def test_without_a_folder_nothing_is_kept() -> None:
    spool = Spool(None, warn=pytest.fail)

    assert not spool.keep("run-1", "1", b"picture")

    spool.drop("run-1")
    spool.discard("run-1", "1")
    spool.sweep(0)
    assert spool.get("run-1", "1") is None
