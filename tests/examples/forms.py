"""What each node's form looks like, in the order in which the page saves it.

Ours come from the nodes themselves. The core nodes are a short list on purpose: an example that works everywhere uses
nodes that every ComfyUI has. Whether the real host agrees is seen when the end-to-end tests run the examples.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

WIDGET_TYPES = ("STRING", "INT", "FLOAT", "BOOLEAN", "COMBO")
COMPANION_OF_SEED = "control_after_generate"
COMPANION_OF_UPLOAD = "upload"
NOTE = "MarkdownNote"


@dataclass(frozen=True)
class Widget:
    """One value of `widgets_values`; a companion is one that the page adds by itself."""

    name: str
    kind: str
    choices: tuple[Any, ...] = ()
    smallest: float | None = None
    largest: float | None = None
    is_companion: bool = False

    def accepts(self, value: object) -> bool:
        """Whether a saved value is one that the page could have saved."""
        if self.choices:
            return value in self.choices
        if self.kind in ("STRING", "COMBO"):
            return isinstance(value, str)
        if self.kind == "BOOLEAN":
            return isinstance(value, bool)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        too_small = self.smallest is not None and value < self.smallest
        too_large = self.largest is not None and value > self.largest
        return not (too_small or too_large or (self.kind == "INT" and value != int(value)))


@dataclass(frozen=True)
class Form:
    """Sockets with their types, widgets in order, outputs with their types."""

    sockets: tuple[tuple[str, str], ...]
    widgets: tuple[Widget, ...]
    outputs: tuple[tuple[str, str], ...]

    @property
    def inputs(self) -> tuple[tuple[str, str], ...]:
        """Names and types of all inputs as the page saves them: sockets first, then the widgets that are inputs."""
        widgets = tuple((each.name, each.kind) for each in self.widgets if each.name != COMPANION_OF_SEED)
        return self.sockets + widgets


CORE: Mapping[str, Mapping[str, Any]] = {
    "LoadImage": {"input": {"image": ("COMBO", {"image_upload": True})}, "output": ("IMAGE", "MASK")},
    "SaveImage": {"input": {"images": ("IMAGE",), "filename_prefix": ("STRING",)}, "output": ()},
    "PreviewImage": {"input": {"images": ("IMAGE",)}, "output": ()},
    "ImageFromBatch": {
        "input": {
            "image": ("IMAGE",),
            "batch_index": ("INT", {"min": 0, "max": 4095}),
            "length": ("INT", {"min": 1, "max": 4096}),
        },
        "output": ("IMAGE",),
    },
    "ImageScaleBy": {
        "input": {
            "image": ("IMAGE",),
            "upscale_method": (("nearest-exact", "bilinear", "area", "bicubic", "lanczos"),),
            "scale_by": ("FLOAT", {"min": 0.01, "max": 8.0}),
        },
        "output": ("IMAGE",),
    },
    "ImageSharpen": {
        "input": {
            "image": ("IMAGE",),
            "sharpen_radius": ("INT", {"min": 1, "max": 31}),
            "sigma": ("FLOAT", {"min": 0.1, "max": 10.0}),
            "alpha": ("FLOAT", {"min": 0.0, "max": 5.0}),
        },
        "output": ("IMAGE",),
    },
}


@cache
def our_nodes() -> Mapping[str, Mapping[str, Any]]:
    """What the host tells the page about our nodes, by node id."""
    from weshop_pack.nodes.load_result import WeShopLoadResult  # noqa: PLC0415 - loads the host
    from weshop_pack.nodes.seedream_generate import WeShopSeedreamGenerate  # noqa: PLC0415 - the same
    from weshop_pack.nodes.upload_reference import WeShopUploadReference  # noqa: PLC0415 - the same

    nodes = (WeShopUploadReference, WeShopSeedreamGenerate, WeShopLoadResult)
    return {node.define_schema().node_id: json.loads(json.dumps(node.GET_NODE_INFO_V1())) for node in nodes}


@cache
def forms() -> Mapping[str, Form]:
    """The form of every node that an example may use; notes have none."""
    ours = {name: _form(_inputs_of(info), _outputs_of(info)) for name, info in our_nodes().items()}
    core = {name: _form(node["input"], tuple((kind, kind) for kind in node["output"])) for name, node in CORE.items()}
    return {**core, **ours}


def _inputs_of(info: Mapping[str, Any]) -> dict[str, Any]:
    return {**info["input"].get("required", {}), **info["input"].get("optional", {})}


def _outputs_of(info: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple(zip(info["output_name"], info["output"], strict=True))


def _form(inputs: Mapping[str, Any], outputs: tuple[tuple[str, str], ...]) -> Form:
    split = {name: _split(specification) for name, specification in inputs.items()}
    sockets = tuple((name, kind) for name, (kind, _) in split.items() if kind not in WIDGET_TYPES)
    widgets = [each for name, (kind, options) in split.items() for each in _widgets(name, kind, options)]
    return Form(sockets, tuple(widgets), outputs)


def _split(specification: Any) -> tuple[str, dict[str, Any]]:  # noqa: ANN401 - JSON of the host
    kind, *rest = specification
    options = dict(rest[0]) if rest else {}
    return (kind, options) if isinstance(kind, str) else ("COMBO", {**options, "options": kind})


def _widgets(name: str, kind: str, options: Mapping[str, Any]) -> Iterator[Widget]:
    if kind not in WIDGET_TYPES:
        return
    yield Widget(name, kind, tuple(options.get("options", ())), options.get("min"), options.get("max"))
    if options.get("control_after_generate"):
        yield Widget(COMPANION_OF_SEED, "COMBO", ("fixed",), is_companion=True)
    if options.get("image_upload"):
        yield Widget(COMPANION_OF_UPLOAD, "IMAGEUPLOAD", ("image",), is_companion=True)
