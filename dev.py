"""The commands of a working day: `demo`, `test`, `check`, `bench`, `fuzz`, `mutate`.  Needs nothing but Python 3.10.

Each command first makes its environment under `.cache/` (quick when it is already there) and then becomes the right
program inside it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

OLDEST_PYTHON = (3, 10)

if sys.version_info < OLDEST_PYTHON:
    sys.exit(f"WeShop Seedream needs Python 3.10 or newer; this is {sys.version.split()[0]}.")

from tools import environment  # noqa: E402 - on an older Python the sentence above comes first

HELP_EPILOG = """\
environment variables:
  COMFYUI_PATH    an existing ComfyUI folder to use instead of installing one
  COMFYUI_PYTHON  the interpreter of that ComfyUI (default: the virtual environment in its folder, else ours)
  WESHOP_API_KEY  your key; used by `demo --live` and by nothing else here

Everything made for these commands is under .cache/ and may be deleted at any time.
"""


def main(arguments: list[str]) -> int:
    """Run one command and return its exit code; on POSIX this process becomes the command and does not return."""
    chosen, rest = parse(arguments)
    try:
        if chosen.command == "demo" and chosen.live:
            environment.live_variables(os.environ)  # Without a key nothing needs to be installed.
        made = environment.make(os.environ, for_tests=chosen.command != "demo")
    except environment.EnvironmentProblem as problem:
        print(problem, file=sys.stderr)
        return 1
    command = [str(made.python), *_module_and_arguments(chosen, rest)]
    return _become(command, {**os.environ, **made.to_variables()})


def parse(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Return the chosen command with its switches, and for `test` the arguments that are pytest's."""
    parser = _parser()
    chosen, rest = parser.parse_known_args(arguments)
    if rest and chosen.command != "test":
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return chosen, rest


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dev.py",
        description="Try, test and measure the WeShop Seedream nodes in a real ComfyUI.",
        epilog=HELP_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="demo | test | check | bench | fuzz | mutate"
    )
    demo = commands.add_parser("demo", help="run the example workflows in ComfyUI; pictures land in demo_output/")
    demo.add_argument("examples", nargs="*", help='run these only, by name, such as "Text to image"')
    demo.add_argument("--out", metavar="FOLDER", help="put the pictures there instead")
    demo.add_argument("--ui", action="store_true", help="leave ComfyUI open in the browser until Ctrl-C")
    demo.add_argument(
        "--live",
        action="store_true",
        help="use the real service with the key in WESHOP_API_KEY (charges points) instead of the local emulator",
    )
    commands.add_parser(
        "test",
        help="check the sources, run every test and tell which branches none took; arguments go to pytest instead",
        epilog="With arguments only those tests are run, for example: dev.py test tests/e2e -k boot -x",
    )
    commands.add_parser("check", help="lint, formatting and strict typing, without running tests")
    bench = commands.add_parser("bench", help="measure and print the benchmark")
    bench.add_argument("topics", nargs="*", help="measure these only, such as pictures, loading or polling")
    fuzz = commands.add_parser("fuzz", help="throw hostile input at everything that reads replies, pictures and URLs")
    fuzz.add_argument("--minutes", type=float, default=10.0, help="how long, all fuzzers together (default: 10)")
    mutate = commands.add_parser(
        "mutate", help="break the most delicate modules on purpose and show what no test noticed"
    )
    mutate.add_argument("--minutes", type=float, default=60.0, help="at most this long, all modules (default: 60)")
    mutate.add_argument("modules", nargs="*", help="break these only: protocol, credentials, schedule")
    return parser


def _module_and_arguments(chosen: argparse.Namespace, rest: list[str]) -> list[str]:
    if chosen.command == "test":
        return ["-m", "pytest", *rest] if rest else ["-m", "tools.suite"]
    if chosen.command == "check":
        return ["-m", "tools.check"]
    if chosen.command == "bench":
        return ["-m", "bench", *chosen.topics]
    if chosen.command == "fuzz":
        return ["-m", "tools.fuzz", "--minutes", str(chosen.minutes)]
    if chosen.command == "mutate":
        return ["-m", "tools.mutation", "--minutes", str(chosen.minutes), *chosen.modules]
    switches = [f"--{name}" for name in ("ui", "live") if getattr(chosen, name)]
    place = [f"--out={Path(chosen.out).absolute()}"] if chosen.out else []  # The demo has another working directory.
    return ["-m", "tools.demo", *switches, *place, *chosen.examples]


def _become(command: list[str], variables: Mapping[str, str]) -> int:
    """Run `command` in the project's folder in place of this process, so that signals reach it directly."""
    sys.stdout.flush()
    os.chdir(environment.ROOT)
    if os.name != "nt":
        os.execve(command[0], command, dict(variables))
    try:
        return subprocess.call(command, env=dict(variables))
    except KeyboardInterrupt:  # The child got the same Ctrl-C and has said what there is to say.
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
