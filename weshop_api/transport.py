"""Under the HTTP layer: which way bytes go out, which addresses they may reach, and the one line that reads the key.

httpx.AsyncClient          sees neither the key nor an exception of httpcore
`-- PoolTransport          turns every failure into an error of this library and cuts its traceback
    `-- ServiceTransport   adds the key, and only to a request for the service itself
        `-- Pools          one httpcore pool for each way out: direct or a proxy, kept or fresh connections
            `-- PublicBackend   (downloads) resolves names, checks every address, connects to what it checked
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import certifi
import httpcore
import httpx

from .addresses import DEFAULT_PORTS, is_loopback, is_loopback_host, is_public, path_complaint
from .errors import (
    CredentialsError,
    ForbiddenAddressError,
    ForbiddenDestinationError,
    NoAnswerError,
    NotSentError,
    WeShopError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence

    from .credentials import ApiKey, Service

CONNECT_SECONDS = 10.0
MAX_CONNECTIONS = 32
KEEP_ALIVE_SECONDS = 15.0
NEXT_ADDRESS_AFTER_SECONDS = 0.25
MAX_ADDRESSES = 8

# Set by ApiSession on requests that must not meet a connection which the service is just closing.
FRESH_CONNECTION = "fresh_connection"

T = TypeVar("T")


async def resolve_by_system(host: str, port: int) -> Sequence[str]:
    """Numeric addresses of a host, best first. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


def proxy_of_system(scheme: str, host: str) -> str:
    """The proxy that the environment or the system names for a host, as a URL; empty for none."""
    if urllib.request.proxy_bypass(host):
        return ""
    proxies = urllib.request.getproxies()
    proxy = proxies.get(scheme) or proxies.get("all", "")
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"


def system_certificates() -> ssl.SSLContext:
    """What this system trusts (SSL_CERT_FILE and SSL_CERT_DIR included), and the public authorities of certifi."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


@dataclass(frozen=True)
class Network:
    """How this machine reaches others. The defaults are the system's own ways."""

    backend: httpcore.AsyncNetworkBackend = field(default_factory=httpcore.AnyIOBackend)
    resolve: Callable[[str, int], Awaitable[Sequence[str]]] = resolve_by_system
    proxy_for: Callable[[str, str], str] = proxy_of_system
    certificates: Callable[[], ssl.SSLContext] = system_certificates


async def within(seconds: float, work: Awaitable[T], late: Callable[[], Exception]) -> T:
    """Wait for ``work`` at most so long, then cancel it and raise ``late()``.

    asyncio.wait_for may swallow a cancellation that arrives together with the result (up to Python 3.11).
    """
    task = asyncio.ensure_future(work)
    try:
        done, _ = await asyncio.wait({task}, timeout=seconds)
    except asyncio.CancelledError:
        await _stopped(task)
        raise
    if not done and await _stopped(task):
        raise late()
    return task.result()


async def _stopped(task: asyncio.Future[T]) -> bool:
    """Cancel a task and wait for its end; whether it really ended as cancelled."""
    task.cancel()
    await asyncio.wait({task})
    return task.cancelled() or task.exception() is not None


class PublicBackend(httpcore.AsyncNetworkBackend):
    """Connects to public addresses only, and to exactly the addresses that were checked."""

    def __init__(self, network: Network, *, loopback_allowed: bool) -> None:
        self._network = network
        self._loopback_allowed = loopback_allowed

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Resolve, refuse when any address is not public, connect to the first address that answers."""

        async def connect(address: str) -> httpcore.AsyncNetworkStream:
            return await self._network.backend.connect_tcp(address, port, timeout, local_address, socket_options)

        async def connect_to_any() -> httpcore.AsyncNetworkStream:
            addresses = await self._network.resolve(host, port)
            self._check(host, addresses)
            return await _first_to_connect(connect, addresses[:MAX_ADDRESSES])

        return await within(timeout or CONNECT_SECONDS, connect_to_any(), httpcore.ConnectTimeout)

    def _check(self, host: str, addresses: Sequence[str]) -> None:
        acceptable = is_loopback if self._loopback_allowed and is_loopback_host(host) else is_public
        if not all(acceptable(address) for address in addresses):
            raise ForbiddenAddressError(
                f"The picture at {host} was not fetched, because this name leads to a private or reserved address. "
                "If that is a mistake of this network, check its DNS settings."
            )


async def _first_to_connect(
    connect: Callable[[str], Awaitable[httpcore.AsyncNetworkStream]], addresses: Sequence[str]
) -> httpcore.AsyncNetworkStream:
    """Try the addresses one after the other, a little apart; keep the first stream and end the other attempts."""
    queue = list(addresses)
    running: set[asyncio.Future[httpcore.AsyncNetworkStream]] = set()
    failure: BaseException = OSError("no address")
    try:
        while queue or running:
            if queue:
                running.add(asyncio.ensure_future(connect(queue.pop(0))))
            pause = NEXT_ADDRESS_AFTER_SECONDS if queue else None
            done, _ = await asyncio.wait(running, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
            for attempt in done:
                running.discard(attempt)
                failure = attempt.exception() or failure
                if attempt.exception() is None:
                    return attempt.result()
    finally:
        for attempt in running:
            attempt.cancel()
        for outcome in await asyncio.gather(*running, return_exceptions=True):
            if isinstance(outcome, httpcore.AsyncNetworkStream):
                await outcome.aclose()
    raise failure


class Pools:
    """One httpcore pool for each way out, made when first needed, so that a changed proxy setting counts at once."""

    def __init__(self, network: Network, backend: httpcore.AsyncNetworkBackend) -> None:
        self._network = network
        self._backend = backend
        self._certificates: ssl.SSLContext | None = None
        self._pools: dict[tuple[str, bool], httpcore.AsyncConnectionPool] = {}

    def proxy(self, url: httpx.URL) -> str:
        """The proxy on the way to a URL. This machine is never reached through one."""
        return "" if is_loopback_host(url.host) else self._network.proxy_for(url.scheme, url.host)

    def pool(self, url: httpx.URL, *, fresh: bool) -> httpcore.AsyncConnectionPool:
        """The pool for a URL. A fresh one keeps no connection, so every request gets its own."""
        way = (self.proxy(url), fresh)
        if way not in self._pools:
            self._pools[way] = self._made(*way)
        return self._pools[way]

    def _made(self, proxy: str, fresh: bool) -> httpcore.AsyncConnectionPool:  # noqa: FBT001 - one call, above
        if self._certificates is None:
            self._certificates = self._network.certificates()
        kept = 0 if fresh else MAX_CONNECTIONS
        if not proxy:
            return httpcore.AsyncConnectionPool(
                ssl_context=self._certificates,
                max_connections=MAX_CONNECTIONS,
                max_keepalive_connections=kept,
                keepalive_expiry=KEEP_ALIVE_SECONDS,
                network_backend=self._backend,
            )
        # The proxy itself may well be in the local network, and it resolves names for itself.
        url = httpx.Proxy(proxy)
        return httpcore.AsyncHTTPProxy(
            proxy_url=httpcore.URL(
                scheme=url.url.raw_scheme, host=url.url.raw_host, port=url.url.port, target=url.url.raw_path
            ),
            proxy_auth=url.raw_auth,
            proxy_ssl_context=self._certificates if url.url.scheme == "https" else None,
            ssl_context=self._certificates,
            max_connections=MAX_CONNECTIONS,
            max_keepalive_connections=kept,
            keepalive_expiry=KEEP_ALIVE_SECONDS,
            network_backend=self._network.backend,
        )

    async def aclose(self) -> None:
        """Close every connection."""
        for pool in self._pools.values():
            await pool.aclose()


class PoolTransport(httpx.AsyncBaseTransport):
    """httpx's way to the pools. Whatever fails underneath leaves as an error of this library."""

    def __init__(self, pools: Pools) -> None:
        self._pools = pools

    def headers(self, request: httpx.Request) -> list[tuple[bytes, bytes]]:
        """What really goes out. Whoever asks for a request to be sent has no say in who it is sent as."""
        asked = ((name, value) for name, value in request.headers.raw if name.lower() not in _OWN_HEADERS)
        return [(b"Host", request.url.netloc), *asked]

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request. Raises NotSentError, NoAnswerError and what ``headers`` raises."""
        journey = _Journey(request.url.host)
        try:
            return await self._exchange(request, journey)
        except BaseException as error:  # noqa: BLE001 - only to be raised again below, cleaned
            failure = journey.outcome(error)
        raise failure

    async def _exchange(self, request: httpx.Request, journey: _Journey) -> httpx.Response:
        url = request.url
        pool = self._pools.pool(url, fresh=bool(request.extensions.get(FRESH_CONNECTION)))
        journey.proxy = self._pools.proxy(url)
        sent = httpcore.Request(
            request.method,
            httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=self.headers(request),
            content=request.stream,
            extensions={"timeout": request.extensions.get("timeout", {}), "trace": journey.trace},
        )
        try:
            reply = await pool.handle_async_request(sent)
        finally:
            sent.headers.clear()  # the response and later exceptions refer to this object
        return httpx.Response(reply.status, headers=reply.headers, stream=_Body(reply, journey))

    async def aclose(self) -> None:
        """Close every connection."""
        await self._pools.aclose()


_OWN_HEADERS = (b"host", b"authorization", b"proxy-authorization", b"cookie")


class ServiceTransport(PoolTransport):
    """Adds the key to requests for the service, at the last moment and on a private copy, and sends no others."""

    def __init__(self, pools: Pools, service: Service, key: Callable[[], ApiKey]) -> None:
        super().__init__(pools)
        self._service = service
        self._key = key

    def headers(self, request: httpx.Request) -> list[tuple[bytes, bytes]]:
        """The headers with the key. Raises ForbiddenDestinationError, and what finding the key raises."""
        self._check(request.url)
        key = self._key()
        if not self._service.is_real and not key.is_placeholder:
            raise ForbiddenDestinationError("The API key was not sent to a service on this machine.")
        return [(b"Authorization", key.reveal().encode("ascii")), *super().headers(request)]

    def masked(self, data: bytes) -> bytes:
        """An answer's bytes without the key, should the service quote it in a message."""
        try:
            return self._key().masked_in(data)
        except CredentialsError:  # removed since the request was sent
            return data

    def _check(self, url: httpx.URL) -> None:
        service, prefix = self._service.address, self._service.prefix
        path = url.raw_path.decode("ascii")
        if (
            url.scheme != service.scheme
            or url.raw_host.decode("ascii") != service.host
            or (url.port or DEFAULT_PORTS[service.scheme]) != service.port
            or url.userinfo
            or not path.startswith(prefix)
            or path_complaint(path)
        ):
            raise ForbiddenDestinationError(
                "A request was stopped, because it would have carried the API key to another place than "
                f"{self._service.base_url}/. This is a fault of this node pack: please report it."
            )


class _Body(httpx.AsyncByteStream):
    """The body of a reply. Lets go of everything underneath when it is closed."""

    def __init__(self, reply: httpcore.Response, journey: _Journey) -> None:
        self._reply: httpcore.Response | None = reply
        self._journey = journey

    async def __aiter__(self) -> AsyncIterator[bytes]:
        failure: BaseException | None = None
        try:
            if self._reply is not None:
                async for part in self._reply.aiter_stream():
                    yield part
        except BaseException as error:  # noqa: BLE001 - only to be raised again below, cleaned
            failure = self._journey.outcome(error)
        if failure is not None:
            raise failure

    async def aclose(self) -> None:
        reply, self._reply = self._reply, None
        if reply is not None:
            await reply.aclose()


class _Journey:
    """How far one request came, and what its failure means."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.proxy = ""
        self.begun = False

    async def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Called by httpcore at each step; the CONNECT for a proxy is not yet the request."""
        if event.endswith("send_request_headers.started") and info["request"].method != b"CONNECT":
            self.begun = True

    def outcome(self, error: BaseException) -> BaseException:
        """The error to raise, without the frames and the causes underneath, whose variables held the key."""
        if isinstance(error, WeShopError) or not isinstance(error, Exception):
            error.__cause__ = error.__context__ = None
            return error.with_traceback(None)
        return NoAnswerError(self._broken(error)) if self.begun else NotSentError(self._not_sent(error))

    def _broken(self, error: Exception) -> str:
        if isinstance(error, httpcore.TimeoutException):
            return f"{self.host} stopped answering. Check the internet connection and try again."
        return (
            f"The connection to {self.host} broke before the whole answer had arrived ({type(error).__name__}). "
            "Check the internet connection and try again."
        )

    def _not_sent(self, error: Exception) -> str:
        return f"No connection to {self.host} came about, so nothing was sent: {self._reason(error)}"

    def _reason(self, error: Exception) -> str:
        causes = tuple(_causes(error))
        for kind, reason in _REASONS:
            cause = next((cause for cause in causes if isinstance(cause, kind)), None)
            if cause is not None:
                return reason.format(error=error, detail=getattr(cause, "verify_message", ""))
        return (
            f"the connection was refused or broke ({type(error).__name__}). "
            "Check the internet connection, the proxy settings and the firewall."
        )


# The first that fits anything in the chain of causes.
_REASONS: tuple[tuple[type[BaseException], str], ...] = (
    (httpcore.ProxyError, "the proxy refused ({error}). Check the proxy settings (HTTPS_PROXY)."),
    (
        ssl.SSLCertVerificationError,
        (
            "its certificate is not trusted ({detail}). Check this machine's date; where a proxy or a virus scanner "
            "reads secure connections, set SSL_CERT_FILE to the file of its certificate."
        ),
    ),
    (
        ssl.SSLError,
        "the secure connection failed. Check whether a proxy, a firewall or a virus scanner interferes.",
    ),
    (socket.gaierror, "its name could not be resolved. Check the internet connection and the DNS settings."),
    (httpcore.PoolTimeout, "too many other requests are waiting for an answer. Try again."),
    (
        httpcore.TimeoutException,
        "the time ran out. Check the internet connection, the proxy settings and the firewall.",
    ),
)


def _causes(error: BaseException) -> Iterator[BaseException]:
    step: BaseException | None = error
    while step is not None:
        yield step
        step = step.__cause__ or step.__context__
