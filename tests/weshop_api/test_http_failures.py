"""What a failed request is called: not sent, no answer, or an answer that cannot be read."""

from __future__ import annotations

import asyncio
import gzip
import socket
import tracemalloc

import httpcore
import pytest

from tests.weshop_api.http_servers import (
    Behaviour,
    Certificates,
    EarlyReset,
    LeadTo,
    LoopbackServer,
    Mute,
    Received,
    answering,
    closing_after,
    dripping,
    network_to,
    reply,
    resetting,
    silence,
)
from tests.weshop_api.http_sessions import (
    QUICK,
    failure_at,
    failure_of,
    local_service,
    placeholder,
)
from weshop_api.credentials import Service
from weshop_api.errors import (
    NoAnswerError,
    NotSentError,
    UnreadableReplyError,
)
from weshop_api.http import MAX_REPLY_BYTES, ApiSession, Timeouts


@pytest.fixture(scope="module")
def certificates() -> Certificates:
    return Certificates()


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
            assert "within 2.5 s" in str(error)

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


@pytest.mark.parametrize("beginning", [gzip.compress(b"{}"), gzip.compress(b"")[:10]], ids=["ended", "empty"])
def test_compressed_bytes_that_expand_to_nothing_are_read_up_to_the_bound(beginning: bytes) -> None:
    written = 0

    async def flood(_: Received, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + beginning)
        while written < 3 * MAX_REPLY_BYTES:
            writer.write(b"\x00\x00\x00\xff\xff" * 20_000)  # Empty blocks, as long as the stream has not ended.
            await writer.drain()
            written += 100_000

    async def scenario() -> None:
        async with local_service(flood) as (session, _):
            error = await failure_of(session)

            assert isinstance(error, UnreadableReplyError)
            assert error.part == "body"

    asyncio.run(scenario())

    assert written < 3 * MAX_REPLY_BYTES


def test_an_unknown_encoding_is_unreadable() -> None:
    async def scenario() -> None:
        async with local_service(answering(reply(b"{}", "Content-Encoding: br"))) as (session, _):
            error = await failure_of(session)

            assert isinstance(error, UnreadableReplyError)
            assert error.part == "Content-Encoding"

    asyncio.run(scenario())


def test_too_many_requests_at_once_wait_for_a_free_connection_and_then_say_so() -> None:
    async def scenario() -> None:
        timeouts = Timeouts(free_connection_seconds=0.2, idle_seconds=1.0)
        async with local_service(silence, timeouts) as (session, _):
            errors = await asyncio.gather(*(failure_of(session) for _ in range(33)))

            assert [type(error) for error in errors].count(NotSentError) == 1
            assert any("too many other requests" in str(error) for error in errors)

    asyncio.run(scenario())
