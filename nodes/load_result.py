"""WeShop Load Result: the pictures of a finished run, of this graph or of any time before, as IMAGE."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, get_args

from comfy_api.latest import io

from ..weshop_api import DownloadError, InvalidRequestError, Run
from . import host, images
from .links import CATEGORY, RunLink, check_choice, check_link

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..weshop_api import Progress, WeShop


class WeShopLoadResult(io.ComfyNode):
    """Downloads and decodes. Fetching again costs nothing."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The form."""
        return io.Schema(
            node_id="WeShopLoadResult",
            display_name="WeShop Load Result",
            category=CATEGORY,
            description="Load the pictures of a run. Costs no points, also for runs of earlier days.",
            inputs=[
                RunLink.Input("run", optional=True, tooltip="The run of WeShop Seedream Generate."),
                io.String.Input(
                    "execution_id",
                    default="",
                    tooltip="Brings back an earlier run of your account by its id. Used when run is not connected.",
                ),
                io.Combo.Input(
                    "when_sizes_differ",
                    options=list(get_args(images.SizePolicy)),
                    default="pad",
                    tooltip="How pictures of different size become one batch. pad: centred on the largest canvas; "
                    "resize: to the size of the first; crop: the middle, at the smallest width and height; "
                    "error: refuse. image_list is never changed.",
                ),
            ],
            outputs=[
                io.Image.Output("images", display_name="images", tooltip="All pictures as one batch."),
                io.Image.Output(
                    "image_list",
                    display_name="image_list",
                    is_output_list=True,
                    tooltip="The pictures one by one, each at its own size.",
                ),
                io.String.Output(
                    "urls", display_name="urls", is_output_list=True, tooltip="The pictures' addresses, in order."
                ),
            ],
        )

    @classmethod
    async def execute(
        cls, execution_id: str, when_sizes_differ: images.SizePolicy, run: Run | None = None
    ) -> io.NodeOutput:
        """Find the run, fetch its pictures, decode each while the next is on its way."""
        check_link("run", run, Run, "WeShop Seedream Generate")
        check_choice("when_sizes_differ", when_sizes_differ, get_args(images.SizePolicy))
        if run is None:
            run = await _find(execution_id)
        with host.stop_at_exit() as stop:
            batch = images.PictureBatch(len(run.usable), when_sizes_differ, stop=stop)
            pictures = await host.follow(partial(_load, run, batch))
        ui = await host.final_text(_summary(run, pictures.sizes))
        return io.NodeOutput(pictures.images, list(pictures.image_list), list(run.urls), ui=ui)


async def _find(execution_id: str) -> Run:
    if not execution_id.strip():
        raise InvalidRequestError(
            "There is no run to load. Connect run with WeShop Seedream Generate, or enter the execution id of an "
            "earlier run."
        )
    return await host.follow(partial(_fetch, execution_id))


async def _fetch(execution_id: str, weshop: WeShop, report: Callable[[Progress], None]) -> Run:
    return await weshop.fetch(execution_id, report=report)


async def _load(
    run: Run, batch: images.PictureBatch, weshop: WeShop, report: Callable[[Progress], None]
) -> images.Pictures:
    await weshop.load(run, partial(host.in_picture_thread, batch.add), report)
    try:
        return await host.in_picture_thread(batch.finish)
    except DownloadError as error:
        error.execution_id = run.execution_id
        error.add(
            f"This is run {run.execution_id}. It is not lost: queue again with another when_sizes_differ; nothing is "
            "charged for that."
        )
        raise


def _summary(run: Run, sizes: tuple[tuple[int, int], ...]) -> str:
    """What the node says at the end: how many pictures, and the pixels that their files have."""
    pixels = ", ".join(f"{width} x {height}" for width, height in dict.fromkeys(sizes))
    loaded = f"{len(sizes)} picture{'s' if len(sizes) != 1 else ''} of run {run.execution_id}, {pixels} px"
    return f"{loaded}, {run.missing_count} missing" if run.missing_count else loaded
