"""How each answer of the service that is an error becomes one of this library, from both envelopes and from none."""

from __future__ import annotations

import json
import re

import pytest

from weshop_api import protocol
from weshop_api.errors import (
    API_KEY_PAGE,
    AuthenticationError,
    InsufficientPointsError,
    InvalidRequestError,
    LimitReachedError,
    NotFoundError,
    ServerError,
    ServiceError,
    WeShopError,
)
from weshop_api.models import Answer

Code = str | int


def error_of(status: int, document: object, headers: dict[str, str] | None = None) -> WeShopError:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    with pytest.raises(WeShopError) as caught:
        protocol.read_submission(Answer(status, headers or {}, body))
    return caught.value


def service_error(status: int, document: object, headers: dict[str, str] | None = None) -> ServiceError:
    error = error_of(status, document, headers)
    assert isinstance(error, ServiceError)
    return error


def documented(code: Code, message: str = "as ordered", **more: object) -> dict[str, object]:
    return {"success": False, "error": {"code": code, "message": message, **more}}


def legacy(code: Code, message: str = "as ordered") -> dict[str, object]:
    return {"success": False, "code": code, "msg": message}


CASES = [
    (200, "40001", AuthenticationError),
    (401, "40001", AuthenticationError),
    (400, "40003", AuthenticationError),
    (403, "40004", AuthenticationError),
    (200, "40005", LimitReachedError),
    (429, "40005", LimitReachedError),
    (429, "TOO_MANY", LimitReachedError),
    (402, "NO_POINTS", InsufficientPointsError),
    (200, "40000", InvalidRequestError),
    (422, "INVALID_PARAMETER", InvalidRequestError),
    (400, "INVALID_ARGUMENT", InvalidRequestError),
    (413, "TOO_LARGE", InvalidRequestError),
    (404, "NOT_FOUND", NotFoundError),
    (401, "NO", AuthenticationError),
    (200, "50001", ServerError),
    (500, "50006", ServerError),
    (503, "BUSY", ServerError),
    (200, "SOMETHING_NEW", ServiceError),
    (409, "CONFLICT", ServiceError),
]


@pytest.mark.parametrize("envelope", [documented, legacy])
@pytest.mark.parametrize(("status", "code", "kind"), CASES)
def test_each_code_has_its_class_in_both_envelopes(
    envelope: object, status: int, code: str, kind: type[WeShopError]
) -> None:
    assert callable(envelope)
    error = error_of(status, envelope(code))

    assert type(error) is kind
    assert f"HTTP {status}, {code}, as ordered" in str(error)
    assert isinstance(error, ServiceError | InvalidRequestError)
    assert error.code == code


@pytest.mark.parametrize("envelope", [documented, legacy])
def test_a_code_may_be_a_number(envelope: object) -> None:
    assert callable(envelope)

    assert type(error_of(200, envelope(40001))) is AuthenticationError


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, AuthenticationError),
        (403, AuthenticationError),
        (402, InsufficientPointsError),
        (404, NotFoundError),
        (429, LimitReachedError),
        (400, InvalidRequestError),
        (422, InvalidRequestError),
        (500, ServerError),
        (502, ServerError),
        (503, ServerError),
    ],
)
@pytest.mark.parametrize("page", [b"", b"<html>no</html>", b"[]", b"{}", b"\xff"])
def test_without_an_envelope_the_status_decides(status: int, kind: type[WeShopError], page: bytes) -> None:
    error = error_of(status, page)

    assert type(error) is kind
    assert f"(HTTP {status})" in str(error)


@pytest.mark.parametrize(
    "message",
    [
        "Insufficient points",
        "You do not have enough: insufficient credit balance",
        "not enough points for this run",
        "Points are not enough",
        "balance insufficient",
        "\u79ef\u5206\u4e0d\u8db3",
        "\u4f59\u989d\u4e0d\u8db3\uff0c\u8bf7\u5145\u503c",
    ],
)
def test_a_lack_of_points_is_known_by_its_wording(message: str) -> None:
    assert type(error_of(400, documented("NEW_CODE", message))) is InsufficientPointsError


@pytest.mark.parametrize("message", ["the point is not in the picture", "insufficient permission", "powerful"])
def test_other_words_are_not_taken_for_a_lack_of_points(message: str) -> None:
    assert type(error_of(400, documented("NEW_CODE", message))) is InvalidRequestError


@pytest.mark.parametrize(
    ("status", "document", "refused"),
    [
        (200, documented("SOMETHING_NEW"), True),
        (500, documented("50001"), True),
        (503, legacy("BUSY"), True),
        (409, documented("CONFLICT"), False),
        (404, b"<html>", True),
        (429, b"<html>", True),
        (500, b"<html>", False),
        (502, b"", False),
        (503, {"message": "no envelope"}, False),
        (408, b"", False),
        (409, b"", False),
        (425, b"", False),
        (499, b"", False),
        (500, {"success": True, "data": {"executionId": "a" * 24}}, False),
        (404, {"success": True, "data": {"executionId": "a" * 24}}, False),
        (400, {"success": True, "data": {"executionId": "a" * 24}}, False),
    ],
)
def test_only_an_answer_that_proves_it_counts_as_a_refusal(status: int, document: object, *, refused: bool) -> None:
    assert service_error(status, document).refused is refused


@pytest.mark.parametrize(
    ("status", "document"), [(503, {"msg": "Insufficient balance"}), (409, b""), (425, {"code": "40000"})]
)
def test_an_answer_that_proves_nothing_is_not_called_a_refusal(status: int, document: object) -> None:
    error = service_error(status, document)

    assert type(error) is ServiceError
    assert "does not tell what became of the request" in str(error)
    assert "refused" not in str(error)
    assert "Nothing was charged" not in str(error)


@pytest.mark.parametrize("flag", [True, False])
def test_what_the_service_says_about_trying_again_is_kept(*, flag: bool) -> None:
    assert service_error(500, documented("50001", retryable=flag)).retryable is flag


@pytest.mark.parametrize("flag", [None, "yes", 1])
def test_an_unclear_word_about_trying_again_is_no_word(flag: object) -> None:
    assert service_error(500, documented("50001", retryable=flag)).retryable is None


def test_a_parameter_error_that_may_be_tried_again_is_not_blamed_on_the_request() -> None:
    error = service_error(422, documented("INVALID_PARAMETER", retryable=True))

    assert (type(error), error.retryable, error.refused) == (ServiceError, True, True)


def test_the_wait_that_the_service_asks_for_is_kept() -> None:
    assert service_error(429, documented("40005"), {"retry-after": "7"}).retry_after_seconds == 7.0


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_key_says_where_keys_are_managed(status: int) -> None:
    assert API_KEY_PAGE in str(error_of(status, documented("40001")))


def test_the_words_of_the_service_arrive_on_one_line_and_bounded() -> None:
    error = error_of(400, documented("40000\n<b>", "line one\nline two " + "x" * 5000))

    assert "line one line two" in str(error)
    assert "\n" not in str(error)
    assert len(str(error)) < 600


@pytest.mark.parametrize("nested", [None, "text", 5, [], {"code": [], "message": {}}, {"code": True, "message": 1.5}])
def test_an_envelope_with_odd_parts_is_still_an_error(nested: object) -> None:
    assert type(error_of(500, {"success": False, "error": nested})) is ServerError


@pytest.mark.parametrize(("status", "code", "kind"), CASES)
def test_every_message_is_one_paragraph_that_ends_as_a_sentence(
    status: int, code: str, kind: type[WeShopError]
) -> None:
    text = str(error_of(status, documented(code)))

    assert re.fullmatch(r"WeShop('s)? [^\n]+(\.|/apikey)", text) or issubclass(kind, InsufficientPointsError)
    assert "{" not in text
