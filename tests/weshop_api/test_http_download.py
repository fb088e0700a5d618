"""Pictures are fetched from public addresses only, within bounds, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.weshop_api.http_servers import (
    PICTURE_HOST,
    PUBLIC_ADDRESS,
    Behaviour,
    Certificates,
    LeadTo,
    Proxy,
    RawServer,
    Received,
    Resolver,
    answering,
    answering_by_target,
    closing_after,
    dripping,
    no_proxy,
    reply,
    resetting,
    silence,
)
from weshop_api.credentials import Service
from weshop_api.errors import ForbiddenAddressError, NoAnswerError, NotSentError, UnreadableReplyError, WeShopError
from weshop_api.http import MAX_ERROR_BYTES, DownloadSession, Timeouts
from weshop_api.network import Network

PATIENT = Timeouts()
QUICK = Timeouts(connect_seconds=1.0, download_idle_seconds=0.4, download_total_seconds=1.5)
URL = f"https://{PICTURE_HOST}/a.png"


@pytest.fixture(scope="module")
def certificates() -> Certificates:
    return Certificates()


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


def test_a_picture_arrives_whole_and_its_progress_is_told(certificates: Certificates) -> None:
    picture = bytes(range(256)) * 2000
    told: list[tuple[int, int | None]] = []

    async def scenario() -> None:
        async with downloads(answering(reply(picture, "Content-Type: image/png")), certificates) as (session, *_):
            answer = await session.fetch(URL, on_bytes=lambda received, total: told.append((received, total)))

            assert (answer.status, answer.header("content-type")) == (200, "image/png")
            assert answer.body == picture

    asyncio.run(scenario())

    assert told[-1] == (len(picture), len(picture))
    assert [received for received, _ in told] == sorted(received for received, _ in told)


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


@pytest.mark.parametrize("status", ["403 Forbidden", "404 Not Found", "410 Gone", "429 Too Many", "503 Out"])
def test_an_error_status_is_an_answer_with_the_beginning_of_its_body(status: str, certificates: Certificates) -> None:
    async def scenario() -> None:
        page = reply(b"x" * 1_000_000, "Retry-After: 3", status=status)
        async with downloads(answering(page), certificates) as (session, *_):
            answer = await session.fetch(URL)

            assert answer.status == int(status[:3])
            assert answer.header("retry-after") == "3"
            assert answer.body == b"x" * MAX_ERROR_BYTES

    asyncio.run(scenario())


def test_an_endless_error_page_is_read_as_far_as_needed(certificates: Certificates) -> None:
    async def flood(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 403 Forbidden\r\n\r\n")
        while True:
            writer.write(bytes(10_000))
            await writer.drain()

    async def scenario() -> None:
        async with downloads(flood, certificates) as (session, *_):
            answer = await session.fetch(URL)

            assert (answer.status, len(answer.body)) == (403, MAX_ERROR_BYTES)

    asyncio.run(scenario())


TROUBLE: dict[str, tuple[Behaviour, type[WeShopError]]] = {
    "truncated": (closing_after(reply(b"abc", length=100)), NoAnswerError),
    "reset": (resetting, NoAnswerError),
    "silence": (silence, NoAnswerError),
    "silence between pieces": (answering(reply(b"abc", length=100)), NoAnswerError),
    "endless trickle": (dripping(b"HTTP/1.1 200 OK\r\n\r\n"), NoAnswerError),
    "declared too large": (answering(reply(b"", length=1001)), UnreadableReplyError),
    "streamed too large": (closing_after(b"HTTP/1.1 200 OK\r\n\r\n" + bytes(1001)), UnreadableReplyError),
}


@pytest.mark.parametrize("trouble", TROUBLE)
def test_a_picture_that_does_not_arrive_as_promised_is_an_error(trouble: str, certificates: Certificates) -> None:
    behave, kind = TROUBLE[trouble]

    async def scenario() -> None:
        async with downloads(behave, certificates, timeouts=QUICK) as (session, *_):
            with pytest.raises(kind) as caught:
                await session.fetch(URL, max_bytes=1000)

            assert type(caught.value) is kind
            assert str(caught.value)

    asyncio.run(scenario())


def test_exactly_the_allowed_number_of_bytes_is_allowed(certificates: Certificates) -> None:
    async def scenario() -> None:
        async with downloads(answering(reply(bytes(1000))), certificates) as (session, *_):
            assert len((await session.fetch(URL, max_bytes=1000)).body) == 1000

    asyncio.run(scenario())


def test_a_dead_address_costs_little_when_another_one_answers(certificates: Certificates) -> None:
    async def scenario() -> None:
        dead = "2606:2800:21f:cb07::1"
        async with downloads(answering(reply()), certificates, addresses=[[dead, PUBLIC_ADDRESS]], dead=(dead,)) as (
            session,
            _,
            backend,
            __,
        ):
            await session.fetch(URL)

            assert backend.asked == [(dead, 443), (PUBLIC_ADDRESS, 443)]

    asyncio.run(scenario())


def test_only_dead_addresses_end_as_not_sent(certificates: Certificates) -> None:
    async def scenario() -> None:
        async with downloads(answering(reply()), certificates, dead=(PUBLIC_ADDRESS,), timeouts=QUICK) as (session, *_):
            with pytest.raises(NotSentError, match="time ran out"):
                await session.fetch(URL)

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


def test_a_listener_that_fails_ends_the_download_and_frees_the_connection(certificates: Certificates) -> None:
    class ListenerError(Exception):
        pass

    def fail(_received: int, _total: int | None) -> None:
        raise ListenerError

    async def scenario() -> None:
        async with downloads(answering(reply(bytes(10_000_000))), certificates) as (session, server, *_):
            with pytest.raises(ListenerError):
                await session.fetch(URL, on_bytes=fail)
            for _ in range(10):
                await asyncio.sleep(0.01)

            assert [task for task in asyncio.all_tasks() if "aclose" in repr(task.get_coro())] == []
            assert server.connections == 1
            assert (await session.fetch(URL)).status == 200

    asyncio.run(scenario())


def test_sixteen_pictures_at_once_use_kept_connections_afterwards(certificates: Certificates) -> None:
    async def scenario() -> None:
        async with downloads(answering(reply(bytes(100_000))), certificates) as (session, server, *_):
            for _ in range(2):
                answers = await asyncio.gather(*(session.fetch(URL) for _ in range(16)))

                assert [len(answer.body) for answer in answers] == [100_000] * 16
            assert server.connections <= 16

    asyncio.run(scenario())


def test_a_cancelled_download_ends_at_once(certificates: Certificates) -> None:
    started = asyncio.Event()

    async def stall(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(reply(bytes(1000), length=2000))
        await writer.drain()
        started.set()
        await asyncio.sleep(60)

    async def scenario() -> None:
        async with downloads(stall, certificates) as (session, *_):
            task = asyncio.ensure_future(session.fetch(URL))
            await started.wait()
            start = asyncio.get_running_loop().time()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

            assert asyncio.get_running_loop().time() - start < 0.1

    asyncio.run(scenario())
