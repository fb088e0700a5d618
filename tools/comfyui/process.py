"""A real ComfyUI as a child process, with a base directory and an environment of its own.

Started with flags that every host from 0.3.64 on knows.  Only the given packs are loaded, `HOME` is the base
directory (so that no key file of the user is seen), and the process is ended by its id, never by its name.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, final

from tools.environment import ROOT, Environment

from .client import ComfyUIClient, ComfyUIError

PACK_FOLDER_NAME = "weshop-seedream"
THIS_PACK: Mapping[str, Path] = {PACK_FOLDER_NAME: ROOT}

BOOT_TIMEOUT_SECONDS = 180.0
STOP_TIMEOUT_SECONDS = 10.0
READINESS_INTERVAL_SECONDS = 0.1
SHOWN_LOG_LINES = 40

PASSED_ON_VARIABLES = (
    *("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"),
    *("SYSTEMROOT", "WINDIR", "COMSPEC", "PATHEXT", "TEMP", "TMP", "SYSTEMDRIVE", "PROCESSOR_ARCHITECTURE"),
    "COVERAGE_PROCESS_CONFIG",  # Set while the tests are measured: then the host is measured too.
)
"""What ComfyUI sees of our environment.  Everything else, keys and proxies included, has to be given by name."""

FOLDERS = ("custom_nodes", "input", "models", "output", "temp", "user")

LEFT_OUT_OF_COPIES = (".git", ".cache", "__pycache__", "demo_output", "tests")

# Systems hand out temporary ports from 32768 up, so one of those could be taken while ComfyUI boots.
PORTS = range(20000, 32000)


class HostDiedError(ComfyUIError):
    """ComfyUI ended, or did not come up; the text shows the end of its log."""


@final
class ComfyUIProcess:
    """One ComfyUI with these packs.  A context manager: started on entry, stopped on exit."""

    def __init__(
        self,
        environment: Environment,
        base_directory: Path,
        *,
        variables: Mapping[str, str] | None = None,
        packs: Mapping[str, Path] = THIS_PACK,
        arguments: Sequence[str] = (),
    ) -> None:
        """Describe a host; nothing happens before `start`.

        `variables` are added to its environment, `packs` maps names in `custom_nodes` to folders, `arguments` are
        further command line arguments, for example `("--verbose", "DEBUG")`.
        """
        self.base_directory = base_directory.absolute()
        self.log_file = self.base_directory / "comfyui.log"
        self.output_folder = self.base_directory / "output"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = ComfyUIClient(self.url)
        self._environment = environment
        self._variables = dict(variables or {})
        self._packs = dict(packs)
        self._arguments = tuple(arguments)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> ComfyUIProcess:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process id of the running host."""
        if self._process is None:
            raise HostDiedError("ComfyUI is not running, so it has no process id.")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def start(self, *, boot_timeout_seconds: float = BOOT_TIMEOUT_SECONDS) -> None:
        """Start ComfyUI and return as soon as it answers."""
        if self.is_running:
            raise ComfyUIError(f"ComfyUI already runs at {self.url}.")
        self._prepare_base_directory()
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                self._command(),
                cwd=self._environment.comfyui_folder,
                env=child_variables(os.environ, self.base_directory, self._variables),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                **_own_process_group(),
            )
        try:
            self._wait_until_ready(boot_timeout_seconds)
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Ask the process to end, and end it when it does not."""
        if self._process is not None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_TIMEOUT_SECONDS)
        self.kill()

    def kill(self) -> None:
        """End the process at once, as a power cut would (SIGKILL), and wait until it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self.client.close()

    def restart(self) -> None:
        """Stop, then start again with the same base directory and port."""
        self.stop()
        self.start()

    def log_text(self) -> str:
        """Return everything the host has printed, over all its starts."""
        return self.log_file.read_text(encoding="utf-8", errors="replace") if self.log_file.exists() else ""

    def _prepare_base_directory(self) -> None:
        for name in FOLDERS:
            (self.base_directory / name).mkdir(parents=True, exist_ok=True)
        for name, source in self._packs.items():
            place = self.base_directory / "custom_nodes" / name
            if not place.exists():
                link_or_copy(source, place)

    def _command(self) -> list[str]:
        command = [str(self._environment.comfyui_python), "main.py", "--cpu", "--disable-api-nodes"]
        command += ["--listen", "127.0.0.1", "--port", str(self.port), "--disable-auto-launch"]
        command += ["--base-directory", str(self.base_directory), "--database-url", "sqlite:///:memory:"]
        command += ["--disable-all-custom-nodes"]
        if self._packs:
            command += ["--whitelist-custom-nodes", *self._packs]
        return [*command, *self._arguments]

    def _wait_until_ready(self, timeout_seconds: float) -> None:
        deadline = time.monotonic() + timeout_seconds
        while not self._answers():
            if not self.is_running:
                raise self._died("ComfyUI ended while it was starting")
            if time.monotonic() >= deadline:
                raise self._died(f"ComfyUI did not answer within {timeout_seconds:g} seconds")
            time.sleep(READINESS_INTERVAL_SECONDS)

    def _answers(self) -> bool:
        try:
            self.client.system_stats()
        except ComfyUIError:
            return False
        return True

    def _died(self, what_happened: str) -> HostDiedError:
        tail = "\n".join(self.log_text().splitlines()[-SHOWN_LOG_LINES:])
        return HostDiedError(f"{what_happened}. The end of its log ({self.log_file}):\n{tail}")


def child_variables(ours: Mapping[str, str], home: Path, added: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a host: the harmless part of ours, a home of its own, and what was given by name."""
    passed_on = {name: ours[name] for name in PASSED_ON_VARIABLES if name in ours}
    return {**passed_on, "HOME": str(home), "USERPROFILE": str(home), "PYTHONUTF8": "1", **added}


def _own_process_group() -> dict[str, Any]:
    """Keep Ctrl-C in the terminal from ComfyUI: it is for us, who then end ComfyUI in an orderly way."""
    group: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        group = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return group


def treat_termination_as_interrupt() -> None:
    """Make SIGTERM end this program as Ctrl-C does, so that the hosts it started are stopped."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


def free_port() -> int:
    """Return a port on loopback that nothing listens on."""
    for port in random.sample(PORTS, 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise ComfyUIError(f"No free port was found between {PORTS.start} and {PORTS.stop}.")


def link(source: Path, place: Path) -> None:
    """Make a symbolic link; raises OSError where the system does not allow it."""
    place.symlink_to(source, target_is_directory=source.is_dir())


def link_or_copy(source: Path, place: Path, *, link: Callable[[Path, Path], None] = link) -> None:
    """Make a pack appear at `place`: a link where the system allows it, else a copy of what ComfyUI reads."""
    try:
        link(source, place)
    except OSError:  # Windows lets only developers and administrators make links.
        if source.is_dir():
            shutil.copytree(source, place, ignore=shutil.ignore_patterns(*LEFT_OUT_OF_COPIES))
        else:
            shutil.copy2(source, place)
