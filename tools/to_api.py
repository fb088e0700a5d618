"""Turn a workflow as the page saves it into the API form that ComfyUI executes.

comfy-cli knows how.  It lives in an environment of its own (see `tools/requirements/tools.txt`), so this file is also
the program that runs there: it reads one JSON document from standard input and writes one to standard output.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CONVERSION_TIMEOUT_SECONDS = 60.0


class ConversionError(Exception):
    """A workflow could not be turned into API form."""


def to_api(
    workflow: Mapping[str, Any], object_info: Mapping[str, Any], tools_python: Path
) -> dict[str, dict[str, Any]]:
    """Return the API form: node id to `{"class_type": ..., "inputs": {...}}`.

    `object_info` is what the host says about its nodes; raises ConversionError with comfy-cli's own words.
    """
    document = json.dumps({"workflow": workflow, "object_info": object_info})
    try:
        converted = subprocess.run(
            [str(tools_python), __file__],
            input=document,
            capture_output=True,
            check=False,
            encoding="utf-8",
            timeout=CONVERSION_TIMEOUT_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as failure:
        raise ConversionError(f"comfy-cli could not be run to turn the workflow into API form: {failure}") from failure
    if converted.returncode != 0:
        last_line = (converted.stderr.strip() or "no reason given").splitlines()[-1]
        raise ConversionError(f"comfy-cli could not turn the workflow into API form: {last_line}")
    prompt: dict[str, dict[str, Any]] = json.loads(converted.stdout)
    if not prompt:
        raise ConversionError(
            "comfy-cli turned the workflow into an empty prompt: it has no node that would be executed."
        )
    return prompt


def _main() -> None:
    """Convert inside the environment that has comfy-cli."""
    from comfy_cli.workflow_to_api import convert_ui_to_api  # noqa: PLC0415 - exists only in that environment

    document = json.load(sys.stdin)
    json.dump(convert_ui_to_api(document["workflow"], document["object_info"]), sys.stdout)


if __name__ == "__main__":
    _main()
