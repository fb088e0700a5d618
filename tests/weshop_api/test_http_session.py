"""Requests to the service over real sockets: what goes out, what comes back, and what happens to connections."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import pytest

from tests.weshop_api.http_servers import (
    LoopbackServer,
    Received,
    answering,
    closing_after,
    reply,
    silence,
)
from tests.weshop_api.http_sessions import (
    QUICK,
    local_service,
    placeholder,
)
from weshop_api.background import within
from weshop_api.credentials import Service
from weshop_api.errors import (
    NoAnswerError,
)
from weshop_api.http import ApiSession
from weshop_api.models import Picture


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
            received, slow_until = 0, asyncio.get_running_loop().time() + QUICK.idle_seconds * 2.5
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
