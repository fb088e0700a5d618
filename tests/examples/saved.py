"""A graph as the page saves it, and everything that can be wrong with one. Complaints are sentences."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .forms import NOTE, Form, forms

Json = dict[str, Any]

TITLE_BAR_PIXELS = 30
LARGEST_INPUT_BYTES = 150_000
SUBGRAPH_INPUTS = -10
SUBGRAPH_OUTPUTS = -20

_ABSOLUTE_PATH = re.compile(r"(^|[\s\"'(])(/[A-Za-z0-9_.-]+/|~/|[A-Za-z]:[\\/]|file:)")
_LIKE_A_KEY = re.compile(r"[A-Za-z0-9_-]{24,}")
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


@dataclass(frozen=True)
class Link:
    """One wire, from an output slot to an input slot."""

    number: int
    origin: int
    origin_slot: int
    target: int
    target_slot: int
    kind: str


@dataclass(frozen=True)
class Graph:
    """Nodes and wires of a workflow, or of the inside of a subgraph."""

    nodes: tuple[Json, ...]
    links: tuple[Link, ...]
    last_node_id: int
    last_link_id: int
    groups: tuple[Json, ...] = ()
    inputs: tuple[Json, ...] = ()
    outputs: tuple[Json, ...] = ()

    @classmethod
    def of_workflow(cls, workflow: Json) -> Graph:
        """The graph of a saved workflow, whose links are lists."""
        return cls(
            tuple(workflow["nodes"]),
            tuple(Link(*link) for link in workflow["links"]),
            workflow["last_node_id"],
            workflow["last_link_id"],
            tuple(workflow["groups"]),
        )

    @classmethod
    def of_subgraph(cls, definition: Json) -> Graph:
        """The inside of a subgraph, whose links are objects and whose boundary counts as two nodes."""
        names = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
        return cls(
            tuple(definition["nodes"]),
            tuple(Link(*(link[name] for name in names)) for link in definition["links"]),
            definition["state"]["lastNodeId"],
            definition["state"]["lastLinkId"],
            tuple(definition["groups"]),
            tuple(definition["inputs"]),
            tuple(definition["outputs"]),
        )

    def slots(self, node_id: int, side: str) -> list[Json]:
        """The slots of a node, or of the boundary, on the side `inputs` or `outputs`; none for an unknown node."""
        if node_id == SUBGRAPH_INPUTS:
            return list(self.inputs) if side == "outputs" else []
        if node_id == SUBGRAPH_OUTPUTS:
            return list(self.outputs) if side == "inputs" else []
        found = [node for node in self.nodes if node["id"] == node_id]
        return list(found[0][side]) if found else []


def wrong_ids(graph: Graph) -> Iterator[str]:
    """Ids are given once, and the counters know the largest."""
    nodes, links = [node["id"] for node in graph.nodes], [link.number for link in graph.links]
    for what, ids, last in (("node", nodes, graph.last_node_id), ("link", links, graph.last_link_id)):
        if len(set(ids)) != len(ids):
            yield f"a {what} id is given twice: {sorted(ids)}"
        if max(ids, default=0) > last:
            yield f"the last {what} id is {last}, but {max(ids)} exists"
    if sorted(node["order"] for node in graph.nodes) != list(range(len(nodes))):
        yield "the order of execution is not a numbering of the nodes"


def wrong_links(graph: Graph) -> Iterator[str]:
    """Both ends of a link know it, agree about its type, and know no other."""
    for link in graph.links:
        origins, targets = graph.slots(link.origin, "outputs"), graph.slots(link.target, "inputs")
        if link.origin_slot >= len(origins) or link.target_slot >= len(targets):
            yield f"link {link.number} ends at a slot that does not exist"
            continue
        origin, target = origins[link.origin_slot], targets[link.target_slot]
        if link.number not in _numbers(origin):
            yield f"link {link.number} is not known at its origin"
        if link.number not in _numbers(target):
            yield f"link {link.number} is not known at its target"
        if {origin["type"], target["type"], link.kind} != {link.kind}:
            yield f"link {link.number} of type {link.kind} joins {origin['type']} and {target['type']}"
    existing = {link.number for link in graph.links}
    for node in graph.nodes:
        for slot in (*node["inputs"], *node["outputs"]):
            for number in _numbers(slot) - existing:
                yield f"{_name(node)} knows a link {number} that does not exist"


def wrong_forms(graph: Graph) -> Iterator[str]:
    """Every node is one we know, and has the inputs, outputs and values that its form has."""
    for node in graph.nodes:
        form = forms().get(node["type"])
        if form is not None:
            yield from _unlike(node, form)
        elif node["type"] != NOTE:
            yield f"{_name(node)} is neither ours nor one of the core nodes that examples use"


def _unlike(node: Json, form: Form) -> Iterator[str]:
    inputs = tuple((slot["name"], slot["type"]) for slot in node["inputs"])
    outputs = tuple((slot["name"], slot["type"]) for slot in node["outputs"])
    if inputs != form.inputs:
        yield f"{_name(node)} has the inputs {inputs}, not {form.inputs}"
    if outputs != form.outputs:
        yield f"{_name(node)} has the outputs {outputs}, not {form.outputs}"
    values = node["widgets_values"]
    if len(values) != len(form.widgets):
        yield f"{_name(node)} has {len(values)} values for {len(form.widgets)} widgets"
        return
    for widget, value in zip(form.widgets, values, strict=True):
        if not widget.accepts(value):
            yield f"{_name(node)} cannot have {value!r} for {widget.name}"


def overlaps(graph: Graph) -> Iterator[str]:
    """Nodes do not cover each other, groups neither, and no group cuts through a node."""
    boxes = [(_name(node), _box(node)) for node in graph.nodes]
    groups = [(f"group {group['title']}", _corners(*group["bounding"])) for group in graph.groups]
    for pairs in (itertools.combinations(boxes, 2), itertools.combinations(groups, 2)):
        for (name, box), (other, other_box) in pairs:
            if _meet(box, other_box):
                yield f"{name} covers {other}"
    for (name, box), (group, frame) in itertools.product(boxes, groups):
        if _meet(box, frame) and not _inside(box, frame):
            yield f"{group} cuts through {name}"


def private_texts(saved: object) -> Iterator[str]:
    """No path of somebody's machine and nothing that could be a key."""
    for text in _texts(saved):
        if _ABSOLUTE_PATH.search(text):
            yield f"an absolute path: {text!r}"
        if _LIKE_A_KEY.search(_ID.sub("", text)):
            yield f"something like a key: {text!r}"


def wrong_input_pictures(graph: Graph, folder: Path) -> Iterator[str]:
    """Every picture that is loaded is there and small."""
    for node in graph.nodes:
        if node["type"] == "LoadImage":
            picture = folder / node["widgets_values"][0]
            if not picture.is_file():
                yield f"{_name(node)} loads {picture.name}, and there is no such file"
            elif picture.stat().st_size > LARGEST_INPUT_BYTES:
                yield f"{picture.name} has more than {LARGEST_INPUT_BYTES} bytes"


def missing_notes(graph: Graph) -> Iterator[str]:
    """A note explains the example in three numbered lines."""
    notes = [node["widgets_values"][0] for node in graph.nodes if node["type"] == NOTE]
    if not any(re.findall(r"^\*\*(\d)\.\*\*", note, re.MULTILINE) == ["1", "2", "3"] for note in notes):
        yield "no note explains the example in three numbered lines"


def unsaved(graph: Graph) -> Iterator[str]:
    """Pictures are saved, in the pack's own folder."""
    prefixes = [node["widgets_values"][0] for node in graph.nodes if node["type"] == "SaveImage"]
    if not prefixes:
        yield "no picture is saved"
    for prefix in prefixes:
        if not re.fullmatch(r"WeShop/[a-z0-9-]+", prefix):
            yield f"pictures are saved as {prefix}, not in the folder WeShop"


GRAPH_CHECKS: tuple[Callable[[Graph], Iterator[str]], ...] = (wrong_ids, wrong_links, wrong_forms, overlaps)
EXAMPLE_CHECKS = (*GRAPH_CHECKS, missing_notes, unsaved)


def complaints(workflow: Json, inputs: Path) -> list[str]:
    """Everything that is wrong with an example."""
    graph = Graph.of_workflow(workflow)
    found = [complaint for check in EXAMPLE_CHECKS for complaint in check(graph)]
    return [*found, *wrong_input_pictures(graph, inputs), *private_texts(workflow)]


def _numbers(slot: Mapping[str, Any]) -> set[int]:
    single = slot.get("link")
    return {*(slot.get("links") or ()), *(slot.get("linkIds") or ()), *(() if single is None else (single,))}


def _name(node: Json) -> str:
    return f"{node['type']} {node['id']}"


def _texts(saved: object) -> Iterator[str]:
    if isinstance(saved, str):
        yield saved
    elif isinstance(saved, dict):
        for value in saved.values():
            yield from _texts(value)
    elif isinstance(saved, list):
        for value in saved:
            yield from _texts(value)


Box = tuple[float, float, float, float]


def _box(node: Json) -> Box:
    (left, top), (width, height) = node["pos"], node["size"]
    return _corners(left, top - TITLE_BAR_PIXELS, width, height + TITLE_BAR_PIXELS)


def _corners(left: float, top: float, width: float, height: float) -> Box:
    return left, top, left + width, top + height


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _inside(box: Box, frame: Box) -> bool:
    return frame[0] <= box[0] and frame[1] <= box[1] and box[2] <= frame[2] and box[3] <= frame[3]
