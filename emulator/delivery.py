"""How an answer leaves: whole, late, trickling, cut off, or not at all. The only place that touches connections."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from .faults import Fault, Late, Reset, Slow, Stall, Truncate
from .replies import Reply

_TICK_SECONDS = 0.05
_LINGER_FORMAT = "hh" if sys.platform == "win32" else "ii"


@dataclass(frozen=True, slots=True)
class Delivery:
    """How answers are sent: until when to wait, and whom to tell the status just before it is sent."""

    stopping: asyncio.Event
    announce: Callable[[int], None]

    async def send(self, request: web.Request, reply: Reply | None, fault: Fault | None) -> web.StreamResponse:
        """Send the reply as the fault has it (None: reset the connection); a client that has left is no error."""
        if isinstance(fault, (Stall, Late)):
            await pause(fault.seconds, self.stopping)
        if reply is None:
            reset(request)
            return web.Response()
        self.announce(reply.status)
        response = web.StreamResponse(status=reply.status, headers=dict(reply.headers))
        response.content_type = reply.content_type
        response.content_length = len(reply.body)
        with contextlib.suppress(ConnectionError):
            await response.prepare(request)
            await self._write(request, response, reply.body, fault)
        return response

    async def _write(
        self, request: web.Request, response: web.StreamResponse, body: bytes, fault: Fault | None
    ) -> None:
        if isinstance(fault, Slow):
            await _trickle(response, body, fault, self.stopping)
        elif isinstance(fault, Truncate):
            await response.write(body[: int(len(body) * fault.share)])
            if request.transport is not None:
                request.transport.close()
        elif isinstance(fault, Reset):
            await response.write(body[: len(body) // 2])
            # The first half shall arrive; a reset at once would let the client's system throw it away.
            await pause(_TICK_SECONDS, self.stopping)
            reset(request)
        else:
            await response.write(body)


async def pause(seconds: float | None, stopping: asyncio.Event) -> None:
    """Wait so long, or until the emulator stops."""
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(stopping.wait(), seconds)


def reset(request: web.Request) -> None:
    """Close the connection with a TCP reset: lingering for zero seconds makes close() do that."""
    if request.transport is None:
        return
    connection = request.transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack(_LINGER_FORMAT, 1, 0))
    request.transport.abort()


async def _trickle(response: web.StreamResponse, body: bytes, fault: Slow, stopping: asyncio.Event) -> None:
    step = max(1, int(fault.bytes_per_second * _TICK_SECONDS))
    for start in range(0, len(body), step):
        if stopping.is_set():
            return
        await response.write(body[start : start + step])
        await pause(step / fault.bytes_per_second, stopping)
