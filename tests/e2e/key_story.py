"""A host's life with a marked key: one whole workflow that succeeds, and one that fails in every way there is."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emulator import Emulator, Fault
from tools.comfyui import ComfyUIProcess, PromptFailedError

from .evidence import Listener, command_lines, served, written
from .front import Front

KEY = "test-key-not-real-Zq7Kvt9W2pLx4HnB"
CLIENT_ID = "the-page"
TIMEOUT_SECONDS = 60.0
KEY_FILE = ".config/weshop/credentials.json"
PROMPT_MARK = "a lighthouse with the mark Rk52Wd"

Prompt = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Trouble:
    """An order to the emulator, the operation it strikes, and the error that the user must see."""

    expected: str
    operation: str
    fault: Fault
    times: int = 1


def few_troubles() -> list[Trouble]:
    """One of each: refused, of another shape, unknown, failed, not to be fetched."""
    kinds = ("AuthenticationError", "UnreadableReplyError", "OutcomeUnknownError", "RunFailedError", "DownloadError")
    return [next(trouble for trouble in troubles() if trouble.expected == kind) for kind in kinds]


def troubles() -> list[Trouble]:
    """Every class of error that an answer can cause. Messages quote the key, as careless services do."""
    wrong = f"the key {KEY} is wrong"
    elsewhere = Fault.redirect(f"https://evil.example/steal?key={KEY}", 307)
    link_local = Fault.redirect("http://169.254.169.254/latest/meta-data/")
    loopback = Fault.redirect("https://127.0.0.1/private.png")
    return [
        Trouble("AuthenticationError", "upload", Fault.refuse(401, "40001", wrong)),
        Trouble("AuthenticationError", "submit", Fault.refuse(200, "40001", wrong, envelope="legacy")),
        Trouble("InsufficientPointsError", "submit", Fault.refuse(402, "402", wrong)),
        Trouble("LimitReachedError", "submit", Fault.refuse(429, "40005", wrong, retryable=False)),
        Trouble("InvalidRequestError", "submit", Fault.refuse(422, "40000", wrong)),
        Trouble("ServiceError", "submit", Fault.refuse(200, "NEW", wrong)),
        Trouble("ServerError", "upload", Fault.refuse(500, "50001", wrong, retryable=False)),
        Trouble("ServerError", "upload", Fault.answer(f"<p>{KEY}</p>".encode(), status=502), 5),
        Trouble("NotFoundError", "submit", Fault.refuse(404, "NOT_FOUND", wrong)),
        Trouble("UnreadableReplyError", "upload", Fault.answer(json.dumps([KEY]).encode())),
        Trouble("UnreadableReplyError", "upload", elsewhere),
        Trouble("OutcomeUnknownError", "submit", Fault.answer(KEY.encode(), accepted=True)),
        Trouble("OutcomeUnknownError", "submit", Fault.reset("after")),
        Trouble("NoAnswerError", "upload", Fault.reset("before"), 5),
        Trouble("RunFailedError", "submit", Fault.outcome("Failed")),
        Trouble("DownloadError", "download", Fault.refuse(404, "NOT_FOUND", wrong), 20),
        Trouble("DownloadError", "download", Fault.answer(f"<html>{KEY}</html>".encode(), content_type="image/png"), 3),
        Trouble("DownloadError", "download", link_local, 3),
        Trouble("DownloadError", "download", loopback, 3),
    ]


@dataclass
class Story:
    """What happened, and everything that can be searched afterwards."""

    front: Front
    errors: list[tuple[str, str]] = field(default_factory=list)
    """Class and sentence of each failed prompt, in order."""
    expected: list[str] = field(default_factory=list)
    evidence: dict[str, bytes] = field(default_factory=dict)
    pictures: int = 0


class Teller:
    """Lives through the story in one host."""

    def __init__(self, host: ComfyUIProcess, emulator: Emulator, front: Front) -> None:
        self._host, self._emulator = host, emulator
        self._seeds = iter(range(1, 10_000))
        self.story = Story(front)

    def tell(self, ordered: Sequence[Trouble]) -> Story:
        """Succeed, fail in every way, look at everything while the host lives, let it crash, look again."""
        with Listener(self._host.url, CLIENT_ID) as listener:
            self._succeed()
            for trouble in ordered:
                self._fail(trouble)
            self._fail_by_ourselves()
            with self.story.front.closed():
                self._queue_in_vain("NotSentError", self._workflow())
            self._settings_page()
            self._succeed()
            self.story.evidence |= served(self._host) | command_lines()
            self.story.evidence["websocket"] = bytes(listener.received)
        self._crash()
        key_file = self._host.base_directory / KEY_FILE
        self.story.evidence |= written(self._host, without=[key_file])
        return self.story

    def _succeed(self) -> None:
        result = self._host.client.run(self._workflow(), timeout_seconds=TIMEOUT_SECONDS)
        pictures = result.saved_pictures()
        for picture in pictures:
            self.story.evidence[f"view of {picture.filename}"] = self._host.client.fetch(picture)
        self.story.pictures += len(pictures)

    def _fail(self, trouble: Trouble) -> None:
        self._emulator.order(trouble.operation, trouble.fault, trouble.times)
        self._queue_in_vain(trouble.expected, self._workflow())
        self._emulator.withdraw_faults()
        self.story.evidence |= command_lines()

    def _fail_by_ourselves(self) -> None:
        earlier = self._workflow()
        earlier["load"]["inputs"] = {"execution_id": "no-such-run", "when_sizes_differ": "pad"}
        self._queue_in_vain("NotFoundError", earlier)
        private = self._workflow()
        private["upload"]["inputs"]["image_urls"] = "http://192.168.1.1/picture.png"
        self._queue_in_vain("UnusablePictureError", private)
        self._queue_in_vain("RunTimeoutError", self._workflow(timeout_minutes=["no-time", 0]))
        if (self._host.base_directory / KEY_FILE).exists():
            self._fail_with_the_file()

    def _fail_with_the_file(self) -> None:
        """Without the file, and with one that is cut off or that others may read."""
        key_file = self._host.base_directory / KEY_FILE
        text = key_file.read_text(encoding="utf-8")
        key_file.unlink()
        self._queue_in_vain("MissingKeyError", self._workflow())
        key_file.write_text(text.rstrip("}"), encoding="utf-8")
        key_file.chmod(0o600)
        self._queue_in_vain("UnusableKeyError", self._workflow())
        key_file.write_text(text, encoding="utf-8")
        if os.name == "posix":
            key_file.chmod(0o644)
            self._queue_in_vain("UnusableKeyError", self._workflow())
            key_file.chmod(0o600)

    def _settings_page(self) -> None:
        """Save the key once more, test it, and hear that it is rejected."""
        session = self._host.client._session
        headers = {"Origin": self._host.url, "Sec-Fetch-Site": "same-origin"}
        self._emulator.order("info", Fault.refuse(401, "40001", f"{KEY} is wrong"))
        for path, fields in (("", {"api_key": KEY}), ("/test", {}), ("", {"api_key": KEY})):
            answer = session.post(f"{self._host.url}/weshop/key{path}", json=fields, headers=headers, timeout=30)
            self.story.evidence[f"answer {len(self.story.evidence)} of the settings"] = answer.content

    def _crash(self) -> None:
        """Abort, so that Python's fault handler prints what it has to say; on Windows this ends the host silently."""
        os.kill(self._host.pid, signal.SIGABRT)
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while self._host.is_running and time.monotonic() < deadline:
            time.sleep(0.1)

    def _queue_in_vain(self, expected: str, prompt: Prompt) -> None:
        self.story.expected.append(expected)
        prompt_id = self._host.client.queue(prompt, client_id=CLIENT_ID, extra_data={"extra_pnginfo": {"workflow": {}}})
        try:
            self._host.client.wait(prompt_id, timeout_seconds=TIMEOUT_SECONDS)
        except PromptFailedError as failure:
            kind = failure.exception_type.rpartition(".")[2]
            self.story.errors.append((kind, failure.exception_message))
            self.story.evidence[f"error {len(self.story.errors)}"] = f"{failure}\n{failure.traceback}".encode()
        else:
            self.story.errors.append(("none", ""))

    def _workflow(self, **changed: Any) -> Prompt:  # noqa: ANN401 - JSON
        return workflow(next(self._seeds), **changed)


def workflow(seed: int, **changed: Any) -> Prompt:  # noqa: ANN401 - JSON
    """The whole way: make a picture, upload, generate, load, save. Another seed is a new picture and a new run."""
    generate = {
        "prompt": PROMPT_MARK,
        "model": "Seedream 5.0 Pro",
        "image_size": "1K",
        "aspect_ratio": "1:1",
        "output_format": "png",
        "batch_count": 1,
        "web_search": False,
        "seed": seed,
        "references": ["upload", 0],
    }
    return {
        "no-time": {"class_type": "PrimitiveInt", "inputs": {"value": 0}},
        "picture": {
            "class_type": "EmptyImage",
            "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": seed},
        },
        "upload": {
            "class_type": "WeShopUploadReference",
            "inputs": {"image": ["picture", 0], "image_urls": "", "encoding": "auto"},
        },
        "generate": {"class_type": "WeShopSeedreamGenerate", "inputs": {**generate, **changed}},
        "load": {
            "class_type": "WeShopLoadResult",
            "inputs": {"run": ["generate", 0], "execution_id": "", "when_sizes_differ": "pad"},
        },
        "save": {"class_type": "SaveImage", "inputs": {"images": ["load", 0], "filename_prefix": "story"}},
    }


def write_key(home: Path) -> None:
    """Write the key file as a user does."""
    path = home / KEY_FILE
    path.parent.mkdir(parents=True, mode=0o700)
    path.write_text(json.dumps({"api_key": KEY}), encoding="utf-8")
    path.chmod(0o600)
