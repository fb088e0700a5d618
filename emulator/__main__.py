"""The emulator as a program: `python3 -m emulator --port 8787`. Loopback only; Ctrl+C stops it."""

from __future__ import annotations

import argparse
import signal
import sys
import threading

from .runs import BySeconds
from .server import Emulator, PortTakenError

DEFAULT_PORT = 8787
_HIGHEST_PORT = 65535
_WAKE_SECONDS = 0.5


def main() -> int:
    """Run until interrupted or terminated; return the exit code."""
    options = _options()
    emulator = Emulator(
        options.port,
        files_port=options.files_port,
        pace=BySeconds(seconds_per_picture=options.seconds_per_picture),
        pictures="small" if options.small_pictures else "true",
        tell=_say if options.verbose else None,
    )
    try:
        emulator.start()
    except PortTakenError as error:
        print(error.strerror, file=sys.stderr)
        return 1
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    _say(f"WeShop emulator: set WESHOP_BASE_URL={emulator.base_url} (any key will do); Ctrl+C stops it.")
    # Windows delivers signals only between waits, so the wait is never endless.
    while not over.wait(_WAKE_SECONDS):
        pass
    emulator.stop()
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python3 -m emulator", description=__doc__)
    parser.add_argument(
        "--port", type=_port, default=DEFAULT_PORT, help="port of the API (default %(default)s; 0: any)"
    )
    parser.add_argument("--files-port", type=_port, default=0, help="port of the picture files (default: any)")
    parser.add_argument("--seconds-per-picture", type=_seconds, default=1.5, help="pace of a run (default %(default)s)")
    parser.add_argument("--small-pictures", action="store_true", help="256 pixels a side: quick, but untrue to size")
    parser.add_argument("--verbose", action="store_true", help="one line for each answer")
    return parser.parse_args()


def _port(text: str) -> int:
    number = int(text)
    if not 0 <= number <= _HIGHEST_PORT:
        raise argparse.ArgumentTypeError(f"a port is a number from 0 to {_HIGHEST_PORT}")
    return number


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError("seconds must be 0 or more")
    return seconds


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
