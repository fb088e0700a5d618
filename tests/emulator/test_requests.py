"""Which requests the emulator takes, and with what words it refuses the others."""

from __future__ import annotations

import io
from typing import Any

import pytest
import requests
from PIL import Image

from emulator import Emulator, UploadLimits

from .caller import Caller, encoded, png, request, with_references

FILE_PART = b'\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n' + png() + b"\r\n"


def refusal(response: requests.Response) -> tuple[int, str]:
    document = response.json()
    assert document["success"] is False
    assert document["error"]["retryable"] in {True, False}
    return response.status_code, document["error"]["code"]


def changed(**parts: object) -> dict[str, Any]:
    return {**request(), **parts}


def test_an_accepted_run_names_its_id_in_both_places(caller: Caller) -> None:
    document = caller.submit(request()).json()

    assert document["success"] is True
    assert document["data"]["executionId"] == document["meta"]["executionId"]
    assert len(document["data"]["executionId"]) == 24
    assert set(document["data"]["executionId"]) <= set("0123456789abcdef")


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(changed(seed=1), id="unknown top-level field"),
        pytest.param(request(seed=1), id="unknown parameter"),
        pytest.param(changed(input={"prompt": "x"}), id="unknown input field"),
        pytest.param(changed(agent={"name": "seedream"}), id="no version"),
        pytest.param(changed(agent={"name": "gpt-image", "version": "v1.0"}), id="another agent"),
        pytest.param({"agent": {"name": "seedream", "version": "v1.0"}, "input": {}}, id="no params"),
        pytest.param(changed(input=None), id="null input"),
        pytest.param(changed(safeGenerate="maybe"), id="safeGenerate"),
        pytest.param(changed(callbackUrl="nowhere"), id="callbackUrl"),
        pytest.param(request(textDescription=None), id="no prompt"),
        pytest.param(request(textDescription="  \n"), id="blank prompt"),
        pytest.param(request(textDescription=5), id="prompt of a wrong type"),
        pytest.param(request(modelName="Seedream_40"), id="unknown model"),
        pytest.param(request(imageSize="3K"), id="3K on Pro"),
        pytest.param(request(modelName=None, imageSize="3K"), id="3K without a model"),
        pytest.param(request(modelName="Seedream_50_Lite"), id="1K on Lite"),
        pytest.param(request(modelName="Seedream_50_Lite", imageSize="2K", aspectRatio="auto"), id="auto on Lite"),
        pytest.param(request(aspectRatio="5:4"), id="unknown ratio"),
        pytest.param(request(outputFormat="jpg"), id="jpg"),
        pytest.param(request(tools=["web_search"]), id="tools on Pro"),
        pytest.param(request(modelName="Seedream_50_Lite", imageSize="2K", tools="web_search"), id="tools no list"),
        pytest.param(request(batchCount=0), id="no picture"),
        pytest.param(request(batchCount=17), id="seventeen pictures"),
        pytest.param(request(batchCount=True), id="batchCount true"),
        pytest.param(request(batchCount=2.0), id="batchCount 2.0"),
        pytest.param(request(images=[]), id="empty list of references"),
        pytest.param(request(images=["data:image/png;base64,AAAA"]), id="data URL"),
        pytest.param(request(images=["http://example.com/a.png"]), id="public http URL"),
        pytest.param(request(images=["https://127.0.0.1/a.png"]), id="private address"),
        pytest.param(request(images=["https://user@example.com/a.png"]), id="user info"),
        pytest.param(request(images=["https://example.com/a.png"] * 11), id="eleven references on Pro"),
    ],
)
def test_what_the_service_does_not_document_is_refused(caller: Caller, document: object) -> None:
    response = caller.submit(document)

    assert refusal(response) == (422, "40000")
    assert caller.emulator.runs == ()


def test_references_that_disagree_are_refused(caller: Caller) -> None:
    document = with_references("https://example.com/a.png")
    document["input"]["images"] = ["https://example.com/b.png"]

    assert refusal(caller.submit(document)) == (422, "40000")


def test_an_original_image_that_is_not_the_first_reference_is_refused(caller: Caller) -> None:
    document = with_references("https://example.com/a.png", "https://example.com/b.png")
    document["input"]["originalImage"] = "https://example.com/b.png"

    assert refusal(caller.submit(document)) == (422, "40000")


def test_an_original_image_that_repeats_the_first_reference_is_not_counted(caller: Caller) -> None:
    document = with_references(*[f"https://example.com/{number}.png" for number in range(10)])
    document["input"]["originalImage"] = "https://example.com/0.png"

    assert caller.submit(document).status_code == 200


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff", b""])
def test_an_unreadable_body_is_refused(caller: Caller, body: bytes) -> None:
    assert refusal(caller.submit_bytes(body)) == (400, "40000")


@pytest.mark.parametrize(("model", "count"), [("Seedream_50_Pro", 10), ("Seedream_50_Lite", 14)], ids=["Pro", "Lite"])
def test_each_model_takes_its_documented_number_of_references(caller: Caller, model: str, count: int) -> None:
    urls = [f"https://example.com/{number}.png" for number in range(count)]

    response = caller.submit(with_references(*urls, modelName=model, imageSize="2K"))

    assert response.status_code == 200
    assert caller.emulator.runs[0].references == tuple(urls)


@pytest.mark.parametrize("place", ["params", "input", "original"])
def test_references_are_taken_from_each_of_their_places(caller: Caller, place: str) -> None:
    url = caller.uploaded_url()
    document = request()
    if place == "params":
        document["params"]["images"] = [url]
    elif place == "input":
        document["input"]["images"] = [url]
    else:
        document["input"]["originalImage"] = url

    caller.submit(document)

    assert caller.emulator.runs[0].references == (url,)


def test_a_url_of_the_files_server_that_was_never_uploaded_is_refused(caller: Caller) -> None:
    url = caller.emulator.files_url + "/uploads/never.png"

    assert refusal(caller.submit(with_references(url))) == (422, "40000")


def test_an_expired_upload_is_refused(caller: Caller) -> None:
    url = caller.uploaded_url()
    caller.emulator.expire_uploads()

    assert refusal(caller.submit(with_references(url))) == (422, "40000")
    assert caller.download(url).status_code == 403


def test_lenient_checking_ignores_unknown_fields() -> None:
    with Emulator(port=0, strict=False) as emulator:
        response = Caller(emulator).submit(request(seed=7))

        assert response.status_code == 200


@pytest.mark.parametrize("key", [None, "", "Bearer emulator", "rejected"])
def test_a_missing_or_wrong_key_is_refused(caller: Caller, key: str | None) -> None:
    headers = {} if key is None else {"Authorization": key}

    response = requests.get(caller.emulator.base_url + "/agent/runs/x", headers=headers, timeout=5)

    assert refusal(response) == (401, "40001")


def test_an_unknown_run_is_not_found(caller: Caller) -> None:
    assert refusal(caller.poll("0" * 24)) == (404, "NOT_FOUND")


def test_an_unknown_path_is_not_found(caller: Caller) -> None:
    response = requests.delete(caller.emulator.base_url + "/agent/runs/x", timeout=5)

    assert refusal(response) == (404, "NOT_FOUND")


def test_the_same_key_with_the_same_body_answers_the_first_run(caller: Caller) -> None:
    first = caller.submit(request(), key="one").json()
    second = caller.submit(request(), key="one").json()

    assert first == second
    assert [run.submits for run in caller.emulator.runs] == [2]


def test_the_same_key_with_another_body_is_refused(caller: Caller) -> None:
    caller.submit(request(), key="one")

    assert refusal(caller.submit(request(batchCount=2), key="one")) == (409, "40000")


def test_runs_above_the_limit_are_refused_until_one_ends() -> None:
    with Emulator(port=0, max_runs_at_once=1) as emulator:
        caller = Caller(emulator)
        first = caller.submitted_id()
        refused = caller.submit(request())
        emulator.finish_runs()
        caller.poll(first)

        assert refusal(refused) == (429, "40005")
        assert caller.submit(request()).status_code == 200


def test_points_are_taken_and_run_out() -> None:
    with Emulator(port=0, points_balance=25, points_per_picture=10) as emulator:
        caller = Caller(emulator)
        data = caller.submit(request(batchCount=2)).json()["data"]
        refused = caller.submit(request())

        assert (data["powerConsumption"], data["powerBalanceAmount"]) == (20, 5)
        assert refusal(refused) == (402, "INSUFFICIENT_POINTS")
        assert "insufficient points" in refused.json()["error"]["message"].lower()
        assert emulator.points_balance == 5


def test_points_can_be_left_unsaid() -> None:
    with Emulator(port=0, says_points=False) as emulator:
        data = Caller(emulator).submit(request()).json()["data"]

        assert set(data) == {"executionId", "taskId"}


def test_an_estimate_names_the_price_without_creating_a_run(caller: Caller) -> None:
    data = caller.estimate(request(batchCount=3)).json()["data"]

    assert data["totalPower"] == 30
    assert data["paidPowerNotEnough"] is False
    assert caller.emulator.runs == ()


def test_the_agent_info_is_a_check_of_the_key(caller: Caller) -> None:
    assert caller.info().json()["success"] is True


def test_the_description_names_every_path(caller: Caller) -> None:
    text = requests.get(caller.emulator.base_url + "/agent/openapi.yaml", timeout=5).text

    assert text.startswith("openapi: 3.1.0\n")
    for path in ("/agent/assets/images:", "/agent/runs:", "/agent/runs/{executionId}:", "/agent/power-estimates:"):
        assert f"  {path}\n" in text
    assert 'modelName: {enum: ["Seedream_50_Pro", "Seedream_50_Lite"]}' in text


@pytest.mark.parametrize("picture_format", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"])
def test_an_upload_is_kept_byte_for_byte(caller: Caller, picture_format: str) -> None:
    data = encoded(picture_format)

    url = caller.uploaded_url(data)

    assert caller.download(url).content == data
    assert caller.emulator.uploads[0].data == data
    assert (caller.emulator.uploads[0].width, caller.emulator.uploads[0].height) == (60, 40)


def test_a_camera_file_with_a_second_picture_inside_counts_as_jpeg(caller: Caller) -> None:
    buffer = io.BytesIO()
    frames = [Image.new("RGB", (60, 40), colour) for colour in ("red", "blue")]
    frames[0].save(buffer, "MPO", save_all=True, append_images=frames[1:])

    assert caller.uploaded_url(buffer.getvalue()).endswith(".jpg")


@pytest.mark.parametrize(
    "data",
    [b"", b"no picture", png()[:-40], png(size=(14, 20)), png(size=(600, 30))],
    ids=["empty", "text", "damaged", "too small", "too long"],
)
def test_an_unusable_upload_is_refused(caller: Caller, data: bytes) -> None:
    assert refusal(caller.upload(data)) == (422, "40000")
    assert caller.emulator.uploads == ()


def test_uploads_over_the_limits_are_refused() -> None:
    limits = UploadLimits(max_bytes=200, max_pixels=900)
    with Emulator(port=0, upload_limits=limits) as emulator:
        caller = Caller(emulator)

        assert refusal(caller.upload(encoded("BMP"))) == (413, "40000")
        assert refusal(caller.upload(png(size=(31, 30)))) == (422, "40000")
        assert caller.upload(png(size=(30, 30))).status_code == 200


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data", b"--x--"),
        ("multipart/form-data; boundary=x", b"--x\r\n"),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\nA\r\n--x--'),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\nA\r\n--x--',
        ),
        ("multipart/form-data; boundary=x", b"--x" + FILE_PART + b"--x" + FILE_PART + b"--x--"),
    ],
    ids=["JSON", "no boundary", "cut off", "no file name", "another field", "two files"],
)
def test_a_form_that_is_not_the_documented_one_is_refused(caller: Caller, content_type: str, body: bytes) -> None:
    headers = {"Authorization": "emulator", "Content-Type": content_type}

    response = requests.post(caller.emulator.base_url + "/agent/assets/images", body, headers=headers, timeout=5)

    assert refusal(response) == (400, "40000")
