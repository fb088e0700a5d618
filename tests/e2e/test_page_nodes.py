"""Our nodes in a real page, the host's own and the newest: before a run, while it runs, at its end, when it fails.

What the page looked like is kept in `.cache/page/<version>/`.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, expect

from emulator import BySeconds, Emulator, Fault, Where
from tools.comfyui import ComfyUIProcess
from tools.environment import ROOT, Environment
from tools.examples import EXAMPLES, INPUTS

from .browser import Frontend, comfyui_page
from .visitor import Visitor

GENERATE = "WeShopSeedreamGenerate"
LOAD = "WeShopLoadResult"
FOUR = EXAMPLES / "Four variations, pick one.json"
TEXT = EXAMPLES / "Text to image.json"
THUMBNAIL_PIXELS = 400
# The grey of a missing picture, the ground around it, and what JPEG makes of their border.
MOST_LEVELS_OF_A_GAP = 80
MISSING_NODE = re.compile("missing node", re.IGNORECASE)
COMPLAINING_MILLISECONDS = 500
READING_MILLISECONDS = 3_000
"""Later than any page drops what it says of a run."""
BLUEPRINTS = {"Seedream - prompt to image": 0, "Seedream - edit images": 1}
"""What they are called in the page, and how many references they send."""
FIRST_WITH_BLUEPRINTS = (0, 3, 67)
"""The host that offers blueprints of packs."""
FIRST_LOSING_TRANSLATIONS, FIRST_KEEPING_THEM = (1, 30), (1, 33, 13)
"""Pages between these show the texts of packs in English only."""
AROUND_A_BLUEPRINT = """picture => {
  const [blueprint] = app.graph.nodes;
  const add = (type) => app.graph.add(LiteGraph.createNode(type));
  add("PreviewImage");
  blueprint.connect(0, app.graph.nodes[1], 0);
  if (blueprint.inputs[0].name === "image_1") {
    add("LoadImage");
    const load = app.graph.nodes[2];
    load.widgets.find(widget => widget.name === "image").value = picture;
    load.connect(0, blueprint, 0);
  }
}"""
SAVED = sorted((ROOT / "tests" / "saved_workflows").glob("*/*.json"))


@pytest.fixture(scope="module")
def page_host(
    browser: Browser, frontend: Frontend, environment: Environment, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Visitor]:
    with Emulator(port=0, pace=BySeconds(0.5, 1.2), pictures="small") as emulator:
        host = ComfyUIProcess(
            environment,
            tmp_path_factory.mktemp("page"),
            variables={"WESHOP_BASE_URL": emulator.base_url},
            arguments=frontend.arguments,
        )
        with host, comfyui_page(browser, host) as page:
            yield Visitor(page, host, emulator, frontend)


@pytest.fixture
def visitor(page_host: Visitor) -> Visitor:
    page_host.close_messages()
    return page_host


def widgets_of(workflow: dict[str, Any], node_type: str) -> list[Any]:
    return next(list(node["widgets_values"]) for node in workflow["nodes"] if node["type"] == node_type)


def test_the_page_starts_without_a_complaint(visitor: Visitor) -> None:
    """Also about the blueprints, of which a broken one is reported at every start."""
    expect(visitor.messages()).to_have_count(0)
    assert len(visitor.blueprints()) == (2 if visitor.host_version() >= FIRST_WITH_BLUEPRINTS else 0)


def test_before_a_run_the_node_says_its_pixels_and_points(visitor: Visitor) -> None:
    visitor.open(FOUR)

    expect(visitor.line("2048 x 2048 px, about 40 points")).to_be_visible()


def test_a_run_is_seen_from_its_phases_to_its_last_word(visitor: Visitor) -> None:
    visitor.open(FOUR)
    before = visitor.saved()

    visitor.run()
    visitor.wait_for_preview()
    visitor.shoot("running")
    visitor.wait_for("execution_success")

    last_word = visitor.line("Seedream 5.0 Lite, expected 2048 x 2048")
    expect(last_word).to_contain_text("charged 40 points, 99960 left")
    expect(visitor.line(f"4 pictures of run {visitor.emulator.runs[-1].execution_id}")).to_contain_text("256 x 256 px")
    visitor.shoot("ended")
    texts = visitor.texts()
    assert any(" of 4 done" in text for text in texts)
    assert not any("http" in text for text in texts)
    assert widgets_of(visitor.saved(), GENERATE) == widgets_of(before, GENERATE)


def test_after_an_interrupt_the_node_says_that_the_run_goes_on_and_nothing_of_it_is_saved(visitor: Visitor) -> None:
    visitor.open(TEXT)
    visitor.change(GENERATE, prompt="Interrupted")
    before = visitor.saved()
    visitor.emulator.order("poll", Fault.shows_status("Dreaming"), times=100)

    visitor.run()
    visitor.wait_for_text("Dreaming")
    visitor.page.evaluate("app.api.interrupt(null)")
    visitor.wait_for("execution_interrupted")
    visitor.emulator.withdraw_faults()
    visitor.page.wait_for_timeout(READING_MILLISECONDS)

    execution_id = visitor.emulator.runs[-1].execution_id
    expect(visitor.line(f"Run {execution_id} goes on at WeShop. Queue again")).to_be_visible()
    visitor.shoot("interrupted")
    assert widgets_of(visitor.saved(), GENERATE) == widgets_of(before, GENERATE)
    assert execution_id not in json.dumps(visitor.saved())

    visitor.run()
    visitor.wait_for("execution_success")
    expect(visitor.line("nothing charged")).to_be_visible()
    expect(visitor.line("goes on at WeShop")).to_have_count(0)
    assert visitor.emulator.runs[-1].execution_id == execution_id


def test_pictures_that_differ_in_size_are_refused_with_their_run_and_measured_when_they_are_loaded(
    visitor: Visitor,
) -> None:
    visitor.open(FOUR)
    visitor.change(GENERATE, prompt="Of different size")
    visitor.change(LOAD, when_sizes_differ="error")
    visitor.emulator.order("download", Fault.pixel_size(40, 20), times=2, where=Where(result=3))

    visitor.run()
    visitor.wait_for("execution_error")
    runs = visitor.emulator.runs
    refused = visitor.messages("The pictures differ in size")
    expect(refused).to_contain_text(f"This is run {runs[-1].execution_id}. It is not lost")
    visitor.change(LOAD, when_sizes_differ="pad")
    visitor.run()
    visitor.wait_for("execution_success")

    expect(visitor.line(f"4 pictures of run {runs[-1].execution_id}, 256 x 256, 40 x 20 px")).to_be_visible()
    assert len(visitor.emulator.runs) == len(runs)


def test_what_the_service_says_is_text_and_no_markup(visitor: Visitor) -> None:
    """The host's own page takes what is printed under a node for HTML."""
    visitor.open(TEXT)
    visitor.change(GENERATE, prompt="Said with markup")
    visitor.emulator.order("poll", Fault.shows_status("<img src=x onerror='window.isOwned=1'>"), times=2)

    visitor.run()
    visitor.wait_for("execution_success")
    assert any("onerror" in text for text in visitor.texts())
    visitor.emulator.order("submit", Fault.refuse(422, "40000", "Sorry <img src=x onerror='window.isOwned=2'>"))
    visitor.change(GENERATE, prompt="Refused with markup")
    visitor.run()
    visitor.wait_for("execution_error")
    expect(visitor.messages("Sorry <img")).to_be_visible()

    assert not visitor.page.evaluate("window.isOwned ?? false")
    assert visitor.page.locator("img[src=x]").count() == 0


def test_the_sheet_that_a_run_leaves_on_the_node_has_no_gap(visitor: Visitor) -> None:
    visitor.open(FOUR)
    visitor.change(GENERATE, prompt="Without a gap")

    visitor.run()
    visitor.wait_for("execution_success")

    sheet = visitor.last_preview()
    corners = [(column * sheet.width // 2, row * sheet.height // 2) for row in range(2) for column in range(2)]
    quarters = [sheet.crop((x, y, x + sheet.width // 2, y + sheet.height // 2)) for x, y in corners]
    assert all(np.ptp(np.asarray(quarter), axis=(0, 1)).min() > MOST_LEVELS_OF_A_GAP for quarter in quarters)


def test_a_picture_that_was_shown_early_is_fetched_once(visitor: Visitor) -> None:
    visitor.open(FOUR)
    visitor.change(GENERATE, prompt="Fetched once")

    visitor.run()
    visitor.wait_for("execution_success")

    run = visitor.emulator.runs[-1]
    fetched = [request.path for request in visitor.emulator.requests if f"/results/{run.execution_id}/" in request.path]
    assert len(fetched) == len(set(fetched)) == 4


def test_a_failure_is_told_with_a_link_to_the_page_for_keys(visitor: Visitor) -> None:
    visitor.open(TEXT)
    visitor.change(GENERATE, prompt="Refused for its key")
    before = visitor.saved()
    visitor.emulator.order("submit", Fault.refuse(401, "40001"))

    visitor.run()
    visitor.wait_for("execution_error")

    message = visitor.messages("WeShop does not accept the API key")
    expect(message).to_be_visible()
    expect(message.get_by_role("link")).to_have_attribute("href", "https://open.weshop.ai/authorization/apikey")
    visitor.shoot("failed")
    expect(visitor.line("failed")).to_be_visible()
    assert widgets_of(visitor.saved(), GENERATE) == widgets_of(before, GENERATE)


def test_an_expected_failure_takes_one_line_of_the_log(visitor: Visitor) -> None:
    logged = len(visitor.host.log_text())
    visitor.open(TEXT)
    visitor.change(GENERATE, prompt="Refused for its points")
    visitor.emulator.order("submit", Fault.refuse(402, "40002"))

    visitor.run()
    visitor.wait_for("execution_error")

    log = visitor.host.log_text()[logged:]
    assert log.count("The WeShop account has too few points") == 1
    assert "Traceback" not in log


def test_failures_of_other_nodes_are_left_to_the_page(visitor: Visitor) -> None:
    visitor.page.evaluate(
        """app.api.dispatchCustomEvent("execution_error", {prompt_id: "1", node_id: "1", node_type: "KSampler",
             executed: [], exception_message: "not ours", exception_type: "Error", traceback: []})"""
    )
    time.sleep(0.5)

    expect(visitor.messages("not ours")).to_have_count(0)


def test_what_is_refused_at_queueing_is_told_in_one_sentence(visitor: Visitor) -> None:
    visitor.open(TEXT)
    visitor.change(GENERATE, prompt=" ")

    visitor.page.evaluate("app.queuePrompt(0).catch(() => 0)")

    expect(visitor.messages("WeShop Seedream Generate was not queued")).to_contain_text("The prompt is empty.")
    visitor.shoot("refused")


def test_the_choices_follow_the_model(visitor: Visitor) -> None:
    visitor.open(TEXT)
    visitor.change(GENERATE, image_size="3K", web_search=True)

    visitor.change(GENERATE, model="Seedream 5.0 Pro")

    assert visitor.choices(GENERATE, "image_size") == ["1K", "2K"]
    assert visitor.choices(GENERATE, "aspect_ratio")[-1] == "auto"
    values = visitor.values(GENERATE)
    assert (values["image_size"], values["aspect_ratio"], values["web_search"]) == ("2K", "3:4", False)
    expect(visitor.line("1776 x 2368 px, about 10 points")).to_be_visible()

    visitor.change(GENERATE, aspect_ratio="auto")
    visitor.change(GENERATE, model="Seedream 5.0 Lite")

    assert visitor.choices(GENERATE, "image_size") == ["2K", "3K"]
    assert visitor.values(GENERATE)["aspect_ratio"] != "auto"


@pytest.mark.parametrize("file", SAVED, ids=lambda file: f"{file.parent.name} {file.stem}")
def test_a_workflow_of_an_earlier_version_opens_as_it_was_saved(visitor: Visitor, file: Path) -> None:
    saved = json.loads(file.read_text(encoding="utf-8"))

    visitor.open(saved)

    opened = visitor.saved()
    for node_type in {node["type"] for node in saved["nodes"] if node["type"].startswith("WeShop")}:
        count = len(widgets_of(opened, node_type))
        assert widgets_of(opened, node_type) == widgets_of(saved, node_type)[:count]
        assert count >= {GENERATE: 11, "WeShopUploadReference": 2, "WeShopLoadResult": 2}[node_type]


@pytest.mark.parametrize("model", ["constructor", "__proto__"])
def test_a_model_with_a_name_that_scripts_know_opens_as_it_was_saved(visitor: Visitor, model: str) -> None:
    saved = json.loads(TEXT.read_text(encoding="utf-8"))
    node = next(node for node in saved["nodes"] if node["type"] == GENERATE)
    node["widgets_values"][1] = model

    visitor.open(saved)

    assert widgets_of(visitor.saved(), GENERATE) == node["widgets_values"]
    assert visitor.choices(GENERATE, "image_size") == ["1K", "2K", "3K"]
    expect(visitor.messages()).to_have_count(0)


def test_a_workflow_saved_reopened_and_exported_makes_the_same_request(visitor: Visitor) -> None:
    visitor.open(TEXT)
    visitor.change(GENERATE, prompt="The same request", model="Seedream 5.0 Pro", seed=101)
    visitor.run()
    visitor.wait_for("execution_success")

    visitor.open(json.loads(json.dumps(visitor.saved())))
    visitor.change(GENERATE, seed=102)
    visitor.host.client.run(visitor.exported(), timeout_seconds=60.0)

    first, second = visitor.emulator.runs[-2:]
    assert first.prompt == "The same request"
    assert first.execution_id != second.execution_id
    assert first.body == second.body


def test_each_template_opens_without_a_missing_node(visitor: Visitor) -> None:
    files = sorted(EXAMPLES.glob("*.json"))
    assert len(files) == 7

    for file in files:
        visitor.open(file)

        visitor.page.wait_for_timeout(COMPLAINING_MILLISECONDS)
        expect(visitor.page.get_by_text(MISSING_NODE)).to_have_count(0)
        known: list[str] = visitor.page.evaluate(
            "app.graph.nodes.map(node => node.type).filter(type => type in LiteGraph.registered_node_types)"
        )
        assert sorted(known) == sorted(node["type"] for node in json.loads(file.read_text(encoding="utf-8"))["nodes"])


def test_the_templates_are_listed_with_their_pictures(visitor: Visitor) -> None:
    visitor.page.evaluate("app.extensionManager.command.execute('Comfy.BrowseTemplates')")
    visitor.page.get_by_text("weshop-seedream").first.click()

    for file in sorted(EXAMPLES.glob("*.json")):
        visitor.page.get_by_text(file.stem).first.scroll_into_view_if_needed()
        visitor.page.wait_for_function(
            """([title, largest]) => [...document.images].some(image => image.alt === title && image.complete
                 && Math.max(image.naturalWidth, image.naturalHeight) === largest)""",
            arg=[file.stem, THUMBNAIL_PIXELS],
        )
    visitor.shoot("templates")
    visitor.reload()


def test_the_help_page_of_a_node_opens(visitor: Visitor) -> None:
    visitor.open(TEXT)
    visitor.select(GENERATE)

    visitor.page.get_by_test_id("info-button").click()

    expect(visitor.page.get_by_text("The seed names the run.").first).to_be_visible()
    visitor.shoot("help")
    visitor.reload()


@pytest.mark.parametrize(("title", "references"), BLUEPRINTS.items())
def test_a_blueprint_is_found_and_runs_with_what_is_set_outside(visitor: Visitor, title: str, references: int) -> None:
    if visitor.host_version() < FIRST_WITH_BLUEPRINTS:
        assert visitor.blueprints() == []
        return
    picture = next(INPUTS.glob("*.*"))
    visitor.host.client.upload_image(picture.name, picture.read_bytes())

    blueprint = visitor.insert(title)
    visitor.page.evaluate(AROUND_A_BLUEPRINT, picture.name)
    visitor.change(blueprint, prompt=title, model="Seedream 5.0 Pro")
    offered = visitor.choices(blueprint, "image_size")
    visitor.run()
    visitor.wait_for("execution_success")

    expect(visitor.messages()).to_have_count(0)
    assert {"1K", "2K"} <= set(offered)
    params = visitor.emulator.runs[-1].body["params"]
    assert (visitor.emulator.runs[-1].prompt, len(params.get("images", ()))) == (title, references)
    seeds = [node["inputs"]["seed"] for node in visitor.exported().values() if node["class_type"] == GENERATE]
    assert seeds == [0]


def test_the_texts_of_the_nodes_are_chinese_where_the_page_is(visitor: Visitor) -> None:
    visitor.speak("zh")
    visitor.open(TEXT)

    labels = visitor.labels(GENERATE)
    visitor.shoot("zh")
    visitor.speak("en")

    is_lost = FIRST_LOSING_TRANSLATIONS <= visitor.page_version() < FIRST_KEEPING_THEM
    chinese = ["\u63d0\u793a\u8bcd", "\u6a21\u578b", "\u56fe\u7247\u5c3a\u5bf8"]
    assert labels[:3] == (["prompt", "model", "image_size"] if is_lost else chinese)
