"""Each node has a help page in English and Chinese that leaves nothing of its form out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tools.environment import ROOT
from tools.examples import EXAMPLES

from .forms import our_nodes
from .saved import private_texts

PAGES = ROOT / "web" / "docs"
NODES = ("WeShopUploadReference", "WeShopSeedreamGenerate", "WeShopLoadResult")
SECTIONS = {
    "en": ("Inputs", "Outputs", "Example", "What it costs", "When it fails"),
    # Input, output, example, costs, on failure; escaped, because Python files here hold characters of cp1252 only.
    "zh": ("\u8f93\u5165", "\u8f93\u51fa", "\u793a\u4f8b", "\u8d39\u7528", "\u5931\u8d25\u65f6"),
}
EVERY_PAGE = pytest.mark.parametrize(("node", "language"), [(node, each) for node in NODES for each in SECTIONS])

Info = dict[str, Any]


def read(node: str, language: str) -> str:
    return (PAGES / node / f"{language}.md").read_text(encoding="utf-8")


def section(page: str, title: str) -> str:
    """The text below a heading, up to the next one."""
    return page.split(f"\n## {title}\n")[1].split("\n## ", maxsplit=1)[0]


def inputs_of(node: str) -> Info:
    info = our_nodes()[node]["input"]
    return {**info["required"], **info["optional"]}


def options_of(node: str) -> Iterator[str]:
    for _, settings in (specification for specification in inputs_of(node).values() if len(specification) > 1):
        yield from settings.get("options", ())


def test_the_pages_are_those_of_the_nodes() -> None:
    assert set(NODES) == set(our_nodes())
    assert {page.relative_to(PAGES).as_posix() for page in PAGES.rglob("*.md")} == {
        *(f"{node}.md" for node in NODES),
        *(f"{node}/{language}.md" for node in NODES for language in SECTIONS),
    }


@pytest.mark.parametrize("node", NODES)
def test_readers_of_other_languages_get_the_english_page(node: str) -> None:
    assert (PAGES / f"{node}.md").read_text(encoding="utf-8") == read(node, "en")


@EVERY_PAGE
def test_a_page_has_all_its_parts(node: str, language: str) -> None:
    page = read(node, language)

    assert tuple(re.findall(r"^## (.+)$", page, re.MULTILINE)) == SECTIONS[language]
    assert all(section(page, title).strip() for title in SECTIONS[language])


@EVERY_PAGE
def test_a_page_has_a_line_for_every_input_and_output_and_no_other(node: str, language: str) -> None:
    page = read(node, language)
    documented = [re.findall(r"^\| `(\w+)` \|", section(page, title), re.MULTILINE) for title in SECTIONS[language][:2]]
    values = set(options_of(node))

    assert {name for name in documented[0] if name not in values} == set(inputs_of(node))
    assert documented[1] == our_nodes()[node]["output_name"]


@EVERY_PAGE
def test_a_page_names_every_option(node: str, language: str) -> None:
    page = section(read(node, language), SECTIONS[language][0])

    assert [option for option in options_of(node) if f"`{option}`" not in page] == []


@EVERY_PAGE
def test_a_page_belongs_to_an_example_that_exists(node: str, language: str) -> None:
    titles = re.findall(r"\*\*([^*]+)\*\*", section(read(node, language), SECTIONS[language][2]))

    assert titles
    assert [title for title in titles if not (EXAMPLES / f"{' '.join(title.split())}.json").is_file()] == []


@EVERY_PAGE
def test_the_pictures_of_a_page_exist_and_nothing_in_it_is_private(node: str, language: str) -> None:
    page = read(node, language)
    pictures = [Path(name) for name in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page)]

    assert [picture for picture in pictures if not (PAGES / picture).is_file()] == []
    assert list(private_texts(page)) == []
