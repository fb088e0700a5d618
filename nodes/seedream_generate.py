"""WeShop Seedream Generate: one run of Seedream, from the form to its finished pictures' addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfy_api.latest import io

from ..weshop_api import References, SeedreamRequest, WeShopError, seedream
from . import host
from .links import CATEGORY, ReferencesLink, RunLink, advanced, check_link, with_data
from .previews import Previews

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..weshop_api import Progress, Run, WeShop

LARGEST_SEED = 2**53 - 1
DEFAULT_TIMEOUT_MINUTES = 15


class WeShopSeedreamGenerate(io.ComfyNode):
    """Submits a run, or finds the one that exists already, and follows it to its end."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The form."""
        return io.Schema(
            node_id="WeShopSeedreamGenerate",
            display_name="WeShop Seedream Generate",
            category=CATEGORY,
            description="Generate or edit pictures with Seedream 5.0 through WeShop. A run costs points of your WeShop "
            "account. The same request with the same seed is the same run and is charged once.",
            inputs=[*_picture_inputs(), *_run_inputs()],
            outputs=[
                RunLink.Output("run", display_name="run", tooltip="The finished run, for WeShop Load Result."),
                io.String.Output(
                    "execution_id",
                    display_name="execution_id",
                    tooltip="The id of the run at WeShop. WeShop Load Result brings its pictures back at any time.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(
        cls,
        prompt: str | None = None,
        model: str | None = None,
        image_size: str | None = None,
        aspect_ratio: str | None = None,
        web_search: bool | None = None,  # noqa: FBT001 - the host passes inputs by name
    ) -> bool | str:
        """Refuse at queueing what the model does not offer. What comes over a link is None here and checked later."""
        if model is None:
            return True
        try:
            chosen = seedream.model_by_label(model)
            SeedreamRequest(
                prompt="linked" if prompt is None else prompt,
                model=chosen,
                image_size=image_size or chosen.image_sizes[0],
                aspect_ratio=aspect_ratio or chosen.aspect_ratios[0],
                web_search=bool(web_search),
            ).check()
        except WeShopError as error:
            return str(error)
        return True

    @classmethod
    async def execute(  # noqa: PLR0913, PLR0917 - one parameter for each input of the form
        cls,
        prompt: str,
        model: str,
        image_size: str,
        aspect_ratio: str,
        output_format: str,
        batch_count: int,
        web_search: bool,  # noqa: FBT001 - the host passes inputs by name
        seed: int,
        references: References | None = None,
        task_name: str = "",
        timeout_minutes: int = DEFAULT_TIMEOUT_MINUTES,
    ) -> io.NodeOutput:
        """Check, run, hand on."""
        check_link("references", references, References, "WeShop Upload Reference")
        request = SeedreamRequest(
            prompt=prompt,
            model=seedream.model_by_label(model),
            image_size=image_size,
            aspect_ratio=aspect_ratio,
            output_format=output_format,
            batch_count=batch_count,
            web_search=web_search,
            references=references or References(),
            task_name=task_name.strip(),
        )
        request.check()

        show = host.preview_of_node()

        async def work(weshop: WeShop, report: Callable[[Progress], None]) -> Run:
            async with Previews(weshop, batch_count, show) as previews:

                def tell(progress: Progress) -> None:
                    report(progress)
                    previews.note(progress)

                run = await weshop.generate(request, seed, timeout_minutes * 60.0, tell)
                await previews.complete(run)
                return run

        run = await host.follow(work)
        return io.NodeOutput(run, run.execution_id, ui=await host.final_text(_summary(run)))


def _picture_inputs() -> list[io.Input]:
    """What the pictures are to be."""
    labels = [model.label for model in seedream.MODELS]
    model = io.Combo.Input(
        "model",
        options=labels,
        default=seedream.DEFAULT_MODEL.label,
        tooltip="Lite: 2K and 3K, up to 14 references, can search the web. "
        "Pro: 1K and 2K, up to 10 references, can follow the first reference's ratio (auto).",
    )
    return [
        io.String.Input(
            "prompt",
            default="",
            multiline=True,
            tooltip="What the pictures show, or how the references are to be changed. References are called "
            "image 1, image 2 and so on.",
        ),
        with_data(model, weshop_models={each.label: _offer(each) for each in seedream.MODELS}),
        io.Combo.Input(
            "image_size",
            options=list(seedream.all_image_sizes()),
            default=seedream.DEFAULT_IMAGE_SIZE,
            tooltip="How large the pictures are: 1K is about 1, 2K about 4 and 3K about 9 megapixels.",
        ),
        io.Combo.Input(
            "aspect_ratio",
            options=list(seedream.all_aspect_ratios()),
            default=seedream.DEFAULT_ASPECT_RATIO,
            tooltip="Width to height. auto (Pro only) follows the first reference.",
        ),
        io.Combo.Input(
            "output_format",
            options=list(seedream.OUTPUT_FORMATS),
            default=seedream.DEFAULT_OUTPUT_FORMAT,
            tooltip="The files that WeShop makes: jpeg is smaller, png is lossless.",
        ),
        io.Int.Input(
            "batch_count",
            default=1,
            min=1,
            max=seedream.MAX_BATCH_COUNT,
            tooltip="How many pictures the run makes. Each one costs points.",
        ),
    ]


def _run_inputs() -> list[io.Input]:
    """How the run is to be made."""
    return [
        io.Boolean.Input(
            "web_search",
            default=False,
            tooltip="Let the model look things up on the web first (Lite only).",
        ),
        io.Int.Input(
            "seed",
            default=0,
            min=0,
            max=LARGEST_SEED,
            control_after_generate=True,
            tooltip="Names the run: the service itself has no seed. The same request with the same seed is the same "
            "run and is charged once, also after a restart. A new seed is a new run.",
        ),
        ReferencesLink.Input(
            "references",
            optional=True,
            tooltip="Pictures the prompt may name, from WeShop Upload Reference.",
        ),
        advanced(
            io.String.Input(
                "task_name",
                default="",
                optional=True,
                tooltip="A label for the run in your WeShop account. It changes nothing about the pictures.",
            )
        ),
        advanced(
            io.Int.Input(
                "timeout_minutes",
                default=DEFAULT_TIMEOUT_MINUTES,
                min=1,
                max=120,
                optional=True,
                tooltip="How long to wait for the run. It is not lost after that: queueing again collects it.",
            )
        ),
    ]


def _offer(model: seedream.Model) -> dict[str, object]:
    """What a model offers, for the page: pixels by size and ratio, and the rest."""
    return {
        "pixels": {size: {ratio: list(pixels) for ratio, pixels in row.items()} for size, row in model.pixels.items()},
        "aspect_ratios": list(model.aspect_ratios),
        "web_search": model.web_search,
    }


def _summary(run: Run) -> str:
    """What the node says at the end: model, time, points, and the pixels to expect: no file has been opened yet."""
    request = run.request
    parts = [request.model.label] if request else []
    if request and request.pixel_size:
        parts.append("expected {} x {}".format(*request.pixel_size))
    if run.seconds is not None:
        parts.append(f"{run.seconds:.0f} s")
    if run.reused_from:
        parts.append(f"run {run.execution_id} from {run.reused_from} reused, nothing charged")
    elif run.charge.charged_points is not None:
        parts.append(f"charged {run.charge.charged_points:g} points")
    if run.charge.remaining_points is not None and not run.reused_from:
        parts.append(f"{run.charge.remaining_points:g} left")
    if run.missing_count:
        parts.append(f"{run.missing_count} of {run.missing_count + len(run.usable)} pictures missing")
    return ", ".join(parts)
