"""The pack's own routes: the API key in the page's settings. Answers hold its last four characters at most.

GET  /weshop/key          the state
POST /weshop/key          {"api_key": "..."}: ask the service, then save
POST /weshop/key/test     {}: ask the service about the key in use
POST /weshop/key/remove   {}: delete the key file
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from aiohttp import web
from server import PromptServer

from ..weshop_api import (
    AuthenticationError,
    CredentialsError,
    InsufficientPointsError,
    InvalidRequestError,
    LimitReachedError,
    NotFoundError,
    WeShopError,
)
from ..weshop_api.credentials import (
    BASE_URL_VARIABLE,
    KEY_VARIABLE,
    ApiKey,
    KeyState,
    Service,
    find_key,
    key_state,
    remove_key,
    save_key,
)
from . import host
from ._callers import ALLOW_REMOTE_VARIABLE, Caller, complaint_about

KEY_ROUTE = "/weshop/key"
MAX_BODY_BYTES = 4_096
_READING = ("GET", "HEAD")
_FORWARDED = ("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP")

Check = Callable[[ApiKey, Service], Awaitable[None]]
Handler = Callable[[web.Request], Awaitable[web.Response]]


@dataclass(frozen=True)
class Outcome:
    """What came of a request: whether it did what was asked for, and a sentence about it."""

    ok: bool
    message: str = ""


def register() -> None:
    """Offer the routes. To be called before the server starts."""
    routes = routes_without(KEY_ROUTE)
    if routes is not None:
        KeySettings(os.environ, Path.home(), _check_in_background).add_routes(routes)


def routes_without(path: str) -> web.RouteTableDef | None:
    """The host's routes, to add ``path`` to; None where there is no server, or where it has that path already."""
    server = getattr(PromptServer, "instance", None)
    if server is None or any(getattr(route, "path", "") == path for route in server.routes):
        return None
    routes: web.RouteTableDef = server.routes
    return routes


class KeySettings:
    """The key as the settings page sees it. ``check`` asks the service about a key, off the server's loop."""

    def __init__(self, environ: Mapping[str, str], home: Path, check: Check) -> None:
        self._environ = environ
        self._home = home
        self._check = check

    def add_routes(self, routes: web.RouteTableDef) -> None:
        """Put the routes beside the host's own; it serves them under /api as well, and passes on no options."""
        routes.get(KEY_ROUTE)(self._guarded(self._show))
        routes.post(KEY_ROUTE)(self._guarded(self._save))
        routes.post(f"{KEY_ROUTE}/test")(self._guarded(self._test))
        routes.post(f"{KEY_ROUTE}/remove")(self._guarded(self._remove))

    def _guarded(self, act: Callable[[Mapping[str, object]], Awaitable[Outcome]]) -> Handler:
        async def handle(request: web.Request) -> web.Response:
            fields = await admit(request, self._environ)
            if isinstance(fields, web.Response):
                return fields
            outcome = await act(fields)
            return _answer(200, outcome, await asyncio.to_thread(self._state))

        return handle

    async def _show(self, _: Mapping[str, object]) -> Outcome:
        return Outcome(ok=True)

    async def _save(self, fields: Mapping[str, object]) -> Outcome:
        text = fields.get("api_key")
        if not isinstance(text, str) or not text.strip():
            return Outcome(ok=False, message="Enter a key first.")
        try:
            service = Service.from_environment(self._environ)
            if not service.is_real:
                return Outcome(
                    ok=False,
                    message=f"The key was not saved: {BASE_URL_VARIABLE} leads to a service on this machine, which "
                    "gets no key of yours and cannot check it. Remove the variable, then start ComfyUI again.",
                )
            note = await self._accepted(ApiKey(text, "entered"), service)
            await asyncio.to_thread(save_key, text, self._home)
        except (AuthenticationError, CredentialsError) as error:
            return Outcome(ok=False, message=f"The key was not saved. {error}")
        except WeShopError as error:
            return Outcome(ok=False, message=f"The key was not saved, because it could not be checked. {error}")
        return Outcome(ok=True, message=" ".join(part for part in ("The key was saved.", note, self._first()) if part))

    async def _test(self, _: Mapping[str, object]) -> Outcome:
        try:
            service = Service.from_environment(self._environ)
            key = await asyncio.to_thread(find_key, service, self._environ, self._home)
            note = await self._accepted(key, service)
        except WeShopError as error:
            return Outcome(ok=False, message=str(error))
        who = "WeShop" if service.is_real else f"The service at {service.base_url}"
        return Outcome(ok=not note, message=note or f"{who} accepts the key.")

    async def _remove(self, _: Mapping[str, object]) -> Outcome:
        try:
            await asyncio.to_thread(remove_key, self._home)
        except WeShopError as error:
            return Outcome(ok=False, message=str(error))
        return Outcome(ok=True, message=" ".join(part for part in ("The key file was removed.", self._first()) if part))

    async def _accepted(self, key: ApiKey, service: Service) -> str:
        """Ask the service; a note when its answer leaves open whether it accepts the key. Raises WeShopError."""
        try:
            await self._check(key, service)
        except (InvalidRequestError, NotFoundError, InsufficientPointsError, LimitReachedError) as error:
            # The service answers, and about something else than the key: that must not keep anybody from using it.
            return f"WeShop did not say whether it accepts the key. {error}"
        return ""

    def _first(self) -> str:
        if not self._environ.get(KEY_VARIABLE, "").strip():
            return ""
        return f"The key in the environment variable {KEY_VARIABLE} is used first, as long as it is set."

    def _state(self) -> dict[str, object]:
        state = key_state(self._environ, self._home)
        local_service = ""
        try:
            service = Service.from_environment(self._environ)
            local_service = "" if service.is_real else service.base_url
        except WeShopError as error:
            state = KeyState(configured=False, source=state.source, problem=str(error))
        return {**asdict(state), "local_service": local_service}


async def _check_in_background(key: ApiKey, service: Service) -> None:
    async def check() -> None:
        from ..weshop_api.client import check_key  # noqa: PLC0415 - loads the HTTP library; not at start-up

        await check_key(key, service)

    await host.in_background(check())


async def admit(request: web.Request, environ: Mapping[str, str]) -> Mapping[str, object] | web.Response:
    """The JSON fields of a request, empty for one that only reads; or the answer that refuses it."""
    complaint = complaint_about(_caller(request), environ.get(ALLOW_REMOTE_VARIABLE, ""))
    if complaint:
        return _answer(403, Outcome(ok=False, message=complaint))
    fields = {} if request.method in _READING else await _fields(request)
    if fields is None:
        message = f"Send a JSON object of at most {MAX_BODY_BYTES:,} bytes as application/json."
        return _answer(400, Outcome(ok=False, message=message))
    return fields


def _caller(request: web.Request) -> Caller:
    # Not request.remote: other packs may have put a middleware in the way that believes X-Forwarded-For.
    peer = request.transport.get_extra_info("peername") if request.transport is not None else None
    headers = request.headers
    return Caller(
        peer=str(peer[0]).partition("%")[0] if isinstance(peer, tuple) and peer else "",
        hosts=tuple(headers.getall("Host", ())),
        origins=tuple(headers.getall("Origin", ())),
        fetch_sites=tuple(headers.getall("Sec-Fetch-Site", ())),
        is_forwarded=any(name in headers for name in _FORWARDED),
        is_change=request.method not in _READING,
    )


async def _fields(request: web.Request) -> Mapping[str, object] | None:
    """The JSON object of a request; None for anything else. A form, which any site can send, is something else."""
    if request.content_type != "application/json":
        return None
    body = bytearray()
    async for part in request.content.iter_any():
        body += part
        if len(body) > MAX_BODY_BYTES:
            return None
    try:
        fields = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None


def _answer(status: int, outcome: Outcome, state: Mapping[str, object] | None = None) -> web.Response:
    shown = {**asdict(outcome), "state": state}
    return web.json_response(shown, status=status, headers={"Cache-Control": "no-store"})
