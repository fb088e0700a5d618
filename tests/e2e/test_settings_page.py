"""The settings entry "WeShop > API key" in a real page, against the real service's address."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, Request, Response, expect

from emulator import Emulator
from tools.comfyui import ComfyUIProcess
from tools.environment import Environment

from .browser import Frontend, comfyui_page
from .evidence import places_of, served, written
from .front import API_HOST, Front

KEY = "test-key-not-real-Zq7Kvt9W2pLx4HnB"
REJECTED_KEY = "test-key-rejected-Wm3Ftc6Y8dGs5JrN"
STORES = "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])"


@dataclass
class Visitor:
    """Somebody in front of the page, and what the page sends and hears."""

    page: Page
    host: ComfyUIProcess
    front: Front
    sent: list[tuple[str, str]] = field(default_factory=list)
    heard: dict[str, bytes] = field(default_factory=dict)

    @property
    def file(self) -> Path:
        """Where a saved key is."""
        return self.host.base_directory / ".config" / "weshop" / "credentials.json"

    def note_request(self, request: Request) -> None:
        """Keep what the page sends."""
        self.sent.append((f"{request.method} {request.url}", f"{request.url} {request.post_data or ''}"))

    def note_response(self, response: Response) -> None:
        """Keep what the pack's routes answer."""
        if "/weshop/" in response.url:
            self.heard[f"{len(self.heard)} {response.url}"] = response.body()

    def open_settings(self) -> Locator:
        """Open the settings anew and go to the entry."""
        self.page.keyboard.press("Escape")
        expect(self.page.locator(".weshop-key")).to_have_count(0)
        self.page.keyboard.press("Control+Comma")
        self.page.get_by_text("WeShop", exact=True).first.click()
        entry = self.page.locator(".weshop-key")
        expect(entry.locator(".weshop-key-state")).not_to_be_empty()
        return entry


@pytest.fixture(scope="module")
def visitor(
    browser: Browser, frontend: Frontend, environment: Environment, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Visitor]:
    folder = tmp_path_factory.mktemp("page")
    with Emulator(port=0, rejected_keys=(REJECTED_KEY,)) as emulator, Front(emulator, folder) as front:
        host = ComfyUIProcess(
            environment,
            folder / "host",
            variables=front.variables,
            arguments=("--verbose", "DEBUG", *frontend.arguments),
        )
        with host, comfyui_page(browser, host) as page:
            visitor = Visitor(page, host, front)
            page.on("request", visitor.note_request)
            page.on("response", visitor.note_response)
            yield visitor


@pytest.fixture(autouse=True)
def without_key(visitor: Visitor) -> None:
    visitor.file.unlink(missing_ok=True)


def state(entry: Locator) -> Locator:
    return entry.locator(".weshop-key-state")


def message(entry: Locator) -> Locator:
    return entry.locator(".weshop-key-message")


def save(entry: Locator, key: str) -> None:
    entry.locator(".weshop-key-field").fill(key)
    entry.locator(".weshop-key-save").click()


def test_without_a_key_the_entry_says_so(visitor: Visitor) -> None:
    entry = visitor.open_settings()

    expect(state(entry)).to_have_text("No key is configured.")
    expect(entry.locator("input")).to_have_attribute("type", "password")
    expect(entry.locator("input")).to_have_attribute("autocomplete", "off")


def test_a_saved_key_is_shown_by_its_end_and_kept_for_the_owner(visitor: Visitor) -> None:
    entry = visitor.open_settings()

    save(entry, f" {KEY} ")

    expect(message(entry)).to_have_text("The key was saved.")
    expect(state(entry)).to_have_text("Configured by the file ~/.config/weshop/credentials.json, ends with 4HnB.")
    expect(entry.locator("input")).to_have_value("")
    assert json.loads(visitor.file.read_text(encoding="utf-8")) == {"api_key": KEY}
    assert os.name != "posix" or visitor.file.stat().st_mode & 0o777 == 0o600


def test_a_key_that_the_service_rejects_is_not_saved(visitor: Visitor) -> None:
    entry = visitor.open_settings()

    save(entry, REJECTED_KEY)

    expect(message(entry)).to_contain_text("The key was not saved. WeShop does not accept the API key")
    expect(state(entry)).to_have_text("No key is configured.")
    assert not visitor.file.exists()


def test_the_key_in_use_is_tested(visitor: Visitor) -> None:
    entry = visitor.open_settings()
    save(entry, KEY)
    expect(message(entry)).to_have_text("The key was saved.")
    asked_before = len(visitor.front.at(API_HOST))

    entry.locator(".weshop-key-test").click()

    expect(message(entry)).to_have_text("WeShop accepts the key.")
    assert [seen.authorization for seen in visitor.front.at(API_HOST)[asked_before:]] == [KEY]


def test_a_removed_key_is_gone(visitor: Visitor) -> None:
    entry = visitor.open_settings()
    save(entry, KEY)
    expect(message(entry)).to_have_text("The key was saved.")

    entry.locator(".weshop-key-remove").click()

    expect(message(entry)).to_have_text("The key file was removed.")
    expect(state(entry)).to_have_text("No key is configured.")
    assert not visitor.file.exists()


def test_the_key_is_sent_to_one_route_and_kept_nowhere_else(visitor: Visitor) -> None:
    entry = visitor.open_settings()
    save(entry, KEY)
    expect(message(entry)).to_have_text("The key was saved.")
    visitor.open_settings()

    page, host = visitor.page, visitor.host
    seen = {"document": page.content().encode(), "stores": page.evaluate(STORES).encode(), **visitor.heard}
    assert places_of(KEY, {**seen, **served(host), **written(host, without=[visitor.file])}) == []
    assert {line for line, content in visitor.sent if KEY in content} == {f"POST {host.url}/api/weshop/key"}
    assert "WeShop.ApiKey" not in (host.base_directory / "user/default/comfy.settings.json").read_text(encoding="utf-8")
