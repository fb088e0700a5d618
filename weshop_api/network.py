"""How this machine reaches others: names, addresses, proxies, certificates and pools of connections.

Pools                   one httpcore pool for each way out: direct or a proxy, kept or fresh connections
`-- PublicBackend       (downloads) resolves names, checks every address, connects to what it checked
"""

from __future__ import annotations

import asyncio
import importlib.util
import socket
import ssl
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import certifi
import httpcore
import httpx

from .addresses import is_loopback, is_loopback_host, is_public
from .background import within
from .errors import ForbiddenAddressError, NotSentError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

CONNECT_SECONDS = 10.0
KEEP_ALIVE_SECONDS = 15.0
NEXT_ADDRESS_AFTER_SECONDS = 0.25
MAX_CONNECTIONS = 32
MAX_ADDRESSES = 8


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
    """The way to the outside. The defaults are the system's own."""

    backend: httpcore.AsyncNetworkBackend = field(default_factory=httpcore.AnyIOBackend)
    resolve: Callable[[str, int], Awaitable[Sequence[str]]] = resolve_by_system
    proxy_for: Callable[[str, str], str] = proxy_of_system
    certificates: Callable[[], ssl.SSLContext] = system_certificates


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


@dataclass(frozen=True)
class Way:
    """A pool, and for messages how it leads outside: empty or " through the proxy HOST:PORT"."""

    pool: httpcore.AsyncConnectionPool
    description: str


class Pools:
    """One pool for each way out, made when first needed, so that a changed proxy setting counts at once."""

    def __init__(self, network: Network, backend: httpcore.AsyncNetworkBackend | None = None) -> None:
        self._network = network
        self._backend = backend or network.backend
        self._certificates: ssl.SSLContext | None = None
        self._loading = asyncio.Lock()
        self._ways: dict[tuple[str, str, bool], Way] = {}

    async def way(self, url: httpx.URL, *, fresh: bool) -> Way:
        """The way to a URL. A fresh one keeps no connection, so every request gets its own.

        This machine is never reached through a proxy. Raises NotSentError for a proxy that cannot be used.
        """
        proxy = "" if is_loopback_host(url.host) else await self._proxy_for(url)
        if url.scheme == "https":
            await self._load_certificates()
        name = (url.scheme, proxy, fresh)
        if name not in self._ways:
            self._ways[name] = self._made(proxy, 0 if fresh else MAX_CONNECTIONS)
        return self._ways[name]

    async def _proxy_for(self, url: httpx.URL) -> str:
        # To compare addresses with the exceptions, Windows (and macOS, as it comes) looks up the name. That takes
        # seconds where no DNS answers, for which the event loop must not stand still.
        return await asyncio.to_thread(self._network.proxy_for, url.scheme, url.host)

    async def _load_certificates(self) -> None:
        # A quarter of a second on a busy machine, for which the event loop must not stand still.
        async with self._loading:
            if self._certificates is None:
                self._certificates = await asyncio.to_thread(self._network.certificates)

    def _made(self, proxy: str, kept_connections: int) -> Way:
        if proxy:
            return self._through(_checked_proxy(proxy), kept_connections)
        pool = httpcore.AsyncConnectionPool(
            ssl_context=self._certificates,
            max_connections=MAX_CONNECTIONS,
            max_keepalive_connections=kept_connections,
            keepalive_expiry=KEEP_ALIVE_SECONDS,
            network_backend=self._backend,
        )
        return Way(pool, "")

    def _through(self, proxy: httpx.Proxy, kept_connections: int) -> Way:
        url = httpcore.URL(
            scheme=proxy.url.raw_scheme, host=proxy.url.raw_host, port=proxy.url.port, target=proxy.url.raw_path
        )
        # The proxy itself may well stand in the local network, and it resolves names for itself: no check of addresses.
        if proxy.url.scheme.startswith("socks"):
            pool: httpcore.AsyncConnectionPool = httpcore.AsyncSOCKSProxy(
                proxy_url=url,
                proxy_auth=proxy.raw_auth,
                ssl_context=self._certificates,
                max_connections=MAX_CONNECTIONS,
                max_keepalive_connections=kept_connections,
                keepalive_expiry=KEEP_ALIVE_SECONDS,
                network_backend=self._network.backend,
            )
        else:
            pool = httpcore.AsyncHTTPProxy(
                proxy_url=url,
                proxy_auth=proxy.raw_auth,
                proxy_ssl_context=self._certificates if proxy.url.scheme == "https" else None,
                ssl_context=self._certificates,
                max_connections=MAX_CONNECTIONS,
                max_keepalive_connections=kept_connections,
                keepalive_expiry=KEEP_ALIVE_SECONDS,
                network_backend=self._network.backend,
            )
        return Way(pool, f" through the proxy {proxy.url.netloc.decode()}")

    async def aclose(self) -> None:
        """Close every connection."""
        for way in self._ways.values():
            await way.pool.aclose()


def _checked_proxy(proxy: str) -> httpx.Proxy:
    """The proxy as httpx reads it, user name and password taken out of its URL."""
    try:
        checked = httpx.Proxy(proxy)
    except (httpx.InvalidURL, ValueError):
        raise _unusable_proxy("is not an address such as http://127.0.0.1:8080") from None
    if not checked.url.host:
        raise _unusable_proxy("is not an address such as http://127.0.0.1:8080")
    if checked.url.scheme.startswith("socks") and importlib.util.find_spec("socksio") is None:
        raise _unusable_proxy("is a SOCKS proxy, for which the Python package socksio has to be installed")
    return checked


def _unusable_proxy(complaint: str) -> NotSentError:
    return NotSentError(
        f"Nothing was sent, because the configured proxy {complaint}. Correct HTTPS_PROXY or the system's settings."
    )
