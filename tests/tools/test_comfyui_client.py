"""The client for ComfyUI's HTTP API: what it reads, and the sentence for everything that can go wrong."""

from __future__ import annotations

from typing import Any

import pytest
import requests
from requests_mock import Mocker

from tools.comfyui import (
    ComfyUIClient,
    PromptFailedError,
    PromptInterruptedError,
    PromptRefusedError,
    PromptTimeoutError,
    SavedPicture,
    UnexpectedReplyError,
    UnreachableError,
)

URL = "http://127.0.0.1:8188"
PROMPT = {"1": {"class_type": "SaveImage", "inputs": {}}}


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def client() -> ComfyUIClient:
    clock = Clock()
    return ComfyUIClient(URL, clock=clock, sleep=clock.sleep)


def history(
    status: str, *messages: tuple[str, dict[str, Any]], outputs: dict[str, Any] | None = None
) -> dict[str, Any]:
    told = {"status_str": status, "messages": [list(each) for each in messages]}
    return {"p1": {"status": told, "outputs": outputs}}


def test_a_queued_prompt_has_an_id(client: ComfyUIClient, requests_mock: Mocker) -> None:
    requests_mock.post(f"{URL}/prompt", json={"prompt_id": "p1", "number": 1, "node_errors": {}})

    assert client.queue(PROMPT, client_id="me") == "p1"
    assert requests_mock.request_history[0].json() == {"prompt": PROMPT, "client_id": "me"}


def test_a_refused_prompt_names_node_and_mistake(client: ComfyUIClient, requests_mock: Mocker) -> None:
    mistake = {"type": "value_not_in_list", "message": "Value not in list", "details": "model: 'x' not in ['y']"}
    body = {
        "error": {"type": "prompt_outputs_failed_validation", "message": "Prompt outputs failed validation"},
        "node_errors": {"7": {"errors": [mistake], "class_type": "WeShopSeedreamGenerate"}},
    }
    requests_mock.post(f"{URL}/prompt", status_code=400, json=body)

    with pytest.raises(PromptRefusedError) as refused:
        client.queue(PROMPT)

    assert str(refused.value) == (
        "ComfyUI refused the prompt: node 7 (WeShopSeedreamGenerate): Value not in list - model: 'x' not in ['y']"
    )
    assert refused.value.node_errors["7"]["errors"] == [mistake]


def test_a_prompt_refused_as_a_whole_says_why(client: ComfyUIClient, requests_mock: Mocker) -> None:
    body = {"error": {"message": "Prompt has no outputs", "details": ""}, "node_errors": []}
    requests_mock.post(f"{URL}/prompt", status_code=400, json=body)

    with pytest.raises(PromptRefusedError, match=r"^ComfyUI refused the prompt: Prompt has no outputs$"):
        client.queue(PROMPT)


def test_a_prompt_accepted_in_part_is_an_error(client: ComfyUIClient, requests_mock: Mocker) -> None:
    node_errors = {"7": {"errors": [{"message": "Required input is missing", "details": "images"}], "class_type": "X"}}
    requests_mock.post(f"{URL}/prompt", json={"prompt_id": "p1", "node_errors": node_errors})

    with pytest.raises(PromptRefusedError, match=r"accepted only a part of the prompt: node 7 \(X\): Required input"):
        client.queue(PROMPT)


@pytest.mark.parametrize(
    ("status", "body", "shown"),
    [
        (500, "500 Internal Server Error", "status 500 and: 500 Internal Server Error"),
        (200, "<html>not ComfyUI</html>", "status 200 and: <html>not ComfyUI</html>"),
        (200, "[]", "status 200 and: []"),
        (200, "{}", "status 200 and: {}"),
        (400, "", "status 400 and: an empty body"),
    ],
)
def test_an_answer_to_a_prompt_that_is_not_comfyuis_is_shown(
    client: ComfyUIClient, requests_mock: Mocker, status: int, body: str, shown: str
) -> None:
    requests_mock.post(f"{URL}/prompt", status_code=status, text=body)

    with pytest.raises(UnexpectedReplyError) as unexpected:
        client.queue(PROMPT)

    assert str(unexpected.value) == f"ComfyUI answered POST /prompt with {shown}"


def test_a_refused_connection_is_named(client: ComfyUIClient, requests_mock: Mocker) -> None:
    requests_mock.get(f"{URL}/system_stats", exc=requests.ConnectionError("connection refused"))

    with pytest.raises(UnreachableError, match=r"8188 cannot be reached \(GET /system_stats\): connection refused"):
        client.system_stats()


def test_a_missing_answer_is_named(client: ComfyUIClient, requests_mock: Mocker) -> None:
    requests_mock.get(f"{URL}/object_info", exc=requests.ReadTimeout)

    with pytest.raises(UnreachableError, match="did not answer GET /object_info within 30 seconds"):
        client.object_info()


def test_a_list_where_an_object_belongs_is_refused(client: ComfyUIClient, requests_mock: Mocker) -> None:
    requests_mock.get(f"{URL}/object_info/SaveImage", json=[])

    with pytest.raises(UnexpectedReplyError, match="answered /object_info/SaveImage with list"):
        client.object_info("SaveImage")


def test_waiting_ends_with_what_the_prompt_made(client: ComfyUIClient, requests_mock: Mocker) -> None:
    outputs = {
        "9": {"images": [{"filename": "a.png", "subfolder": "s", "type": "output"}, {"filename": "b", "type": "temp"}]},
        "10": {"text": ["seen"]},
    }
    ended = history("success", ("execution_start", {}), outputs=outputs)
    requests_mock.get(f"{URL}/history/p1", [{"json": {}}, {"json": {}}, {"json": ended}])

    result = client.wait("p1", timeout_seconds=10)

    assert result.saved_pictures() == (SavedPicture("9", "a.png", "s", "output"),)
    assert [picture.filename for picture in result.pictures] == ["a.png", "b"]
    assert result.texts("10") == ("seen",)
    assert requests_mock.call_count == 3


def test_waiting_gives_up_in_time(client: ComfyUIClient, requests_mock: Mocker) -> None:
    requests_mock.get(f"{URL}/history/p1", json={})

    with pytest.raises(PromptTimeoutError, match=r"p1 did not end within 2\.5 seconds"):
        client.wait("p1", timeout_seconds=2.5)
    assert 25 <= requests_mock.call_count <= 27


def test_a_failed_node_is_named_with_its_error(client: ComfyUIClient, requests_mock: Mocker) -> None:
    details = {
        "node_id": "7",
        "node_type": "WeShopSeedreamGenerate",
        "exception_type": "RunFailedError",
        "exception_message": "The run failed.\n",
        "traceback": ["one\n", "two\n"],
    }
    requests_mock.get(f"{URL}/history/p1", json=history("error", ("execution_error", details)))

    with pytest.raises(PromptFailedError) as failed:
        client.wait("p1", timeout_seconds=1)

    assert str(failed.value) == "Node 7 (WeShopSeedreamGenerate) failed with RunFailedError: The run failed."
    assert failed.value.traceback == "one\ntwo\n"


def test_an_interrupted_prompt_is_not_a_failed_one(client: ComfyUIClient, requests_mock: Mocker) -> None:
    message = ("execution_interrupted", {"node_id": "7", "node_type": "X"})
    requests_mock.get(f"{URL}/history/p1", json=history("error", message))

    with pytest.raises(PromptInterruptedError, match=r"p1 was interrupted at node 7 \(X\)"):
        client.wait("p1", timeout_seconds=1)


def test_an_end_without_a_reason_is_refused(client: ComfyUIClient, requests_mock: Mocker) -> None:
    requests_mock.get(f"{URL}/history/p1", json=history("error"))

    with pytest.raises(UnexpectedReplyError, match="ended with status 'error' and no message"):
        client.wait("p1", timeout_seconds=1)


def test_a_picture_is_fetched_by_its_whole_name(client: ComfyUIClient, requests_mock: Mocker) -> None:
    requests_mock.get(f"{URL}/view?filename=a.png&subfolder=s&type=output", content=b"bytes")

    assert client.fetch(SavedPicture("9", "a.png", "s", "output")) == b"bytes"


def test_a_missing_picture_is_an_error(client: ComfyUIClient, requests_mock: Mocker) -> None:
    requests_mock.get(f"{URL}/view", status_code=404)

    with pytest.raises(UnexpectedReplyError, match=r"GET /view.*status 404"):
        client.fetch(SavedPicture("9", "a.png", "", "output"))


def test_an_uploaded_picture_has_the_name_comfyui_gave_it(client: ComfyUIClient, requests_mock: Mocker) -> None:
    requests_mock.post(f"{URL}/upload/image", json={"name": "a.png", "subfolder": "s", "type": "input"})

    assert client.upload_image("a.png", b"bytes") == "s/a.png"
    assert b'name="image"; filename="a.png"' in requests_mock.request_history[0].body


def test_a_refused_upload_is_an_error(client: ComfyUIClient, requests_mock: Mocker) -> None:
    requests_mock.post(f"{URL}/upload/image", status_code=413, text="too large")

    with pytest.raises(UnexpectedReplyError, match="status 413 and: too large"):
        client.upload_image("a.png", b"bytes")


def test_the_queue_counts_what_runs_and_what_waits(client: ComfyUIClient, requests_mock: Mocker) -> None:
    requests_mock.get(f"{URL}/queue", json={"queue_running": [1], "queue_pending": [2, 3]})

    assert client.queue_length() == 3


def test_interrupt_and_clear_reach_comfyui(client: ComfyUIClient, requests_mock: Mocker) -> None:
    requests_mock.post(f"{URL}/interrupt")
    requests_mock.post(f"{URL}/queue")

    client.interrupt()
    client.clear_queue()

    assert requests_mock.request_history[1].json() == {"clear": True}


def test_an_interrupt_that_is_not_taken_is_an_error(client: ComfyUIClient, requests_mock: Mocker) -> None:
    requests_mock.post(f"{URL}/interrupt", status_code=403)

    with pytest.raises(UnexpectedReplyError, match="POST /interrupt with status 403"):
        client.interrupt()
