"""Where the key comes from, what is refused, and that nothing shows it."""

from __future__ import annotations

import copy
import json
import os
import pickle
import stat
import sys
import traceback
from pathlib import Path

import pytest
from hypothesis import example, given, strategies as st

from weshop_api.credentials import (
    KEY_FILE,
    PLACEHOLDER_KEY,
    REAL_BASE_URL,
    ApiKey,
    KeyState,
    Service,
    find_key,
    key_state,
    remove_key,
    save_key,
)
from weshop_api.errors import CredentialsError, ForbiddenDestinationError, MissingKeyError, UnusableKeyError

from .key_files import KEY, write_key_file

OTHER_KEY = "other-key-not-real-4567"
POSIX_ONLY = pytest.mark.skipif(os.name != "posix", reason="this system has no such file modes")


def problem_of(home: Path) -> str:
    with pytest.raises(UnusableKeyError) as caught:
        find_key(Service(), {}, home)
    return str(caught.value)


def shows(error: BaseException, secret: str) -> bool:
    report = traceback.TracebackException.from_exception(error, capture_locals=True)
    outside = "".join(
        line for frame in report.stack for line in (frame.locals or {}).values() if frame.filename != __file__
    )
    return secret in outside or secret in str(error) or error.__context__ is not None or error.__cause__ is not None


def test_the_variable_goes_before_the_file(tmp_path: Path) -> None:
    write_key_file(tmp_path, json.dumps({"api_key": OTHER_KEY}))

    key = find_key(Service(), {"WESHOP_API_KEY": KEY}, tmp_path)

    assert key.reveal() == KEY
    assert key.source == "the environment variable WESHOP_API_KEY"


@pytest.mark.parametrize("environ", [{}, {"WESHOP_API_KEY": ""}, {"WESHOP_API_KEY": " \n"}])
def test_without_a_variable_the_file_is_read(environ: dict[str, str], tmp_path: Path) -> None:
    write_key_file(tmp_path, json.dumps({"api_key": OTHER_KEY}))

    key = find_key(Service(), environ, tmp_path)

    assert key.reveal() == OTHER_KEY
    assert key.source == "the file ~/.config/weshop/credentials.json"


@pytest.mark.parametrize("content", [None, '{"api_key": ""}', '{"api_key": "  "}'])
def test_without_any_key_the_message_says_where_to_get_one(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        write_key_file(tmp_path, content)

    with pytest.raises(MissingKeyError, match=r"https://open\.weshop\.ai/authorization/apikey"):
        find_key(Service(), {}, tmp_path)


def test_a_service_on_this_machine_gets_the_placeholder_and_never_the_users_key(tmp_path: Path) -> None:
    service = Service.from_environment({"WESHOP_BASE_URL": "http://127.0.0.1:8787/openapi"})

    assert find_key(service, {"WESHOP_API_KEY": KEY}, tmp_path).reveal() == PLACEHOLDER_KEY


@pytest.mark.parametrize("pasted", [f" {KEY}\n", f"Bearer {KEY}", f"bearer  {KEY}", f"\tBEARER Bearer {KEY} "])
def test_white_space_and_a_pasted_bearer_are_removed(pasted: str, tmp_path: Path) -> None:
    assert find_key(Service(), {"WESHOP_API_KEY": pasted}, tmp_path).reveal() == KEY


BAD_KEYS = [
    "kurz",
    f"{KEY} {KEY}",
    f"{KEY}\n{KEY}",
    f"{KEY}\x00",
    f"{KEY}\u200b",
    f"{KEY}\u00e4",
    f"\ufeff{KEY}",
    KEY * 30,
    "Bearer",
]


@pytest.mark.parametrize("text", BAD_KEYS)
def test_a_text_that_cannot_be_a_key_is_refused_without_being_shown(text: str, tmp_path: Path) -> None:
    with pytest.raises(UnusableKeyError, match="WESHOP_API_KEY") as caught:
        find_key(Service(), {"WESHOP_API_KEY": text}, tmp_path)

    assert not shows(caught.value, text[:18])


@pytest.mark.parametrize("text", BAD_KEYS)
def test_a_text_that_cannot_be_a_key_is_not_saved(text: str, tmp_path: Path) -> None:
    with pytest.raises(UnusableKeyError) as caught:
        save_key(text, tmp_path)

    assert not shows(caught.value, text[:18])
    assert not (tmp_path / KEY_FILE).exists()


@pytest.mark.parametrize("text", BAD_KEYS)
def test_a_key_that_cannot_be_made_is_not_shown(text: str) -> None:
    with pytest.raises(UnusableKeyError) as caught:
        ApiKey(text)

    assert not shows(caught.value, text[:18])


@given(st.text())
@example("Bearer " * 3)
@example("\ud800" * 10)
def test_whatever_is_a_key_fits_into_a_header(text: str) -> None:
    try:
        key = ApiKey(text)
    except UnusableKeyError as error:
        message = str(error)
    else:
        message = ""
        assert key.reveal().isascii()
        assert key.reveal().isprintable()
        assert " " not in key.reveal()
        assert key.reveal() in text

    assert len(text.strip()) < 4 or text.strip() not in message


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=500))
def test_nothing_that_prints_a_key_shows_it(text: str) -> None:
    key = ApiKey(f"K{text}", "a test")

    assert [repr(key), str(key), f"{key}", f"{key!r:>5}", "%s" % key] == ["***", "***", "***", "  ***", "***"]  # noqa: UP031 - one of the ways to print
    assert not hasattr(key, "__dict__")
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            leak(key)


def test_the_last_four_characters_are_told_only_of_a_long_key() -> None:
    assert ApiKey("0123456789abcdef").last_four == "cdef"
    assert ApiKey("0123456789abcde").last_four == ""


@POSIX_ONLY
@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o601, 0o777])
def test_a_file_that_others_may_read_is_refused_with_the_remedy(mode: int, tmp_path: Path) -> None:
    write_key_file(tmp_path, json.dumps({"api_key": KEY}), mode)

    problem = problem_of(tmp_path)

    assert "chmod 600 ~/.config/weshop/credentials.json" in problem
    assert KEY not in problem


@POSIX_ONLY
def test_a_link_is_judged_by_what_it_leads_to(tmp_path: Path) -> None:
    target = tmp_path / "elsewhere.json"
    target.write_text(json.dumps({"api_key": KEY}))
    link = tmp_path / KEY_FILE
    link.parent.mkdir(parents=True)
    link.symlink_to(target)

    target.chmod(0o644)
    assert "chmod 600" in problem_of(tmp_path)

    target.chmod(0o600)
    assert find_key(Service(), {}, tmp_path).reveal() == KEY


@POSIX_ONLY
def test_a_folder_that_everyone_may_write_to_is_refused(tmp_path: Path) -> None:
    path = write_key_file(tmp_path, json.dumps({"api_key": KEY}))
    path.parent.chmod(0o777)

    assert "chmod 700 ~/.config/weshop" in problem_of(tmp_path)


@POSIX_ONLY
def test_a_pipe_in_the_files_place_does_not_hold_up_the_host(tmp_path: Path) -> None:
    path = tmp_path / KEY_FILE
    path.parent.mkdir(parents=True)
    if sys.platform != "win32":  # As above, for the type checker.
        os.mkfifo(path, 0o600)

    assert "not a regular file" in problem_of(tmp_path)


def test_a_folder_in_the_files_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / KEY_FILE).mkdir(parents=True)

    assert "credentials.json" in problem_of(tmp_path)


def test_a_file_in_the_folders_place_counts_as_no_key(tmp_path: Path) -> None:
    (tmp_path / ".config").write_text("")

    with pytest.raises(MissingKeyError):
        find_key(Service(), {}, tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        KEY,
        f'{{"api_key": "{KEY}"',
        f'["{KEY}"]',
        f'{{"key": "{KEY}"}}',
        f'{{"api_key": ["{KEY}"]}}',
        '{"api_key": null}',
        "[" * 9999,
        b"\xff\xfe" + KEY.encode("utf-16-le"),
        b"\x00",
        KEY * 1000,
        '{"api_key": 12345678901234}',
    ],
)
def test_a_file_of_another_form_is_refused_without_being_quoted(content: str | bytes, tmp_path: Path) -> None:
    write_key_file(tmp_path, content)

    with pytest.raises(UnusableKeyError, match=r"credentials\.json") as caught:
        find_key(Service(), {}, tmp_path)

    assert not shows(caught.value, KEY)


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    write_key_file(tmp_path, b"\xef\xbb\xbf" + json.dumps({"api_key": KEY}).encode())

    assert find_key(Service(), {}, tmp_path).reveal() == KEY


@given(st.binary(max_size=300))
def test_any_bytes_in_the_file_lead_to_a_key_or_to_a_typed_error(content: bytes) -> None:
    home = Path(os.environ["HOME"])  # A fresh folder for each test.
    path = home / KEY_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o600)

    with pytest.raises(CredentialsError):
        find_key(Service(), {}, home)


def test_a_saved_key_is_found_at_once_and_again_after_a_change(tmp_path: Path) -> None:
    for key in (KEY, OTHER_KEY):
        state = save_key(f" Bearer {key}\n", tmp_path)

        assert state == KeyState(
            configured=True, source="the file ~/.config/weshop/credentials.json", last_four=key[-4:]
        )
        assert find_key(Service(), {}, tmp_path).reveal() == key
    assert [path.name for path in (tmp_path / KEY_FILE).parent.iterdir()] == ["credentials.json"]


@POSIX_ONLY
def test_a_saved_key_is_readable_by_its_owner_only_whatever_the_umask(tmp_path: Path) -> None:
    """No mode is changed after the file was made, so it was private from its first byte."""
    before = os.umask(0)
    try:
        save_key(KEY, tmp_path)
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / KEY_FILE).stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / KEY_FILE).parent.stat().st_mode) == 0o700


@POSIX_ONLY
def test_saving_closes_a_file_and_a_folder_that_stood_open(tmp_path: Path) -> None:
    path = write_key_file(tmp_path, json.dumps({"api_key": OTHER_KEY}), 0o666)
    path.parent.chmod(0o777)

    save_key(KEY, tmp_path)

    assert find_key(Service(), {}, tmp_path).reveal() == KEY


def test_a_key_that_cannot_be_written_is_an_error_and_leaves_no_draft(tmp_path: Path) -> None:
    (tmp_path / KEY_FILE).mkdir(parents=True)

    with pytest.raises(CredentialsError, match="could not be saved") as caught:
        save_key(KEY, tmp_path)

    assert not shows(caught.value, KEY)
    assert [path.name for path in (tmp_path / KEY_FILE).parent.iterdir()] == ["credentials.json"]


def test_a_removed_key_is_gone_and_removing_it_twice_is_no_error(tmp_path: Path) -> None:
    save_key(KEY, tmp_path)
    for _ in range(2):
        remove_key(tmp_path)

    assert key_state({}, tmp_path) == KeyState(configured=False)


def test_the_state_tells_what_is_wrong_without_the_key(tmp_path: Path) -> None:
    state = key_state({"WESHOP_API_KEY": f"{KEY} {KEY}"}, tmp_path)

    assert not state.configured
    assert state.source == "the environment variable WESHOP_API_KEY"
    assert "Copy it again" in state.problem
    assert KEY not in repr(state)


def test_the_state_of_a_key_in_the_variable_names_its_end_only(tmp_path: Path) -> None:
    state = key_state({"WESHOP_API_KEY": KEY}, tmp_path)

    assert state == KeyState(configured=True, source="the environment variable WESHOP_API_KEY", last_four="0123")


@pytest.mark.parametrize("value", ["", "  ", REAL_BASE_URL, REAL_BASE_URL + "/"])
def test_the_real_service_is_the_default(value: str) -> None:
    service = Service.from_environment({"WESHOP_BASE_URL": value})

    assert (service.base_url, service.is_real, service.prefix) == (REAL_BASE_URL, True, "/openapi/")


@pytest.mark.parametrize(
    "value",
    [
        "http://127.0.0.1:8787/openapi",
        "http://127.8.9.1/openapi/",
        "https://localhost:8787/openapi",
        "http://[::1]:8787/openapi",
        "http://127.0.0.1:8787/under/openapi",
    ],
)
def test_a_service_on_this_machine_is_accepted(value: str) -> None:
    service = Service.from_environment({"WESHOP_BASE_URL": value})

    assert not service.is_real
    assert service.base_url == value.rstrip("/")
    assert service.prefix.endswith("/openapi/")


@pytest.mark.parametrize(
    "value",
    [
        "https://evil.example/openapi",
        "http://openapi.weshop.ai/openapi",
        "https://openapi.weshop.com/openapi",
        "https://openapi.weshop.ai/openapi/v2",
        "https://openapi.weshop.ai:8443/openapi",
        "https://user@openapi.weshop.ai/openapi",
        "http://user:opensesame@127.0.0.1:8787/openapi",
        "http://127.0.0.1.evil.example/openapi",
        "http://127.0.0.1@evil.example/openapi",
        "http://localhost.evil.example/openapi",
        "http://10.0.0.1/openapi",
        "http://192.168.1.5:8787/openapi",
        "http://0.0.0.0:8787/openapi",
        "http://2130706433/openapi",
        "http://127.0.0.1:8787",
        "http://127.0.0.1:8787/openapi?x=1",
        "http://127.0.0.1:8787/a/../openapi",
        "http://127.0.0.1:8787/openapi#x",
        "http://127.0.0.1:99999/openapi",
        "ftp://127.0.0.1/openapi",
        "127.0.0.1:8787/openapi",
        "not an address",
    ],
)
def test_another_service_cannot_even_be_expressed(value: str) -> None:
    with pytest.raises(ForbiddenDestinationError, match=r"http://127\.0\.0\.1:8787/openapi") as caught:
        Service.from_environment({"WESHOP_BASE_URL": value})
    with pytest.raises(ForbiddenDestinationError):
        Service(value)

    assert "opensesame" not in str(caught.value)
