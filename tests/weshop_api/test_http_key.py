"""The key goes to the service and nowhere else."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from tests.weshop_api.http_servers import (
    SERVICE_HOST,
    Certificates,
    LeadTo,
    Proxy,
    RawServer,
    answering,
    network_to,
    no_proxy,
    reply,
)
from tests.weshop_api.http_sessions import (
    KEY_TEXT,
    NO_HOME,
    PATIENT,
    marked_key,
    real_service,
)
from weshop_api.credentials import PLACEHOLDER_KEY, ApiKey, Service, find_key
from weshop_api.errors import (
    CredentialsError,
    ForbiddenDestinationError,
    NotSentError,
)
from weshop_api.http import ApiSession, DownloadSession
from weshop_api.network import Network, Pools
from weshop_api.transport import ServiceTransport


@pytest.fixture(scope="module")
def certificates() -> Certificates:
    return Certificates()


def test_the_key_reaches_the_service_raw_over_tls(certificates: Certificates) -> None:
    async def scenario() -> None:
        async with real_service(answering(reply()), certificates) as (session, server, backend):
            await session.send("GET", "/agent/runs/0123")

            assert backend.asked == [(SERVICE_HOST, 443)]
            assert server.requests[0].target == "/openapi/agent/runs/0123"
            assert server.requests[0].headers["authorization"] == KEY_TEXT
            assert server.requests[0].headers["host"] == SERVICE_HOST

    asyncio.run(scenario())


FORBIDDEN_URLS = [
    "http://openapi.weshop.ai/openapi/agent/runs",
    "https://openapi.weshop.ai:444/openapi/agent/runs",
    "https://openapi.weshop.com/openapi/agent/runs",
    "https://openapi.weshop.ai.evil.example/openapi/agent/runs",
    "https://openapi.weshop.ai./openapi/agent/runs",
    "https://evil.example/openapi/agent/runs",
    "https://openapi.weshop.ai@evil.example/openapi/agent/runs",
    "https://user:word@openapi.weshop.ai/openapi/agent/runs",
    "https://user@openapi.weshop.ai/openapi/agent/runs",
    "https://openapi.weshop.ai/",
    "https://openapi.weshop.ai/openapi",
    "https://openapi.weshop.ai/openapiary/agent/runs",
    "https://openapi.weshop.ai/OPENAPI/agent/runs",
    "https://openapi.weshop.ai/openapi/../agent/runs",
    "https://openapi.weshop.ai/openapi/%2e%2e/agent/runs",
    "https://openapi.weshop.ai/openapi/%252e%252e/agent/runs",
    "https://openapi.weshop.ai/openapi/..%2fagent/runs",
    "https://openapi.weshop.ai/openapi//agent/runs",
    "https://openapi.weshop.ai//openapi/agent/runs",
    "https://openapi.weshop.ai/openapi/\\..\\agent",
    "https://openapi.weshop.ai/openapi/%5c..%5cagent",
    "https://openapi.weshop.ai\\@evil.example/openapi/agent",
    "https://xn--openapi-1ya.weshop.ai/openapi/agent/runs",
    "https://127.0.0.1/openapi/agent/runs",
]


@pytest.mark.parametrize("url", FORBIDDEN_URLS)
def test_a_request_for_another_place_is_stopped_before_anything_is_opened(url: str) -> None:
    async def scenario() -> None:
        backend = LeadTo(1)
        asked: list[str] = []

        def key() -> ApiKey:
            asked.append(url)
            return marked_key()

        transport = ServiceTransport(Pools(Network(backend=backend, proxy_for=no_proxy)), Service(), key)
        async with httpx.AsyncClient(transport=transport) as client:
            with pytest.raises(ForbiddenDestinationError):
                await client.get(url)

        assert backend.asked == []
        assert asked == []

    asyncio.run(scenario())


@pytest.mark.parametrize("url", ["https://OPENAPI.WESHOP.AI/openapi/x", "https://openapi.weshop.ai:443/openapi/x"])
def test_another_spelling_of_the_same_place_is_the_same_place(url: str, certificates: Certificates) -> None:
    async def scenario() -> None:
        async with RawServer(answering(reply()), certificates.of(SERVICE_HOST)) as server:
            backend = LeadTo(server.port)
            transport = ServiceTransport(Pools(network_to(backend, certificates)), Service(), marked_key)
            async with httpx.AsyncClient(transport=transport) as client:
                await client.get(url)

            assert backend.asked == [(SERVICE_HOST, 443)]
            assert server.requests[0].headers["host"] == SERVICE_HOST

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "path",
    [
        "",
        "agent",
        "/../x",
        "/a/../../x",
        "/%2e%2e/x",
        "//evil.example/x",
        "/a//b",
        "/a\\b",
        "/a b",
        "/\n",
        "@evil/x",
        ":1/x",
    ],
)
def test_a_path_that_could_lead_elsewhere_is_not_sent(path: str) -> None:
    async def scenario() -> None:
        backend = LeadTo(1)
        session = ApiSession(Service(), marked_key, PATIENT, Network(backend=backend, proxy_for=no_proxy))

        with pytest.raises(ForbiddenDestinationError):
            await session.send("GET", path)

        assert backend.asked == []

    asyncio.run(scenario())


def test_what_a_request_says_about_its_sender_and_its_host_is_replaced(certificates: Certificates) -> None:
    async def scenario() -> None:
        async with real_service(answering(reply()), certificates) as (session, server, _):
            await session.send("GET", "/x", headers={"authorization": "other", "Host": "evil.example", "Cookie": "a=b"})

            head = server.bytes_received.decode().lower()
            assert head.count("authorization:") == 1
            assert server.requests[0].headers["authorization"] == KEY_TEXT
            assert server.requests[0].headers["host"] == SERVICE_HOST
            assert "cookie" not in head

    asyncio.run(scenario())


def test_a_redirect_is_an_answer_and_is_not_followed(certificates: Certificates) -> None:
    async def scenario() -> None:
        elsewhere = reply(b"", "Location: https://evil.example/openapi/x", status="307 Temporary Redirect")
        async with real_service(answering(elsewhere), certificates) as (session, server, backend):
            answer = await session.send("POST", "/agent/runs", content=b"{}")

            assert answer.status == 307
            assert len(server.requests) == 1
            assert backend.asked == [(SERVICE_HOST, 443)]

    asyncio.run(scenario())


def test_a_server_that_cannot_show_the_services_certificate_gets_no_byte(certificates: Certificates) -> None:
    async def scenario() -> None:
        async with real_service(answering(reply()), certificates, host="evil.example") as (session, server, _):
            with pytest.raises(NotSentError, match="certificate is not trusted"):
                await session.send("GET", "/x")

            assert server.bytes_received == b""

    asyncio.run(scenario())


def test_a_proxy_sees_where_a_request_goes_but_neither_the_key_nor_the_path(certificates: Certificates) -> None:
    async def scenario() -> None:
        async with RawServer(answering(reply()), certificates.of(SERVICE_HOST)) as server, Proxy(server.port) as proxy:
            network = Network(
                proxy_for=lambda _scheme, _host: f"http://someone:word@127.0.0.1:{proxy.port}",
                certificates=certificates.trusted,
            )
            session = ApiSession(Service(), marked_key, PATIENT, network)
            for _ in range(2):
                await session.send("GET", "/agent/runs/0123")
            await session.aclose()

            assert [request.headers["authorization"] for request in server.requests] == [KEY_TEXT] * 2
            assert proxy.seen.startswith(b"CONNECT openapi.weshop.ai:443 HTTP/1.1\r\n")
            assert proxy.seen.count(b"CONNECT") == 1
            assert KEY_TEXT.encode() not in proxy.seen
            assert b"/agent/runs" not in proxy.seen

    asyncio.run(scenario())


def test_a_loopback_service_gets_the_placeholder_and_no_proxy() -> None:
    async def scenario() -> None:
        async with RawServer(answering(reply())) as server:
            service = Service(f"{server.origin}/openapi")
            network = Network(proxy_for=lambda _scheme, _host: "http://127.0.0.1:1")
            environ = {"WESHOP_API_KEY": KEY_TEXT}
            session = ApiSession(service, lambda: find_key(service, environ, NO_HOME), PATIENT, network)
            await session.send("GET", "/x")
            await session.aclose()

            assert server.requests[0].headers["authorization"] == PLACEHOLDER_KEY

    asyncio.run(scenario())


def test_a_loopback_service_is_not_sent_a_key_of_the_user_even_when_asked_to() -> None:
    async def scenario() -> None:
        async with RawServer(answering(reply())) as server:
            session = ApiSession(Service(f"{server.origin}/openapi"), marked_key, PATIENT)
            with pytest.raises(ForbiddenDestinationError):
                await session.send("GET", "/x")
            await session.aclose()

            assert server.requests == []

    asyncio.run(scenario())


def test_a_key_that_changes_is_used_from_the_next_request_on(certificates: Certificates) -> None:
    async def scenario() -> None:
        keys = iter(["first-key-not-real", "second-key-not-real"])
        current = [next(keys)]
        async with RawServer(answering(reply()), certificates.of(SERVICE_HOST)) as server:
            network = network_to(LeadTo(server.port), certificates)
            session = ApiSession(Service(), lambda: ApiKey(current[0]), PATIENT, network)
            await session.send("GET", "/x")
            current[0] = next(keys)
            await session.send("GET", "/x")
            await session.aclose()

            assert [r.headers["authorization"] for r in server.requests] == [
                "first-key-not-real",
                "second-key-not-real",
            ]

    asyncio.run(scenario())


def test_a_key_that_the_service_quotes_is_masked_in_the_answer(certificates: Certificates) -> None:
    async def scenario() -> None:
        quoting = reply(f"no such key: {KEY_TEXT}".encode(), f"X-Key: {KEY_TEXT}", status="401 Unauthorized")
        async with real_service(answering(quoting), certificates) as (session, _, __):
            answer = await session.send("GET", "/x")

            assert answer.body == b"no such key: ***"
            assert answer.header("X-Key") == "***"

    asyncio.run(scenario())


def test_the_session_for_pictures_sends_no_credentials(certificates: Certificates) -> None:
    async def scenario() -> None:
        async with RawServer(answering(reply()), certificates.of(SERVICE_HOST)) as server:
            session = DownloadSession(Service(), PATIENT, network_to(LeadTo(server.port), certificates))
            await session.fetch(f"https://{SERVICE_HOST}/openapi/agent/runs")
            await session.aclose()

            assert "authorization" not in server.bytes_received.decode().lower()

    asyncio.run(scenario())


def test_a_missing_key_is_an_error_of_its_own_and_nothing_is_opened() -> None:
    async def scenario() -> None:
        backend = LeadTo(1)
        session = ApiSession(
            Service(), lambda: find_key(Service(), {}, NO_HOME), PATIENT, Network(backend=backend, proxy_for=no_proxy)
        )

        with pytest.raises(CredentialsError, match="No WeShop API key is configured"):
            await session.send("GET", "/x")

        assert backend.asked == []

    asyncio.run(scenario())
