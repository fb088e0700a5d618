"""HTTP as the rest of the library sees it: a session for the service, a session for pictures, and answers.

What leaves these sessions is an ``Answer`` of any status, or an error of this library, or a cancellation.
"""

from __future__ import annotations

import re
import zlib
from contextlib import aclosing
from dataclasses import dataclass
from io import BytesIO
from types import MappingProxyType
from typing import TYPE_CHECKING

import httpx

from .addresses import path_complaint, shown, url_complaint
from .background import within
from .errors import ForbiddenAddressError, ForbiddenDestinationError, NoAnswerError, UnreadableReplyError
from .models import Answer
from .network import CONNECT_SECONDS, Network, Pools, PublicBackend
from .transport import FRESH_CONNECTION, PoolTransport, ServiceTransport

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from .credentials import ApiKey, Service
    from .models import Picture

UPLOAD_FIELD = "image"
MAX_REPLY_BYTES = 8_000_000
MAX_PICTURE_BYTES = 64_000_000
MAX_ERROR_BYTES = 64_000
MAX_REDIRECTS = 3

NO_HEADERS: Mapping[str, str] = MappingProxyType({})

# httpx's own client is not used: it keeps cookies, logs addresses, and raises its own errors on broken redirects.
# Nothing here is worth compressing, and what is not compressed cannot expand beyond its bound.
_OWN_HEADERS = {"User-Agent": "weshop-seedream", "Accept": "*/*", "Accept-Encoding": "identity"}
_LENGTH = re.compile(r"[0-9]{1,15}", re.ASCII)
_REDIRECTS = (301, 302, 303, 307, 308)
_EXTENSIONS = MappingProxyType({"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "image/gif": "gif"})


@dataclass(frozen=True)
class Timeouts:
    """How long to wait for what. An idle time is the longest silence, a total covers one call from start to end."""

    connect_seconds: float = CONNECT_SECONDS
    free_connection_seconds: float = 60.0
    idle_seconds: float = 60.0
    call_total_seconds: float = 120.0
    upload_total_seconds: float = 300.0
    download_idle_seconds: float = 30.0
    download_total_seconds: float = 300.0


class ApiSession:
    """Requests to the service, with its key. One for the life of the process; connections are kept and reused.

    A submission gets a connection of its own: on a kept one, which the service may be about to close, a failure
    would leave open whether the service has seen it.
    """

    def __init__(
        self,
        service: Service,
        key: Callable[[], ApiKey],
        timeouts: Timeouts = Timeouts(),
        network: Network | None = None,
    ) -> None:
        """``key`` is asked for each request, so a key saved meanwhile is used at once."""
        network = network or Network()
        self._service = service
        self._timeouts = timeouts
        self._transport = ServiceTransport(Pools(network), service, key)
        self._limits = _limits(timeouts, timeouts.idle_seconds)

    async def send(
        self,
        method: str,
        path: str,
        *,
        content: bytes | None = None,
        headers: Mapping[str, str] = NO_HEADERS,
        file: Picture | None = None,
    ) -> Answer:
        """Send one request and read the whole answer, whatever its status; redirects are not followed.

        ``path`` is appended to the service's base URL; ``content`` is JSON; ``file`` goes as the multipart field
        ``UPLOAD_FIELD``. Should the service quote the key, the answer has asterisks in its place.
        Raises NotSentError, NoAnswerError, UnreadableReplyError (too large), ForbiddenDestinationError, and what
        finding the key raises.
        """
        complaint = path_complaint(path)
        if complaint:
            raise ForbiddenDestinationError(f"A request was not sent, because of its path: {complaint}.")
        request = httpx.Request(
            method,
            self._service.base_url + path,
            content=content,
            headers=_OWN_HEADERS | ({} if content is None else {"Content-Type": "application/json"}) | dict(headers),
            files=None if file is None else {UPLOAD_FIELD: _part(file)},
            extensions={"timeout": self._limits, FRESH_CONNECTION: content is not None},
        )
        total_seconds = self._timeouts.call_total_seconds if file is None else self._timeouts.upload_total_seconds
        return await within(total_seconds, self._answer(request), lambda: _late(request.url.host, total_seconds))

    async def _answer(self, request: httpx.Request) -> Answer:
        response = await self._transport.handle_async_request(request)
        try:
            body = await _body(response, MAX_REPLY_BYTES, request.url.host)
            return _answer(response, body, self._transport.masked)
        finally:
            await response.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._transport.aclose()


class DownloadSession:
    """Fetches pictures from wherever the service says they are. It has never seen the key."""

    def __init__(self, service: Service, timeouts: Timeouts = Timeouts(), network: Network | None = None) -> None:
        """With a service on this machine, addresses of this machine are allowed as well."""
        network = network or Network()
        self._loopback_allowed = not service.is_real
        self._timeouts = timeouts
        backend = PublicBackend(network, loopback_allowed=self._loopback_allowed)
        self._transport = PoolTransport(Pools(network, backend))
        self._limits = _limits(timeouts, timeouts.download_idle_seconds)

    async def fetch(
        self,
        url: str,
        *,
        max_bytes: int = MAX_PICTURE_BYTES,
        on_bytes: Callable[[int, int | None], None] | None = None,
    ) -> Answer:
        """Fetch a URL, following at most three redirects; the answer may have any status.

        ``on_bytes`` is told how many bytes have arrived and how many there will be (None when unknown).
        Raises ForbiddenAddressError, NotSentError, NoAnswerError (also for a truncated body) and
        UnreadableReplyError (more than ``max_bytes``).
        """
        total_seconds = self._timeouts.download_total_seconds
        return await within(
            total_seconds,
            self._fetch(url, max_bytes, on_bytes),
            lambda: _late("The server of the picture", total_seconds),
        )

    async def _fetch(self, url: str, max_bytes: int, on_bytes: Callable[[int, int | None], None] | None) -> Answer:
        for _ in range(MAX_REDIRECTS + 1):
            request = self._request(url)
            response = await self._transport.handle_async_request(request)
            try:
                if response.is_success:
                    return _answer(response, await _body(response, max_bytes, request.url.host, on_bytes))
                if response.status_code not in _REDIRECTS:
                    return _answer(response, await _beginning(response, MAX_ERROR_BYTES))
                url = _target(request, response)
            finally:
                await response.aclose()
        raise ForbiddenAddressError(
            f"A picture was not fetched, because its address leads on more than {MAX_REDIRECTS} times. "
            "Run the workflow again for a new address."
        )

    def _request(self, url: str) -> httpx.Request:
        complaint = url_complaint(url, loopback_allowed=self._loopback_allowed)
        if complaint:
            raise ForbiddenAddressError(f"The picture at {shown(url)} was not fetched: {complaint}.")
        try:
            return httpx.Request("GET", url, headers=_OWN_HEADERS, extensions={"timeout": self._limits})
        except (httpx.InvalidURL, ValueError):
            complaint = "its host name is not valid"
        raise ForbiddenAddressError(f"The picture at {shown(url)} was not fetched: {complaint}.")

    async def aclose(self) -> None:
        """Close all connections."""
        await self._transport.aclose()


def _limits(timeouts: Timeouts, idle_seconds: float) -> dict[str, float | None]:
    return httpx.Timeout(
        idle_seconds, connect=timeouts.connect_seconds, pool=timeouts.free_connection_seconds
    ).as_dict()


def _part(file: Picture) -> tuple[str, BytesIO, str]:
    # Read from a file object the body goes out in pieces, and the time limit for silence applies to each.
    return (f"image.{_EXTENSIONS.get(file.media_type, 'bin')}", BytesIO(file.data), file.media_type)


def _answer(response: httpx.Response, body: bytes, masked: Callable[[bytes], bytes] = bytes) -> Answer:
    # Of headers that arrive twice the first counts.
    headers = {
        name.decode("latin-1").lower(): masked(value).decode("latin-1")
        for name, value in reversed(response.headers.raw)
    }
    return Answer(response.status_code, MappingProxyType(headers), masked(body))


def _target(request: httpx.Request, response: httpx.Response) -> str:
    """Where a redirect leads; empty when that cannot be told, which is refused like any other address."""
    try:
        return str(request.url.join(response.headers["Location"]))
    except (KeyError, httpx.InvalidURL, ValueError):
        return ""


async def _body(
    response: httpx.Response, max_bytes: int, host: str, on_bytes: Callable[[int, int | None], None] | None = None
) -> bytes:
    """The whole body in one buffer, which is never copied. Raises UnreadableReplyError beyond the bound."""
    declared = response.headers.get("Content-Length", "")
    expected = int(declared) if _LENGTH.fullmatch(declared) else None
    if expected is not None and expected > max_bytes:
        raise _too_large(response, max_bytes, host, "Content-Length")
    buffer = BytesIO()
    async with aclosing(_decoded(response, max_bytes, host)) as parts:
        async for part in parts:
            if buffer.tell() + len(part) > max_bytes:
                raise _too_large(response, max_bytes, host, "body")
            buffer.write(part)
            if on_bytes is not None:
                on_bytes(buffer.tell(), expected)
    return buffer.getvalue()


async def _beginning(response: httpx.Response, max_bytes: int) -> bytes:
    """As much of a body as an error message can need."""
    body = bytearray()
    async with aclosing(_raw(response)) as parts:
        async for part in parts:
            body += part
            if len(body) >= max_bytes:
                break
    return bytes(body[:max_bytes])


async def _raw(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    async for part in response.aiter_raw():
        yield part


async def _decoded(response: httpx.Response, max_bytes: int, host: str) -> AsyncGenerator[bytes, None]:
    """The parts of the body; gzip from a server that compresses unasked is undone, each part within the bound."""
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding in ("", "identity"):
        async for part in response.aiter_raw():
            yield part
        return
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise UnreadableReplyError(
            f"{host} sent an answer in an unknown encoding. Try again later.",
            part="Content-Encoding",
            status=response.status_code,
        )
    unzip = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    received = 0
    try:
        async for part in response.aiter_raw():
            # Blocks that expand to nothing, and whatever follows the end, count by what arrives.
            received += len(part)
            if received > max_bytes:
                raise _too_large(response, max_bytes, host, "body")
            if not unzip.eof:
                yield unzip.decompress(part, max_bytes + 1)
        complete = unzip.eof
    except zlib.error:
        complete = False
    if not complete:
        raise NoAnswerError(f"The answer of {host} arrived damaged. Try again.")


def _too_large(response: httpx.Response, max_bytes: int, host: str, part: str) -> UnreadableReplyError:
    return UnreadableReplyError(
        f"The answer of {host} is larger than {max_bytes / 1e6:g} MB and was not read.",
        part=part,
        status=response.status_code,
    )


def _late(host: str, seconds: float) -> NoAnswerError:
    return NoAnswerError(f"{host} did not give a complete answer within {seconds:g} s. Try again later.")
