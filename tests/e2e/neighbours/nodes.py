"""Nodes that block, sleep, fail, make lists, and hand odd work to the background loop of the pack."""

from __future__ import annotations

import asyncio
import sys
import time
from types import ModuleType
from typing import Any, ClassVar

import torch

HOST_MODULE_ENDING = ".nodes.host"


def pack_host() -> ModuleType:
    """The pack's module `nodes/host.py`, under whatever name the host has loaded it."""
    return next(module for name, module in sys.modules.items() if name.endswith(HOST_MODULE_ENDING))


class _Node:
    CATEGORY = "neighbours"
    FUNCTION = "execute"
    RETURN_TYPES: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def IS_CHANGED(cls, **_: Any) -> float:  # noqa: ANN401, N802 - the host's protocol
        """Always execute again."""
        return float("nan")


class NeighbourBlocks(_Node):
    """Holds the thread of the prompt, as a sampler does, and never looks at the interruption flag.

    No output node, so that the host begins with asynchronous nodes beside it.
    """

    RETURN_TYPES = ("STRING",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - the host's protocol
        """How long."""
        return {"required": {"seconds": ("FLOAT", {"default": 1.0, "max": 3600.0})}}

    def execute(self, seconds: float) -> tuple[str]:
        """Block."""
        time.sleep(seconds)
        return (f"blocked for {seconds:g} s",)


class NeighbourFails(_Node):
    """Fails after a while."""

    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - the host's protocol
        """When."""
        return {"required": {"seconds": ("FLOAT", {"default": 1.0})}}

    async def execute(self, seconds: float) -> None:
        """Fail."""
        await asyncio.sleep(seconds)
        raise RuntimeError("the neighbour fails as it was told to")


class NeighbourPrompts(_Node):
    """Makes a list of prompts, so that the next node is executed once for each."""

    RETURN_TYPES = ("STRING",)
    OUTPUT_IS_LIST = (True,)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - the host's protocol
        """What they begin with, and how many."""
        return {"required": {"text": ("STRING", {}), "count": ("INT", {"default": 1})}}

    def execute(self, text: str, count: int) -> tuple[list[str]]:
        """Number them."""
        return ([f"{text} {number}" for number in range(count)],)


class NeighbourNoise(_Node):
    """Makes pictures [count,size,size,3] that take long to encode."""

    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - the host's protocol
        """How many of what size."""
        return {"required": {"size": ("INT", {"max": 8192}), "count": ("INT", {}), "seed": ("INT", {"max": 2**53})}}

    def execute(self, size: int, count: int, seed: int) -> tuple[torch.Tensor]:
        """Random pixels."""
        return (torch.rand(count, size, size, 3, generator=torch.Generator().manual_seed(seed)),)


class NeighbourHandsOver(_Node):
    """Hands work to the pack's background loop that misbehaves as told."""

    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - the host's protocol
        """What the work does."""
        kinds = ["raises", "cancels itself", "exits", "sleeps", "answers"]
        return {"required": {"work": (kinds,), "salt": ("INT", {"default": 0, "max": 2**53})}}

    async def execute(self, work: str, salt: int) -> dict[str, Any]:
        """Follow the work as the pack's own nodes do."""

        async def misbehave(*_: object) -> str:
            await asyncio.sleep(0.05)
            if work == "raises":
                raise ZeroDivisionError("the work divides by zero")
            if work == "cancels itself":
                raise asyncio.CancelledError
            if work == "exits":
                raise SystemExit(salt)
            if work == "sleeps":
                await asyncio.sleep(3600)
            return f"answer {salt}"

        return {"ui": {"text": [await pack_host().follow(misbehave)]}}


NODES = (NeighbourBlocks, NeighbourFails, NeighbourPrompts, NeighbourNoise, NeighbourHandsOver)
