"""Pictures arrive whole, within bounds, or not at all."""

from __future__ import annotations

import asyncio

import pytest

from tests.weshop_api.http_servers import (
    PUBLIC_ADDRESS,
    Behaviour,
    Certificates,
    Received,
    answering,
    closing_after,
    dripping,
    reply,
    resetting,
    silence,
)
from tests.weshop_api.http_sessions import (
    QUICK,
    URL,
    downloads,
)
from weshop_api.errors import (
    NoAnswerError,
    NotSentError,
    UnreadableReplyError,
    WeShopError,
)
from weshop_api.http import MAX_ERROR_BYTES


@pytest.fixture(scope="module")
def certificates() -> Certificates:
    return Certificates()


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
