"""A service that quotes the key in its answers does not bring it into the log."""

from __future__ import annotations

import asyncio
import contextlib
import logging

import pytest

from tests.weshop_api.http_servers import SERVICE_HOST, Certificates, LeadTo, RawServer, answering, network_to, reply
from weshop_api.credentials import ApiKey, Service
from weshop_api.errors import WeShopError
from weshop_api.http import ApiSession

KEY_TEXT = "marked-test-key-not-real-0123456789"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(reply(b"{}", f"X-Your-Key: {KEY_TEXT}"), id="in a header"),
        pytest.param(reply(b"{}", f"Location: https://a.example/?{KEY_TEXT}", status="302 Found"), id="in a redirect"),
        pytest.param(reply(b"{}", status=f"401 {KEY_TEXT} is wrong"), id="in the reason"),
        pytest.param(f"HTTP/1.1 200 OK\r\nbad header {KEY_TEXT}\r\n\r\n".encode(), id="in a broken header"),
        pytest.param(f"{KEY_TEXT}\r\n\r\n".encode(), id="instead of an answer"),
        pytest.param(reply(KEY_TEXT.encode()), id="in the body"),
    ],
)
def test_a_key_that_the_service_quotes_is_not_logged(answer: bytes, caplog: pytest.LogCaptureFixture) -> None:
    certificates = Certificates()

    async def scenario() -> None:
        async with RawServer(answering(answer), certificates.of(SERVICE_HOST)) as server:
            network = network_to(LeadTo(server.port), certificates)
            session = ApiSession(Service(), lambda: ApiKey(KEY_TEXT), network=network)
            with contextlib.suppress(WeShopError):
                await session.send("GET", "/agent/runs/0123")
            await session.aclose()

    with caplog.at_level(logging.DEBUG):
        asyncio.run(scenario())

    assert "send_request_headers" in caplog.text, "the log is not at debug level"
    assert KEY_TEXT not in caplog.text
