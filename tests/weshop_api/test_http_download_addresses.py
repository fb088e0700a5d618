"""Pictures are fetched from public addresses only, also through redirects."""

from __future__ import annotations

import asyncio

import pytest

from tests.weshop_api.http_servers import (
    PICTURE_HOST,
    PUBLIC_ADDRESS,
    Certificates,
    Proxy,
    RawServer,
    Resolver,
    answering,
    answering_by_target,
    reply,
)
from tests.weshop_api.http_sessions import (
    PATIENT,
    URL,
    downloads,
    local_downloads,
)
from weshop_api.credentials import Service
from weshop_api.errors import (
    ForbiddenAddressError,
)
from weshop_api.http import DownloadSession
from weshop_api.network import Network


@pytest.fixture(scope="module")
def certificates() -> Certificates:
    return Certificates()


def test_the_connection_goes_to_the_address_that_was_checked(certificates: Certificates) -> None:
    """A name that changes its mind after the check gains nothing, because it is asked only once."""

    async def scenario() -> None:
        answers = [[PUBLIC_ADDRESS], ["127.0.0.1"]]
        async with downloads(answering(reply()), certificates, addresses=answers) as (session, _, backend, resolver):
            await session.fetch(URL)

            assert resolver.asked == [PICTURE_HOST]
            assert backend.asked == [(PUBLIC_ADDRESS, 443)]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["10.1.2.3"],
        ["169.254.169.254"],
        [PUBLIC_ADDRESS, "192.168.1.1"],
        ["::1"],
        ["fe80::1%eth0"],
        ["fd00::1"],
        ["::ffff:10.0.0.1"],
        ["64:ff9b::7f00:1"],
        ["2002:a00:1::"],
        ["0.0.0.0"],  # noqa: S104 - nothing is bound to it
        ["224.0.0.1"],
        ["not an address"],
    ],
)
def test_a_name_that_leads_to_a_private_address_is_refused_before_connecting(
    addresses: list[str], certificates: Certificates
) -> None:
    async def scenario() -> None:
        async with downloads(answering(reply()), certificates, addresses=[addresses]) as (session, _, backend, __):
            with pytest.raises(ForbiddenAddressError, match=PICTURE_HOST):
                await session.fetch(URL)

            assert backend.asked == []

    asyncio.run(scenario())


def test_the_synthetic_addresses_of_local_proxies_are_let_through(certificates: Certificates) -> None:
    async def scenario() -> None:
        async with downloads(answering(reply()), certificates, addresses=[["198.18.0.7"]]) as (session, _, backend, __):
            await session.fetch(URL)

            assert backend.asked == [("198.18.0.7", 443)]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "url",
    [
        "http://pictures.example/a.png",
        "https://127.0.0.1/a.png",
        "http://127.0.0.1/a.png",
        "https://localhost/a.png",
        "https://[::1]/a.png",
        "https://10.0.0.1/a.png",
        "https://2130706433/a.png",
        "https://0x7f.1/a.png",
        "https://mallory:opensesame@pictures.example/a.png",
        "https://printer/a.png",
        "https://nas.local/a.png",
        "https://xn--a-/a.png",
        "https://xn--zzzzzz.example/a.png",
        "file:///etc/passwd",
        "data:image/png;base64,AAAA",
        "",
        "https://",
        "https://pictures.example:99999/a.png",
        "https://pictures.example/\x00",
        "https://pictures.example/" + "a" * 1_000_000,
    ],
)
def test_a_url_that_must_not_be_fetched_is_refused_by_its_text(url: str, certificates: Certificates) -> None:
    async def scenario() -> None:
        async with downloads(answering(reply()), certificates) as (session, _, backend, resolver):
            with pytest.raises(ForbiddenAddressError) as caught:
                await session.fetch(url)

            assert (backend.asked, resolver.asked) == ([], [])
            assert "mallory" not in str(caught.value)
            assert len(str(caught.value)) < 300

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "location",
    [
        "http://pictures.example/b.png",
        "https://10.0.0.1/b.png",
        "https://[::ffff:127.0.0.1]/b.png",
        "https://user@pictures.example/b.png",
        "//localhost/b.png",
        "ftp://pictures.example/b.png",
        "https://[::1",
        "https://xn--a-/",
    ],
)
def test_a_redirect_to_a_forbidden_place_is_refused(location: str, certificates: Certificates) -> None:
    async def scenario() -> None:
        away = reply(b"", f"Location: {location}", status="302 Found")
        async with downloads(answering(away), certificates) as (session, server, backend, _):
            with pytest.raises(ForbiddenAddressError):
                await session.fetch(URL)

            assert backend.asked == [(PUBLIC_ADDRESS, 443)]
            assert {received.target for received in server.requests} == {"/a.png"}

    asyncio.run(scenario())


def test_a_redirect_to_a_name_in_the_private_network_is_refused(certificates: Certificates) -> None:
    async def scenario() -> None:
        away = reply(b"", "Location: https://other.example/b.png", status="302 Found")
        answers = [[PUBLIC_ADDRESS], ["192.168.0.1"]]
        async with downloads(answering(away), certificates, addresses=answers) as (session, _, backend, __):
            with pytest.raises(ForbiddenAddressError, match=r"other\.example"):
                await session.fetch(URL)

            assert backend.asked == [(PUBLIC_ADDRESS, 443)]

    asyncio.run(scenario())


def test_a_redirect_that_does_not_say_where_to_is_refused(certificates: Certificates) -> None:
    async def scenario() -> None:
        async with downloads(answering(reply(b"", status="302 Found")), certificates) as (session, *_):
            with pytest.raises(ForbiddenAddressError):
                await session.fetch(URL)

    asyncio.run(scenario())


def chain(length: int) -> dict[str, bytes]:
    """A picture behind so many redirects, some absolute and some relative."""
    answers = {
        f"/{step}": reply(b"", f"Location: {['', f'https://{PICTURE_HOST}'][step % 2]}/{step + 1}", status="301 Moved")
        for step in range(length)
    }
    return {**answers, f"/{length}": reply(b"picture")}


def test_three_redirects_are_followed(certificates: Certificates) -> None:
    async def scenario() -> None:
        async with downloads(answering_by_target(chain(3)), certificates) as (session, *_):
            assert (await session.fetch(f"https://{PICTURE_HOST}/0")).body == b"picture"

    asyncio.run(scenario())


def test_a_fourth_redirect_is_refused(certificates: Certificates) -> None:
    async def scenario() -> None:
        async with downloads(answering_by_target(chain(4)), certificates) as (session, *_):
            with pytest.raises(ForbiddenAddressError, match="more than 3 times"):
                await session.fetch(f"https://{PICTURE_HOST}/0")

    asyncio.run(scenario())


def test_pictures_of_a_loopback_service_may_be_on_loopback() -> None:
    async def scenario() -> None:
        async with local_downloads(answering(reply(b"picture"))) as (session, server):
            assert (await session.fetch(f"http://127.0.0.1:{server.port}/a.png")).body == b"picture"
            assert (await session.fetch(f"http://localhost:{server.port}/a.png")).body == b"picture"

    asyncio.run(scenario())


def test_pictures_of_a_loopback_service_may_not_be_in_the_private_network() -> None:
    async def scenario() -> None:
        async with local_downloads(answering(reply())) as (session, _):
            for url in ("http://10.0.0.1/a.png", "https://10.0.0.1/a.png", "http://pictures.example/a.png"):
                with pytest.raises(ForbiddenAddressError):
                    await session.fetch(url)

    asyncio.run(scenario())


def test_a_proxy_resolves_names_for_itself(certificates: Certificates) -> None:
    async def scenario() -> None:
        tls = certificates.of(PICTURE_HOST)
        async with RawServer(answering(reply(b"picture")), tls) as server, Proxy(server.port) as proxy:
            resolver = Resolver([["10.0.0.1"]])
            network = Network(
                resolve=resolver,
                proxy_for=lambda _scheme, _host: f"http://127.0.0.1:{proxy.port}",
                certificates=certificates.trusted,
            )
            session = DownloadSession(Service(), PATIENT, network)
            answer = await session.fetch(URL)
            with pytest.raises(ForbiddenAddressError):
                await session.fetch("https://10.0.0.1/a.png")
            await session.aclose()

            assert answer.body == b"picture"
            assert resolver.asked == []
            assert proxy.seen.startswith(b"CONNECT pictures.example:443 ")
            assert b"a.png" not in proxy.seen

    asyncio.run(scenario())
