"""Every file of the corpus: sound ones are read, hostile ones are refused with a sentence, and neither does harm."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.fuzz.make_corpus import FOLDER, addresses, hostile_pictures, replies, sound_pictures
from tests.fuzz.targets import READERS, STATUSES, TARGETS, read_address, read_picture, read_reply
from weshop_api.errors import WeShopError

# Pillow warns of broken details in sound pictures. A host shows warnings; only this test run turns them into errors.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

FINDINGS = Path(__file__).parent / "findings"
PUBLIC_ADDRESSES = 3
MOST_BYTES_FOR_A_REFUSAL = 300_000_000


def names(kind: str) -> list[str]:
    """Return the files of a kind, as they lie there."""
    return sorted(path.name for path in (FOLDER / kind).iterdir())


def test_the_corpus_is_complete() -> None:
    assert names("pictures/sound") == sorted(sound_pictures())
    assert names("pictures/hostile") == sorted(hostile_pictures())
    assert names("replies") == sorted(replies())
    assert names("addresses") == sorted(addresses())


@pytest.mark.parametrize("name", names("pictures/sound"))
def test_a_sound_picture_is_decoded(name: str) -> None:
    shape = read_picture((FOLDER / "pictures/sound" / name).read_bytes())

    assert isinstance(shape, tuple), shape


@pytest.mark.parametrize("name", names("pictures/hostile"))
def test_a_hostile_picture_is_refused(name: str) -> None:
    outcome = read_picture((FOLDER / "pictures/hostile" / name).read_bytes())

    assert isinstance(outcome, WeShopError)
    assert str(outcome).startswith("Picture 1 could not be read: ")


def test_refusing_everything_hostile_takes_little_memory() -> None:
    resource = pytest.importorskip("resource", reason="Windows keeps no such account of memory")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    for name in names("pictures/hostile"):
        read_picture((FOLDER / "pictures/hostile" / name).read_bytes())

    unit_bytes = 1 if sys.platform == "darwin" else 1024
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit_bytes < MOST_BYTES_FOR_A_REFUSAL


@pytest.mark.parametrize("status", range(len(STATUSES)))
@pytest.mark.parametrize("reader", range(len(READERS)))
def test_every_reply_is_read_or_refused_by_every_reader_at_every_status(reader: int, status: int) -> None:
    for name in names("replies"):
        body = (FOLDER / "replies" / name).read_bytes()[2:]

        assert read_reply(bytes([reader, status]) + body) is not NotImplemented


@pytest.mark.parametrize("name", names("addresses"))
def test_an_address_is_public_for_both_parsers_or_refused(name: str) -> None:
    outcome = read_address((FOLDER / "addresses" / name).read_bytes())

    assert isinstance(outcome, str) == (int(name[:2]) >= PUBLIC_ADDRESSES), outcome


def test_what_fuzzers_once_found_stays_mended() -> None:
    """`dev.py fuzz` says which file to put into `findings/<target>/`."""
    for path in sorted(FINDINGS.glob("*/*")):
        assert TARGETS[path.parent.name](path.read_bytes()) is not None, path
