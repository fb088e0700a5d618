"""WeShop Seedream for ComfyUI: the entry point. Everything else is loaded when the host asks for the nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .nodes import WeShopExtension

WEB_DIRECTORY = "./web"


async def comfy_entrypoint() -> WeShopExtension:
    """The extension; called once by the host."""
    from .nodes import WeShopExtension  # noqa: PLC0415 - the folder can be looked at without a host

    return WeShopExtension()
