"""Servers on loopback that behave badly on purpose, and a network in which the real service's name leads to them."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

import httpcore
import trustme

from weshop_api.network import Network

SERVICE_HOST = "openapi.weshop.ai"
PICTURE_HOST = "pictures.example"
PUBLIC_ADDRESS = "93.184.215.14"


@dataclass
class Received:
    """One request as it came out of the socket; ``connection`` counts the server's connections from 1."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int


Server = TypeVar("Server", bound="LoopbackServer")
Behaviour = Callable[[Received, asyncio.StreamWriter], Awaitable[None]]


class LoopbackServer:
    """A server in the test's own loop; subclasses say what happens on a connection."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.connections = 0
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self: Server) -> Server:  # noqa: PYI019 - Self needs Python 3.11
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls)
        self.port = int(self._server.sockets[0].getsockname()[1])
        self.origin = f"http://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0.01)  # Transports close one turn of the loop later.

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.ensure_future(self._until_closed(reader, writer, self.connections))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _until_closed(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int) -> None:
        try:
            await self.serve(reader, writer, connection)
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            pass
        finally:
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int) -> None:
        """What happens on one connection; it is closed afterwards."""
        raise NotImplementedError


class RawServer(LoopbackServer):
    """A server of raw bytes. ``behave`` writes whatever it likes for each request."""

    def __init__(self, behave: Behaviour, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(tls)
        self.requests: list[Received] = []
        self.bytes_received = b""
        self._behave = behave
        self._received = asyncio.Event()

    async def first_request(self) -> None:
        """Wait until one has arrived."""
        await self._received.wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int) -> None:
        """Read requests and let each be answered."""
        while not writer.is_closing():
            head = await reader.readuntil(b"\r\n\r\n")
            method, target, _ = head.decode("latin-1").split("\r\n")[0].split(" ")
            pairs = (line.split(": ", 1) for line in head.decode("latin-1").split("\r\n")[1:] if line)
            headers = {name.lower(): value for name, value in pairs}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            self.bytes_received += head + body
            received = Received(method, target, headers, body, connection)
            self.requests.append(received)
            self._received.set()
            await self._behave(received, writer)
            await writer.drain()


class EarlyReset(LoopbackServer):
    """Resets the connection as soon as the head of a request has arrived, whatever is still on its way."""

    async def serve(self, reader: asyncio.StreamReader, _: asyncio.StreamWriter, __: int) -> None:
        """Read the head only."""
        await reader.readuntil(b"\r\n\r\n")


class Mute(LoopbackServer):
    """Takes connections and says nothing, not even in the handshake of TLS."""

    async def serve(self, _: asyncio.StreamReader, __: asyncio.StreamWriter, ___: int) -> None:
        """Wait for ever."""
        await asyncio.sleep(60)


class Proxy(LoopbackServer):
    """An HTTP proxy that leads every tunnel to one port on loopback, and writes down all that it sees."""

    def __init__(self, target_port: int, answer: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n") -> None:
        super().__init__()
        self.seen = b""
        self._target_port = target_port
        self._answer = answer

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
        """Answer CONNECT and pass bytes on in both directions."""
        self.seen += await reader.readuntil(b"\r\n\r\n")
        writer.write(self._answer)
        onward_reader, onward_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        try:
            await asyncio.gather(self._pump(reader, onward_writer), self._pump(onward_reader, writer))
        finally:
            onward_writer.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            self.seen += data
            sink.write(data)
        sink.close()


def reply(body: bytes = b"{}", *headers: str, status: str = "200 OK", length: int | None = None) -> bytes:
    """The bytes of one answer."""
    lines = (f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers, "", "")
    return "\r\n".join(lines).encode() + body


def answering(answer: bytes) -> Behaviour:
    """Give the same answer to every request."""

    async def behave(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)

    return behave


def answering_by_target(answers: dict[str, bytes]) -> Behaviour:
    """Give the answer that stands for the request's target."""

    async def behave(received: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(answers[received.target])

    return behave


def closing_after(answer: bytes) -> Behaviour:
    """Send these bytes, and then close the connection."""

    async def behave(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        writer.close()

    return behave


async def resetting(_: Received, writer: asyncio.StreamWriter) -> None:
    """Reset the connection instead of answering."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def silence(_: Received, __: asyncio.StreamWriter) -> None:
    """Never answer."""
    await asyncio.sleep(60)


def dripping(start: bytes, every_seconds: float = 0.02) -> Behaviour:
    """Send the start of an answer, and then one byte at a time without an end."""

    async def behave(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(every_seconds)

    return behave


class LeadTo(httpcore.AsyncNetworkBackend):
    """A network in which every address is the same port on loopback; remembers what was asked for."""

    def __init__(self, port: int, *, dead: Iterable[str] = ()) -> None:
        self.asked: list[tuple[str, int]] = []
        self._port = port
        self._dead = frozenset(dead)
        self._real = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the one port there is, except for addresses where nobody ever answers."""
        self.asked.append((host, port))
        if host in self._dead:
            await asyncio.sleep(60)
        return await self._real.connect_tcp("127.0.0.1", self._port, timeout, local_address, socket_options)


@dataclass
class Resolver:
    """Answers of a name server, one list after the other, the last one for ever; remembers what was asked for."""

    answers: list[list[str]] = field(default_factory=lambda: [[PUBLIC_ADDRESS]])
    asked: list[str] = field(default_factory=list)

    async def __call__(self, host: str, _port: int) -> list[str]:
        """The next answer."""
        self.asked.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class Certificates:
    """An authority of the test's own, what a server shows that it has certified, and a client's trust in it."""

    def __init__(self) -> None:
        self._authority = trustme.CA()

    def of(self, host: str) -> ssl.SSLContext:
        """The server side of a TLS connection to ``host``."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert(host).configure_cert(context)
        return context

    def trusted(self) -> ssl.SSLContext:
        """The client side."""
        context = ssl.create_default_context()
        self._authority.configure_trust(context)
        return context


def no_proxy(_scheme: str, _host: str) -> str:
    """Go directly, whatever this machine is set to."""
    return ""


def network_to(backend: httpcore.AsyncNetworkBackend, certificates: Certificates) -> Network:
    """A network of loopback servers only."""
    return Network(backend=backend, resolve=Resolver(), proxy_for=no_proxy, certificates=certificates.trusted)
