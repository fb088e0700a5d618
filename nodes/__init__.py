"""The extension: the list of nodes, and what the pack adds to the host's server and log."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from . import estimates, logs, settings
from .load_result import WeShopLoadResult
from .seedream_generate import WeShopSeedreamGenerate
from .upload_reference import WeShopUploadReference


class WeShopExtension(ComfyExtension):
    """What the host registers."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """The nodes, in the order in which they are usually wired."""
        for part in (logs, settings, estimates):
            part.register()  # Older hosts, 0.8.0 among them, never call on_load.
        return [WeShopUploadReference, WeShopSeedreamGenerate, WeShopLoadResult]
