"""A real ComfyUI and the emulator for end-to-end tests: one pair that all share, and a factory for more hosts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import pytest
from emulator import Emulator

from tools.comfyui import ComfyUIProcess, treat_termination_as_interrupt
from tools.comfyui.process import THIS_PACK
from tools.environment import Environment
from tools.examples import EXAMPLES, ExampleOutcome, run_example

EXAMPLE_TIMEOUT_SECONDS = 120.0
SHOWN_LOG_CHARACTERS = 6000

_hosts_of_session = pytest.StashKey[list[ComfyUIProcess]]()


class StartHost(Protocol):
    """Start a ComfyUI of this test's own; it is stopped at the end of the test."""

    def __call__(
        self,
        *,
        base_directory: Path | None = None,
        variables: Mapping[str, str] | None = None,
        packs: Mapping[str, Path] = THIS_PACK,
        arguments: Sequence[str] = (),
    ) -> ComfyUIProcess:
        """Return the running host; without a base directory it gets a new one."""
        ...


def pytest_configure(config: pytest.Config) -> None:
    """Keep a list of the hosts, and stop them when this run is terminated."""
    config.stash[_hosts_of_session] = []
    treat_termination_as_interrupt()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Add the end of each host's log to the report of a failed test."""
    report: pytest.TestReport = yield
    if report.failed:
        for host in item.config.stash[_hosts_of_session]:
            report.sections.append((f"log of ComfyUI at {host.url}", host.log_text()[-SHOWN_LOG_CHARACTERS:]))
    return report


@pytest.fixture(scope="session")
def environment() -> Environment:
    """Where `dev.py` put everything."""
    import os

    return Environment.from_variables(os.environ)


@pytest.fixture(scope="session")
def emulator() -> Iterator[Emulator]:
    """The emulator that the shared host speaks to."""
    with Emulator(port=0) as running:
        yield running


@pytest.fixture(scope="session")
def shared_host(
    environment: Environment,
    emulator: Emulator,
    tmp_path_factory: pytest.TempPathFactory,
    pytestconfig: pytest.Config,
) -> Iterator[ComfyUIProcess]:
    """The ComfyUI of this session; tests use it through `host`."""
    variables = {"WESHOP_BASE_URL": emulator.base_url}
    with ComfyUIProcess(environment, tmp_path_factory.mktemp("host"), variables=variables) as running:
        pytestconfig.stash[_hosts_of_session].append(running)
        yield running


@pytest.fixture
def host(shared_host: ComfyUIProcess) -> Iterator[ComfyUIProcess]:
    """A running ComfyUI that the test shares with others and must leave alive."""
    yield shared_host
    assert shared_host.is_running, "this test brought the shared ComfyUI down"


@pytest.fixture
def start_host(
    environment: Environment, emulator: Emulator, tmp_path: Path, pytestconfig: pytest.Config
) -> Iterator[StartHost]:
    """A factory of hosts that a test may kill, restart or run side by side."""
    started: list[ComfyUIProcess] = []

    def start(
        *,
        base_directory: Path | None = None,
        variables: Mapping[str, str] | None = None,
        packs: Mapping[str, Path] = THIS_PACK,
        arguments: Sequence[str] = (),
    ) -> ComfyUIProcess:
        host = ComfyUIProcess(
            environment,
            base_directory or tmp_path / f"host{len(started)}",
            variables={"WESHOP_BASE_URL": emulator.base_url, **(variables or {})},
            packs=packs,
            arguments=arguments,
        )
        started.append(host)
        pytestconfig.stash[_hosts_of_session].append(host)
        host.start()
        return host

    yield start
    for host in started:
        host.stop()
        pytestconfig.stash[_hosts_of_session].remove(host)


@pytest.fixture
def run_example_named(environment: Environment) -> Callable[..., ExampleOutcome]:
    """Run `example_workflows/<name>.json` in a host and return what it made."""

    def run(name: str, host: ComfyUIProcess, *, earlier_execution_id: str = "") -> ExampleOutcome:
        return run_example(
            EXAMPLES / f"{name}.json",
            host.client,
            environment.tools_python,
            timeout_seconds=EXAMPLE_TIMEOUT_SECONDS,
            earlier_execution_id=earlier_execution_id,
        )

    return run
