"""A client of a few lines for the emulator's tests; it knows nothing of the pack's own client."""

from __future__ import annotations

import io
import json
from typing import Any

import requests
from PIL import Image

from emulator import Emulator

TIMEOUT_SECONDS = 20
HEADERS = {"Authorization": "emulator"}


class Caller:
    """Calls one emulator and returns the answers as they come."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self._session = requests.Session()
        self._session.trust_env = False

    def upload(self, data: bytes | None = None, name: str = "a.png") -> requests.Response:
        files = {"image": (name, png() if data is None else data)}
        return self._post("/agent/assets/images", files=files)

    def uploaded_url(self, data: bytes | None = None) -> str:
        return str(self.upload(data).json()["data"]["image"])

    def submit(self, document: object, key: str | None = None) -> requests.Response:
        return self.submit_bytes(json.dumps(document).encode(), key)

    def submit_bytes(self, body: bytes, key: str | None = None) -> requests.Response:
        headers = {"Content-Type": "application/json"}
        if key is not None:
            headers["Idempotency-Key"] = key
        return self._post("/agent/runs", data=body, headers=headers)

    def estimate(self, document: object) -> requests.Response:
        return self._post("/agent/power-estimates", json=document)

    def info(self) -> requests.Response:
        return self._get(self.emulator.base_url + "/v1/agent/info?agentName=seedream&agentVersion=v1.0")

    def submitted_id(self, document: object | None = None) -> str:
        return str(self.submit(request() if document is None else document).json()["data"]["executionId"])

    def poll(self, execution_id: str) -> requests.Response:
        return self._get(f"{self.emulator.base_url}/agent/runs/{execution_id}")

    def execution(self, execution_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.poll(execution_id).json()["data"]["executions"][0]
        return found

    def finished(self, document: object | None = None) -> dict[str, Any]:
        """Submit and poll to the end; return the last execution."""
        execution_id = self.submitted_id(document)
        while True:
            execution = self.execution(execution_id)
            if execution["status"] not in {"Pending", "Running"}:
                return execution

    def download(self, url: str, **options: Any) -> requests.Response:  # noqa: ANN401 - what requests takes
        return self._session.get(url, timeout=TIMEOUT_SECONDS, **options)

    def picture(self, document: object | None = None) -> Image.Image:
        """Return the first result of a new run."""
        url = self.finished(document)["result"][0]["image"]
        return Image.open(io.BytesIO(self.download(url).content))

    def _post(self, path: str, headers: dict[str, str] | None = None, **options: Any) -> requests.Response:  # noqa: ANN401 - what requests takes
        url = self.emulator.base_url + path
        return self._session.post(url, headers={**HEADERS, **(headers or {})}, timeout=TIMEOUT_SECONDS, **options)

    def _get(self, url: str) -> requests.Response:
        return self._session.get(url, headers=HEADERS, timeout=TIMEOUT_SECONDS)


def request(**params: object) -> dict[str, Any]:
    """Return a small valid request for Pro at 1K with these parameters changed; None takes one out."""
    given = {
        "modelName": "Seedream_50_Pro",
        "textDescription": "a harbour at dawn",
        "imageSize": "1K",
        "aspectRatio": "1:1",
        "outputFormat": "jpeg",
        "batchCount": 1,
        **params,
    }
    kept = {name: value for name, value in given.items() if value is not None}
    return {"agent": {"name": "seedream", "version": "v1.0"}, "input": {}, "params": kept}


def with_references(*urls: str, **params: object) -> dict[str, Any]:
    """Return a valid request with these references in both documented places."""
    document = request(images=list(urls), **params)
    document["input"]["images"] = list(urls)
    return document


def png(colour: str = "red", size: tuple[int, int] = (60, 40)) -> bytes:
    """Return a plain PNG."""
    return encoded("PNG", colour, size)


def encoded(picture_format: str, colour: str = "red", size: tuple[int, int] = (60, 40)) -> bytes:
    """Return a plain picture in this format."""
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, picture_format)
    return buffer.getvalue()
