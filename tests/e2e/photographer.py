"""Real runs in a real ComfyUI with the newest page, photographed; started by `python3 tools/pictures.py`.

The emulator stands in for the service, so the results are what it draws and not what Seedream makes.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import FloatRect, Page, ViewportSize

from emulator import BySeconds, Emulator
from tools.comfyui import ComfyUIProcess
from tools.environment import ROOT, Environment
from tools.examples import EXAMPLES, INPUTS, example_files, run_example

from .browser import NEWEST_FRONTEND, comfyui_page, frontend_named, open_browser

PICTURES = ROOT / "docs" / "pictures"
HELP_PICTURES = ROOT / "web" / "docs" / "pictures"
THUMBNAIL = (400, 400)
THUMBNAIL_QUALITY = 82
WINDOW = ViewportSize(width=1700, height=1100)
MARGIN_PIXELS = 24
NODE_MARGIN_PIXELS = 8
TOP_PIXELS, LEFT_PIXELS = 150, 100  # The page's own bars.
FRAME_SECONDS = 0.5
LAST_FRAME_SECONDS = 4.0
ANIMATION_WIDTH = 900
ROOM_FOR_PREVIEW = 20.0
EXAMPLE_TIMEOUT_SECONDS = 300.0

QUIET = {
    "Comfy.TutorialCompleted": True,
    "Comfy.Minimap.Visible": False,
    "Comfy.Graph.CanvasInfo": False,
}

SHOW_GROUPS = """([left, top, width, height, below]) => {
  const boxes = app.graph.groups.map(group => [...group._bounding]);
  const x = Math.min(...boxes.map(box => box[0])), y = Math.min(...boxes.map(box => box[1]));
  const w = Math.max(...boxes.map(box => box[0] + box[2])) - x;
  const h = Math.max(...boxes.map(box => box[1] + box[3])) - y + below;
  const scale = Math.min(1, width / w, height / h);
  app.canvas.ds.scale = scale;
  app.canvas.ds.offset = [left / scale - x, top / scale - y];
  app.canvas.setDirty(true, true);
  return [w * scale, h * scale];
}"""
PLACES_OF_NODES = """() => app.graph.nodes.filter(node => node.type.startsWith("WeShop")).map(node => {
  const [x, y, width, height] = node.getBounding(), {scale, offset} = app.canvas.ds;
  return [node.type, (x + offset[0]) * scale, (y + offset[1]) * scale, width * scale, height * scale];
})"""
NAME_RUN_ANEW = """() => {
  const node = app.graph.nodes.find(node => node.type === "WeShopSeedreamGenerate");
  node.widgets.find(widget => widget.name === "seed").value += 1000;
}"""


def main() -> int:
    """Make everything."""
    environment = Environment.from_variables(os.environ)
    PICTURES.mkdir(exist_ok=True)
    HELP_PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, Emulator(port=0, pace=BySeconds(1.0, 1.8)) as emulator:
        host = ComfyUIProcess(
            environment,
            Path(folder),
            variables={"WESHOP_BASE_URL": emulator.base_url},
            arguments=frontend_named(NEWEST_FRONTEND).arguments,
        )
        settings = Path(folder) / "user" / "default" / "comfy.settings.json"
        settings.parent.mkdir(parents=True)
        settings.write_text(json.dumps(QUIET), encoding="utf-8")
        with host:
            _make_thumbnails(host, environment)
            with _stage(host) as stage:
                _make_flow(stage)
                _make_animation(stage)
    return 0


def _make_thumbnails(host: ComfyUIProcess, environment: Environment) -> None:
    last_id = ""
    for file in example_files():
        outcome = run_example(
            file,
            host.client,
            environment.tools_python,
            timeout_seconds=EXAMPLE_TIMEOUT_SECONDS,
            earlier_execution_id=last_id,
        )
        last_id = (*outcome.execution_ids, last_id)[0]
        picture = Image.open(io.BytesIO(host.client.fetch(outcome.result.saved_pictures()[0]))).convert("RGB")
        picture.thumbnail(THUMBNAIL)
        picture.save(file.with_suffix(".jpg"), quality=THUMBNAIL_QUALITY, optimize=True)
        print(file.with_suffix(".jpg").name, flush=True)


class _Stage:
    """The page with a workflow in view, and a camera."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._below = 0.0

    def open(self, name: str, *, below: float = 0) -> None:
        """Show an example, with a seed of which no run exists, and so much room below."""
        saved = json.loads((EXAMPLES / f"{name}.json").read_text(encoding="utf-8"))
        self._page.evaluate("saved => app.loadGraphData(saved)", saved)
        self._page.wait_for_function("count => app.graph.nodes.length === count", arg=len(saved["nodes"]))
        self._page.evaluate(NAME_RUN_ANEW)
        self._below = below

    def run(self, each_frame: Callable[[], None]) -> None:
        """Run what is shown to its end, taking a frame now and then."""
        self._page.evaluate("window.isDone = false; app.api.addEventListener('execution_success', () => isDone = true)")
        self._page.evaluate("app.queuePrompt(0)")
        while not self._page.evaluate("isDone"):
            each_frame()
            time.sleep(FRAME_SECONDS)
        self._page.wait_for_load_state("networkidle")
        time.sleep(LAST_FRAME_SECONDS / 2)
        each_frame()

    def shoot(self) -> bytes:
        """Take a picture of all groups, as large as they fit."""
        room = [
            LEFT_PIXELS,
            TOP_PIXELS,
            WINDOW["width"] - LEFT_PIXELS * 2,
            WINDOW["height"] - TOP_PIXELS * 2,
            self._below,
        ]
        width, height = self._page.evaluate(SHOW_GROUPS, room)
        self._page.wait_for_timeout(150)
        clip = FloatRect(
            x=LEFT_PIXELS - MARGIN_PIXELS,
            y=TOP_PIXELS - MARGIN_PIXELS,
            width=width + 2 * MARGIN_PIXELS,
            height=height + 2 * MARGIN_PIXELS,
        )
        return self._page.screenshot(clip=clip)

    def shoot_nodes(self) -> dict[str, bytes]:
        """Take a picture of each of our nodes, by type, where the last picture of all showed them."""
        edge = NODE_MARGIN_PIXELS
        return {
            name: self._page.screenshot(
                clip=FloatRect(x=x - edge, y=y - edge, width=width + 2 * edge, height=height + 2 * edge)
            )
            for name, x, y, width, height in self._page.evaluate(PLACES_OF_NODES)
        }


@contextmanager
def _stage(host: ComfyUIProcess) -> Iterator[_Stage]:
    for picture in INPUTS.iterdir():
        host.client.upload_image(picture.name, picture.read_bytes())
    with open_browser() as browser, comfyui_page(browser, host) as page:
        page.set_viewport_size(WINDOW)
        yield _Stage(page)


def _make_flow(stage: _Stage) -> None:
    stage.open("Product photo on a new background")
    stage.run(lambda: None)
    Image.open(io.BytesIO(stage.shoot())).convert("RGB").save(PICTURES / "flow.webp", quality=85, method=6)
    print("flow.webp", flush=True)
    for name, shot in stage.shoot_nodes().items():
        Image.open(io.BytesIO(shot)).convert("RGB").save(HELP_PICTURES / f"{name}.webp", quality=85, method=6)


def _make_animation(stage: _Stage) -> None:
    shots: list[tuple[float, bytes]] = []
    stage.open("Four variations, pick one", below=ROOM_FOR_PREVIEW)
    stage.run(lambda: shots.append((time.monotonic(), stage.shoot())))
    frames = [Image.open(io.BytesIO(shot)).convert("RGB") for _, shot in shots]
    size = (ANIMATION_WIDTH, round(ANIMATION_WIDTH * frames[-1].height / frames[-1].width))
    seconds = [later - earlier for (earlier, _), (later, _) in itertools.pairwise(shots)]
    frames[0].resize(size).save(
        PICTURES / "run.webp",
        save_all=True,
        append_images=[frame.resize(size) for frame in frames[1:]],
        duration=[round(1000 * value) for value in (*seconds, LAST_FRAME_SECONDS)],
        loop=0,
        quality=70,
        method=4,
    )
    print("run.webp", flush=True)


if __name__ == "__main__":
    sys.exit(main())
