"""Measure, print one table a topic and write `bench/results.json`: `python3 dev.py bench [topic ...]`.

Figures are compared within a round, so read the ratios; what they mean stands in `docs/performance.md`.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tools.environment import Environment

from . import loading, pictures, polling, runs_in_flight, starting

RESULTS = Path(__file__).resolve().parent / "results.json"


def _runs_in_flight() -> tuple[runs_in_flight.Row, ...]:
    with tempfile.TemporaryDirectory() as folder:
        return runs_in_flight.measure(Environment.from_variables(os.environ), Path(folder))


def _polling() -> tuple[polling.Row, ...]:
    return tuple(row for rows in polling.measure().values() for row in rows)


TOPICS: dict[str, tuple[Callable[[], Sequence[Any]], Callable[[Any], str]]] = {
    "pictures": (pictures.measure, pictures.table),
    "packing": (pictures.measure_packing, pictures.packing_table),
    "loading": (loading.measure, loading.table),
    "starting": (starting.measure, starting.table),
    "polling": (_polling, polling.table),
    "runs": (_runs_in_flight, runs_in_flight.table),
}


def main(chosen: Sequence[str]) -> int:
    """Measure the chosen topics, or all; what is done is on disk even if a later one is interrupted."""
    unknown = sorted(set(chosen) - set(TOPICS))
    if unknown:
        sys.stderr.write(f"There is no topic {', '.join(unknown)}. Choose of {', '.join(TOPICS)}.\n")
        return 2
    results: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    for topic in chosen or TOPICS:
        measure, table = TOPICS[topic]
        sys.stderr.write(f"measuring {topic} ...\n")
        rows = measure()
        sys.stdout.write(f"{topic}\n{table(rows)}\n\n")
        sys.stdout.flush()
        results[topic] = [asdict(row) for row in rows]
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
