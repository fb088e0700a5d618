"""`python3 dev.py demo`: run example workflows in a real ComfyUI and keep the pictures in `demo_output/`.

All of them unless some are named. Without `--live` the emulator stands in for the service, and no key reaches ComfyUI.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
import time
import webbrowser
from collections.abc import Iterator, Sequence
from pathlib import Path

from emulator import BySeconds, Emulator

from .comfyui import ComfyUIClient, ComfyUIError, ComfyUIProcess, treat_termination_as_interrupt
from .environment import CACHE, ROOT, Environment, EnvironmentProblem, live_variables
from .examples import INPUTS, ExampleError, ExampleOutcome, example_files, run_example
from .to_api import ConversionError

DEMO_OUTPUT = ROOT / "demo_output"
BASE_DIRECTORY = CACHE / "demo"

EXAMPLE_TIMEOUT_SECONDS = 300.0
LIVE_EXAMPLE_TIMEOUT_SECONDS = 1800.0


def main(arguments: list[str]) -> int:
    """Run the demo and return its exit code."""
    parser = argparse.ArgumentParser(prog="dev.py demo")
    parser.add_argument("examples", nargs="*")
    parser.add_argument("--out", type=Path, default=DEMO_OUTPUT)
    parser.add_argument("--ui", action="store_true")
    parser.add_argument("--live", action="store_true")
    chosen = parser.parse_args(arguments)
    treat_termination_as_interrupt()
    try:
        files = chosen_files(chosen.examples)
        return _demo(files, chosen.out, is_live=chosen.live, opens_page=chosen.ui)
    except KeyboardInterrupt:
        print("\nStopped.")
        return 130
    except (ComfyUIError, ConversionError, EnvironmentProblem, ExampleError) as problem:
        print(f"\nThe demo failed: {problem}", file=sys.stderr)
        return 1


def chosen_files(names: Sequence[str]) -> list[Path]:
    """The examples of these names, all for none; raises ExampleError for a name that no example has."""
    files = example_files()
    unknown = sorted(set(names) - {file.stem for file in files})
    if unknown or not files:
        offered = ", ".join(f'"{file.stem}"' for file in files) or "none"
        raise ExampleError(f"There is no example {', '.join(unknown)}. These are there: {offered}.")
    return [file for file in files if not names or file.stem in names]


def _demo(files: Sequence[Path], folder: Path, *, is_live: bool, opens_page: bool) -> int:
    environment = Environment.from_variables(os.environ)
    shutil.rmtree(BASE_DIRECTORY, ignore_errors=True)  # An old ledger would bring back old runs.
    with _service(is_live=is_live) as variables:
        print("Starting ComfyUI ...", flush=True)
        with ComfyUIProcess(environment, BASE_DIRECTORY, variables=variables) as host:
            timeout_seconds = LIVE_EXAMPLE_TIMEOUT_SECONDS if is_live else EXAMPLE_TIMEOUT_SECONDS
            made = _run_all(files, folder, host.client, environment.tools_python, timeout_seconds)
            print(f"\nPictures made: {len(made)}. They are in {folder}")
            if opens_page:
                _leave_open(host)
    return 0


@contextlib.contextmanager
def _service(*, is_live: bool) -> Iterator[dict[str, str]]:
    """Provide the service, and yield the environment variables with which ComfyUI finds it."""
    if is_live:
        variables = live_variables(os.environ)
        print("Using the real service with your key: the runs of this demo are charged to your WeShop points.")
        yield variables
        return
    with Emulator(pace=BySeconds()) as emulator:
        print(f"The emulator of the WeShop API listens at {emulator.base_url}")
        yield {"WESHOP_BASE_URL": emulator.base_url}


def _run_all(
    files: Sequence[Path], folder: Path, client: ComfyUIClient, tools_python: Path, timeout_seconds: float
) -> list[Path]:
    """Run these examples and return the files of their pictures."""
    made: list[Path] = []
    execution_id = ""
    for file in files:
        print(f"\n{file.stem} ...", flush=True)
        started = time.monotonic()
        outcome = run_example(
            file, client, tools_python, timeout_seconds=timeout_seconds, earlier_execution_id=execution_id
        )
        execution_id = next(iter(outcome.execution_ids), execution_id)
        kept = _keep_pictures(file.stem, outcome, client, folder)
        made += kept
        runs = ", ".join(outcome.execution_ids) or execution_id
        print(f"  {time.monotonic() - started:.1f} s{', WeShop run ' if runs else ''}{runs}")
        for picture in kept:
            print(f"  {picture.relative_to(folder.parent)}")
    return made


def _keep_pictures(name: str, outcome: ExampleOutcome, client: ComfyUIClient, folder: Path) -> list[Path]:
    """Save the pictures of one example over those of an earlier demo; raises ExampleError when it made none."""
    # An example that only shows its pictures has them in ComfyUI's temporary folder.
    pictures = outcome.result.saved_pictures() or outcome.result.pictures
    if not pictures:
        raise ExampleError(f"The example {name} made no picture.")
    folder.mkdir(parents=True, exist_ok=True)
    slug = name.lower().replace(" ", "-")
    for old in folder.glob(f"{slug}-[0-9]*.*"):
        old.unlink()
    kept = []
    for number, picture in enumerate(pictures, start=1):
        place = folder / f"{slug}-{number}{Path(picture.filename).suffix}"
        place.write_bytes(client.fetch(picture))
        kept.append(place)
    return kept


def _leave_open(host: ComfyUIProcess) -> None:
    for picture in INPUTS.glob("*"):
        host.client.upload_image(picture.name, picture.read_bytes())
    print(f"\nComfyUI is open at {host.url} (the examples are in its template list). Ctrl-C ends it.", flush=True)
    webbrowser.open(host.url)
    while host.is_running:
        time.sleep(1)
    raise ExampleError(f"ComfyUI has ended by itself. Its log is {host.log_file}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
