"""Several ComfyUIs for one test: killed, restarted, side by side, sharing a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tools.environment import Environment

from .process import THIS_PACK, ComfyUIProcess


class Hosts:
    """Start hosts with common defaults and stop all of them at the end."""

    def __init__(self, environment: Environment, folder: Path, variables: Mapping[str, str]) -> None:
        """Give every host these environment variables and, unless it names another, a base directory in `folder`."""
        self.started: list[ComfyUIProcess] = []
        self._environment = environment
        self._folder = folder
        self._variables = dict(variables)

    def start(
        self,
        *,
        base_directory: Path | None = None,
        variables: Mapping[str, str] | None = None,
        packs: Mapping[str, Path] = THIS_PACK,
        arguments: Sequence[str] = (),
    ) -> ComfyUIProcess:
        """Return one more host, running.  The parameters are those of ComfyUIProcess."""
        host = ComfyUIProcess(
            self._environment,
            base_directory or self._folder / f"host{len(self.started)}",
            variables={**self._variables, **(variables or {})},
            packs=packs,
            arguments=arguments,
        )
        self.started.append(host)
        host.start()
        return host

    def stop_all(self) -> None:
        """Stop every host that still runs."""
        for host in self.started:
            host.stop()
