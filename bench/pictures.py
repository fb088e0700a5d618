"""How fast and how small in memory pictures become tensors and tensors become files.

Three ways side by side: this pack, the built-in API nodes' own helpers of the ComfyUI in `COMFYUI_PATH`, and the plain
approach (Pillow, numpy, `torch.cat`). Beside them stands the limit, Pillow's decoder without anything after it.
Times are medians of interleaved rounds, each way compared with this pack within its round. Memory is the high-water
mark of a fresh process that does one thing once, over what it held before.
"""

from __future__ import annotations

import gc
import importlib
import io
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from . import photographs
from .memory import peak_bytes

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
ROUNDS = 5
WORKERS = 2  # As many as the nodes use.
DISTINCT_PICTURES = 4  # The others repeat them: making photographs takes longer than all measurements.
SEND_BITS_PER_SECOND = 20e6
OURS = "this pack"
HOST = "host's helpers"
PLAIN = "plain"
DECODER = "decoder alone"

Files = Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Case:
    """One measured task. ``kind`` is the format of results that are decoded, or ``reference`` for encoding."""

    title: str
    kind: str
    count: int
    size: photographs.Size

    @property
    def tensor_bytes(self) -> int:
        """Size of all pictures as one float32 tensor."""
        return self.count * self.size[0] * self.size[1] * 3 * 4


CASES = (
    Case("16 x 3K JPEG to tensor", "jpeg", 16, photographs.SIZE_3K),
    Case("16 x 3K PNG to tensor", "png", 16, photographs.SIZE_3K),
    Case("1 x 3K JPEG to tensor", "jpeg", 1, photographs.SIZE_3K),
    Case("14 x 2K tensor to upload", "reference", 14, photographs.SIZE_2K),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One way through one case.

    ``processor_seconds`` is what all threads spent together; other programs on the machine change it less than
    ``seconds``. ``times_ours`` is how many times as long as this pack it takes, median and range over the rounds;
    ``peak_ratio`` the high-water mark over the start as a multiple of the tensor (None where the system does not tell);
    ``output_megabytes`` what would be sent.
    """

    case: str
    way: str
    seconds: float
    processor_seconds: float
    times_ours: float
    times_ours_range: tuple[float, float]
    peak_ratio: float | None
    output_megabytes: float


@dataclass(frozen=True, slots=True)
class Timing:
    """What one way took, round by round, and what it would send."""

    way: str
    seconds: list[float]
    processor_seconds: list[float]
    output_bytes: int


@dataclass(frozen=True, slots=True)
class PackingRow:
    """One way to pack a 2K photograph as PNG."""

    level: int
    strategy: str
    seconds: float
    megabytes: float

    @property
    def delivered_seconds(self) -> float:
        """Time to encode and then to send."""
        return self.seconds + self.megabytes * 8e6 / SEND_BITS_PER_SECOND


# --- the three ways --------------------------------------------------------------------------------------------------


def decode_ours(files: Files) -> Tensor:
    """Decode with this pack, as the node does."""
    batch = new_batch(len(files))
    with ThreadPoolExecutor(WORKERS) as workers:
        for _ in workers.map(batch.add, range(len(files)), files):
            pass
    tensor: Tensor = batch.finish().images
    return tensor


def decode_host(files: Files) -> Tensor:
    """Decode with the host's helper, joined as its own Seedream node does."""
    concatenate = importlib.import_module("torch").cat
    to_tensor = host_module("conversions").bytesio_to_image_tensor
    tensor: Tensor = concatenate([to_tensor(io.BytesIO(data)) for data in files])
    return tensor


def decode_plain(files: Files) -> Tensor:
    """Decode as most packs do."""
    torch = importlib.import_module("torch")
    image = importlib.import_module("PIL.Image")
    arrays = (np.array(image.open(io.BytesIO(data)).convert("RGB")).astype(np.float32) / 255.0 for data in files)
    tensor: Tensor = torch.cat([torch.from_numpy(array)[None] for array in arrays])
    return tensor


def decode_only(files: Files) -> int:
    """Let Pillow decode as many at a time as this pack does, and make nothing of it."""
    image = importlib.import_module("PIL.Image")
    with ThreadPoolExecutor(WORKERS) as workers:
        for _ in workers.map(lambda data: image.open(io.BytesIO(data)).load(), files):
            pass
    return 0


def encode_ours(batch: Tensor) -> int:
    """Hash and encode with this pack, as the node does; returns the bytes to send."""
    images = _images()

    def one(picture: Tensor) -> int:
        images.content_hash(picture, "auto")
        return len(images.encode(picture, "auto").data)

    with ThreadPoolExecutor(WORKERS) as workers:
        return sum(workers.map(one, images.split_batch(batch)))


def encode_host(batch: Tensor) -> int:
    """Encode with the host's helper, told not to shrink the pictures, which it would do by default."""
    to_bytes = host_module("conversions").tensor_to_bytesio
    return sum(len(to_bytes(picture, total_pixels=batch[0].numel()).getvalue()) for picture in batch)


def encode_plain(batch: Tensor) -> int:
    """Encode as most packs do."""
    image = importlib.import_module("PIL.Image")
    sent = 0
    for picture in batch:
        buffer = io.BytesIO()
        image.fromarray((picture.numpy() * 255).astype(np.uint8)).save(buffer, "PNG")
        sent += len(buffer.getvalue())
    return sent


DECODERS: Mapping[str, Callable[[Files], object]] = {
    OURS: decode_ours,
    HOST: decode_host,
    PLAIN: decode_plain,
    DECODER: decode_only,
}
ENCODERS: Mapping[str, Callable[[Tensor], int]] = {OURS: encode_ours, HOST: encode_host, PLAIN: encode_plain}


def new_batch(count: int) -> Any:  # noqa: ANN401 - a PictureBatch; the module that defines it is loaded on demand
    """Return a batch for ``count`` pictures, as the node makes it."""
    return _images().PictureBatch(count, "pad")


@cache
def _images() -> ModuleType:
    """Load the pack's module alone: the package around it would ask for a running host."""
    for name, folder in (("weshop_pack", ROOT), ("weshop_pack.nodes", ROOT / "nodes")):
        package = ModuleType(name)
        package.__path__ = [str(folder)]
        sys.modules.setdefault(name, package)
    return importlib.import_module("weshop_pack.nodes.images")


@cache
def host_module(name: str) -> ModuleType:
    """Load one of the helpers of the built-in API nodes, in the order in which the host's own main.py does.

    The host comes first in the search, because it has a module `nodes` of its own.
    """
    sys.path.insert(0, os.environ["COMFYUI_PATH"])
    importlib.import_module("utils.extra_config")
    importlib.import_module("comfy.cli_args").args.cpu = True
    return importlib.import_module(f"comfy_api_nodes.util.{name}")


# --- measuring -------------------------------------------------------------------------------------------------------


def measure(cases: Sequence[Case] = CASES) -> tuple[Row, ...]:
    """Measure each case; all together take about five minutes on two idle cores, and 6 GB of memory."""
    with tempfile.TemporaryDirectory() as folder:
        _make_files(Path(folder))
        return tuple(row for case in cases for row in _measure_case(case, folder))


def _measure_case(case: Case, folder: str) -> list[Row]:
    timings = [Timing(**found) for found in _child("time", case.title, "", folder)]
    ours = next(timing for timing in timings if timing.way == OURS)
    rows = []
    for timing in timings:
        ratios = [theirs / own for theirs, own in zip(timing.seconds, ours.seconds, strict=True)]
        row = Row(
            case=case.title,
            way=timing.way,
            seconds=statistics.median(timing.seconds),
            processor_seconds=statistics.median(timing.processor_seconds),
            times_ours=statistics.median(ratios),
            times_ours_range=(min(ratios), max(ratios)),
            peak_ratio=_child("peak", case.title, timing.way, folder),
            output_megabytes=timing.output_bytes / 1e6,
        )
        rows.append(row)
    return rows


def _child(*arguments: str) -> Any:  # noqa: ANN401 - whatever the child prints as JSON
    """Run this module in a process of its own, so that no measurement finds memory that another has left behind."""
    command = [sys.executable, "-m", "bench.pictures", *arguments]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout.splitlines()[-1])


def _time(case: Case, folder: Path) -> list[Timing]:
    ways = {way: partial(work, _material(case, folder)) for way, work in _ways(case).items()}
    timings = {way: Timing(way, [], [], 0) for way in ways}
    for turn in range(ROUNDS + 1):  # The first only warms up: imports, page tables, Pillow's memory.
        for way, work in ways.items():
            started, processor_started = time.perf_counter(), time.process_time()
            output = work()
            seconds, processor_seconds = time.perf_counter() - started, time.process_time() - processor_started
            if turn:
                timings[way].seconds.append(seconds)
                timings[way].processor_seconds.append(processor_seconds)
                output_bytes = output if isinstance(output, int) else 0
                timings[way] = replace(timings[way], output_bytes=output_bytes)
            del output
            gc.collect()
    return list(timings.values())


def _peak(case: Case, way: str, folder: Path) -> float | None:
    work, material = _ways(case)[way], _material(case, folder)
    work(material[:1])
    peak = peak_bytes(lambda: work(material))
    return None if peak is None else peak / case.tensor_bytes


def _ways(case: Case) -> Mapping[str, Callable[[Any], Any]]:
    return ENCODERS if case.kind == "reference" else DECODERS


# --- material --------------------------------------------------------------------------------------------------------


def _make_files(folder: Path) -> None:
    for seed in range(DISTINCT_PICTURES):
        picture = photographs.photograph(photographs.SIZE_3K, seed)
        (folder / f"{seed}.jpeg").write_bytes(photographs.jpeg(picture))
        (folder / f"{seed}.png").write_bytes(photographs.png(picture))
        photographs.photograph(photographs.SIZE_2K, seed).save(folder / f"{seed}.reference", "BMP")


def _material(case: Case, folder: Path) -> Any:  # noqa: ANN401 - what the ways of the case take
    files = [(folder / f"{index % DISTINCT_PICTURES}.{case.kind}").read_bytes() for index in range(case.count)]
    return decode_ours(files) if case.kind == "reference" else files


# --- how to pack a PNG -----------------------------------------------------------------------------------------------

STRATEGIES = {"default": 0, "filtered": 1, "Huffman only": 2, "run lengths": 3}


def measure_packing() -> tuple[PackingRow, ...]:
    """Try levels and strategies of zlib on one 2K photograph, in interleaved rounds."""
    picture = photographs.photograph(photographs.SIZE_2K, 0)
    ways = tuple(itertools.product((1, 3, 6, 9), STRATEGIES))
    rounds = [[_pack(picture, level, strategy) for level, strategy in ways] for _ in range(ROUNDS)]
    return tuple(
        PackingRow(level, strategy, statistics.median(seconds for seconds, _ in found), found[0][1] / 1e6)
        for (level, strategy), found in zip(ways, zip(*rounds, strict=True), strict=True)
    )


def _pack(picture: Image, level: int, strategy: str) -> tuple[float, int]:
    """Return seconds and bytes."""
    buffer = io.BytesIO()
    started = time.perf_counter()
    picture.save(buffer, "PNG", compress_level=level, compress_type=STRATEGIES[strategy])
    return time.perf_counter() - started, len(buffer.getvalue())


# --- showing ---------------------------------------------------------------------------------------------------------


_LINE = "{:<26}{:<16}{:>8}{:>8}  {:<20}{:>14}{:>9}".format


def table(rows: Sequence[Row]) -> str:
    """Return the rows as text, one a line."""
    lines = [_LINE("case", "way", "seconds", "CPU s", "times ours (range)", "peak / tensor", "MB sent")]
    for row in rows:
        low, high = row.times_ours_range
        seconds, processor_seconds = f"{row.seconds:.3f}", f"{row.processor_seconds:.3f}"
        compared = f"{row.times_ours:.2f} ({low:.2f}-{high:.2f})"
        peak = "-" if row.peak_ratio is None else f"{row.peak_ratio:.3f}"
        sent = f"{row.output_megabytes:.1f}" if row.output_megabytes else "-"
        lines.append(_LINE(row.case, row.way, seconds, processor_seconds, compared, peak, sent))
    return "\n".join(lines)


def packing_table(rows: Sequence[PackingRow]) -> str:
    """Return the rows as text, the fastest delivery first."""
    lines = [f"{'level':<7}{'strategy':<14}{'encode s':>9}{'MB':>7}{'encode + send s':>17}"]
    lines.extend(
        f"{row.level:<7}{row.strategy:<14}{row.seconds:>9.3f}{row.megabytes:>7.2f}{row.delivered_seconds:>17.2f}"
        for row in sorted(rows, key=lambda row: row.delivered_seconds)
    )
    return "\n".join(lines)


def main(task: str, title: str, way: str, folder: str) -> None:
    """Measure one case in this process, which did nothing before, and print the outcome as JSON."""
    case = next(case for case in CASES if case.title == title)
    timed = task == "time"
    print(json.dumps([asdict(t) for t in _time(case, Path(folder))] if timed else _peak(case, way, Path(folder))))


if __name__ == "__main__":
    main(*sys.argv[1:])
