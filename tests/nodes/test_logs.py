"""The host's log keeps the tracebacks of all errors but ours."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator

import pytest
from weshop_pack.nodes import logs

from weshop_api import WeShopError


@pytest.fixture
def host_log() -> Iterator[logging.Logger]:
    root = logging.getLogger()
    before = list(root.filters)
    logs.register()
    logs.register()
    assert len(root.filters) == len(before) + 1
    yield root
    root.filters = before


def reported(host_log: logging.Logger, error: Exception, caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the host writes when a node raises this, line by line as it writes it."""
    try:
        raise error  # noqa: TRY301 - the same place as in the host
    except Exception as raised:  # noqa: BLE001 - as the host does
        host_log.error(f"!!! Exception during processing !!! {raised}")
        host_log.error(traceback.format_exc())
    return [record.getMessage().split("\n")[0] for record in caplog.records]


def test_an_error_of_ours_takes_one_line(host_log: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    assert reported(host_log, WeShopError("What to do."), caplog) == ["!!! Exception during processing !!! What to do."]


def test_the_error_of_another_node_keeps_its_traceback(
    host_log: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    assert reported(host_log, ValueError("theirs"), caplog) == [
        "!!! Exception during processing !!! theirs",
        "Traceback (most recent call last):",
    ]


def test_at_level_debug_ours_keeps_it_too(host_log: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="weshop")

    assert len(reported(host_log, WeShopError("What to do."), caplog)) == 2
