"""The extension: the list of nodes, and the routes of the settings page."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from . import settings
from .load_result import WeShopLoadResult
from .seedream_generate import WeShopSeedreamGenerate
from .upload_reference import WeShopUploadReference


class WeShopExtension(ComfyExtension):
    """What the host registers."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """The nodes, in the order in which they are usually wired."""
        settings.register()  # Hosts up to 0.8.0 at least never call on_load.
        return [WeShopUploadReference, WeShopSeedreamGenerate, WeShopLoadResult]
