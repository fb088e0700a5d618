"""The routes of the settings page, over real sockets: what is saved, what is answered, and what is not read."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from weshop_pack.nodes.settings import MAX_BODY_BYTES, KeySettings

from weshop_api.credentials import KEY_FILE, REAL_BASE_URL, ApiKey, Service
from weshop_api.errors import (
    AuthenticationError,
    InvalidRequestError,
    NoAnswerError,
    NotFoundError,
    ServerError,
    WeShopError,
)

KEY = "marked-test-key-not-real-0123456789"
EARLIER_KEY = "earlier-test-key-not-real-987654321"
LOCAL_SERVICE = "http://127.0.0.1:8787/openapi"


@dataclass
class Page:
    """The host's page, and a service that says what it is told to say about keys."""

    home: Path
    environ: dict[str, str] = field(default_factory=dict)
    verdict: WeShopError | None = None
    asked: list[tuple[str, str]] = field(default_factory=list)

    async def check(self, key: ApiKey, service: Service) -> None:
        """Note what is asked, and answer."""
        self.asked.append((key.reveal(), service.base_url))
        if self.verdict is not None:
            raise self.verdict

    def send(self, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> tuple[int, str]:
        """Send one request as the page does, some headers replaced (empty: left out); status and text."""

        async def scenario(session: aiohttp.ClientSession, url: str) -> tuple[int, str]:
            usual = {"Origin": url, "Sec-Fetch-Site": "same-origin", "Content-Type": "application/json"}
            sent = {name: value for name, value in (usual | dict(headers or {})).items() if value}
            method = "GET" if body is None else "POST"
            async with session.request(method, url + path, data=body, headers=sent) as response:
                return response.status, await response.text()

        return self.serve(scenario)

    def serve(self, scenario: Callable[[aiohttp.ClientSession, str], Awaitable[tuple[int, str]]]) -> tuple[int, str]:
        """Serve the routes while a scenario lasts."""

        async def run() -> tuple[int, str]:
            app, routes = web.Application(), web.RouteTableDef()
            KeySettings(self.environ, self.home, self.check).add_routes(routes)
            app.add_routes(routes)
            async with TestServer(app) as server, aiohttp.ClientSession() as session:
                return await scenario(session, str(server.make_url("")).rstrip("/"))

        return asyncio.run(run())

    def ask(self, path: str, fields: object = None) -> dict[str, Any]:
        """Send a request that is answered; its answer never holds a key."""
        status, text = self.send(path, None if fields is None else json.dumps(fields).encode())
        assert status == 200
        assert KEY not in text
        assert EARLIER_KEY not in text
        answer: dict[str, Any] = json.loads(text)
        return answer

    @property
    def file(self) -> Path:
        """Where a saved key is."""
        return self.home / KEY_FILE

    def write(self, key: str) -> None:
        """Save a key as a user does by hand."""
        self.file.parent.mkdir(parents=True)
        self.file.write_text(json.dumps({"api_key": key}), encoding="utf-8")
        self.file.chmod(0o600)


@pytest.fixture
def page(tmp_path: Path) -> Page:
    return Page(tmp_path)


def refusal(kind: type[Any], text: str = "The service says no.") -> WeShopError:
    error: WeShopError = kind(text) if kind in {InvalidRequestError, NoAnswerError} else kind(text, status=401)
    return error


def test_without_a_key_the_state_says_so(page: Page) -> None:
    state = page.ask("/weshop/key")["state"]

    assert state == {"configured": False, "source": "", "last_four": "", "problem": "", "local_service": ""}


def test_the_state_of_a_key_is_its_place_and_its_end(page: Page) -> None:
    page.write(KEY)

    state = page.ask("/weshop/key")["state"]

    assert (state["configured"], state["last_four"]) == (True, "6789")
    assert state["source"] == "the file ~/.config/weshop/credentials.json"


def test_a_key_that_the_service_accepts_is_saved_for_its_owner_only(page: Page) -> None:
    answer = page.ask("/weshop/key", {"api_key": f"  Bearer {KEY}\n"})

    assert answer["ok"]
    assert answer["state"]["last_four"] == "6789"
    assert page.asked == [(KEY, REAL_BASE_URL)]
    assert json.loads(page.file.read_text(encoding="utf-8")) == {"api_key": KEY}
    assert os.name != "posix" or page.file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("kind", [AuthenticationError, NoAnswerError, ServerError])
def test_a_key_that_is_rejected_or_cannot_be_checked_is_not_saved(page: Page, kind: type[WeShopError]) -> None:
    page.write(EARLIER_KEY)
    page.verdict = refusal(kind)

    answer = page.ask("/weshop/key", {"api_key": KEY})

    assert not answer["ok"]
    assert answer["message"].startswith("The key was not saved")
    assert answer["message"].endswith("The service says no.")
    assert json.loads(page.file.read_text(encoding="utf-8")) == {"api_key": EARLIER_KEY}


@pytest.mark.parametrize("kind", [InvalidRequestError, NotFoundError])
def test_an_answer_about_something_else_keeps_nobody_from_saving(page: Page, kind: type[WeShopError]) -> None:
    page.verdict = refusal(kind)

    answer = page.ask("/weshop/key", {"api_key": KEY})

    assert answer["ok"]
    assert "did not say whether it accepts the key" in answer["message"]
    assert page.file.exists()


@pytest.mark.parametrize("text", ["", "   ", None, 7, ["x"]])
def test_without_a_text_nothing_is_asked(page: Page, text: object) -> None:
    answer = page.ask("/weshop/key", {"api_key": text})

    assert (answer["ok"], answer["message"], page.asked) == (False, "Enter a key first.", [])


@pytest.mark.parametrize("text", ["short", f"{KEY}\u00e9", f"{KEY} {KEY}", "x" * 501])
def test_a_text_that_cannot_be_a_key_is_neither_sent_nor_saved(page: Page, text: str) -> None:
    answer = page.ask("/weshop/key", {"api_key": text})

    assert not answer["ok"]
    assert "Copy it again" in answer["message"]
    assert page.asked == []
    assert not page.file.exists()


def test_a_key_is_not_given_to_a_service_on_this_machine(page: Page) -> None:
    page.environ["WESHOP_BASE_URL"] = LOCAL_SERVICE

    answer = page.ask("/weshop/key", {"api_key": KEY})

    assert not answer["ok"]
    assert "WESHOP_BASE_URL" in answer["message"]
    assert answer["state"]["local_service"] == LOCAL_SERVICE
    assert page.asked == []
    assert not page.file.exists()


def test_testing_asks_about_the_key_in_use(page: Page) -> None:
    page.write(EARLIER_KEY)
    page.environ["WESHOP_API_KEY"] = KEY

    answer = page.ask("/weshop/key/test", {})

    assert (answer["ok"], answer["message"]) == (True, "WeShop accepts the key.")
    assert page.asked == [(KEY, REAL_BASE_URL)]


def test_testing_a_service_on_this_machine_sends_the_placeholder(page: Page) -> None:
    page.environ.update(WESHOP_BASE_URL=LOCAL_SERVICE, WESHOP_API_KEY=KEY)

    answer = page.ask("/weshop/key/test", {})

    assert answer["message"] == f"The service at {LOCAL_SERVICE} accepts the key."
    assert page.asked == [("emulator", LOCAL_SERVICE)]


@pytest.mark.parametrize("kind", [AuthenticationError, NoAnswerError, NotFoundError])
def test_testing_tells_what_the_service_said(page: Page, kind: type[WeShopError]) -> None:
    page.write(KEY)
    page.verdict = refusal(kind)

    answer = page.ask("/weshop/key/test", {})

    assert not answer["ok"]
    assert answer["message"].endswith("The service says no.")


def test_testing_without_a_key_says_where_to_get_one(page: Page) -> None:
    answer = page.ask("/weshop/key/test", {})

    assert "No WeShop API key is configured" in answer["message"]


def test_removing_deletes_the_file(page: Page) -> None:
    page.write(KEY)

    answer = page.ask("/weshop/key/remove", {})

    assert answer["ok"]
    assert not answer["state"]["configured"]
    assert not page.file.exists()


def test_a_variable_that_goes_first_is_named_after_every_change(page: Page) -> None:
    page.environ["WESHOP_API_KEY"] = EARLIER_KEY

    saved, removed = page.ask("/weshop/key", {"api_key": KEY}), page.ask("/weshop/key/remove", {})

    for answer in (saved, removed):
        assert "the environment variable WESHOP_API_KEY is used first" in answer["message"]
        assert answer["state"]["source"] == "the environment variable WESHOP_API_KEY"


def test_a_folder_that_cannot_be_written_is_told(page: Page) -> None:
    (page.home / ".config").write_text("a file in the folder's place", encoding="utf-8")

    answer = page.ask("/weshop/key", {"api_key": KEY})

    assert not answer["ok"]
    assert "could not be saved" in answer["message"]


def test_a_service_elsewhere_is_a_problem_to_be_shown(page: Page) -> None:
    page.environ["WESHOP_BASE_URL"] = "https://evil.example/openapi"

    shown, saved = page.ask("/weshop/key"), page.ask("/weshop/key", {"api_key": KEY})

    assert "WESHOP_BASE_URL must be an address of this machine" in shown["state"]["problem"]
    assert not saved["ok"]
    assert page.asked == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Sec-Fetch-Site": "cross-site"},
        {"Host": "evil.example:8188", "Origin": "http://evil.example:8188"},
        {"X-Forwarded-For": "127.0.0.1"},
    ],
)
@pytest.mark.parametrize("path", ["/weshop/key", "/weshop/key/test", "/weshop/key/remove"])
def test_a_stranger_changes_nothing_and_learns_nothing(page: Page, path: str, headers: dict[str, str]) -> None:
    page.write(EARLIER_KEY)

    status, text = page.send(path, json.dumps({"api_key": KEY}).encode(), headers)

    assert status == 403
    assert json.loads(text)["state"] is None
    assert page.asked == []
    assert json.loads(page.file.read_text(encoding="utf-8")) == {"api_key": EARLIER_KEY}


def test_a_stranger_cannot_read_the_state(page: Page) -> None:
    page.write(KEY)

    status, text = page.send("/weshop/key", headers={"Host": "evil.example", "Origin": "", "Sec-Fetch-Site": ""})

    assert status == 403
    assert "6789" not in text


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_what_a_form_of_any_site_can_send_is_not_read(page: Page, kind: str) -> None:
    status, _ = page.send("/weshop/key", json.dumps({"api_key": KEY}).encode(), {"Content-Type": kind})

    assert (status, page.asked) == (400, [])


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"7", b"\xff", b"[" * 4000, b'{"api_key": "' + b"x" * 5000 + b'"}'])
def test_a_body_that_is_no_small_object_is_not_used(page: Page, body: bytes) -> None:
    status, _ = page.send("/weshop/key", body)

    assert (status, page.asked) == (400, [])


def test_a_body_without_an_end_is_cut_off(page: Page) -> None:
    sent = 0

    async def endless(session: aiohttp.ClientSession, url: str) -> tuple[int, str]:
        async def chunks() -> Any:  # noqa: ANN401 - an asynchronous generator
            nonlocal sent
            while sent < 500 * MAX_BODY_BYTES:
                yield b" " * 1024
                sent += 1024
                await asyncio.sleep(0)

        headers = {"Origin": url, "Content-Type": "application/json"}
        async with session.post(f"{url}/weshop/key", data=chunks(), headers=headers) as response:
            return response.status, await response.text()

    status, _ = page.serve(endless)

    assert status == 400
    assert sent < 500 * MAX_BODY_BYTES
