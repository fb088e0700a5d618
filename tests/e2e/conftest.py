"""A real ComfyUI and the emulator for end-to-end tests: one pair that all share, and a factory for more hosts."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from emulator import Emulator
from tools.comfyui import ComfyUIProcess, Hosts, treat_termination_as_interrupt
from tools.environment import Environment

from .browser import FRONTENDS, Frontend, frontend_named, open_browser
from .citizen import PACKS, Citizen, Page

SHOWN_LOG_CHARACTERS = 6000

_shared_hosts = pytest.StashKey[list[ComfyUIProcess]]()
_hosts_of_test = pytest.StashKey[list[Hosts]]()


def pytest_configure(config: pytest.Config) -> None:
    """Keep lists of the hosts for the reports, and stop them also when this run is terminated."""
    config.stash[_shared_hosts] = []
    config.stash[_hosts_of_test] = []
    treat_termination_as_interrupt()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the end of each host's log to the report of a failed test."""
    report = yield
    if report.failed:
        own_hosts = [host for hosts in item.config.stash[_hosts_of_test] for host in hosts.started]
        for host in item.config.stash[_shared_hosts] + own_hosts:
            report.sections.append((f"log of ComfyUI at {host.url}", host.log_text()[-SHOWN_LOG_CHARACTERS:]))
    return report


@pytest.fixture(scope="session")
def environment() -> Environment:
    """Where `dev.py` put everything."""
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
        pytestconfig.stash[_shared_hosts].append(running)
        yield running


@pytest.fixture
def host(shared_host: ComfyUIProcess) -> Iterator[ComfyUIProcess]:
    """A running ComfyUI that the test shares with others and must leave alive."""
    yield shared_host
    assert shared_host.is_running, "this test brought the shared ComfyUI down"


@pytest.fixture
def hosts(environment: Environment, emulator: Emulator, tmp_path: Path, pytestconfig: pytest.Config) -> Iterator[Hosts]:
    """Start hosts that a test may kill, restart or run side by side: `hosts.start(...)`."""
    own = Hosts(environment, tmp_path, {"WESHOP_BASE_URL": emulator.base_url})
    pytestconfig.stash[_hosts_of_test].append(own)
    yield own
    own.stop_all()
    pytestconfig.stash[_hosts_of_test].remove(own)


@pytest.fixture(scope="session")
def shared_citizen(
    environment: Environment, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[Citizen]:
    """A host with neighbours of the pack and small pictures; tests use it through `citizen`."""
    with Emulator(port=0, pictures="small", points_balance=10_000_000) as emulator:
        variables = {"WESHOP_BASE_URL": emulator.base_url}
        folder = tmp_path_factory.mktemp("citizen")
        with (
            ComfyUIProcess(environment, folder, variables=variables, packs=PACKS) as host,
            Page(host.url, "page") as page,
        ):
            pytestconfig.stash[_shared_hosts].append(host)
            citizen = Citizen(host, emulator, page)
            yield citizen
            citizen.close()


@pytest.fixture
def citizen(shared_citizen: Citizen) -> Iterator[Citizen]:
    """The host with neighbours, idle before and after the test; no fault may be left over."""
    shared_citizen.emulator.withdraw_faults()
    shared_citizen.page.forget()
    yield shared_citizen
    shared_citizen.emulator.withdraw_faults()
    shared_citizen.leave_nothing_queued()
    shared_citizen.wait_for_idle()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser for the tests of a file; those must not run event loops of their own in this thread."""
    with open_browser() as running:
        yield running


@pytest.fixture(scope="module", params=FRONTENDS)
def frontend(request: pytest.FixtureRequest) -> Frontend:
    """Each version of the page: a test that takes this runs once with each."""
    return frontend_named(request.param)
