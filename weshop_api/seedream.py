"""The agent's contract as data: models, sizes, ratios, formats and limits, and the request that is checked against it.

A new model or ratio is one entry here; nodes, checks and messages are built from these tables.
Sources: the vendor's agent page and command line client for what a model offers, ByteDance's recommended
sizes for the pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .errors import InvalidRequestError
from .models import Charge, References, Result, RunStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

AGENT_NAME = "seedream"
AGENT_VERSION = "v1.0"

OUTPUT_FORMATS = ("jpeg", "png")
DEFAULT_OUTPUT_FORMAT = "jpeg"
MAX_BATCH_COUNT = 16
WEB_SEARCH_TOOL = "web_search"

MAX_REFERENCE_BYTES = 10_000_000
MAX_REFERENCE_PIXELS = 36_000_000
MIN_REFERENCE_SIDE_PIXELS = 15
MAX_REFERENCE_RATIO = 16

FOLLOW_FIRST_REFERENCE = "auto"

Size = tuple[int, int]


@dataclass(frozen=True)
class Model:
    """One model of the agent. ``pixels`` gives width and height for each image size and ratio it offers."""

    label: str
    name: str
    max_references: int
    web_search: bool
    follows_reference_ratio: bool
    pixels: Mapping[str, Mapping[str, Size]] = field(hash=False)

    @property
    def image_sizes(self) -> tuple[str, ...]:
        """What the input ``image_size`` may be, smallest first."""
        return tuple(self.pixels)

    @property
    def aspect_ratios(self) -> tuple[str, ...]:
        """What the input ``aspect_ratio`` may be."""
        fixed = tuple(next(iter(self.pixels.values())))
        return (*fixed, FOLLOW_FIRST_REFERENCE) if self.follows_reference_ratio else fixed

    def pixel_size(self, image_size: str, aspect_ratio: str) -> Size | None:
        """Width and height in pixels, None for ``auto`` and for what the model does not offer."""
        return self.pixels.get(image_size, {}).get(aspect_ratio)


LITE = Model(
    label="Seedream 5.0 Lite",
    name="Seedream_50_Lite",
    max_references=14,
    web_search=True,
    follows_reference_ratio=False,
    pixels={
        "2K": {
            "1:1": (2048, 2048),
            "2:3": (1664, 2496),
            "3:2": (2496, 1664),
            "4:3": (2304, 1728),
            "3:4": (1728, 2304),
            "16:9": (2848, 1600),
            "9:16": (1600, 2848),
            "21:9": (3136, 1344),
        },
        "3K": {
            "1:1": (3072, 3072),
            "2:3": (2496, 3744),
            "3:2": (3744, 2496),
            "4:3": (3456, 2592),
            "3:4": (2592, 3456),
            "16:9": (4096, 2304),
            "9:16": (2304, 4096),
            "21:9": (4704, 2016),
        },
    },
)

PRO = Model(
    label="Seedream 5.0 Pro",
    name="Seedream_50_Pro",
    max_references=10,
    web_search=False,
    follows_reference_ratio=True,
    pixels={
        "1K": {
            "1:1": (1024, 1024),
            "2:3": (832, 1248),
            "3:2": (1248, 832),
            "4:3": (1152, 864),
            "3:4": (864, 1152),
            "16:9": (1424, 800),
            "9:16": (800, 1424),
            "21:9": (1568, 672),
        },
        "2K": {
            "1:1": (2048, 2048),
            "2:3": (1664, 2496),
            "3:2": (2496, 1664),
            "4:3": (2368, 1776),
            "3:4": (1776, 2368),
            "16:9": (2816, 1584),
            "9:16": (1584, 2816),
            "21:9": (3136, 1344),
        },
    },
)

MODELS = (LITE, PRO)
MAX_REFERENCES = max(model.max_references for model in MODELS)
DEFAULT_MODEL = LITE
DEFAULT_IMAGE_SIZE = "2K"
DEFAULT_ASPECT_RATIO = "3:4"


def all_image_sizes(models: tuple[Model, ...] = MODELS) -> tuple[str, ...]:
    """Every image size that some model offers, sorted: the choices of a form that shows one list for all models."""
    return tuple(sorted({size for model in models for size in model.image_sizes}))


def all_aspect_ratios(models: tuple[Model, ...] = MODELS) -> tuple[str, ...]:
    """Every ratio that some model offers, in the order of the tables, ``auto`` last."""
    ratios = dict.fromkeys(ratio for model in models for ratio in model.aspect_ratios)
    ratios.pop(FOLLOW_FIRST_REFERENCE, None)
    follows = any(model.follows_reference_ratio for model in models)
    return (*ratios, FOLLOW_FIRST_REFERENCE) if follows else tuple(ratios)


def model_by_label(label: str, models: tuple[Model, ...] = MODELS) -> Model:
    """The model a form shows as ``label``. Raises InvalidRequestError for one that does not exist."""
    for model in models:
        if label in (model.label, model.name):
            return model
    raise InvalidRequestError(f'There is no model "{label}". Choose {_either(m.label for m in models)}.')


@dataclass(frozen=True)
class SeedreamRequest:
    """Everything that can change the pictures, and the label ``task_name``, which cannot."""

    prompt: str
    model: Model = DEFAULT_MODEL
    image_size: str = DEFAULT_IMAGE_SIZE
    aspect_ratio: str = DEFAULT_ASPECT_RATIO
    output_format: str = DEFAULT_OUTPUT_FORMAT
    batch_count: int = 1
    web_search: bool = False
    references: References = References()  # noqa: RUF009 - frozen
    task_name: str = ""

    def check(self) -> None:
        """Raise InvalidRequestError with the sentence that tells how to mend it, when the model does not offer this."""
        for complaint in (self._prompt_complaint(), self._choice_complaint(), self._reference_complaint()):
            if complaint:
                raise InvalidRequestError(complaint)

    @property
    def pixel_size(self) -> Size | None:
        """The size a picture is expected to have, None with ``auto``."""
        return self.model.pixel_size(self.image_size, self.aspect_ratio)

    def _prompt_complaint(self) -> str:
        return "" if self.prompt.strip() else "The prompt is empty. Describe the picture you want."

    def _choice_complaint(self) -> str:
        model = self.model
        if self.image_size not in model.image_sizes:
            return _not_offered(model, "image size", self.image_size, model.image_sizes)
        if self.aspect_ratio not in model.aspect_ratios:
            return _not_offered(model, "aspect ratio", self.aspect_ratio, model.aspect_ratios)
        if self.output_format not in OUTPUT_FORMATS:
            return _not_offered(model, "output format", self.output_format, OUTPUT_FORMATS)
        if self.web_search and not model.web_search:
            searching = _either(m.label for m in MODELS if m.web_search)
            return f"{model.label} cannot search the web. Switch web_search off, or choose {searching}."
        if not 1 <= self.batch_count <= MAX_BATCH_COUNT:
            return f"A run makes 1 to {MAX_BATCH_COUNT} pictures, not {self.batch_count}. Change batch_count."
        return ""

    def _reference_complaint(self) -> str:
        count, allowed = len(self.references.items), self.model.max_references
        if count <= allowed:
            return ""
        roomier = [model.label for model in MODELS if model.max_references >= count]
        instead = f", or choose {_either(roomier)}" if roomier else ""
        return (
            f"{self.model.label} takes at most {allowed} references, and {count} are connected. "
            f"Remove {count - allowed}{instead}."
        )


@dataclass(frozen=True)
class Run:
    """A finished run: what came of a request.

    ``request`` is None when only the execution id was known. ``seconds`` is how long the run took, None when it was
    not watched to its end. ``reused_from`` is the time of day ("14:03") of the earlier submission that this run
    continues, empty for a run submitted now. ``batch_count`` is how many pictures were asked for, 0 for a run that was
    not submitted from here.
    """

    execution_id: str
    status: RunStatus
    results: tuple[Result, ...]
    request: SeedreamRequest | None = None
    charge: Charge = Charge()  # noqa: RUF009 - frozen
    seconds: float | None = None
    reused_from: str = ""
    batch_count: int = 0

    @property
    def usable(self) -> tuple[Result, ...]:
        """The results that have a picture, in order."""
        return tuple(result for result in self.results if result.url)

    @property
    def urls(self) -> tuple[str, ...]:
        """Addresses of the usable pictures, in order."""
        return tuple(result.url for result in self.usable)

    @property
    def missing_count(self) -> int:
        """How many pictures are not there, of those asked for or, where that is not known, of those listed."""
        return max(0, (self.batch_count or len(self.results)) - len(self.usable))


def _not_offered(model: Model, what: str, value: str, offered: tuple[str, ...]) -> str:
    others = [m.label for m in MODELS if value in (*m.image_sizes, *m.aspect_ratios)]
    instead = f", or choose {_either(others)}" if others else ""
    return f"{model.label} does not offer the {what} {value}. Choose {_either(offered)}{instead}."


def _either(words: Iterable[str]) -> str:
    """Join names as a person would: ``a``, ``a or b``, ``a, b or c``."""
    names = list(words)
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
