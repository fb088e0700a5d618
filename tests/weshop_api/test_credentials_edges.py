"""Where exactly the limits of a key and of its file lie, and what is said when the disk refuses."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from weshop_api.addresses import Address
from weshop_api.credentials import (
    KEY_FILE,
    PLACEHOLDER_KEY,
    ApiKey,
    KeyState,
    Service,
    find_key,
    key_state,
    remove_key,
    save_key,
)
from weshop_api.errors import CredentialsError, UnusableKeyError

from .key_files import KEY, key_file, write_key_file

LARGEST_FILE_BYTES = 16_384
KEY_DOCUMENT = json.dumps({"api_key": KEY})


@pytest.mark.parametrize("length", [8, 500])
def test_a_key_has_at_least_eight_and_at_most_five_hundred_characters(length: int) -> None:
    assert ApiKey("k" * length).reveal() == "k" * length


@pytest.mark.parametrize(("length", "complaint"), [(7, "too short"), (501, "too long")])
def test_a_key_beyond_these_limits_is_refused(length: int, complaint: str) -> None:
    with pytest.raises(UnusableKeyError, match=f"The WeShop API key given is {complaint} to be a key"):
        ApiKey("k" * length)


def test_a_quoted_key_is_replaced_wherever_it_stands() -> None:
    assert ApiKey(KEY).masked_in(f"{KEY} and {KEY}".encode()) == b"*** and ***"


def test_the_placeholder_is_no_secret() -> None:
    assert ApiKey(PLACEHOLDER_KEY).masked_in(b"the emulator") == b"the emulator"


def test_the_largest_file_that_is_read_is_read_whole(tmp_path: Path) -> None:
    write_key_file(tmp_path, KEY_DOCUMENT.ljust(LARGEST_FILE_BYTES))

    assert find_key(Service(), {}, tmp_path).reveal() == KEY


def test_a_larger_file_is_refused_even_if_a_key_stands_at_its_beginning(tmp_path: Path) -> None:
    write_key_file(tmp_path, KEY_DOCUMENT.ljust(LARGEST_FILE_BYTES + 1))

    with pytest.raises(UnusableKeyError, match="is too large to be a key file"):
        find_key(Service(), {}, tmp_path)


def test_a_file_that_is_refused_counts_as_no_key(tmp_path: Path) -> None:
    write_key_file(tmp_path, "not JSON")

    state = key_state({}, tmp_path)

    assert not state.configured
    assert state.source == "the file ~/.config/weshop/credentials.json"
    assert "does not have the form" in state.problem


@pytest.mark.skipif(os.name != "posix", reason="links need a privilege on this system")
def test_a_link_that_leads_to_itself_is_refused_with_the_reason(tmp_path: Path) -> None:
    path = key_file(tmp_path)
    path.symlink_to(path)

    with pytest.raises(UnusableKeyError, match=r"cannot be opened: .*symbolic links"):
        find_key(Service(), {}, tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a private regular file that cannot be read")
def test_a_file_that_opens_but_cannot_be_read_is_refused_with_the_reason(tmp_path: Path) -> None:
    key_file(tmp_path).symlink_to("/proc/self/mem")

    with pytest.raises(UnusableKeyError, match=r"cannot be read: Input/output error"):
        find_key(Service(), {}, tmp_path)


def test_a_key_that_cannot_be_written_is_told_with_the_systems_reason(tmp_path: Path) -> None:
    (tmp_path / KEY_FILE).mkdir(parents=True)

    with pytest.raises(CredentialsError, match=r"could not be saved in the file ~/.*: [A-Z][a-z]+ ") as caught:
        save_key(KEY, tmp_path)

    assert "Error" not in str(caught.value)


def test_a_key_that_cannot_be_removed_is_an_error(tmp_path: Path) -> None:
    (tmp_path / KEY_FILE).mkdir(parents=True)

    with pytest.raises(CredentialsError, match=r"^The file ~/.config/weshop/credentials.json could not be removed: "):
        remove_key(tmp_path)


@pytest.mark.parametrize(
    ("base_url", "address"),
    [
        ("https://openapi.weshop.ai/openapi", Address("https", "openapi.weshop.ai", 443)),
        ("http://[::1]:8787/openapi", Address("http", "::1", 8787)),
    ],
)
def test_the_address_of_a_service_has_a_port_whether_or_not_it_is_written(base_url: str, address: Address) -> None:
    assert Service(base_url).address == address


@pytest.mark.parametrize(("value", "field"), [(Service(), "base_url"), (KeyState(configured=False), "configured")])
def test_neither_a_service_nor_a_state_is_changed_after_it_was_checked(value: object, field: str) -> None:
    with pytest.raises(AttributeError):
        setattr(value, field, "https://evil.example/openapi")
