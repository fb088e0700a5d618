"""A node for the fault table that fails the moment it is told to, while nodes of the pack are at work beside it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, ClassVar

LOOK_SECONDS = 0.02


class FailsWhenTold:
    """Waits until a file exists, then fails. The file is made by the test."""

    CATEGORY = "fault table"
    FUNCTION = "execute"
    RETURN_TYPES: ClassVar[tuple[str, ...]] = ()
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - the host's protocol
        """Which file."""
        return {"required": {"path": ("STRING", {})}}

    async def execute(self, path: str) -> None:
        """Fail, but not before."""
        while not Path(path).exists():  # noqa: ASYNC110, ASYNC240 - the one who tells is another process
            await asyncio.sleep(LOOK_SECONDS)
        raise RuntimeError("the sibling fails as it was told to")


NODE_CLASS_MAPPINGS = {"FailsWhenTold": FailsWhenTold}
