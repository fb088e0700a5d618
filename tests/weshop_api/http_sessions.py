"""Sessions as the tests use them: for the real service and for one on loopback, with servers that a test scripts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.weshop_api.http_servers import (
    PICTURE_HOST,
    PUBLIC_ADDRESS,
    SERVICE_HOST,
    Behaviour,
    Certificates,
    LeadTo,
    LoopbackServer,
    RawServer,
    Resolver,
    network_to,
    no_proxy,
)
from weshop_api.credentials import PLACEHOLDER_KEY, ApiKey, Service
from weshop_api.errors import (
    WeShopError,
)
from weshop_api.http import ApiSession, DownloadSession, Timeouts
from weshop_api.network import Network

KEY_TEXT = "marked-test-key-not-real-0123456789"
NO_HOME = Path("/there/is/no/such/folder")
URL = f"https://{PICTURE_HOST}/a.png"

PATIENT = Timeouts()
QUICK = Timeouts(
    connect_seconds=1.0,
    idle_seconds=0.8,
    call_total_seconds=2.5,
    download_idle_seconds=0.8,
    download_total_seconds=2.5,
)


def marked_key() -> ApiKey:
    return ApiKey(KEY_TEXT, "a test")


@asynccontextmanager
async def real_service(
    behave: Behaviour, certificates: Certificates, *, host: str = SERVICE_HOST, timeouts: Timeouts = PATIENT
) -> AsyncIterator[tuple[ApiSession, RawServer, LeadTo]]:
    """A session for the real service whose connections end at a TLS server on loopback."""
    async with RawServer(behave, certificates.of(host)) as server:
        backend = LeadTo(server.port)
        session = ApiSession(Service(), marked_key, timeouts, network_to(backend, certificates))
        try:
            yield session, server, backend
        finally:
            await session.aclose()


def placeholder() -> ApiKey:
    return ApiKey(PLACEHOLDER_KEY)


@asynccontextmanager
async def local_service(behave: Behaviour, timeouts: Timeouts = PATIENT) -> AsyncIterator[tuple[ApiSession, RawServer]]:
    async with RawServer(behave) as server:
        session = ApiSession(Service(f"{server.origin}/openapi"), placeholder, timeouts)
        try:
            yield session, server
        finally:
            await session.aclose()


async def failure_of(session: ApiSession, method: str = "GET", content: bytes | None = None) -> WeShopError:
    with pytest.raises(WeShopError) as caught:
        await session.send(method, "/agent/runs", content=content)
    return caught.value


async def failure_at(server: LoopbackServer, certificates: Certificates) -> WeShopError:
    """What a request to the real service ends with when its name leads to this server."""
    session = ApiSession(Service(), placeholder, QUICK, network_to(LeadTo(server.port), certificates))
    try:
        return await failure_of(session)
    finally:
        await session.aclose()


@asynccontextmanager
async def downloads(
    behave: Behaviour,
    certificates: Certificates,
    *,
    addresses: list[list[str]] | None = None,
    dead: tuple[str, ...] = (),
    timeouts: Timeouts = PATIENT,
) -> AsyncIterator[tuple[DownloadSession, RawServer, LeadTo, Resolver]]:
    """A session beside the real service: every public address is a TLS server on loopback."""
    async with RawServer(behave, certificates.of(PICTURE_HOST)) as server:
        backend = LeadTo(server.port, dead=dead)
        resolver = Resolver(addresses or [[PUBLIC_ADDRESS]])
        network = Network(backend, resolver, no_proxy, certificates.trusted)
        session = DownloadSession(Service(), timeouts, network)
        try:
            yield session, server, backend, resolver
        finally:
            await session.aclose()


@asynccontextmanager
async def local_downloads(behave: Behaviour) -> AsyncIterator[tuple[DownloadSession, RawServer]]:
    """A session beside a service on loopback."""
    async with RawServer(behave) as server:
        session = DownloadSession(Service("http://127.0.0.1:1/openapi"), PATIENT)
        try:
            yield session, server
        finally:
            await session.aclose()
