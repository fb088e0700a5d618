"""A broken or hostile service, and hostile files, in a real host: a clear sentence, and the next prompt works.

The host believes that it speaks to the real service, so that the rules for public addresses apply.
"""

from __future__ import annotations

import contextlib
import gzip
import itertools
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import psutil  # type: ignore[import-untyped]  # it has no types
import pytest

from emulator import ByPolls, Emulator, Fault
from tests.fuzz.make_corpus import FOLDER
from tools.comfyui import ComfyUIProcess, PromptFailedError, PromptResult
from tools.environment import Environment

from .front import FILES_HOST, FILES_ORIGIN, Front
from .key_story import KEY, workflow

TIMEOUT_SECONDS = 60.0
MOST_MEMORY_BYTES = 700_000_000
SIGN_IN = "Unauthorized: Please login first to use this node."
PAYMENT = "Payment Required: Please add credits to your account to use this node."


@dataclass
class Stage:
    """A host, the service that will be hostile, and a private server that nobody may be led to."""

    host: ComfyUIProcess
    emulator: Emulator
    front: Front
    private: PrivateServer

    def sentence(self) -> str:
        """Queue a workflow that must fail, and then one that must work; return what the user was told."""
        with pytest.raises(PromptFailedError) as failed:
            self.run()
        self.emulator.withdraw_faults()
        assert len(self.run().saved_pictures()) == 1
        assert self.host.is_running
        sentence = failed.value.exception_message
        assert sentence.isprintable()
        assert len(sentence) < 1_000
        return sentence

    def run(self) -> PromptResult:
        """Run the whole way once, as a new run."""
        return self.host.client.run(workflow(next(_seeds)), timeout_seconds=TIMEOUT_SECONDS)

    def memory_bytes(self) -> int:
        """What the host's process takes."""
        memory: int = psutil.Process(self.host.pid).memory_info().rss
        return memory


class PrivateServer:
    """Something else on this machine. It only counts who connects."""

    def __init__(self) -> None:
        self.visits = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._socket.accept()[0].close()
                self.visits += 1


_seeds = itertools.count(1)


@pytest.fixture(scope="module")
def stage(environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("hostile")
    private = PrivateServer()
    with Emulator(port=0, pace=ByPolls(1), pictures="small") as emulator, Front(emulator, folder) as front:
        variables = {**front.variables, "WESHOP_API_KEY": KEY}
        with ComfyUIProcess(environment, folder / "host", variables=variables) as host:
            yield Stage(host, emulator, front, private)
    private.close()


def poll_answer(image: str) -> bytes:
    execution = {"executionId": "x", "status": "Success", "result": [{"status": "Success", "image": image}]}
    return json.dumps({"success": True, "data": {"executions": [execution]}}).encode()


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("bomb-by-claim.png", "Image size (3600000000 pixels)"),
        ("bomb-one-bit.png", "Image size (400000000 pixels)"),
        ("bomb-in-text.png", "Picture 1 could not be read"),
        ("cut.jpg", "Picture 1 could not be read"),
        ("page.png", "no JPEG, PNG, WebP, GIF or BMP picture"),
        ("script.eps", "no JPEG, PNG, WebP, GIF or BMP picture"),
    ],
)
def test_a_hostile_file_is_refused(stage: Stage, file: str, told: str) -> None:
    data = (FOLDER / "pictures" / "hostile" / file).read_bytes()
    stage.emulator.order("download", Fault.answer(data, content_type="image/png"), forever=True)
    before = stage.memory_bytes()

    assert told in stage.sentence()
    assert stage.memory_bytes() - before < MOST_MEMORY_BYTES


def test_an_answer_that_unpacks_to_far_more_is_refused(stage: Stage) -> None:
    bomb = gzip.compress(bytes(300_000_000), 6)
    fault = Fault.answer(bomb, content_type="image/png", headers=(("Content-Encoding", "gzip"),))
    stage.emulator.order("download", fault, forever=True)
    before = stage.memory_bytes()

    assert "larger than 64 MB" in stage.sentence()
    assert stage.memory_bytes() - before < MOST_MEMORY_BYTES


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/latest/meta-data/",
        "https://127.0.0.1:{private}/secret",
        "https://[::ffff:127.0.0.1]:{private}/secret",
        "https://2130706433:{private}/secret",
        "https://user@127.0.0.1:{private}/secret",
        "file:///etc/passwd",
    ],
)
def test_a_redirect_to_a_private_address_is_not_followed(stage: Stage, target: str) -> None:
    tunnels_before = set(stage.front.tunnels)
    stage.emulator.order("download", Fault.redirect(target.format(private=stage.private.port)), forever=True)

    assert "was not fetched" in stage.sentence()
    assert stage.private.visits == 0
    assert set(stage.front.tunnels) == tunnels_before


@pytest.mark.parametrize(
    "image", ["https://127.0.0.1:{private}/a.png", "https://10.0.0.1/a.png", "http://results.example/a"]
)
def test_a_result_at_a_private_or_open_address_is_not_fetched(stage: Stage, image: str) -> None:
    stage.emulator.order("poll", Fault.answer(poll_answer(image.format(private=stage.private.port))), forever=True)

    assert "was not fetched" in stage.sentence()
    assert stage.private.visits == 0


@pytest.mark.parametrize("image", ["javascript:alert(1)", "file:///etc/passwd"])
def test_a_result_that_is_no_web_address_is_no_picture(stage: Stage, image: str) -> None:
    stage.emulator.order("poll", Fault.answer(poll_answer(image)), forever=True)

    sentence = stage.sentence()

    assert "without a usable picture" in sentence
    assert image not in sentence


def test_a_redirect_that_never_ends_is_left(stage: Stage) -> None:
    # The file server leads to itself: each time the same address, which is the emulator's for every result.
    stage.emulator.order("poll", Fault.answer(poll_answer(f"{FILES_ORIGIN}/results/x/1_0_a.png")), times=1)
    stage.emulator.order("download", Fault.redirect(f"{FILES_ORIGIN}/results/x/1_0_a.png"), forever=True)
    before = len(stage.front.at(FILES_HOST))

    assert "leads on more than 3 times" in stage.sentence()
    assert len(stage.front.at(FILES_HOST)) - before <= 4 + 1  # The last one is the picture of the next prompt.


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (json.dumps({"success": False, "error": {"message": "x" * 10_000_000}}).encode(), "larger than 8 MB"),
        (b'{"success": true, "data": ' + b"[" * 100_000, "could not be read: JSON object"),
        (b"[]", "could not be read: JSON object"),
        (b'{"success": true, "data": {"image": 7}}', "could not be read: data.image"),
        (b'{"success": true, "data": {"image": "javascript:alert(1)"}}', "could not be read: data.image"),
        (b"<html>" + b"sign in " * 1000, "could not be read: JSON object"),
    ],
)
def test_an_answer_of_another_shape_is_refused_with_the_part_that_was_wrong(
    stage: Stage, body: bytes, told: str
) -> None:
    stage.emulator.order("upload", Fault.answer(body), forever=True)

    assert told in stage.sentence()


@pytest.mark.parametrize("words", [SIGN_IN, PAYMENT, SIGN_IN.upper()])
def test_words_that_open_the_hosts_own_dialogs_are_not_shown(stage: Stage, words: str) -> None:
    stage.emulator.order("submit", Fault.refuse(422, "40000", f"Sorry. {words} Thanks."))

    sentence = stage.sentence()

    assert "Sorry." in sentence
    assert "Thanks." in sentence
    assert SIGN_IN.lower() not in sentence.lower()
    assert PAYMENT.lower() not in sentence.lower()


def test_control_characters_and_a_long_text_become_one_short_line(stage: Stage) -> None:
    text = "first\r\n\u001b[31msecond\u202e\u0000\u2028third " + "and so on " * 200_000
    stage.emulator.order("submit", Fault.refuse(422, "40000", text))

    sentence = stage.sentence()

    assert "first [31msecond third and so on" in sentence
    assert "..." in sentence
