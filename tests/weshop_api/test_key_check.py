"""Asking the service about a key that is not saved yet."""

from __future__ import annotations

import asyncio

import pytest

from emulator import Emulator, Fault
from weshop_api.client import check_key
from weshop_api.credentials import PLACEHOLDER_KEY, ApiKey, Service
from weshop_api.errors import (
    AuthenticationError,
    ForbiddenDestinationError,
    InvalidRequestError,
    NoAnswerError,
    ServerError,
    WeShopError,
)
from weshop_api.http import Timeouts

PLACEHOLDER = ApiKey(PLACEHOLDER_KEY)


def ask(emulator: Emulator, key: ApiKey = PLACEHOLDER) -> None:
    asyncio.run(check_key(key, Service(emulator.base_url), Timeouts(idle_seconds=0.5, call_total_seconds=1.0)))


def test_an_accepted_key_is_asked_about_once_and_nothing_is_made() -> None:
    with Emulator() as emulator:
        ask(emulator)

        assert [(record.operation, record.method) for record in emulator.requests] == [("info", "GET")]
        assert emulator.requests[0].path == "/openapi/v1/agent/info?agentName=seedream&agentVersion=v1.0"
        assert (emulator.runs, emulator.uploads, emulator.points_balance) == ((), (), 100_000)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault.refuse(401, "40001", "the API key is wrong"), AuthenticationError),
        (Fault.refuse(200, "40003", "the plan has ended", envelope="legacy"), AuthenticationError),
        (Fault.refuse(403, envelope="none"), AuthenticationError),
        (Fault.refuse(422, "40000", "no such agent"), InvalidRequestError),
        (Fault.refuse(500, "50001"), ServerError),
        (Fault.reset("before"), NoAnswerError),
        (Fault.stall(), NoAnswerError),
    ],
)
def test_every_other_answer_is_an_error_of_its_kind_and_is_not_repeated(fault: Fault, kind: type[WeShopError]) -> None:
    with Emulator() as emulator:
        emulator.order("info", fault)

        with pytest.raises(kind):
            ask(emulator)
        assert len(emulator.requests) == 1
        assert emulator.unused_faults == ()


def test_a_key_of_the_user_is_not_shown_to_a_service_on_this_machine() -> None:
    with Emulator() as emulator:
        with pytest.raises(ForbiddenDestinationError):
            ask(emulator, ApiKey("test-key-not-real-0123456789"))

        assert emulator.requests == ()
