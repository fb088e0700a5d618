"""The route by which a node's form learns what a run would cost: POST /weshop/estimate.

Takes ``{"model": ..., "image_size": ..., "aspect_ratio": ..., "output_format": ..., "batch_count": ...}`` and answers
``{"points": 10}``, or ``{"points": null}`` when nobody can say. It is a convenience: it is never an error, never waits
long, and asks the service once for each combination. Without a key nothing is asked.
"""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from aiohttp import web

from ..weshop_api import SeedreamRequest, WeShopError
from ..weshop_api.background import within
from ..weshop_api.seedream import model_by_label
from . import host, settings

ROUTE = "/weshop/estimate"
PATIENCE_SECONDS = 8.0
# The service may change its prices, and a service that failed may be there again.
KEPT_SECONDS = 600.0
KEPT_AFTER_FAILURE_SECONDS = 30.0
MOST_KEPT = 500
# A price depends on no prompt, and nobody has asked yet for this one to be sent.
PROMPT = "a picture"

Ask = Callable[[SeedreamRequest], Awaitable[float | None]]


def register() -> None:
    """Offer the route. To be called before the server starts."""
    routes = settings.routes_without(ROUTE)
    if routes is not None:
        Estimates(os.environ, _ask_in_background).add_routes(routes)


@dataclass(frozen=True)
class _Known:
    """An answer, and until when it is repeated."""

    points: float | None
    until_seconds: float


class Estimates:
    """Estimates of points. ``ask`` asks the service, off the server's loop, and may raise WeShopError."""

    def __init__(self, environ: Mapping[str, str], ask: Ask, clock: Callable[[], float] = time.monotonic) -> None:
        self._environ = environ
        self._ask = ask
        self._clock = clock
        self._known: OrderedDict[SeedreamRequest, _Known] = OrderedDict()

    def add_routes(self, routes: web.RouteTableDef) -> None:
        """Put the route beside the host's own, open to whom the settings are open."""
        routes.post(ROUTE)(self._answer)

    async def points(self, request: SeedreamRequest) -> float | None:
        """What the service expects a run to cost, None when it does not say."""
        known = self._known.get(request)
        if known is None or self._clock() >= known.until_seconds:
            known = self._known[request] = await self._fresh(request)
        while len(self._known) > MOST_KEPT:
            self._known.popitem(last=False)
        return known.points

    async def _fresh(self, request: SeedreamRequest) -> _Known:
        try:
            points = await within(PATIENCE_SECONDS, self._ask(request), _late)
        except WeShopError:
            return _Known(None, self._clock() + KEPT_AFTER_FAILURE_SECONDS)
        return _Known(points, self._clock() + KEPT_SECONDS)

    async def _answer(self, http_request: web.Request) -> web.Response:
        fields = await settings.admit(http_request, self._environ)
        if isinstance(fields, web.Response):
            return fields
        request = _request(fields)
        points = await self.points(request) if request else None
        return web.json_response({"points": points}, headers={"Cache-Control": "no-store"})


def _request(fields: Mapping[str, object]) -> SeedreamRequest | None:
    """The request that a form describes; None for one that would be refused anyway."""
    count = fields.get("batch_count")
    texts = [fields.get(name) for name in ("model", "image_size", "aspect_ratio", "output_format")]
    if type(count) is not int or not all(isinstance(text, str) for text in texts):
        return None
    label, image_size, aspect_ratio, output_format = map(str, texts)
    try:
        request = SeedreamRequest(
            prompt=PROMPT,
            model=model_by_label(label),
            image_size=image_size,
            aspect_ratio=aspect_ratio,
            output_format=output_format,
            batch_count=count,
        )
        request.check()
    except WeShopError:
        return None
    return request


def _late() -> WeShopError:
    return WeShopError("WeShop did not say in time what a run would cost.")


async def _ask_in_background(request: SeedreamRequest) -> float | None:
    estimate = await host.ask(lambda weshop: weshop.estimate(request))
    return estimate.points if estimate else None
