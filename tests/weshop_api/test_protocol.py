"""The protocol with literal values: what is sent, and what is read from good and from odd answers."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from weshop_api import protocol
from weshop_api.errors import InvalidRequestError, UnreadableReplyError
from weshop_api.models import Answer, Charge, Estimate, Execution, Reference, References, Result, RunStatus, Submission
from weshop_api.seedream import LITE, PRO, SeedreamRequest

ID = "65f0c0ffee0000000000abcd"


def answer(document: object, status: int = 200) -> Answer:
    return Answer(status, {}, json.dumps(document).encode())


def success(data: object = None, meta: object = None) -> Answer:
    return answer({"success": True, "data": data, "meta": meta})


def polled(*executions: object, **data: object) -> Answer:
    return success({"executions": list(executions), **data})


# What is sent ------------------------------------------------------------------------------------------------------


def test_the_body_of_a_plain_run_has_the_documented_fields_and_no_others() -> None:
    request = SeedreamRequest("a harbour at dawn", LITE, "3K", "16:9", "png", 4)

    body = json.loads(protocol.submit_body(request, (), ""))

    assert body == {
        "agent": {"name": "seedream", "version": "v1.0"},
        "input": {},
        "params": {
            "modelName": "Seedream_50_Lite",
            "textDescription": "a harbour at dawn",
            "imageSize": "3K",
            "aspectRatio": "16:9",
            "outputFormat": "png",
            "batchCount": 4,
        },
        "safeGenerate": "on",
    }


def test_references_stand_in_both_places_in_their_order() -> None:
    request = SeedreamRequest("image 2 like image 1", PRO, "1K", "auto")
    urls = ("https://host.example/b.png", "https://host.example/a.png")

    body = json.loads(protocol.submit_body(request, urls, "my label"))

    assert body["input"] == {"taskName": "my label", "images": list(urls)}
    assert body["params"]["images"] == list(urls)
    assert "originalImage" not in body["input"]


def test_tools_are_sent_only_when_asked_for() -> None:
    asked = json.loads(protocol.submit_body(SeedreamRequest("news", web_search=True), (), ""))
    not_asked = json.loads(protocol.submit_body(SeedreamRequest("news"), (), ""))

    assert asked["params"]["tools"] == ["web_search"]
    assert "tools" not in not_asked["params"]


def test_equal_requests_give_equal_bytes_of_which_the_hash_is_kept() -> None:
    first = protocol.submit_body(SeedreamRequest("\u6e2f \U0001f6a2"), ("https://host.example/a.png",), "label")
    second = protocol.submit_body(SeedreamRequest("\u6e2f \U0001f6a2"), ("https://host.example/a.png",), "label")

    assert first == second
    assert protocol.body_hash(first) == hashlib.sha256(first).hexdigest()
    assert json.loads(first)["params"]["textDescription"] == "\u6e2f \U0001f6a2"


def test_half_a_surrogate_pair_in_the_prompt_can_be_sent() -> None:
    body = protocol.submit_body(SeedreamRequest("broken \ud83d"), (), "")

    assert b"broken \\ud83d" in body


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "another"},
        {"model": PRO, "image_size": "2K"},
        {"image_size": "3K"},
        {"aspect_ratio": "1:1"},
        {"output_format": "png"},
        {"batch_count": 2},
        {"web_search": True},
        {"references": References((Reference("https://host.example/a.png"),))},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_can_change_the_pictures_changes_the_fingerprint(change: dict[str, Any]) -> None:
    plain: dict[str, Any] = {"prompt": "a harbour", "model": LITE, "image_size": "2K"}

    assert protocol.fingerprint(SeedreamRequest(**plain), 7) != protocol.fingerprint(
        SeedreamRequest(**{**plain, **change}), 7
    )


def test_another_seed_is_another_run() -> None:
    request = SeedreamRequest("a harbour")

    assert protocol.fingerprint(request, 7) != protocol.fingerprint(request, 8)
    assert protocol.fingerprint(request, 7) == protocol.fingerprint(SeedreamRequest("a harbour"), 7)


def test_the_label_and_the_place_of_an_upload_do_not_name_a_run() -> None:
    here = References((Reference("https://host.example/1.png", 60, 40, "hash"),))
    there = References((Reference("https://host.example/2.png", 60, 40, "hash"),))

    assert protocol.fingerprint(SeedreamRequest("x", references=here, task_name="a"), 0) == protocol.fingerprint(
        SeedreamRequest("x", references=there, task_name="b"), 0
    )


def test_the_order_of_references_names_a_run() -> None:
    one, two = Reference("https://host.example/1.png"), Reference("https://host.example/2.png")

    assert protocol.fingerprint(SeedreamRequest("x", references=References((one, two))), 0) != protocol.fingerprint(
        SeedreamRequest("x", references=References((two, one))), 0
    )


def test_an_execution_id_is_part_of_the_path() -> None:
    assert protocol.run_path(f" {ID}\n") == f"/agent/runs/{ID}"


def test_an_odd_execution_id_is_percent_encoded() -> None:
    assert protocol.run_path("a/b?c#d%") == "/agent/runs/a%2Fb%3Fc%23d%25"


@pytest.mark.parametrize("text", ["", "   ", ".", "..", "two words", "tab\tinside", "\u6e2f", "x" * 129])
def test_what_cannot_be_an_execution_id_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"is not an execution id\. Copy the id from"):
        protocol.check_execution_id(text)


# Uploads -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["image", "imageUrl"])
def test_the_address_of_an_upload_is_read_from_either_field(field: str) -> None:
    assert protocol.read_upload(success({field: "https://host.example/a.png"})) == "https://host.example/a.png"


@pytest.mark.parametrize(
    "image",
    [None, "", 5, ["https://host.example/a.png"], "a.png", "ftp://host.example/a", "https://a b", "data:image/png"],
)
def test_an_upload_without_an_address_is_unreadable(image: object) -> None:
    with pytest.raises(UnreadableReplyError) as caught:
        protocol.read_upload(success({"image": image}))

    assert caught.value.part == "data.image"


# Submissions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "meta"),
    [
        ({"executionId": ID}, {"executionId": ID}),
        ({"executionId": ID}, None),
        ({"executionId": ID}, {}),
        ({}, {"executionId": ID}),
        (None, {"executionId": ID}),
        ({"executionId": None}, {"executionId": ID}),
        ({"executionId": ID, "taskId": "another", "new": [1]}, {"executionId": "", "requestId": 1}),
    ],
)
def test_the_execution_id_is_taken_from_data_or_meta(data: object, meta: object) -> None:
    assert protocol.read_submission(success(data, meta)) == Submission(ID)


@pytest.mark.parametrize("charged", [15, 15.0])
def test_points_are_read_where_the_service_tells_them(charged: float) -> None:
    told = protocol.read_submission(
        success({"executionId": ID, "powerConsumption": charged, "powerBalanceAmount": 230.5})
    )

    assert told.charge == Charge(15.0, 230.5)


@pytest.mark.parametrize("points", [None, "15", True, [], 1e300])
def test_points_that_are_none_are_not_told(points: object) -> None:
    assert protocol.read_submission(success({"executionId": ID, "powerConsumption": points})).charge == Charge()


@pytest.mark.parametrize(
    ("data", "meta", "part"),
    [
        ({}, {}, "executionId"),
        (None, None, "executionId"),
        ({"executionId": ID}, {"executionId": ID[::-1]}, "executionId (two different ones)"),
        ({"executionId": 12345}, {}, "executionId"),
        ({"executionId": [ID]}, {}, "executionId"),
        ({"executionId": {"id": ID}}, {"executionId": ID}, "executionId"),
        ({"executionId": "two words"}, {}, "executionId"),
        ({"executionId": "x" * 500}, {}, "executionId"),
        ({"taskId": ID}, {}, "executionId"),
        ([ID], {}, "data"),
    ],
)
def test_a_success_without_one_usable_id_is_unreadable(data: object, meta: object, part: str) -> None:
    with pytest.raises(UnreadableReplyError) as caught:
        protocol.read_submission(success(data, meta))

    assert caught.value.part == part


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"null", b"[]", b"true", b'"text"', b"<html>", b"\xff\xfe{}", b"{}"),
        *(b'{"success": 1}', b'{"success": "true"}', b'{"data": {}}'),
        *(b"[" * 100_000, b'{"success": true, "data": ' + b"[" * 100_000),
    ],
    ids=lambda body: repr(body[:20]),
)
def test_what_is_no_success_envelope_is_unreadable(body: bytes) -> None:
    with pytest.raises(UnreadableReplyError, match="could not be read") as caught:
        protocol.read_submission(Answer(200, {}, body))

    assert caught.value.status == 200


@pytest.mark.parametrize("status", [301, 302, 307])
def test_a_redirect_is_named_as_what_stands_in_the_way(status: int) -> None:
    with pytest.raises(UnreadableReplyError, match="a redirect"):
        protocol.read_submission(Answer(status, {"location": "https://portal.example/"}, b"<html>"))


# Polls -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("Pending", RunStatus.PENDING),
        ("Segmenting", RunStatus.SEGMENTING),
        ("Running", RunStatus.RUNNING),
        ("Success", RunStatus.SUCCESS),
        ("SUCCESS", RunStatus.SUCCESS),
        ("failed", RunStatus.FAILED),
        ("Cancelled", RunStatus.CANCELLED),
        ("canceled", RunStatus.CANCELLED),
        ("Rendering", RunStatus.UNKNOWN),
        (7, RunStatus.UNKNOWN),
    ],
)
def test_statuses_are_read_whatever_their_case_and_unknown_ones_kept(word: object, status: RunStatus) -> None:
    execution = protocol.read_execution(polled({"executionId": ID, "status": word}), ID)

    assert execution == Execution(ID, status, str(word))


def test_only_success_failed_and_cancelled_end_a_run() -> None:
    assert [status.value for status in RunStatus if status.is_terminal] == ["Success", "Failed", "Cancelled"]


@pytest.mark.parametrize("data", [{"executions": []}, {"executions": None}, {}, None, {"executions": [{}]}])
def test_a_run_without_news_is_pending(data: object) -> None:
    assert protocol.read_execution(success(data), ID) == Execution(ID, RunStatus.PENDING, "Pending")


def test_a_status_beside_the_executions_is_read_when_they_have_none() -> None:
    assert protocol.read_execution(success({"status": "Running"}), ID).status is RunStatus.RUNNING


@pytest.mark.parametrize("position", [0, 1, 2])
def test_of_several_executions_the_one_with_the_id_counts(position: int) -> None:
    entries: list[object] = [
        {"executionId": "a" * 24, "status": "Failed"},
        {"executionId": "b" * 24, "status": "Failed"},
    ]
    entries.insert(position, {"executionId": ID, "status": "Running"})

    assert protocol.read_execution(polled(*entries), ID).status is RunStatus.RUNNING


def test_without_the_id_the_last_execution_counts() -> None:
    entries = [{"status": "Failed"}, {"executionId": "b" * 24, "status": "Success"}]

    assert protocol.read_execution(polled(*entries), ID).status is RunStatus.SUCCESS


def test_results_keep_their_numbers_and_those_without_a_picture_have_no_address() -> None:
    results = [
        {"status": "Success", "image": "https://host.example/1.png"},
        {"status": "Failed"},
        {"status": "Success"},
        {"status": "Failed", "image": "https://host.example/4.png"},
        {"status": "Whatever", "image": "https://host.example/5.png"},
        {"image": "https://host.example/6.png"},
        {"status": "Success", "image": None},
        {"status": "Success", "image": "not an address"},
        "nonsense",
    ]

    execution = protocol.read_execution(polled({"executionId": ID, "status": "Success", "result": results}), ID)

    assert [result.number for result in execution.results] == list(range(1, 10))
    assert execution.usable == (
        Result(1, "https://host.example/1.png", "Success"),
        Result(5, "https://host.example/5.png", "Whatever"),
        Result(6, "https://host.example/6.png", ""),
    )


@pytest.mark.parametrize(
    "url", ["https://host.example/\u6e2f.png", "HTTPS://host.example/a.png", "http://127.0.0.1:9/a"]
)
def test_an_unusual_address_is_an_address(url: str) -> None:
    """A paid picture must not be taken for a missing one because of how its address is written."""
    result = [{"status": "Success", "image": url}]

    execution = protocol.read_execution(polled({"executionId": ID, "status": "Success", "result": result}), ID)

    assert execution.usable == (Result(1, url, "Success"),)


@pytest.mark.parametrize("executions", [{}, "text", 5, [1], [None], [{"executionId": ID}, "text"]])
def test_executions_of_another_shape_are_unreadable(executions: object) -> None:
    with pytest.raises(UnreadableReplyError) as caught:
        protocol.read_execution(success({"executions": executions}), ID)

    assert caught.value.part == "data.executions"


@pytest.mark.parametrize("results", [{}, "text", 5, [{}] * 257])
def test_results_of_another_shape_are_unreadable(results: object) -> None:
    with pytest.raises(UnreadableReplyError) as caught:
        protocol.read_execution(polled({"executionId": ID, "result": results}), ID)

    assert caught.value.part == "data.executions[].result"


# Estimates ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"totalPower": 80, "paidPowerNotEnough": False, "type": "image"}, Estimate(80.0, affordable=True)),
        ({"totalPower": 80.5, "paidPowerNotEnough": True}, Estimate(80.5, affordable=False)),
        ({"totalPower": "80", "paidPowerNotEnough": "no"}, Estimate(None, None)),
        ({}, Estimate(None, None)),
    ],
)
def test_an_estimate_says_only_what_the_service_says(data: object, expected: Estimate) -> None:
    assert protocol.read_estimate(success(data)) == expected


# Waiting -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("3", 3.0), ("0.5", 0.5), ("", None), ("-1", None), ("nan", None), ("inf", None), ("soon", None)],
)
def test_the_wait_asked_for_is_a_finite_number_of_seconds(header: str, seconds: float | None) -> None:
    assert protocol.retry_after_seconds(Answer(429, {"retry-after": header}, b"")) == seconds


@pytest.mark.parametrize(
    ("until", "answered", "seconds"),
    [
        ("Fri, 27 Nov 2026 10:00:30 GMT", "Fri, 27 Nov 2026 10:00:00 GMT", 30.0),
        ("Fri, 27 Nov 2026 09:00:00 GMT", "Fri, 27 Nov 2026 10:00:00 GMT", 0.0),
        ("Fri, 27 Nov 2026 10:00:30 GMT", "", None),
        ("Fri, 27 Nov 2026 10:00:30 GMT", "today", None),
        ("Fri, 27 Nov 2026 10:00:30 GMT", "Fri, 27 Nov 2026 10:00:00 -0000", None),
        (f"Fri, 27 Nov 2026 10:00:30 +{'9' * 30}", "Fri, 27 Nov 2026 10:00:00 GMT", None),
    ],
)
def test_a_date_to_wait_for_counts_from_the_date_of_the_answer(
    until: str, answered: str, seconds: float | None
) -> None:
    answer = Answer(429, {"retry-after": until, "date": answered}, b"")

    assert protocol.retry_after_seconds(answer) == seconds
