"""The key goes to the service and nowhere else, and nothing that anybody can see holds it."""

from __future__ import annotations

import asyncio
import logging
import ssl
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpcore
import httpx
import pytest

from tests.weshop_api import http_servers
from tests.weshop_api.http_servers import (
    SERVICE_HOST,
    Behaviour,
    Certificates,
    EarlyReset,
    LeadTo,
    Proxy,
    RawServer,
    answering,
    closing_after,
    dripping,
    network_to,
    no_proxy,
    reply,
    resetting,
    silence,
)
from weshop_api.credentials import PLACEHOLDER_KEY, ApiKey, Service, find_key
from weshop_api.errors import (
    CredentialsError,
    ForbiddenDestinationError,
    NoAnswerError,
    NotSentError,
    UnusableKeyError,
    WeShopError,
)
from weshop_api.http import ApiSession, DownloadSession, Timeouts
from weshop_api.network import Network, Pools
from weshop_api.transport import ServiceTransport

KEY_TEXT = "marked-test-key-not-real-0123456789"
OWN_FILES = (__file__, http_servers.__file__)
NO_HOME = Path("/there/is/no/such/folder")
PATIENT = Timeouts()
QUICK = Timeouts(connect_seconds=2.0, idle_seconds=0.4, call_total_seconds=1.5)


def marked_key() -> ApiKey:
    return ApiKey(KEY_TEXT, "a test")


@pytest.fixture(scope="module")
def certificates() -> Certificates:
    return Certificates()


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


def visible_texts(error: BaseException) -> Iterator[str]:
    """Everything a report about an exception may show: messages, arguments, causes, and the locals of all frames."""
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        step = pending.pop()
        if step is None or id(step) in seen:
            continue
        seen.add(id(step))
        pending += [step.__cause__, step.__context__]
        yield repr(step)
        yield repr(vars(step))
        for frame, _ in traceback.walk_tb(step.__traceback__):
            if frame.f_code.co_filename in OWN_FILES:
                continue  # The servers of these tests have received the key, of course.
            for value in frame.f_locals.values():
                yield repr(value)
                yield repr(getattr(value, "__dict__", ""))
                if isinstance(value, (httpx.Request, httpx.Response)):
                    yield repr(value.headers.raw)
                if isinstance(value, (httpcore.Request, httpcore.Response)):
                    yield repr(value.headers)
    yield "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())


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


OUTCOMES: dict[str, Behaviour] = {
    "success": answering(reply()),
    "refusal": answering(reply(b'{"success": false}', status="401 Unauthorized")),
    "server error": answering(reply(b"", status="503 Service Unavailable")),
    "reset": resetting,
    "silence": silence,
    "garbage": closing_after(b"\x00\x01 what\r\n\r\n"),
    "truncated": closing_after(reply(b"{", length=100)),
    "endless": dripping(b"HTTP/1.1 200 OK\r\n\r\n"),
    "too large": answering(reply(b"", length=10**9)),
    "closed": closing_after(b""),
}


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_no_log_at_any_level_holds_the_key(
    outcome: str, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with real_service(OUTCOMES[outcome], certificates, timeouts=QUICK) as (session, server, _):
            for content in (None, b"{}"):
                with_error = session.send("GET" if content is None else "POST", "/agent/runs", content=content)
                await asyncio.gather(with_error, return_exceptions=True)

            assert server.requests[0].headers["authorization"] == KEY_TEXT

    with caplog.at_level(logging.DEBUG):
        asyncio.run(scenario())

    assert {"httpcore.http11", "httpcore.connection"} <= {record.name for record in caplog.records}
    for record in caplog.records:
        assert KEY_TEXT not in record.getMessage()
        assert KEY_TEXT not in repr(record.args)


FAILURES = [name for name in OUTCOMES if name not in ("success", "refusal", "server error")]


@pytest.mark.parametrize("outcome", FAILURES)
def test_no_exception_shows_the_key_in_its_causes_or_in_the_locals_of_its_frames(
    outcome: str, certificates: Certificates
) -> None:
    async def scenario() -> WeShopError:
        async with real_service(OUTCOMES[outcome], certificates, timeouts=QUICK) as (session, server, _):
            with pytest.raises(WeShopError) as caught:
                await session.send("POST", "/agent/runs", content=b"{}")

            assert server.requests[0].headers["authorization"] == KEY_TEXT
            return caught.value

    error = asyncio.run(scenario())

    assert not any(KEY_TEXT in text for text in visible_texts(error))


async def _fails_while_writing(certificates: Certificates) -> None:
    # A body far larger than the socket's buffers: the reset arrives while the request is still being written.
    async with EarlyReset(certificates.of(SERVICE_HOST)) as server:
        session = ApiSession(Service(), marked_key, PATIENT, network_to(LeadTo(server.port), certificates))
        try:
            await session.send("POST", "/agent/runs", content=b"x" * 20_000_000)
        finally:
            await session.aclose()


class FailingStream(httpcore.AsyncNetworkStream):
    """A connection on which the head of the request cannot be written: its bytes are in the frames of the failure."""

    def __init__(self, failure: BaseException) -> None:
        self.written = b""
        self._failure = failure

    async def start_tls(self, *_: object, **__: object) -> httpcore.AsyncNetworkStream:
        return self

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002 - httpcore's signature
        self.written += buffer
        raise self._failure

    async def read(self, *_: object, **__: object) -> bytes:
        raise httpcore.ReadError

    async def aclose(self) -> None:
        """Nothing is open."""


class FailingBackend(httpcore.AsyncNetworkBackend):
    def __init__(self, stream: FailingStream) -> None:
        self._stream = stream

    async def connect_tcp(self, *_: object, **__: object) -> httpcore.AsyncNetworkStream:
        return self._stream


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (httpcore.WriteTimeout(), NoAnswerError),
        (httpcore.WriteError(), NoAnswerError),
        (ssl.SSLError("bad record mac"), NoAnswerError),
        (RuntimeError("a fault of somebody else"), NoAnswerError),
        (asyncio.CancelledError(), asyncio.CancelledError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_the_bytes_of_a_request_that_could_not_be_written_are_not_shown(
    failure: BaseException, kind: type[BaseException], certificates: Certificates
) -> None:
    async def scenario() -> tuple[BaseException, FailingStream]:
        stream = FailingStream(failure)
        network = network_to(FailingBackend(stream), certificates)
        transport = ServiceTransport(Pools(network), Service(), marked_key)
        try:
            await transport.handle_async_request(httpx.Request("GET", "https://openapi.weshop.ai/openapi/x"))
        except kind as error:
            return error, stream
        raise AssertionError("nothing failed")

    error, stream = asyncio.run(scenario())

    assert KEY_TEXT.encode() in stream.written
    assert not any(KEY_TEXT in text for text in visible_texts(error))


def test_the_request_that_httpcore_keeps_while_an_answer_is_read_has_lost_its_headers(
    certificates: Certificates,
) -> None:
    async def scenario() -> list[object]:
        async with RawServer(answering(reply()), certificates.of(SERVICE_HOST)) as server:
            pools = Pools(network_to(LeadTo(server.port), certificates))
            transport = ServiceTransport(pools, Service(), marked_key)
            request = httpx.Request("GET", "https://openapi.weshop.ai/openapi/x")
            response = await transport.handle_async_request(request)
            stream = vars(response.stream)["_reply"].stream
            sent = vars(stream)["_pool_request"].request
            found = [sent.headers, request.headers.raw, list(response.headers.raw)]
            await response.aclose()
            await transport.aclose()

            assert server.requests[0].headers["authorization"] == KEY_TEXT
            return found

    found = asyncio.run(scenario())

    assert found[0] == []
    assert KEY_TEXT not in repr(found)


async def _is_cancelled_while_waiting(certificates: Certificates) -> None:
    async with real_service(silence, certificates) as (session, server, _):
        task = asyncio.ensure_future(session.send("GET", "/x"))
        await server.first_request()
        task.cancel()
        await task


async def _has_a_key_that_is_not_one(certificates: Certificates) -> None:
    environ = {"WESHOP_API_KEY": KEY_TEXT + "\nX-Evil: 1"}
    service = Service()
    session = ApiSession(
        service, lambda: find_key(service, environ, NO_HOME), PATIENT, network_to(LeadTo(1), certificates)
    )
    await session.send("GET", "/x")


CASES: list[tuple[Callable[[Certificates], Awaitable[None]], type[BaseException]]] = [
    (_fails_while_writing, NoAnswerError),
    (_is_cancelled_while_waiting, asyncio.CancelledError),
    (_has_a_key_that_is_not_one, UnusableKeyError),
]


@pytest.mark.parametrize(("scenario", "kind"), CASES)
def test_no_other_way_to_fail_shows_the_key_either(
    scenario: Callable[[Certificates], Awaitable[None]], kind: type[BaseException], certificates: Certificates
) -> None:
    async def observed() -> list[str]:
        try:
            await scenario(certificates)
        except kind as error:
            # The frames of the scenario itself are the test's own and hold the environment.
            return list(visible_texts(_without_own_frames(error)))
        raise AssertionError("nothing failed")

    texts = asyncio.run(observed())

    assert not any(KEY_TEXT in text for text in texts)


def _without_own_frames(error: BaseException) -> BaseException:
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    return error.with_traceback(frames)


def test_what_hooks_and_responses_of_httpx_show_does_not_hold_the_key(certificates: Certificates) -> None:
    async def scenario() -> list[str]:
        shown: list[str] = []

        async def note_request(request: httpx.Request) -> None:
            shown.append(repr(request.headers.raw))

        async def note_response(response: httpx.Response) -> None:
            shown.append(repr(response.request.headers.raw) + repr(response.extensions))

        async with RawServer(answering(reply()), certificates.of(SERVICE_HOST)) as server:
            transport = ServiceTransport(Pools(network_to(LeadTo(server.port), certificates)), Service(), marked_key)
            hooks: dict[str, list[Callable[..., Awaitable[None]]]] = {
                "request": [note_request],
                "response": [note_response],
            }
            async with httpx.AsyncClient(transport=transport, event_hooks=hooks) as client:
                response = await client.get("https://openapi.weshop.ai/openapi/x")

            assert server.requests[0].headers["authorization"] == KEY_TEXT
            return [*shown, repr(response.request.headers.raw), repr(vars(response))]

    shown = asyncio.run(scenario())

    assert len(shown) == 4
    assert not any(KEY_TEXT in text for text in shown)


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
