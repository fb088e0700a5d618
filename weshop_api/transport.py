"""Under the HTTP layer: the one line that reads the key, and what becomes of failures.

ApiSession, DownloadSession    see neither the key nor an exception of httpcore
`-- PoolTransport              turns every failure into an error of this library and cuts its traceback
    `-- ServiceTransport       adds the key, and only to a request for the service itself
"""

from __future__ import annotations

import logging
import socket
import ssl
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import httpcore
import httpx

from .addresses import DEFAULT_PORTS, path_complaint
from .errors import CredentialsError, ForbiddenDestinationError, NoAnswerError, NotSentError, WeShopError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from .credentials import ApiKey, Service
    from .network import Pools

# Set by ApiSession on requests that must not meet a connection which the service is just closing.
FRESH_CONNECTION = "fresh_connection"

MAX_CAUSES = 20
SHOWN_REFUSAL_LENGTH = 60

_OWN_HEADERS = frozenset({b"host", b"authorization", b"proxy-authorization", b"cookie"})

_CARRIES_KEY: ContextVar[bool] = ContextVar("weshop_carries_key", default=False)


class _Discretion(logging.Filter):
    """Keeps what httpcore says about the headers of the service's answers out of the log: they may quote the key."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (_CARRIES_KEY.get() and str(record.msg).startswith("receive_response_headers"))


_DISCRETION = _Discretion()


class PoolTransport(httpx.AsyncBaseTransport):
    """httpx's way to the pools. Whatever fails underneath leaves as an error of this library."""

    def __init__(self, pools: Pools) -> None:
        self._pools = pools

    def headers(self, request: httpx.Request) -> list[tuple[bytes, bytes]]:
        """The headers that really go out: what a request says about its destination and its sender is replaced."""
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
        way = await self._pools.way(url, fresh=bool(request.extensions.get(FRESH_CONNECTION)))
        journey.way = way.description
        sent = httpcore.Request(
            request.method,
            httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=self.headers(request),
            content=request.stream,
            extensions={"timeout": request.extensions.get("timeout", {}), "trace": journey.trace},
        )
        try:
            reply = await way.pool.handle_async_request(sent)
        finally:
            sent.headers.clear()  # the response and later exceptions refer to this object
        return httpx.Response(reply.status, headers=reply.headers, stream=_Body(reply, journey))

    async def aclose(self) -> None:
        """Close every connection."""
        await self._pools.aclose()


class ServiceTransport(PoolTransport):
    """Adds the key to requests for the service, at the last moment and on a private copy, and sends no others."""

    def __init__(self, pools: Pools, service: Service, key: Callable[[], ApiKey]) -> None:
        super().__init__(pools)
        self._service = service
        self._key = key
        logging.getLogger("httpcore.http11").addFilter(_DISCRETION)  # Once: a logger takes the same filter only once.

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request with the key. Raises what PoolTransport raises."""
        carries_key = _CARRIES_KEY.set(True)
        try:
            return await super().handle_async_request(request)
        finally:
            _CARRIES_KEY.reset(carries_key)

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
        self.way = ""
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
        return f"No connection to {self.host} could be made{self.way}, so nothing was sent: {self._reason(error)}"

    def _reason(self, error: Exception) -> str:
        causes = _causes(error)
        for kind, reason in _REASONS:
            cause = next((cause for cause in causes if isinstance(cause, kind)), None)
            if cause is not None:
                # A proxy chooses the words of its refusal, so they are kept short.
                return reason.format(
                    error=str(error)[:SHOWN_REFUSAL_LENGTH], detail=getattr(cause, "verify_message", "")
                )
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
    (socket.gaierror, "its name could not be resolved. Check the internet connection and the DNS settings."),
    (httpcore.PoolTimeout, "too many other requests are waiting for an answer. Try again."),
    (
        httpcore.TimeoutException,
        "the time ran out. Check the internet connection, the proxy settings and the firewall.",
    ),
    (
        ssl.SSLError,
        "the secure connection failed. Check whether a proxy, a firewall or a virus scanner interferes.",
    ),
)


def _causes(error: BaseException) -> list[BaseException]:
    """The error and what led to it. httpcore cuts ``__cause__`` on the way, but leaves ``__context__``."""
    causes = [error]
    while len(causes) < MAX_CAUSES and (further := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(further)
    return causes
