"""Proxies and certificates: the ways to the outside that this machine is set to."""

from __future__ import annotations

import asyncio
import ssl
import threading

import pytest

from tests.weshop_api.http_servers import (
    SERVICE_HOST,
    Certificates,
    LeadTo,
    Proxy,
    RawServer,
    answering,
    no_proxy,
    reply,
)
from tests.weshop_api.http_sessions import (
    PATIENT,
    QUICK,
    failure_of,
    placeholder,
)
from weshop_api.credentials import Service
from weshop_api.errors import (
    NotSentError,
)
from weshop_api.http import ApiSession
from weshop_api.network import Network, proxy_of_system


@pytest.fixture(scope="module")
def certificates() -> Certificates:
    return Certificates()


@pytest.mark.parametrize("answer", [b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", b"", b"what?\r\n\r\n"])
def test_a_failing_proxy_is_named_and_nothing_was_sent(answer: bytes, certificates: Certificates) -> None:
    async def scenario() -> None:
        async with RawServer(answering(reply())) as server, Proxy(server.port, answer) as proxy:
            network = Network(
                proxy_for=lambda _scheme, _host: f"http://someone:word@127.0.0.1:{proxy.port}",
                certificates=certificates.trusted,
            )
            session = ApiSession(Service(), placeholder, QUICK, network)
            error = await failure_of(session)
            await session.aclose()

            assert isinstance(error, NotSentError)
            assert f"proxy 127.0.0.1:{proxy.port}" in str(error)
            assert "someone" not in str(error)
            assert "word" not in str(error)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "proxy", ["http://", "ftp://127.0.0.1:1", "http://[::1", "http://host:port", "socks5://127.0.0.1:1"]
)
def test_a_proxy_setting_that_cannot_be_used_is_explained(proxy: str, certificates: Certificates) -> None:
    async def scenario() -> None:
        network = Network(proxy_for=lambda _scheme, _host: proxy, certificates=certificates.trusted)
        session = ApiSession(Service(), placeholder, QUICK, network)
        error = await failure_of(session)
        await session.aclose()

        assert isinstance(error, NotSentError)
        assert "proxy" in str(error)
        assert "HTTPS_PROXY" in str(error)

    asyncio.run(scenario())


def test_proxies_come_from_the_environment_and_have_exceptions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "weshop.ai,other.example")

    assert proxy_of_system("https", "pictures.example") == "http://proxy.example:3128"
    assert proxy_of_system("https", SERVICE_HOST) == ""
    assert proxy_of_system("http", "pictures.example") == ""


def test_a_proxy_setting_that_changes_counts_for_the_next_request(certificates: Certificates) -> None:
    async def scenario() -> None:
        tls = certificates.of(SERVICE_HOST)
        async with RawServer(answering(reply()), tls) as server, Proxy(server.port) as proxy:
            settings = ["", f"http://127.0.0.1:{proxy.port}"]
            network = Network(
                backend=LeadTo(server.port),
                proxy_for=lambda _scheme, _host: settings[0],
                certificates=certificates.trusted,
            )
            session = ApiSession(Service(), placeholder, QUICK, network)
            await session.send("GET", "/x")
            assert proxy.connections == 0

            settings.pop(0)
            error = await failure_of(session)
            await session.aclose()

            # The backend of this test leads the connection for the proxy to the service itself.
            assert f"proxy 127.0.0.1:{proxy.port}" in str(error)

    asyncio.run(scenario())


def test_certificates_are_loaded_once_and_beside_the_event_loop(certificates: Certificates) -> None:
    loads: list[int] = []

    def load() -> ssl.SSLContext:
        loads.append(threading.get_ident())
        return certificates.trusted()

    async def scenario() -> None:
        async with RawServer(answering(reply()), certificates.of(SERVICE_HOST)) as server:
            network = Network(LeadTo(server.port), proxy_for=no_proxy, certificates=load)
            session = ApiSession(Service(), placeholder, PATIENT, network)
            await asyncio.gather(*(session.send("GET", "/x") for _ in range(4)))
            await session.aclose()

    asyncio.run(scenario())

    assert len(loads) == 1
    assert loads[0] != threading.get_ident()


def test_looking_for_a_proxy_does_not_hold_up_the_event_loop(certificates: Certificates) -> None:
    """Windows and macOS look the name up for it, which takes seconds where nobody answers."""
    looks: list[int] = []

    def look(_scheme: str, _host: str) -> str:
        looks.append(threading.get_ident())
        return ""

    async def scenario() -> None:
        async with RawServer(answering(reply()), certificates.of(SERVICE_HOST)) as server:
            network = Network(LeadTo(server.port), proxy_for=look, certificates=certificates.trusted)
            session = ApiSession(Service(), placeholder, PATIENT, network)
            await session.send("GET", "/x")
            await session.aclose()

    asyncio.run(scenario())

    assert looks
    assert threading.get_ident() not in looks
