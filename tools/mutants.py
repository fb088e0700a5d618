"""Print the mutants of a file as a JSON list of whole texts: `-m tools.mutants FILE OPERATOR ...`.

This runs in the environment of cosmic-ray, where nothing else of ours can be imported.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator


def mutants(source: str, operators: list[str]) -> Iterator[str]:
    """Apply each operator once at each place where it applies."""
    for name in operators:
        operator = get_operator(f"core/{name}")()
        for occurrence in itertools.count():
            text = mutate_code(source, operator, occurrence)
            if text is None:
                break
            yield text


if __name__ == "__main__":
    print(json.dumps([*mutants(Path(sys.argv[1]).read_text(encoding="utf-8"), sys.argv[2:])]))
