"""From bytes on the wire to one tensor.

A file server in a process of its own hands out 16 results of 3K after a fixed latency. This pack loads them as its
node does; the host's helpers and the plain approach load them as their authors' nodes do. Two bounds stand beside: the
transfer without decoding, and the way of this pack from complete bytes to the tensor without a transfer. What our own
HTTP costs is told by receiving alone: everything that loading does, but nothing is decoded.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import http.server
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
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
from .memory import peak_bytes

COUNT = 16
ROUNDS = 5
LATENCIES_SECONDS = (0.0, 0.1, 0.3)
PEAK_LATENCY_SECONDS = 0.1
"""Memory is measured at one latency: it does not depend on it."""
KINDS = ("jpeg", "png")
TRANSFER = "transfer alone"
RECEIVING = "receiving alone"
DECODING = "decoding alone"
BATCH_BYTES = COUNT * photographs.SIZE_3K[0] * photographs.SIZE_3K[1] * 3 * 4

Load = Callable[[Sequence[str]], object]


@dataclass(frozen=True, slots=True)
class Row:
    """One way at one latency. ``times_ours`` is how many times as long as this pack it takes, median and range.

    ``peak_ratio`` is the high-water mark of a fresh process over its start, as a multiple of the batch; None where it
    was not measured.
    """

    kind: str
    latency_seconds: float
    way: str
    seconds: float
    times_ours: float
    times_ours_range: tuple[float, float]
    peak_ratio: float | None


def load_ours(urls: Sequence[str]) -> Tensor:
    """Load as the node does: through the library, decoding in two threads while the rest is on its way."""
    batch = pictures.new_batch(len(urls))
    with ThreadPoolExecutor(pictures.WORKERS) as threads:

        async def decode(index: int, data: bytes) -> None:
            await asyncio.get_running_loop().run_in_executor(threads, batch.add, index, data)

        asyncio.run(_load(urls, decode))
    tensor: Tensor = batch.finish().images
    return tensor


def receive(urls: Sequence[str]) -> None:
    """Load as the node does, but decode nothing."""

    async def drop(_index: int, _data: bytes) -> None:
        pass

    asyncio.run(_load(urls, drop))


async def _load(urls: Sequence[str], deliver: Callable[[int, bytes], Awaitable[None]]) -> None:
    run = Run("0" * 24, RunStatus.SUCCESS, tuple(Result(number, url, "Success") for number, url in enumerate(urls, 1)))
    client = WeShopClient.from_environment({"WESHOP_BASE_URL": "http://127.0.0.1:1/openapi"})
    with tempfile.TemporaryDirectory() as folder:
        async with WeShop(client, Path(folder)) as weshop:
            await weshop.load(run, deliver)


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


LOADERS: Mapping[str, Load] = {pictures.OURS: load_ours, pictures.HOST: load_host, pictures.PLAIN: load_plain}


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
        **LOADERS,
        TRANSFER: transfer,
        RECEIVING: receive,
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
        peaked = LOADERS if latency_seconds == PEAK_LATENCY_SECONDS else {}
        peaks = {way: _peak_ratio_of_a_fresh_process(way, urls) for way in peaked}
    rows = []
    for way, taken in seconds.items():
        ratios = [theirs / own for theirs, own in zip(taken, seconds[pictures.OURS], strict=True)]
        spread = min(ratios), max(ratios)
        middle, times_ours = statistics.median(taken), statistics.median(ratios)
        rows.append(Row(kind, latency_seconds, way, middle, times_ours, spread, peaks.get(way)))
    return rows


def _peak_ratio_of_a_fresh_process(way: str, urls: Sequence[str]) -> float | None:
    command = [sys.executable, "-m", "bench.loading", "peak", way, *urls]
    done = subprocess.run(command, cwd=pictures.ROOT, check=True, stdout=subprocess.PIPE)
    ratio: float | None = json.loads(done.stdout.splitlines()[-1])
    return ratio


def _peak_ratio(way: str, urls: Sequence[str]) -> float | None:
    LOADERS[way](urls[:1])
    peak = peak_bytes(lambda: LOADERS[way](urls))
    return None if peak is None else peak / BATCH_BYTES


@contextmanager
def _file_server(folder: Path, latency_seconds: float) -> Iterator[str]:
    """Run this module as a file server in a process of its own, so that it takes no turn from what is measured."""
    command = [sys.executable, "-m", "bench.loading", "serve", str(folder), str(latency_seconds)]
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
    lines = [f"{COUNT} x 3K      latency  way              seconds  times this pack       peak / batch"]
    for row in rows:
        low, high = row.times_ours_range
        compared = f"{row.times_ours:.2f} ({low:.2f} to {high:.2f})"
        peak = "-" if row.peak_ratio is None else f"{row.peak_ratio:.3f}"
        lines.append(
            f"{row.kind:<12} {row.latency_seconds * 1000:4.0f} ms  {row.way:<16} {row.seconds:7.2f}"
            f"  {compared:<22}{peak:>12}"
        )
    return "\n".join(lines)


def main(task: str, *arguments: str) -> None:
    """What runs in a process of its own: the file server, or one way to load, whose peak is printed as JSON."""
    if task == "serve":
        _serve(arguments[0], float(arguments[1]))
    else:
        print(json.dumps(_peak_ratio(arguments[0], arguments[1:])))


if __name__ == "__main__":
    main(*sys.argv[1:])
