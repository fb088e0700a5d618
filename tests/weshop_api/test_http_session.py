"""Requests to the service over real sockets: what a failure is called, and what happens to connections."""

from __future__ import annotations

import asyncio
import gzip
import random
import socket
import ssl
import threading
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpcore
import pytest

from tests.weshop_api.http_servers import (
    SERVICE_HOST,
    Behaviour,
    Certificates,
    EarlyReset,
    LeadTo,
    LoopbackServer,
    Mute,
    Proxy,
    RawServer,
    Received,
    answering,
    closing_after,
    dripping,
    network_to,
    no_proxy,
    reply,
    resetting,
    silence,
)
from weshop_api.background import within
from weshop_api.credentials import PLACEHOLDER_KEY, ApiKey, Service
from weshop_api.errors import NoAnswerError, NotSentError, UnreadableReplyError, WeShopError
from weshop_api.http import MAX_REPLY_BYTES, ApiSession, Timeouts
from weshop_api.models import Picture
from weshop_api.network import Network, proxy_of_system

PATIENT = Timeouts()
QUICK = Timeouts(connect_seconds=1.0, idle_seconds=0.3, call_total_seconds=1.5)


def placeholder() -> ApiKey:
    return ApiKey(PLACEHOLDER_KEY)


@pytest.fixture(scope="module")
def certificates() -> Certificates:
    return Certificates()


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


def test_an_answer_arrives_whole_with_lower_case_header_names() -> None:
    async def scenario() -> None:
        async with local_service(answering(reply(b'{"a": 1}', "Retry-After: 7", "X-Two: a", "X-Two: b"))) as (
            session,
            _,
        ):
            answer = await session.send("GET", "/agent/runs/0123")

            assert (answer.status, answer.body) == (200, b'{"a": 1}')
            assert answer.header("Retry-After") == "7"
            assert answer.headers["x-two"] == "a"
            assert answer.header("absent") == ""

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "status", ["204 No Content", "302 Found", "404 Not Found", "429 Too Many", "503 Out", "799 Odd"]
)
def test_every_status_is_an_answer(status: str) -> None:
    async def scenario() -> None:
        async with local_service(closing_after(reply(b"", status=status))) as (session, _):
            answer = await session.send("GET", "/x")

            assert answer.status == int(status[:3])

    asyncio.run(scenario())


def test_json_and_headers_go_out_as_given() -> None:
    async def scenario() -> None:
        async with local_service(answering(reply())) as (session, server):
            await session.send("POST", "/agent/runs", content=b'{"a": 1}', headers={"Idempotency-Key": "one"})

            received = server.requests[0]
            assert (received.method, received.target, received.body) == ("POST", "/openapi/agent/runs", b'{"a": 1}')
            assert received.headers["content-type"] == "application/json"
            assert received.headers["idempotency-key"] == "one"
            assert received.headers["accept-encoding"] == "identity"

    asyncio.run(scenario())


def test_a_picture_goes_out_as_the_multipart_field_image() -> None:
    async def scenario() -> None:
        async with local_service(answering(reply())) as (session, server):
            await session.send("POST", "/agent/assets/images", file=Picture(b"\x89PNG\r\n", "image/png", 1, 1))

            received = server.requests[0]
            assert received.headers["content-type"].startswith("multipart/form-data; boundary=")
            assert b'Content-Disposition: form-data; name="image"; filename="image.png"\r\n' in received.body
            assert b"Content-Type: image/png\r\n\r\n\x89PNG\r\n\r\n--" in received.body

    asyncio.run(scenario())


def test_a_slow_upload_that_keeps_moving_is_not_cut_off() -> None:
    """The silence limit counts from piece to piece, not for the whole body."""

    class SlowReader(LoopbackServer):
        async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
            received, slow_until = 0, asyncio.get_running_loop().time() + 0.8
            while received < 20_000_000:
                received += len(await reader.read(500_000))
                if asyncio.get_running_loop().time() < slow_until:
                    await asyncio.sleep(0.02)
            writer.write(reply())
            await writer.drain()

    async def scenario() -> None:
        async with SlowReader() as server:
            session = ApiSession(Service(f"{server.origin}/openapi"), placeholder, QUICK)
            start = asyncio.get_running_loop().time()
            answer = await session.send("POST", "/x", file=Picture(bytes(20_000_000), "image/png", 1, 1))
            elapsed_seconds = asyncio.get_running_loop().time() - start
            await session.aclose()

            assert answer.status == 200
            assert elapsed_seconds > QUICK.idle_seconds * 2

    asyncio.run(scenario())


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_refused_connection_is_not_sent() -> None:
    async def scenario() -> None:
        session = ApiSession(Service(f"http://127.0.0.1:{unused_port()}/openapi"), placeholder, QUICK)
        error = await failure_of(session)
        await session.aclose()

        assert isinstance(error, NotSentError)
        assert "127.0.0.1" in str(error)
        assert "refused" in str(error)

    asyncio.run(scenario())


def test_a_name_that_does_not_resolve_is_not_sent(certificates: Certificates) -> None:
    class Unresolved(LeadTo):
        async def connect_tcp(self, *_: object, **__: object) -> httpcore.AsyncNetworkStream:
            try:
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")  # noqa: TRY301 - as httpcore has it
            except socket.gaierror as error:
                raise httpcore.ConnectError(error) from error

    async def scenario() -> None:
        session = ApiSession(Service(), placeholder, QUICK, network_to(Unresolved(1), certificates))
        error = await failure_of(session)

        assert isinstance(error, NotSentError)
        assert "name could not be resolved" in str(error)

    asyncio.run(scenario())


def test_silence_in_the_tls_handshake_is_not_sent(certificates: Certificates) -> None:
    async def scenario() -> None:
        async with Mute() as server:
            error = await failure_at(server, certificates)

            assert isinstance(error, NotSentError)
            assert "time ran out" in str(error)

    asyncio.run(scenario())


def test_plain_text_in_the_tls_handshake_is_not_sent(certificates: Certificates) -> None:
    class PlainText(LoopbackServer):
        async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
            await reader.read(10)
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            await writer.drain()

    async def scenario() -> None:
        async with PlainText() as server:
            error = await failure_at(server, certificates)

            assert isinstance(error, NotSentError)
            assert "secure connection failed" in str(error)

    asyncio.run(scenario())


def test_a_reset_in_the_tls_handshake_is_not_sent(certificates: Certificates) -> None:
    class ResetAtOnce(LoopbackServer):
        async def serve(self, reader: asyncio.StreamReader, _: asyncio.StreamWriter, __: int) -> None:
            await reader.read(10)

    async def scenario() -> None:
        async with ResetAtOnce() as server:
            assert isinstance(await failure_at(server, certificates), NotSentError)

    asyncio.run(scenario())


UNANSWERED: dict[str, Behaviour] = {
    "reset": resetting,
    "closed": closing_after(b""),
    "silence": silence,
    "garbage": closing_after(b"\x00\x01 what\r\n\r\n"),
    "not http": closing_after(b"SSH-2.0-OpenSSH_9.6\r\n"),
    "half a head": closing_after(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "endless head": dripping(b"HTTP/1.1 200 OK\r\nX: "),
    "truncated": closing_after(reply(b"{", length=100)),
    "silence in the body": answering(reply(b"{", length=100)),
    "two lengths": closing_after(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}"),
    "a length of five thousand digits": closing_after(
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n{}"
    ),
    "broken chunks": closing_after(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}"),
    "broken gzip": closing_after(reply(b"no gzip", "Content-Encoding: gzip")),
    "half a gzip": closing_after(reply(gzip.compress(b"{}")[:-9], "Content-Encoding: gzip")),
}


@pytest.mark.parametrize("trouble", UNANSWERED)
def test_what_breaks_after_the_request_went_out_is_no_answer(trouble: str) -> None:
    async def scenario() -> None:
        async with local_service(UNANSWERED[trouble], QUICK) as (session, server):
            error = await failure_of(session, "POST", b"{}")

            assert type(error) is NoAnswerError
            assert "127.0.0.1" in str(error)
            assert len(server.requests) == 1

    asyncio.run(scenario())


def test_a_reset_while_the_request_is_being_written_is_no_answer() -> None:
    async def scenario() -> None:
        async with EarlyReset() as server:
            session = ApiSession(Service(f"{server.origin}/openapi"), placeholder, QUICK)
            error = await failure_of(session, "POST", b"x" * 20_000_000)
            await session.aclose()

            assert type(error) is NoAnswerError

    asyncio.run(scenario())


def test_an_endless_trickle_ends_with_the_total_time() -> None:
    async def scenario() -> None:
        async with local_service(dripping(b"HTTP/1.1 200 OK\r\n\r\n"), QUICK) as (session, _):
            error = await failure_of(session)

            assert type(error) is NoAnswerError
            assert "within 1.5 s" in str(error)

    asyncio.run(scenario())


def test_an_answer_that_declares_too_much_is_not_read() -> None:
    async def scenario() -> None:
        async with local_service(answering(reply(b"", length=MAX_REPLY_BYTES + 1))) as (session, _):
            error = await failure_of(session)

            assert isinstance(error, UnreadableReplyError)
            assert (error.part, error.status) == ("Content-Length", 200)

    asyncio.run(scenario())


def test_an_answer_without_a_declared_end_is_read_up_to_the_bound() -> None:
    written = 0

    async def flood(_: Received, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(bytes(100_000))
            await writer.drain()
            written += 100_000

    async def scenario() -> None:
        async with local_service(flood) as (session, _):
            error = await failure_of(session)

            assert isinstance(error, UnreadableReplyError)
            assert error.part == "body"

    asyncio.run(scenario())

    assert written < 3 * MAX_REPLY_BYTES


def test_gzip_that_nobody_asked_for_is_undone() -> None:
    async def scenario() -> None:
        async with local_service(answering(reply(gzip.compress(b'{"a": 1}'), "Content-Encoding: gzip"))) as (
            session,
            _,
        ):
            answer = await session.send("GET", "/x")

            assert answer.body == b'{"a": 1}'

    asyncio.run(scenario())


def test_a_gzip_bomb_is_refused_before_it_expands() -> None:
    bomb = gzip.compress(bytes(6 * MAX_REPLY_BYTES))

    async def scenario() -> None:
        async with local_service(answering(reply(bomb, "Content-Encoding: gzip"))) as (session, _):
            error = await failure_of(session)

            assert isinstance(error, UnreadableReplyError)

    tracemalloc.start()
    asyncio.run(scenario())
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak_bytes < 3 * MAX_REPLY_BYTES


def test_an_unknown_encoding_is_unreadable() -> None:
    async def scenario() -> None:
        async with local_service(answering(reply(b"{}", "Content-Encoding: br"))) as (session, _):
            error = await failure_of(session)

            assert isinstance(error, UnreadableReplyError)
            assert error.part == "Content-Encoding"

    asyncio.run(scenario())


def test_reads_and_uploads_share_a_connection() -> None:
    async def scenario() -> None:
        async with local_service(answering(reply())) as (session, server):
            await session.send("GET", "/agent/runs/0123")
            await session.send("POST", "/agent/assets/images", file=Picture(b"x", "image/png", 1, 1))
            await session.send("GET", "/agent/runs/0123")

            assert server.connections == 1

    asyncio.run(scenario())


def test_a_submission_gets_a_connection_of_its_own() -> None:
    """On a kept connection that the service is just closing, nobody could tell whether it saw the submission."""

    async def scenario() -> None:
        async with local_service(answering(reply())) as (session, server):
            await session.send("GET", "/agent/runs/0123")
            for _ in range(2):
                await session.send("POST", "/agent/runs", content=b"{}")
            await session.send("GET", "/agent/runs/0123")

            assert [received.connection for received in server.requests] == [1, 2, 3, 1]

    asyncio.run(scenario())


def test_a_kept_connection_that_the_service_closed_meanwhile_is_replaced_unnoticed() -> None:
    async def scenario() -> None:
        async with local_service(closing_after(reply())) as (session, server):
            for _ in range(5):
                await session.send("GET", "/x")
                await asyncio.sleep(0.02)

            assert server.connections == 5

    asyncio.run(scenario())


def test_no_cookie_comes_back() -> None:
    async def scenario() -> None:
        async with local_service(answering(reply(b"{}", "Set-Cookie: a=b; Path=/"))) as (session, server):
            await session.send("GET", "/x")
            await session.send("GET", "/x")

            assert "cookie" not in server.requests[1].headers

    asyncio.run(scenario())


def test_a_cancellation_passes_through_and_leaves_nothing_behind() -> None:
    async def scenario() -> None:
        async with local_service(silence) as (session, server):
            task = asyncio.ensure_future(session.send("GET", "/x"))
            await server.first_request()
            start = asyncio.get_running_loop().time()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

            assert asyncio.get_running_loop().time() - start < 0.1

    asyncio.run(scenario())


def test_two_hundred_cancellations_at_random_moments_leave_the_session_working() -> None:
    async def slowly(_: Received, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.005)
        writer.write(reply(b"x" * 1000)[:-1])
        await asyncio.sleep(0.005)
        writer.write(b"x")

    async def scenario() -> None:
        chance = random.Random(6)  # noqa: S311 - repeatable moments
        async with local_service(slowly) as (session, _):
            for number in range(200):
                method, content = ("POST", b"{}") if number % 2 else ("GET", None)
                task = asyncio.ensure_future(session.send(method, "/x", content=content))
                await asyncio.sleep(chance.uniform(0, 0.02))
                task.cancel()
                await asyncio.wait({task})
            answers = await asyncio.gather(*(session.send("GET", "/x") for _ in range(40)))
            await asyncio.sleep(0.05)

            assert [len(answer.body) for answer in answers] == [1000] * 40
            own = {task for task in asyncio.all_tasks() if "send" in repr(task.get_coro())}
            assert own == set()

    asyncio.run(scenario())


def test_too_many_requests_at_once_wait_for_a_free_connection_and_then_say_so() -> None:
    async def scenario() -> None:
        timeouts = Timeouts(free_connection_seconds=0.2, idle_seconds=1.0)
        async with local_service(silence, timeouts) as (session, _):
            errors = await asyncio.gather(*(failure_of(session) for _ in range(33)))

            assert [type(error) for error in errors].count(NotSentError) == 1
            assert any("too many other requests" in str(error) for error in errors)

    asyncio.run(scenario())


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


def test_a_deadline_does_not_swallow_a_cancellation_that_comes_with_the_result() -> None:
    async def scenario() -> None:
        gate: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        waiting = asyncio.ensure_future(within(5, gate, TimeoutError))
        await asyncio.sleep(0)
        gate.set_result(1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(scenario())


@pytest.mark.parametrize("late", [TimeoutError, lambda: NoAnswerError("late")])
def test_a_deadline_raises_what_it_was_given_and_ends_the_work(late: Callable[[], Exception]) -> None:
    ended: list[bool] = []

    async def work() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            ended.append(True)

    async def scenario() -> None:
        with pytest.raises(type(late())):
            await within(0.02, work(), late)

    asyncio.run(scenario())

    assert ended == [True]


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
