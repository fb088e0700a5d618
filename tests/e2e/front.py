"""The real service's address on loopback: a proxy that answers CONNECT, and TLS servers behind it.

The pack is told nothing but HTTPS_PROXY and SSL_CERT_FILE, as in an office network, and believes that it speaks to
https://openapi.weshop.ai. Behind the proxy the emulator answers, its addresses of files rewritten to those of a second
host, so that a test can see from outside what went where.

    pack --CONNECT openapi.weshop.ai:443--> Front --TLS--> emulator, API
    pack --CONNECT results.example:443----> Front --TLS--> emulator, files
    pack --CONNECT anything else----------> refused, and written down
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import final

import aiohttp
import trustme
from aiohttp import web

from emulator import Emulator

API_HOST = "openapi.weshop.ai"
FILES_HOST = "results.example"
FILES_ORIGIN = f"https://{FILES_HOST}"
LARGEST_BODY_BYTES = 200_000_000
PIECE_BYTES = 65_536
_PASSED_ON_NOT = {"host", "content-length", "transfer-encoding", "connection"}


@dataclass(frozen=True)
class Seen:
    """One request as it came out of the TLS connection to ``host``."""

    host: str
    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def head(self) -> bytes:
        """Everything but the body and the Authorization header, as bytes to be searched."""
        lines = [f"{name}: {value}" for name, value in self.headers if name.lower() != "authorization"]
        return "\n".join([self.method, self.target, *lines]).encode()

    @property
    def authorization(self) -> str:
        """The value of the header, all of them when there are several."""
        return "\n".join(value for name, value in self.headers if name.lower() == "authorization")


@final
class Front:
    """The proxy and the servers behind it, in a thread of their own. A context manager."""

    def __init__(self, emulator: Emulator, folder: Path) -> None:
        self.requests: list[Seen] = []
        self.tunnels: list[str] = []
        """What CONNECT asked for, as written, in order; and every other first line that arrived."""
        self.wire = bytearray()
        """Every byte that the proxy saw from the pack, encrypted ones included."""
        self._emulator = emulator
        self._authority = trustme.CA()
        self._certificate_file = folder / "authority.pem"
        self._ports: dict[str, int] = {}
        self._is_closed = False
        self._open: set[asyncio.StreamWriter] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="front", daemon=True)

    def __enter__(self) -> Front:
        self._authority.cert_pem.write_to_path(str(self._certificate_file))
        self._thread.start()
        assert self._ready.wait(10), "the front did not start"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._leave.set)
        self._thread.join(10)

    @property
    def variables(self) -> dict[str, str]:
        """What a host needs in its environment to come here for the real service."""
        proxy = f"http://127.0.0.1:{self._port}"
        return {"HTTPS_PROXY": proxy, "SSL_CERT_FILE": str(self._certificate_file), "WESHOP_BASE_URL": ""}

    def at(self, host: str) -> list[Seen]:
        """The requests that reached a host."""
        return [seen for seen in self.requests if seen.host == host]

    @contextlib.contextmanager
    def closed(self) -> Iterator[None]:
        """Be a proxy that is out of order for a while: open tunnels break, and no new one is made."""
        self._is_closed = True
        for writer in tuple(self._open):
            self._loop.call_soon_threadsafe(writer.transport.abort)
        yield
        self._is_closed = False

    async def _serve(self) -> None:
        self._loop, self._leave = asyncio.get_running_loop(), asyncio.Event()
        async with contextlib.AsyncExitStack() as stack:
            session = await stack.enter_async_context(aiohttp.ClientSession(auto_decompress=False))
            api_origin = self._emulator.base_url.removesuffix("/openapi")
            for host, origin in ((API_HOST, api_origin), (FILES_HOST, self._emulator.files_url)):
                self._ports[host] = await self._listen(stack, session, host, origin)
            proxy = await asyncio.start_server(self._accept, "127.0.0.1", 0)
            self._port = proxy.sockets[0].getsockname()[1]
            self._ready.set()
            await self._leave.wait()
            proxy.close()

    async def _listen(
        self, stack: contextlib.AsyncExitStack, session: aiohttp.ClientSession, host: str, origin: str
    ) -> int:
        async def answer(request: web.Request) -> web.StreamResponse:
            return await self._pass_on(request, session, host, origin)

        app = web.Application(client_max_size=LARGEST_BODY_BYTES)
        app.router.add_route("*", "/{path:.*}", answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert(host).configure_cert(context)
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        port: int = runner.addresses[0][1]
        return port

    async def _pass_on(
        self, request: web.Request, session: aiohttp.ClientSession, host: str, origin: str
    ) -> web.StreamResponse:
        """Let the emulator answer, with its addresses of files as the outside knows them."""
        body = await request.read()
        self.requests.append(Seen(host, request.method, request.path_qs, tuple(request.headers.items()), body))
        ours, theirs = FILES_ORIGIN.encode(), self._emulator.files_url.encode()
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _PASSED_ON_NOT}
        try:
            async with session.request(
                request.method,
                origin + request.path_qs,
                headers=headers,
                data=body.replace(ours, theirs) or None,
                allow_redirects=False,
            ) as answer:
                content = (await answer.read()).replace(theirs, ours)
                kept = {name: value for name, value in answer.headers.items() if name.lower() not in _PASSED_ON_NOT}
                return web.Response(status=answer.status, headers=kept, body=content)
        except aiohttp.ClientError:
            # Whatever the emulator did to the connection is done to ours.
            if request.transport is not None:
                request.transport.abort()
            return web.Response()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.wire += head
            first_line = head.decode("latin-1").split("\r\n")[0]
            method, target, *_ = first_line.split(" ")
            self.tunnels.append(target if method == "CONNECT" else first_line)
            port = self._ports.get(target.removesuffix(":443")) if method == "CONNECT" else None
            if port is None or self._is_closed:
                writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
                return
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            onward_reader, onward_writer = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.gather(self._pump(reader, onward_writer, kept=True), self._pump(onward_reader, writer))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._open.discard(writer)
            writer.close()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, kept: bool = False) -> None:
        try:
            while piece := await source.read(PIECE_BYTES):
                if kept:
                    self.wire += piece
                sink.write(piece)
                await sink.drain()
        finally:
            sink.close()
