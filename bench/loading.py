"""From bytes on the wire to one tensor.

A file server in a process of its own hands out 16 results of 3K after a fixed latency. This pack loads them as its
node does; the host's helpers and the plain approach load them as their authors' nodes do. Two bounds stand beside: the
transfer without decoding, and the decoding without a transfer.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import http.server
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import requests
import torch
from torch import Tensor

from weshop_api import Result, RunStatus, WeShop, WeShopClient
from weshop_api.seedream import Run

from . import photographs, pictures

COUNT = 16
ROUNDS = 5
LATENCIES_SECONDS = (0.0, 0.1, 0.3)
KINDS = ("jpeg", "png")
TRANSFER = "transfer alone"
DECODING = "decoding alone"

Load = Callable[[Sequence[str]], object]


@dataclass(frozen=True, slots=True)
class Row:
    """One way at one latency. ``times_ours`` is how many times as long as this pack it takes, median and range."""

    kind: str
    latency_seconds: float
    way: str
    seconds: float
    times_ours: float
    times_ours_range: tuple[float, float]


def load_ours(urls: Sequence[str]) -> Tensor:
    """Load as the node does: through the library, decoding in two threads while the rest is on its way."""
    return asyncio.run(_load_ours(urls))


async def _load_ours(urls: Sequence[str]) -> Tensor:
    run = Run("0" * 24, RunStatus.SUCCESS, tuple(Result(number, url, "Success") for number, url in enumerate(urls, 1)))
    client = WeShopClient.from_environment({"WESHOP_BASE_URL": "http://127.0.0.1:1/openapi"})
    batch = pictures.new_batch(len(urls))
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(pictures.WORKERS) as threads:
        async with WeShop(client, Path(folder)) as weshop:

            async def deliver(index: int, data: bytes) -> None:
                await asyncio.get_running_loop().run_in_executor(threads, batch.add, index, data)

            await weshop.load(run, deliver)
    tensor: Tensor = batch.finish().images
    return tensor


def load_host(urls: Sequence[str]) -> Tensor:
    """Load as the built-in nodes do: side by side, each into a tensor of its own, then joined."""
    helpers = pictures.host_module("download_helpers")

    async def every() -> list[Tensor]:
        return list(await asyncio.gather(*(helpers.download_url_to_image_tensor(url) for url in urls)))

    return torch.cat(asyncio.run(every()))


def load_plain(urls: Sequence[str]) -> Tensor:
    """Load one after the other with requests, then decode."""
    return pictures.decode_plain([requests.get(url, timeout=60).content for url in urls])


def transfer(urls: Sequence[str]) -> list[bytes]:
    """Fetch side by side with the standard library, and do nothing with it."""

    def fetch(url: str) -> bytes:
        with urlopen(url) as answer:  # noqa: S310 - our own file server
            return bytes(answer.read())

    with ThreadPoolExecutor(len(urls)) as threads:
        return list(threads.map(fetch, urls))


def measure() -> tuple[Row, ...]:
    """Measure every way at every latency, interleaved."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files: dict[str, list[bytes]] = {kind: [] for kind in KINDS}
        for seed in range(pictures.DISTINCT_PICTURES):
            picture = photographs.photograph(photographs.SIZE_3K, seed)
            for kind in KINDS:
                data = photographs.jpeg(picture) if kind == "jpeg" else photographs.png(picture)
                (folder / f"{seed}.{kind}").write_bytes(data)
                files[kind].append(data)
        return tuple(
            row
            for kind in KINDS
            for latency_seconds in LATENCIES_SECONDS
            for row in _measure(kind, latency_seconds, folder, files[kind])
        )


def _measure(kind: str, latency_seconds: float, folder: Path, files: Sequence[bytes]) -> list[Row]:
    complete = [files[index % len(files)] for index in range(COUNT)]
    ways: Mapping[str, Load] = {
        pictures.OURS: load_ours,
        pictures.HOST: load_host,
        pictures.PLAIN: load_plain,
        TRANSFER: transfer,
        DECODING: lambda _: pictures.decode_ours(complete),
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    with _file_server(folder, latency_seconds) as origin:
        urls = [f"{origin}/{index % len(files)}.{kind}" for index in range(COUNT)]
        for turn in range(ROUNDS + 1):  # The first only warms up.
            for way, load in ways.items():
                started = time.perf_counter()
                kept = load(urls)
                if turn:
                    seconds[way].append(time.perf_counter() - started)
                del kept
                gc.collect()
    return [_row(kind, latency_seconds, way, seconds[way], seconds[pictures.OURS]) for way in ways]


def _row(kind: str, latency_seconds: float, way: str, seconds: list[float], ours: list[float]) -> Row:
    ratios = [theirs / own for theirs, own in zip(seconds, ours, strict=True)]
    return Row(
        kind, latency_seconds, way, statistics.median(seconds), statistics.median(ratios), (min(ratios), max(ratios))
    )


@contextmanager
def _file_server(folder: Path, latency_seconds: float) -> Iterator[str]:
    """Run this module as a file server in a process of its own, so that it takes no turn from what is measured."""
    command = [sys.executable, "-m", "bench.loading", str(folder), str(latency_seconds)]
    with subprocess.Popen(command, cwd=pictures.ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None  # noqa: S101 - a pipe was asked for
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.terminate()


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Answers late and silently, over connections that stay open."""

    protocol_version = "HTTP/1.1"
    latency_seconds = 0.0

    def do_GET(self) -> None:
        """Wait, then answer."""
        time.sleep(self.latency_seconds)
        super().do_GET()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _Server(http.server.ThreadingHTTPServer):
    """Takes all connections that are made at once; the usual five would let the sixth wait a second for its turn."""

    request_queue_size = 2 * COUNT


def _serve(folder: str, latency_seconds: float) -> None:
    _Handler.latency_seconds = latency_seconds
    handler = functools.partial(_Handler, directory=folder)
    with _Server(("127.0.0.1", 0), handler) as server:
        sys.stdout.write(f"{server.server_address[1]}\n")
        sys.stdout.flush()
        server.serve_forever()


def table(rows: Sequence[Row]) -> str:
    """Return the rows as text, one a line."""
    lines = [f"{COUNT} x 3K      latency  way              seconds  times this pack"]
    for row in rows:
        low, high = row.times_ours_range
        lines.append(
            f"{row.kind:<12} {row.latency_seconds * 1000:4.0f} ms  {row.way:<16} {row.seconds:7.2f}"
            f"  {row.times_ours:5.2f} ({low:.2f} to {high:.2f})"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    _serve(sys.argv[1], float(sys.argv[2]))
