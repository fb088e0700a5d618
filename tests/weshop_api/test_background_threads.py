"""Threads that take work until the process ends, and do not keep it from ending."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError

import pytest

from weshop_api.background import DaemonThreads

AT_EXIT = """
import atexit, threading, time
from weshop_api.background import DaemonThreads
threads = DaemonThreads(1, "test")
for _ in range(100):
    threads.submit(time.sleep, {seconds})
atexit.register(lambda: print(threads.submit(lambda: "written").result({patience})))
"""


def program(seconds: float, patience: float) -> str:
    return AT_EXIT.format(seconds=seconds, patience=patience)


def test_a_result_is_handed_back() -> None:
    threads = DaemonThreads(2, "test")

    assert threads.submit(pow, 2, 10).result(5) == 1024
    threads.shutdown()


def test_an_error_is_handed_back() -> None:
    threads = DaemonThreads(1, "test")

    with pytest.raises(ZeroDivisionError):
        threads.submit(divmod, 1, 0).result(5)
    assert threads.submit(pow, 2, 3).result(5) == 8
    threads.shutdown()


def test_a_cancelled_call_is_not_begun() -> None:
    threads = DaemonThreads(1, "test")
    go_on = threading.Event()
    called: list[int] = []
    threads.submit(go_on.wait, 5)
    waiting = threads.submit(called.append, 1)
    waiting.cancel()
    go_on.set()
    threads.shutdown()

    assert called == []
    with pytest.raises(CancelledError):
        waiting.result(0)


def test_shutting_down_completes_what_is_queued_and_ends_the_threads() -> None:
    before = threading.active_count()
    threads = DaemonThreads(1, "test")
    done: list[int] = []
    for number in range(5):
        threads.submit(done.append, number)
    threads.shutdown()

    assert done == [0, 1, 2, 3, 4]
    assert threading.active_count() == before


def test_work_is_still_taken_while_the_interpreter_ends() -> None:
    done = subprocess.run(
        [sys.executable, "-c", program(seconds=0, patience=5)], check=True, capture_output=True, text=True, timeout=30
    )

    assert done.stdout.strip() == "written"


def test_queued_work_does_not_keep_the_process_from_ending() -> None:
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-c", program(seconds=1, patience=0.1)], check=False, capture_output=True, timeout=60
    )

    assert time.monotonic() - began < 20
