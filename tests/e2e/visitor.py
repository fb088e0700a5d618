"""Somebody in front of ComfyUI's page: loads workflows, runs them, reads what the nodes say, takes pictures."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Locator, Page, TimeoutError as PageTimeoutError

from emulator import Emulator
from tools.comfyui import ComfyUIProcess
from tools.environment import CACHE

from .browser import LOADING_MILLISECONDS, READY, STEP_MILLISECONDS, Frontend

SCREENSHOTS = CACHE / "page"
"""Where the tests leave what they saw, a folder for each version of the page."""

Version = tuple[int, ...]

RUN_MILLISECONDS = 60_000
PAINTING_MILLISECONDS = 500
EMPTY_PLACE = (700, 800)
SEARCH_MILLISECONDS = 3_000

LISTEN = """() => {
  const api = app.api;
  window.seenEvents = [];
  if (window.isListening) return;
  window.isListening = true;
  const endings = ["execution_success", "execution_error", "execution_interrupted"];
  for (const name of [...endings, "progress_text", "b_preview_with_metadata"]) {
    api.addEventListener(name, ({detail}) => {
      seenEvents.push([name, detail?.text]);
      window.lastPreview = detail?.blob ?? window.lastPreview;
    });
  }
}"""


def version_of(text: str) -> Version:
    """A version such as `0.3.64`, to be compared with others."""
    return tuple(int(part) for part in text.split("."))


@dataclass
class Visitor:
    """The page, and what stands behind it."""

    page: Page
    host: ComfyUIProcess
    emulator: Emulator
    frontend: Frontend

    def open(self, workflow: Path | dict[str, Any]) -> None:
        """Load a saved workflow and bring it into view."""
        saved = workflow if isinstance(workflow, dict) else json.loads(workflow.read_text(encoding="utf-8"))
        self.page.evaluate("saved => app.loadGraphData(saved)", saved)
        self.page.wait_for_function("count => app.graph.nodes.length === count", arg=len(saved["nodes"]))

    def change(self, node_type: str, **values: object) -> None:
        """Set values as a user does: through the widget and its callback."""
        self.page.evaluate(
            """([type, values]) => {
              const node = app.graph.nodes.find(node => node.type === type);
              for (const [name, value] of Object.entries(values)) {
                const widget = node.widgets.find(widget => widget.name === name);
                widget.value = value;
                widget.callback?.(value);
              }
            }""",
            [node_type, values],
        )

    def values(self, node_type: str) -> dict[str, Any]:
        """What the widgets of a node say."""
        found: dict[str, Any] = self.page.evaluate(
            """type => Object.fromEntries(app.graph.nodes.find(node => node.type === type).widgets
                 .filter(widget => widget.serialize !== false).map(widget => [widget.name, widget.value]))""",
            node_type,
        )
        return found

    def choices(self, node_type: str, name: str) -> list[str]:
        """What a widget offers."""
        found: list[str] = self.page.evaluate(
            """([type, name]) => app.graph.nodes.find(node => node.type === type)
                 .widgets.find(widget => widget.name === name).options.values""",
            [node_type, name],
        )
        return found

    def labels(self, node_type: str) -> list[str]:
        """What the widgets of a node are called."""
        found: list[str] = self.page.evaluate(
            """type => app.graph.nodes.find(node => node.type === type).widgets
                 .map(widget => widget.label || widget.name)""",
            node_type,
        )
        return found

    def page_version(self) -> Version:
        """The version of the page, by its own account."""
        return version_of(self.page.evaluate("window.__COMFYUI_FRONTEND_VERSION__"))

    def host_version(self) -> Version:
        """The version of ComfyUI, by its own account."""
        return version_of(self.host.client.system_stats()["system"]["comfyui_version"])

    def select(self, node_type: str) -> None:
        """Bring a node into view and select it."""
        self.page.evaluate(
            """type => {
              const node = app.graph.nodes.find(node => node.type === type);
              app.canvas.ds.scale = 0.8;
              app.canvas.ds.offset = [300 - node.pos[0], 300 - node.pos[1]];
              app.canvas.selectItems([node]);
              app.canvas.setDirty(true, true);
            }""",
            node_type,
        )

    def speak(self, language: str) -> None:
        """Choose the language of the page, and load it anew."""
        self.page.evaluate("language => app.extensionManager.setting.set('Comfy.Locale', language)", language)
        self.reload()

    def reload(self) -> None:
        """Load the page anew."""
        self.page.reload()
        self.page.wait_for_function(READY, timeout=LOADING_MILLISECONDS)

    def run(self) -> None:
        """Queue the workflow, and return at once."""
        self.page.evaluate(LISTEN)
        self.page.evaluate("app.queuePrompt(0)")

    def wait_for(self, event: str) -> None:
        """Wait until the host has said so since the last `run`."""
        self.page.wait_for_function(
            "name => seenEvents.some(([seen]) => seen === name)", arg=event, timeout=RUN_MILLISECONDS
        )

    def saved(self) -> dict[str, Any]:
        """The workflow as the page saves it."""
        workflow: dict[str, Any] = self.page.evaluate("app.graph.serialize()")
        return workflow

    def exported(self) -> dict[str, Any]:
        """The workflow in API format."""
        prompt: dict[str, Any] = self.page.evaluate("async () => (await app.graphToPrompt()).output")
        return prompt

    def line(self, text: str) -> Locator:
        """The line at the foot of the node that says this."""
        return self.page.locator(".weshop-line", has_text=text)

    def texts(self) -> list[str]:
        """What was printed under nodes since the last `run`."""
        texts: list[str] = self.page.evaluate(
            "seenEvents.filter(([seen]) => seen === 'progress_text').map(it => it[1])"
        )
        return texts

    def wait_for_text(self, text: str) -> None:
        """Wait until this was printed under a node since the last `run`."""
        self.page.wait_for_function(
            "text => seenEvents.some(([_, seen]) => seen?.includes(text))", arg=text, timeout=RUN_MILLISECONDS
        )

    def wait_for_preview(self) -> None:
        """Wait until a node shows a picture of a run that is still going."""
        self.wait_for("b_preview_with_metadata")
        self.page.wait_for_timeout(PAINTING_MILLISECONDS)

    def last_preview(self) -> Image.Image:
        """The latest picture that a node has shown of a run."""
        data = self.page.evaluate("async () => [...new Uint8Array(await window.lastPreview.arrayBuffer())]")
        return Image.open(io.BytesIO(bytes(data)))

    def messages(self, text: str = "") -> Locator:
        """The messages at the edge of the page that can be seen, in either version."""
        return self.page.locator(".p-toast-message, li[role=alert]", has_text=text)

    def close_messages(self) -> None:
        """Close whatever earlier tests left open."""
        self.page.keyboard.press("Escape")
        self.page.evaluate(
            """() => { const toast = app.extensionManager.toast; (toast.dismissAll ?? toast.removeAll).call(toast); }"""
        )
        self.page.keyboard.press("Escape")

    def insert(self, title: str) -> str:
        """Look a node or blueprint up, and put it alone on the canvas. Returns its type."""
        self._open_search()
        self.page.keyboard.type(title)
        self.page.get_by_text(title).first.wait_for()
        self.shoot(title)
        self.page.keyboard.press("Enter")
        self.page.wait_for_function("app.graph.nodes.length === 1")
        inserted: str = self.page.evaluate("app.graph.nodes[0].type")
        return inserted

    def _open_search(self) -> None:
        """Double-click on an empty canvas. In newer pages a node that hangs on the pointer takes the first one."""
        for timeout in (SEARCH_MILLISECONDS, STEP_MILLISECONDS):
            self.page.evaluate("app.graph.clear()")
            self.page.mouse.dblclick(*EMPTY_PLACE)
            with contextlib.suppress(PageTimeoutError):
                self.page.wait_for_function("document.activeElement?.tagName === 'INPUT'", timeout=timeout)
                return
        raise AssertionError("no search was opened")

    def blueprints(self) -> list[str]:
        """The subgraph blueprints that the page has taken over from the pack; none where the host knows of none."""
        names: list[str] = self.page.evaluate(
            """async () => {
              const answer = await app.api.fetchApi("/global_subgraphs");
              return answer.status === 404 ? [] : Object.values(await answer.json())
                .filter(it => it.info?.node_pack?.includes("weshop")).map(it => it.name);
            }"""
        )
        return names

    def shoot(self, name: str) -> Path:
        """Keep what can be seen now."""
        file = SCREENSHOTS / self.frontend.name / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=file)
        return file
