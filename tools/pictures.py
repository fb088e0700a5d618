"""Make the pictures of the README and the thumbnails of the examples again: `python3 tools/pictures.py`.

Any Python will do: the environment of the tests is made first where it is missing, and does the work there.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tools.environment import make  # noqa: E402 - found by the line above when this is started as a file


def main() -> int:
    """Run the photographer and return its exit code."""
    made = make(os.environ, for_tests=True)
    command = [str(made.python), "-m", "tests.e2e.photographer"]
    return subprocess.call(command, cwd=ROOT, env={**os.environ, **made.to_variables()})


if __name__ == "__main__":
    sys.exit(main())
