"""A real browser in front of a real host: Chromium of the system, driven by Playwright, kept off the internet.

A test takes the fixture `browser` and, when it shall run with each page there is, `frontend`:

    host = hosts.start(arguments=frontend.arguments)
    with comfyui_page(browser, host) as page: ...
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass

from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from tools.comfyui import ComfyUIProcess
from tools.environment import install_frontend

NEWEST_FRONTEND = "1.58.1"
FRONTENDS = ("pinned", NEWEST_FRONTEND)
"""The page that the host itself asks for, and the newest one."""

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")
SWITCHES = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
LOADING_MILLISECONDS = 60_000
STEP_MILLISECONDS = 20_000
READY = "window.app?.vueAppReady && window.app.graph && window.app.extensionManager?.spinner === false"
WINDOW: ViewportSize = {"width": 1400, "height": 900}


@dataclass(frozen=True)
class Frontend:
    """One version of the page, and the host's arguments that make it serve it."""

    name: str
    arguments: tuple[str, ...] = ()


def frontend_named(name: str) -> Frontend:
    """Fetch a version of the page, once."""
    if name == "pinned":
        return Frontend(name)
    return Frontend(name, ("--front-end-root", str(install_frontend(name))))


@contextlib.contextmanager
def open_browser() -> Iterator[Browser]:
    """Start the browser. Until it is closed, this thread cannot run an event loop of its own."""
    program = next((found for name in PROGRAMS if (found := shutil.which(name))), None)
    assert program is not None, "No Chromium was found. On Debian and Ubuntu `apt install chromium` provides it."
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(SWITCHES))
        yield browser
        browser.close()


@contextlib.contextmanager
def comfyui_page(browser: Browser, host: ComfyUIProcess) -> Iterator[Page]:
    """Open the host's page as somebody who has seen the introduction, and wait until it can be used."""
    settings = host.base_directory / "user" / "default" / "comfy.settings.json"
    settings.parent.mkdir(parents=True, exist_ok=True)
    if not settings.exists():
        settings.write_text(json.dumps({"Comfy.TutorialCompleted": True}), encoding="utf-8")
    context = browser.new_context(viewport=WINDOW)
    page = context.new_page()
    page.set_default_timeout(STEP_MILLISECONDS)
    page.goto(host.url, timeout=LOADING_MILLISECONDS)
    page.wait_for_function(READY, timeout=LOADING_MILLISECONDS)
    yield page
    context.close()
