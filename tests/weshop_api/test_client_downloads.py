"""Downloads over the client: what is repeated, what is told apart, and what is never fetched."""

from __future__ import annotations

import pytest

from emulator import Fault
from weshop_api.client import WeShopClient
from weshop_api.errors import (
    DownloadError,
    ExpiredAddressError,
    ForbiddenAddressError,
)

from .shops import Shops, error_of, finished, using


@pytest.mark.parametrize(
    "fault",
    [
        Fault.reset("before"),
        Fault.reset("during"),
        Fault.truncate(),
        Fault.stall(),
        Fault.refuse(429, envelope="none", retry_after_seconds=0.05),
        Fault.refuse(500),
        Fault.refuse(502, envelope="none"),
    ],
    ids=lambda fault: repr(fault)[:60],
)
def test_a_download_survives_what_passes(shops: Shops, fault: Fault) -> None:
    async def use(client: WeShopClient) -> None:
        (url,) = await finished(client)
        shops.emulator.order("download", fault)

        assert (await client.download(url)).startswith(b"\xff\xd8")
        assert shops.count("download") == 2

    using(shops, use)


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_an_address_that_is_gone_is_told_apart(shops: Shops, status: int) -> None:
    async def use(client: WeShopClient) -> None:
        (url,) = await finished(client)
        shops.emulator.order("download", Fault.refuse(status, envelope="none"))
        error = await error_of(client.download(url), ExpiredAddressError)

        assert str(error) == f"The file server no longer serves the picture (HTTP {status})."
        assert shops.count("download") == 1

    using(shops, use)


@pytest.mark.parametrize(
    "fault",
    [Fault.reset(), Fault.refuse(500), Fault.truncate()],
    ids=lambda fault: repr(fault)[:60],
)
def test_a_download_that_keeps_failing_is_a_download_error(shops: Shops, fault: Fault) -> None:
    async def use(client: WeShopClient) -> None:
        (url,) = await finished(client)
        shops.emulator.order("download", fault, times=5)
        await error_of(client.download(url), DownloadError)

        assert shops.count("download") == 5

    using(shops, use)


@pytest.mark.parametrize(
    "fault",
    [Fault.refuse(400, envelope="none"), Fault.answer(b"", status=204), Fault.answer(b"x" * 100, status=206)],
    ids=lambda fault: repr(fault)[:60],
)
def test_an_answer_that_is_no_picture_is_a_download_error(shops: Shops, fault: Fault) -> None:
    async def use(client: WeShopClient) -> None:
        (url,) = await finished(client)
        shops.emulator.order("download", fault)
        error = await error_of(client.download(url), DownloadError)

        assert "instead of the picture" in str(error)
        assert shops.count("download") == 1

    using(shops, use)


def test_a_redirect_of_a_download_is_followed(shops: Shops) -> None:
    async def use(client: WeShopClient) -> None:
        (url,) = await finished(client)
        shops.emulator.order("download", Fault.redirect(url))

        assert (await client.download(url)).startswith(b"\xff\xd8")

    using(shops, use)


@pytest.mark.parametrize(
    "url", ["http://10.0.0.1/a.png", "https://192.168.1.1/a.png", "ftp://host.example/a", "https://a b/"]
)
def test_an_address_that_must_not_be_fetched_is_not(shops: Shops, url: str) -> None:
    async def use(client: WeShopClient) -> None:
        await error_of(client.download(url), ForbiddenAddressError)

    using(shops, use)


def test_a_download_tells_how_much_has_arrived(shops: Shops) -> None:
    told: list[tuple[int, int | None]] = []

    async def use(client: WeShopClient) -> None:
        (url,) = await finished(client)
        data = await client.download(url, on_bytes=lambda done, total: told.append((done, total)))

        assert told[-1] == (len(data), len(data))

    using(shops, use)
