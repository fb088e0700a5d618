"""Nothing that anybody can see holds the key: no log, no exception with all its frames, no object of httpx."""

from __future__ import annotations

import asyncio
import logging
import ssl
import traceback
from collections.abc import Awaitable, Callable, Iterator

import httpcore
import httpx
import pytest

from tests.weshop_api import http_servers, http_sessions
from tests.weshop_api.http_servers import (
    SERVICE_HOST,
    Behaviour,
    Certificates,
    EarlyReset,
    LeadTo,
    RawServer,
    answering,
    closing_after,
    dripping,
    network_to,
    reply,
    resetting,
    silence,
)
from tests.weshop_api.http_sessions import (
    KEY_TEXT,
    NO_HOME,
    PATIENT,
    QUICK,
    marked_key,
    real_service,
)
from weshop_api.credentials import Service, find_key
from weshop_api.errors import (
    NoAnswerError,
    UnusableKeyError,
    WeShopError,
)
from weshop_api.http import ApiSession
from weshop_api.network import Pools
from weshop_api.transport import ServiceTransport

OWN_FILES = (__file__, http_servers.__file__, http_sessions.__file__)


@pytest.fixture(scope="module")
def certificates() -> Certificates:
    return Certificates()


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
