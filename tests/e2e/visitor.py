"""Somebody in front of ComfyUI's page: loads workflows, runs them, reads what the nodes say, takes pictures."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, Page

from emulator import Emulator
from tools.comfyui import ComfyUIProcess
from tools.environment import CACHE

from .browser import Frontend

SCREENSHOTS = CACHE / "page"
"""Where the tests leave what they saw, a folder for each version of the page."""

RUN_MILLISECONDS = 60_000

LISTEN = """() => {
  const api = app.api;
  const seen = (window.seenEvents = []);
  for (const name of ["execution_start", "execution_success", "execution_error", "executed", "progress_text"]) {
    api.addEventListener(name, ({detail}) => seen.push(name));
  }
}"""


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

    def run(self) -> None:
        """Queue the workflow, and return at once."""
        self.page.evaluate(LISTEN)
        self.page.evaluate("app.queuePrompt(0)")

    def wait_for(self, event: str) -> None:
        """Wait until the host has said so since the last `run`."""
        self.page.wait_for_function("name => seenEvents.includes(name)", arg=event, timeout=RUN_MILLISECONDS)

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

    def toast(self) -> Locator:
        """The messages at the edge of the page."""
        return self.page.locator(".p-toast-message")

    def shoot(self, name: str) -> Path:
        """Keep what can be seen now."""
        file = SCREENSHOTS / self.frontend.name / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=file)
        return file
