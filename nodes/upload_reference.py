"""WeShop Upload Reference: pictures and public addresses become references for a prompt."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, get_args

from comfy_api.latest import io

from ..weshop_api import InvalidRequestError, PictureSource, Progress, Reference, References, check_public_url
from ..weshop_api.seedream import MAX_REFERENCES
from . import host, images
from .links import CATEGORY, ReferencesLink, check_choice, check_link

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from ..weshop_api import Uploaded, WeShop


class WeShopUploadReference(io.ComfyNode):
    """Uploads what the service does not have yet."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The form."""
        return io.Schema(
            node_id="WeShopUploadReference",
            display_name="WeShop Upload Reference",
            category=CATEGORY,
            description="Make references for Seedream: the prompt may call them image 1, image 2 and so on.",
            inputs=[
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip="Pictures to upload. Every picture of a batch becomes one reference, in order. "
                    "A picture that was uploaded before is not sent again.",
                ),
                io.String.Input(
                    "image_urls",
                    default="",
                    multiline=True,
                    tooltip="Public https addresses of pictures, one a line. They are passed on as they are, "
                    "after the uploaded pictures.",
                ),
                ReferencesLink.Input(
                    "references",
                    optional=True,
                    tooltip="Earlier references. They come first, so a chain of these nodes builds an ordered list.",
                ),
                io.Combo.Input(
                    "encoding",
                    options=list(get_args(images.Encoding)),
                    default="auto",
                    tooltip="How pictures are sent. auto: lossless PNG, and JPEG of quality 95 only where the PNG "
                    "would pass the service's limit of 10 MB.",
                ),
            ],
            outputs=[
                ReferencesLink.Output(
                    "references_out",
                    display_name="references",
                    tooltip="All references in order, for WeShop Seedream Generate or another upload node.",
                ),
                io.String.Output(
                    "urls",
                    display_name="urls",
                    is_output_list=True,
                    tooltip="The addresses of all references, in order.",
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, **_: object) -> int:
        """Run again when uploads turned out to be gone; uploading costs no points."""
        return host.upload_generation()

    @classmethod
    async def execute(
        cls,
        image_urls: str,
        encoding: images.Encoding,
        image: torch.Tensor | None = None,
        references: References | None = None,
    ) -> io.NodeOutput:
        """Check, upload, number."""
        check_link("references", references, References, "WeShop Upload Reference")
        check_choice("encoding", encoding, get_args(images.Encoding))
        earlier = references.items if references else ()
        pictures = images.split_batch(image) if image is not None else []
        lines = [line.strip() for line in image_urls.splitlines() if line.strip()]
        _check_count(len(earlier) + len(pictures) + len(lines))
        addresses = tuple(_address(line) for line in lines)
        with host.stop_at_exit() as stop:
            sources = [
                _source(picture, encoding, f"Image {number}", stop)
                for number, picture in enumerate(pictures, start=len(earlier) + 1)
            ]
            uploaded = await host.follow(partial(_upload, sources))
        every = References((*earlier, *uploaded.references.items, *addresses))
        ui = await host.final_text(_numbering(every, uploaded.notes))
        return io.NodeOutput(every, list(every.urls), ui=ui)


def _address(line: str) -> Reference:
    check_public_url(line)
    return Reference(line)


def _check_count(count: int) -> None:
    if count == 0:
        raise InvalidRequestError("There is nothing to refer to. Connect an image, or enter an address in image_urls.")
    if count > MAX_REFERENCES:
        raise InvalidRequestError(
            f"No Seedream model takes more than {MAX_REFERENCES} references, and these are {count}. "
            f"Remove {count - MAX_REFERENCES}; nothing was uploaded."
        )


async def _upload(sources: list[PictureSource], weshop: WeShop, report: Callable[[Progress], None]) -> Uploaded:
    return await weshop.upload(sources, report)


def _source(picture: torch.Tensor, encoding: images.Encoding, name: str, stop: threading.Event) -> PictureSource:
    identify = partial(images.content_hash, picture, encoding, name=name, stop=stop)
    encode = partial(images.encode, picture, encoding, name=name, stop=stop)
    return PictureSource(partial(host.in_picture_thread, identify), partial(host.in_picture_thread, encode))


def _numbering(references: References, notes: tuple[str, ...]) -> str:
    """Which reference is "image 1", "image 2" and so on, and what was changed about them."""
    lines = [
        f"image {number}: {f'{item.width} x {item.height}' if item.width else 'address'}"
        for number, item in enumerate(references.items, start=1)
    ]
    return "\n".join((*lines, *notes))
