"""How much memory a piece of work needs at its height."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")


def peak_bytes(work: Callable[[], object]) -> int | None:
    """The high-water mark of this process during ``work``, its outcome included, over what it held before.

    None where the system does not tell, which is everywhere but on Linux.
    """
    if not _RESET.exists():
        return None
    gc.collect()
    _RESET.write_text("5", encoding="ascii")  # The high-water mark begins anew.
    before = _kilobytes("VmRSS")
    kept = work()
    peak = _kilobytes("VmHWM")
    del kept
    return (peak - before) * 1024


def _kilobytes(name: str) -> int:
    line = next(line for line in _STATUS.read_text(encoding="ascii").splitlines() if line.startswith(name))
    return int(line.split()[1])
