"""A client for ComfyUI's HTTP API: queue a prompt, wait for its end, collect what it made.

ComfyUIError
  UnreachableError          nothing answers, or not in time
  UnexpectedReplyError      an answer that is not what ComfyUI promises
  PromptRefusedError        validation found mistakes; nothing, or only a part, was executed
  PromptFailedError         a node raised an error
  PromptInterruptedError    somebody pressed the interrupt button
  PromptTimeoutError        the prompt did not end in the time we gave it
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import requests

Json = Any
"""A JSON value as ComfyUI sent it; its shape is ComfyUI's business."""

Prompt = Mapping[str, Mapping[str, Json]]
"""A workflow in API form: node id to `{"class_type": ..., "inputs": {...}}`."""

REQUEST_TIMEOUT_SECONDS = 30.0
WATCH_INTERVAL_SECONDS = 0.1
SHOWN_REPLY_CHARACTERS = 300


class ComfyUIError(Exception):
    """Base of everything this module raises; the text is one sentence or two for a person."""


class UnreachableError(ComfyUIError):
    """No answer arrived."""


class UnexpectedReplyError(ComfyUIError):
    """An answer arrived, but not one that ComfyUI's API promises."""


class PromptRefusedError(ComfyUIError):
    """ComfyUI's validation refused the prompt or a part of it."""

    def __init__(self, message: str, node_errors: Mapping[str, Json]) -> None:
        """Keep the errors as ComfyUI reported them, by node id."""
        super().__init__(message)
        self.node_errors = node_errors


class PromptFailedError(ComfyUIError):
    """A node raised an error while it was executed."""

    def __init__(self, details: Mapping[str, Json]) -> None:
        """Take the data of ComfyUI's `execution_error` message."""
        self.node_id = str(details.get("node_id", ""))
        self.node_type = str(details.get("node_type", ""))
        self.exception_type = str(details.get("exception_type", ""))
        self.exception_message = str(details.get("exception_message", "")).strip()
        self.traceback = "".join(details.get("traceback") or ())
        super().__init__(
            f"Node {self.node_id} ({self.node_type}) failed with {self.exception_type}: {self.exception_message}"
        )


class PromptInterruptedError(ComfyUIError):
    """The prompt was interrupted."""


class PromptTimeoutError(ComfyUIError):
    """The prompt is still queued or executing."""


@dataclass(frozen=True)
class SavedPicture:
    """A picture that a node saved, as ComfyUI names it."""

    node_id: str
    filename: str
    subfolder: str
    folder_type: str
    """`output`, `temp` or `input`."""


@dataclass(frozen=True)
class PromptResult:
    """What an executed prompt left behind."""

    prompt_id: str
    pictures: tuple[SavedPicture, ...]
    outputs: Mapping[str, Mapping[str, Json]]
    """What each output node showed, by node id, as it stands in ComfyUI's history."""
    messages: tuple[tuple[str, Mapping[str, Json]], ...]
    """ComfyUI's status messages: event name and data."""

    def saved_pictures(self) -> tuple[SavedPicture, ...]:
        """Return the pictures in the output folder, without temporary previews."""
        return tuple(picture for picture in self.pictures if picture.folder_type == "output")

    def texts(self, node_id: str) -> tuple[str, ...]:
        """Return what a text preview node showed."""
        return tuple(str(text) for text in self.outputs.get(node_id, {}).get("text", ()))


class ComfyUIClient:
    """Speak to one ComfyUI.  Every method raises a ComfyUIError and nothing else when something goes wrong."""

    def __init__(
        self,
        url: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Take the address without a path, for example `http://127.0.0.1:8188`."""
        self.url = url.rstrip("/")
        self._clock = clock
        self._sleep = sleep
        self._session = requests.Session()
        self._session.trust_env = False  # A proxy configured on this machine has no business between us and loopback.

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def system_stats(self) -> Mapping[str, Json]:
        """Return versions and devices; the cheapest question that shows that ComfyUI is up."""
        return _mapping(self._get("/system_stats"), "/system_stats")

    def object_info(self, node_type: str | None = None) -> Mapping[str, Json]:
        """Return the description of every node type, or of one: empty when ComfyUI does not know it."""
        path = f"/object_info/{node_type}" if node_type else "/object_info"
        return _mapping(self._get(path), path)

    def run(self, prompt: Prompt, *, timeout_seconds: float) -> PromptResult:
        """Queue a prompt and wait for its end."""
        return self.wait(self.queue(prompt), timeout_seconds=timeout_seconds)

    def queue(self, prompt: Prompt, *, client_id: str | None = None, extra_data: Json = None) -> str:
        """Queue a prompt and return its id; raises PromptRefusedError when ComfyUI finds a mistake in it.

        `client_id` is that of a websocket which is to receive the messages of this prompt.
        """
        body = {"prompt": prompt, "client_id": client_id, "extra_data": extra_data}
        response = self._send("POST", "/prompt", json={key: value for key, value in body.items() if value is not None})
        reply = _read_json(response) if response.status_code in (200, 400) else None
        if not isinstance(reply, dict):
            raise _unexpected(response)
        if response.status_code == 400 or reply.get("node_errors"):  # noqa: PLR2004 - HTTP's own number
            raise _refused(reply)
        if not isinstance(reply.get("prompt_id"), str):
            raise _unexpected(response)
        return str(reply["prompt_id"])

    def wait(self, prompt_id: str, *, timeout_seconds: float) -> PromptResult:
        """Wait until a queued prompt has ended; raises by how it ended."""
        deadline = self._clock() + timeout_seconds
        while (entry := self.history(prompt_id)) is None:
            if self._clock() >= deadline:
                raise PromptTimeoutError(f"The prompt {prompt_id} did not end within {timeout_seconds:g} seconds.")
            self._sleep(WATCH_INTERVAL_SECONDS)
        return _read_history_entry(prompt_id, entry)

    def history(self, prompt_id: str) -> Mapping[str, Json] | None:
        """Return the history entry of an ended prompt, or None while it is queued or executing."""
        path = f"/history/{prompt_id}"
        entry = _mapping(self._get(path), path).get(prompt_id)
        return None if entry is None else _mapping(entry, path)

    def queue_length(self) -> int:
        """Return how many prompts are executing or waiting."""
        reply = _mapping(self._get("/queue"), "/queue")
        return len(reply.get("queue_running", ())) + len(reply.get("queue_pending", ()))

    def fetch(self, picture: SavedPicture) -> bytes:
        """Return the file of a picture."""
        params = {"filename": picture.filename, "subfolder": picture.subfolder, "type": picture.folder_type}
        response = self._send("GET", "/view", params=params)
        if not response.ok:
            raise _unexpected(response)
        return response.content

    def upload_image(self, name: str, data: bytes) -> str:
        """Put a picture into ComfyUI's input folder, over an older one of that name, and return its name there."""
        response = self._send("POST", "/upload/image", files={"image": (name, data)}, data={"overwrite": "true"})
        reply = _read_json(response) if response.ok else None
        if not isinstance(reply, dict) or not isinstance(reply.get("name"), str):
            raise _unexpected(response)
        return "/".join(part for part in (str(reply.get("subfolder") or ""), reply["name"]) if part)

    def interrupt(self) -> None:
        """Interrupt what is executing."""
        self._post("/interrupt", {})

    def clear_queue(self) -> None:
        """Drop the prompts that wait; the one that executes goes on."""
        self._post("/queue", {"clear": True})

    def free_memory(self) -> None:
        """Drop ComfyUI's cache of node outputs, so that an equal prompt is executed again."""
        self._post("/free", {"free_memory": True})

    def _get(self, path: str) -> Json:
        response = self._send("GET", path)
        if not response.ok:
            raise _unexpected(response)
        return _read_json(response)

    def _post(self, path: str, body: Json) -> None:
        response = self._send("POST", path, json=body)
        if not response.ok:
            raise _unexpected(response)

    def _send(self, method: str, path: str, **content: Json) -> requests.Response:
        try:
            return self._session.request(method, self.url + path, timeout=REQUEST_TIMEOUT_SECONDS, **content)
        except requests.Timeout:
            raise UnreachableError(
                f"ComfyUI at {self.url} did not answer {method} {path} within {REQUEST_TIMEOUT_SECONDS:g} seconds."
            ) from None
        except requests.RequestException as failure:
            raise UnreachableError(f"ComfyUI at {self.url} cannot be reached ({method} {path}): {failure}") from failure


def _read_json(response: requests.Response) -> Json:
    try:
        return response.json()
    except requests.JSONDecodeError:
        raise _unexpected(response) from None


def _mapping(value: Json, path: str) -> Mapping[str, Json]:
    if not isinstance(value, dict):
        raise UnexpectedReplyError(f"ComfyUI answered {path} with {type(value).__name__} where an object was expected.")
    return value


def _unexpected(response: requests.Response) -> UnexpectedReplyError:
    request = f"{response.request.method} {response.request.path_url}"
    shown = response.text[:SHOWN_REPLY_CHARACTERS].strip() or "an empty body"
    return UnexpectedReplyError(f"ComfyUI answered {request} with status {response.status_code} and: {shown}")


def _refused(reply: Mapping[str, Json]) -> PromptRefusedError:
    """Build the error from the body that ComfyUI sends when its validation finds mistakes."""
    node_errors = reply.get("node_errors") or {}  # An empty list, not an object, when no node is to blame.
    sentences = [
        f"node {node_id} ({node.get('class_type', '?')}): {_sentence(error)}"
        for node_id, node in dict(node_errors).items()
        for error in node.get("errors", ())
    ]
    if not sentences:
        sentences = [_sentence(reply.get("error") or "no reason given")]
    extent = "refused the prompt" if reply.get("error") else "accepted only a part of the prompt"
    return PromptRefusedError(f"ComfyUI {extent}: {'; '.join(sentences)}", dict(node_errors))


def _sentence(error: Json) -> str:
    if not isinstance(error, dict):
        return str(error)
    return " - ".join(str(error[key]) for key in ("message", "details") if error.get(key))


def _read_history_entry(prompt_id: str, entry: Mapping[str, Json]) -> PromptResult:
    status = entry.get("status") or {}
    messages = tuple((str(event), data) for event, data in status.get("messages", ()))
    for event, data in messages:
        if event == "execution_error":
            raise PromptFailedError(data)
        if event == "execution_interrupted":
            raise PromptInterruptedError(
                f"The prompt {prompt_id} was interrupted at node {data.get('node_id')} ({data.get('node_type')})."
            )
    if status.get("status_str") != "success":
        raise UnexpectedReplyError(
            f"The prompt {prompt_id} ended with status {status.get('status_str')!r} and no message that says why."
        )
    outputs = entry.get("outputs") or {}
    return PromptResult(prompt_id, tuple(_read_pictures(outputs)), outputs, messages)


def _read_pictures(outputs: Mapping[str, Mapping[str, Json]]) -> list[SavedPicture]:
    return [
        SavedPicture(node_id, image["filename"], image.get("subfolder", ""), image.get("type", "output"))
        for node_id, shown in outputs.items()
        for image in shown.get("images", ())
        if isinstance(image, dict) and "filename" in image
    ]
