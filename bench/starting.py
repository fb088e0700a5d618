"""What the pack adds to the start of a host, and to each run."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from emulator import ByPolls, Emulator
from weshop_api import SeedreamRequest, WeShop, WeShopClient

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = 5
RUNS = 20

# In a child process: load what a booted host has loaded, then time the pack as the host imports it.
_IMPORT = """
import asyncio, importlib.util, json, sys, time
sys.argv = sys.argv[:1]
sys.path.insert(0, {comfyui!r})
import utils.extra_config, comfy.cli_args
comfy.cli_args.args.cpu = True
comfy.cli_args.args.base_directory = {base!r}
import execution, server, nodes
loop = asyncio.new_event_loop()
server.PromptServer(loop)
spec = importlib.util.spec_from_file_location("pack", {root!r} + "/__init__.py", submodule_search_locations=[{root!r}])
started = time.perf_counter()
pack = importlib.util.module_from_spec(spec)
sys.modules["pack"] = pack
spec.loader.exec_module(pack)
async def load():
    extension = await pack.comfy_entrypoint()
    return [node.GET_SCHEMA().node_id for node in await extension.get_node_list()]
found = loop.run_until_complete(load())
print(json.dumps([time.perf_counter() - started, found]))
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One figure: median, and the smallest and largest of all rounds, in milliseconds."""

    what: str
    milliseconds: float
    milliseconds_range: tuple[float, float]


def measure() -> tuple[Row, ...]:
    """Time the import in a fresh process, and runs that end at once."""
    return (
        _row("import of the pack in a booted host", [_import_seconds() for _ in range(ROUNDS)]),
        _row("a run that ends at once: ledger, submit, one poll", asyncio.run(_run_seconds())),
    )


def _import_seconds() -> float:
    with tempfile.TemporaryDirectory() as base:
        program = _IMPORT.format(comfyui=os.environ["COMFYUI_PATH"], root=str(ROOT), base=base)
        done = subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.PIPE, cwd=base)
    seconds, node_ids = json.loads(done.stdout.splitlines()[-1])
    if len(node_ids) < 3:  # noqa: PLR2004 - the three nodes of the pack
        raise RuntimeError(f"The pack was not loaded: {node_ids}")
    return float(seconds)


async def _run_seconds() -> list[float]:
    seconds = []
    with tempfile.TemporaryDirectory() as folder, Emulator(port=0, pictures="small", pace=ByPolls(1)) as emulator:
        client = WeShopClient.from_environment({"WESHOP_BASE_URL": emulator.base_url})
        async with WeShop(client, Path(folder), next_poll_delay_seconds=lambda *_: 0.0) as weshop:
            for seed in range(RUNS):
                started = time.perf_counter()
                await weshop.generate(SeedreamRequest("a measuring rod"), seed)
                seconds.append(time.perf_counter() - started)
    return seconds


def _row(what: str, seconds: Sequence[float]) -> Row:
    return Row(what, statistics.median(seconds) * 1000, (min(seconds) * 1000, max(seconds) * 1000))


def table(rows: Sequence[Row]) -> str:
    """Return the rows as text, one a line."""
    return "\n".join(_line(row) for row in rows)


def _line(row: Row) -> str:
    low, high = row.milliseconds_range
    return f"{row.what:<52} {row.milliseconds:7.1f} ms ({low:.1f} to {high:.1f})"
