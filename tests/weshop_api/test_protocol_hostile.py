"""Whatever arrives: readers give a value or an error of this library, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings, strategies as st

from weshop_api import protocol
from weshop_api.errors import WeShopError
from weshop_api.models import Answer

ID = "65f0c0ffee0000000000abcd"

READERS: dict[str, Callable[[Answer], object]] = {
    "upload": protocol.read_upload,
    "submission": protocol.read_submission,
    "execution": lambda answer: protocol.read_execution(answer, ID),
    "estimate": protocol.read_estimate,
    "success": protocol.read_success,
}

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from([ID, "Success", "Failed", "https://host.example/a.png", "40005", 40001, 10**400, ".", ""])
)
NAMES = [
    *("success", "data", "meta", "error", "code", "msg", "message", "retryable", "executionId", "executions"),
    *("status", "result", "image", "imageUrl", "powerConsumption", "totalPower", "paidPowerNotEnough"),
]
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=6),
    max_leaves=25,
)
envelopes = st.fixed_dictionaries(
    {"success": st.sampled_from([True, False, None, "true"])},
    optional=dict.fromkeys(("data", "meta", "error", "code", "msg"), documents),
)
bodies = (
    st.binary(max_size=200)
    | documents.map(lambda document: json.dumps(document).encode())
    | envelopes.map(lambda document: json.dumps(document).encode())
    | envelopes.map(lambda document: json.dumps(document).encode()[:-1])
)
dates = st.builds(
    "{}, {} {} {} {}:{}:{} {}".format,
    *(
        st.sampled_from(["Fri", "27", "Nov", "2026", "10", "00", "GMT", "-0000"]) | st.text(max_size=12)
        for _ in range(8)
    ),
)
answers = st.builds(
    Answer,
    st.sampled_from([200, 201, 204, 206, 301, 400, 401, 404, 409, 422, 429, 500, 502, 599]) | st.integers(100, 999),
    st.dictionaries(st.sampled_from(["retry-after", "date", "content-type"]), st.text(max_size=10) | dates),
    bodies,
)


@pytest.mark.parametrize("reader", READERS)
@settings(max_examples=100, deadline=None)
@given(answer=answers)
def test_no_answer_makes_a_reader_fail_in_another_way(reader: str, answer: Answer) -> None:
    try:
        READERS[reader](answer)
    except WeShopError as error:
        text = str(error)

        assert text.isprintable()
        assert len(text) < 1000


@settings(max_examples=100, deadline=None)
@given(text=st.text(max_size=300))
def test_any_text_is_an_execution_id_that_makes_a_plain_path_or_is_refused(text: str) -> None:
    try:
        path = protocol.run_path(text)
    except WeShopError:
        return

    assert path.isascii()
    assert path.startswith("/agent/runs/")
    assert path.count("/") == 3
    assert not set(path) & set(" ?#\\")
