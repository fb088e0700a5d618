"""The route that tells a form what a run would cost: asked once, silent about trouble, open to the page only."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer
from weshop_pack.nodes.estimates import KEPT_AFTER_FAILURE_SECONDS, KEPT_SECONDS, Estimates

from weshop_api import MissingKeyError, SeedreamRequest, WeShopError

FORM = {
    "model": "Seedream 5.0 Lite",
    "image_size": "2K",
    "aspect_ratio": "3:4",
    "output_format": "jpeg",
    "batch_count": 4,
}


@dataclass
class Service:
    """A service whose price is 10 a picture, or that fails."""

    error: WeShopError | None = None
    asked: list[SeedreamRequest] = field(default_factory=list)
    now_seconds: float = 0.0

    async def ask(self, request: SeedreamRequest) -> float | None:
        """Note the question, and answer."""
        self.asked.append(request)
        if self.error is not None:
            raise self.error
        return 10.0 * request.batch_count

    def estimates(self) -> Estimates:
        """What the page speaks to."""
        return Estimates({}, self.ask, lambda: self.now_seconds)


def post(service: Service, fields: dict[str, Any], *, origin: str = "") -> tuple[int, dict[str, Any]]:
    """Send a form as the page does, or as another site would."""

    async def run() -> tuple[int, dict[str, Any]]:
        app, routes = web.Application(), web.RouteTableDef()
        service.estimates().add_routes(routes)
        app.add_routes(routes)
        async with TestServer(app) as server, aiohttp.ClientSession() as session:
            url = str(server.make_url("")).rstrip("/")
            headers = {"Origin": origin or url, "Content-Type": "application/json"}
            async with session.post(f"{url}/weshop/estimate", data=json.dumps(fields), headers=headers) as answer:
                return answer.status, await answer.json()

    return asyncio.run(run())


def test_a_form_is_answered_with_points() -> None:
    assert post(Service(), FORM) == (200, {"points": 40.0})


def test_a_form_that_would_be_refused_is_not_asked_about() -> None:
    service = Service()
    changes = ({"image_size": "1K"}, {"model": 5}, {"batch_count": "4"}, {"batch_count": True})

    answers = [post(service, {**FORM, **change}) for change in changes]

    assert answers == [(200, {"points": None})] * 4
    assert service.asked == []


def test_trouble_is_silent() -> None:
    assert post(Service(MissingKeyError()), FORM) == (200, {"points": None})


def test_other_sites_get_no_answer() -> None:
    service = Service()

    status, _ = post(service, FORM, origin="https://elsewhere.example")

    assert status == 403
    assert service.asked == []


def test_an_answer_is_kept_for_a_while_and_a_failure_for_a_moment() -> None:
    service = Service()
    estimates, request = service.estimates(), SeedreamRequest("a picture")

    async def ask_at(seconds: float) -> float | None:
        service.now_seconds = seconds
        return await estimates.points(request)

    async def scenario() -> list[float | None]:
        first = [await ask_at(0.0), await ask_at(KEPT_SECONDS - 1)]
        service.error = WeShopError("down")
        second = [await ask_at(KEPT_SECONDS), await ask_at(KEPT_SECONDS + KEPT_AFTER_FAILURE_SECONDS - 1)]
        service.error = None
        return [*first, *second, await ask_at(KEPT_SECONDS + KEPT_AFTER_FAILURE_SECONDS)]

    assert asyncio.run(scenario()) == [10.0, 10.0, None, None, 10.0]
    assert len(service.asked) == 3
