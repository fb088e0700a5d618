"""The key goes to the real service's address and nowhere else, and nothing that a host writes or serves holds it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from emulator import ByPolls, Emulator
from tools.comfyui import ComfyUIProcess
from tools.comfyui.process import THIS_PACK
from tools.environment import Environment
from weshop_api import errors

from .evidence import command_lines, places_of, served, written
from .front import API_HOST, FILES_HOST, Front
from .key_story import KEY, PROMPT_MARK, Story, Teller, few_troubles, troubles, write_key

PACKS = {**THIS_PACK, "crash-reporter": Path(__file__).parent / "crash_reporter"}
TALKATIVE = ("--verbose", "DEBUG")
VARIABLES = {"PYTHONFAULTHANDLER": "1"}
TOLD_ELSEWHERE = {
    "WeShopError": "of work that was ended from elsewhere: test_citizen_interrupt.py",
    "CredentialsError": "of a key that could not be saved: tests/weshop_api/test_credentials.py",
    "ForbiddenDestinationError": "of a WESHOP_BASE_URL that is not allowed: test_citizen_loop.py",
    "RunError": "never raised itself",
    "ExpiredAddressError": "told by a DownloadError, which counts the pictures",
    "ForbiddenAddressError": "the same",
    "UndeliveredError": "of a lack of room: tests/nodes/test_images_bounds.py",
}
"""The classes of errors with which no node of the story can fail."""


@pytest.fixture(scope="module", params=["variable", "file"])
def story(
    request: pytest.FixtureRequest, environment: Environment, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Story]:
    """One life of a host at debug log level, the key in the environment or in the file."""
    folder = tmp_path_factory.mktemp(request.param)
    home = folder / "host"
    with Emulator(port=0, pace=ByPolls(1), pictures="small") as emulator, Front(emulator, folder) as front:
        variables = {**VARIABLES, **front.variables}
        if request.param == "variable":
            variables["WESHOP_API_KEY"] = KEY
        else:
            home.mkdir()
            write_key(home)
        with ComfyUIProcess(environment, home, variables=variables, packs=PACKS, arguments=TALKATIVE) as host:
            yield Teller(host, emulator, front).tell(few_troubles() if request.param == "variable" else troubles())


def test_every_trouble_ends_in_its_error(story: Story) -> None:
    assert [kind for kind, _ in story.errors] == story.expected
    assert story.pictures == 2


@pytest.mark.parametrize("story", ["file"], indirect=True)
def test_the_story_tells_of_every_class_of_error(story: Story) -> None:
    """A new class is either told here, with a service that quotes the key, or named above with its reason."""
    tree = {kind.__name__ for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)}

    assert set(story.expected) == tree - set(TOLD_ELSEWHERE)


def test_every_error_is_a_sentence_of_one_paragraph(story: Story) -> None:
    for _, sentence in story.errors:
        assert len(sentence) > 40
        assert sentence.isprintable()


def test_the_search_finds_what_is_there(story: Story) -> None:
    """Without this the next test could pass because it looks in the wrong places."""
    places = places_of(PROMPT_MARK, story.evidence)

    assert {"GET /history", "comfyui.log", "websocket", "texts in output/story_00001_.png"} <= set(places)
    log = story.evidence["comfyui.log"].decode(errors="replace")
    assert "httpcore" in log, "the log is not at debug level"
    # Windows has no signals: a process that is ended from outside there reports nothing.
    assert "Fatal Python error: Aborted" in log or sys.platform == "win32", "the fault handler did not report"
    assert "execution_list = " in log, "the crash reporter did not show variables"
    assert any(name.endswith("ledger.sqlite3") for name in story.evidence)


def test_nothing_that_was_written_or_served_holds_the_key(story: Story) -> None:
    assert places_of(KEY, story.evidence) == []


def test_the_key_goes_to_the_service_in_one_header_only(story: Story) -> None:
    requests = story.front.at(API_HOST)

    assert len(requests) > 10
    for seen in requests:
        assert seen.authorization == KEY
        assert seen.target.startswith("/openapi/")
        # The settings page was given the key to save; everything else has no reason to quote it.
        assert KEY.encode() not in seen.head + seen.body


def test_no_other_place_is_sent_the_key(story: Story) -> None:
    pictures = story.front.at(FILES_HOST)

    assert pictures
    for seen in pictures:
        assert seen.authorization == ""
        assert KEY.encode() not in seen.head + seen.body
    assert set(story.front.tunnels) == {f"{API_HOST}:443", f"{FILES_HOST}:443"}
    assert places_of(KEY, {"wire": bytes(story.front.wire)}) == []


def test_a_service_on_this_machine_never_sees_the_key(environment: Environment, tmp_path: Path) -> None:
    home = tmp_path / "host"
    with Emulator(port=0, pace=ByPolls(1), pictures="small") as emulator, Front(emulator, tmp_path) as front:
        variables = {**front.variables, "WESHOP_BASE_URL": emulator.base_url, "WESHOP_API_KEY": KEY}
        with ComfyUIProcess(environment, home, variables=variables, arguments=TALKATIVE) as host:
            teller = Teller(host, emulator, front)
            teller._succeed()
            evidence = {**teller.story.evidence, **served(host), **command_lines()}
            host.kill()  # Windows lets nobody read the parts of a file that are locked, such as the ledger's.
            evidence |= written(host)

        assert places_of(KEY, evidence) == []
        assert {dict(seen.headers).get("Authorization") for seen in emulator.requests if seen.origin == "api"} == {
            "emulator"
        }
        assert all("Authorization" not in dict(seen.headers) for seen in emulator.requests if seen.origin == "files")
        assert {urlsplit(emulator.base_url).hostname} == {"127.0.0.1"}
        assert front.tunnels == []
