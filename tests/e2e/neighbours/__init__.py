"""A ComfyUI node pack for the tests: nodes that are bad neighbours, and a look into the process of the host.

It is loaded by the host beside the real pack, and knows the pack only through its module `nodes/host.py`.
"""

from __future__ import annotations

from .nodes import NODES
from .routes import add_routes

NODE_CLASS_MAPPINGS = {node.__name__: node for node in NODES}
WEB_DIRECTORY = None

add_routes()

__all__ = ["NODE_CLASS_MAPPINGS", "WEB_DIRECTORY"]
