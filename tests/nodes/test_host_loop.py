"""The background loop: where it is made."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import threading
import time

import pytest
from weshop_pack.nodes import host


class _LikeOnWindows(asyncio.SelectorEventLoop):
    """A loop that does what those of Windows do: made in the main thread, it is the one that Ctrl-C wakes."""

    def __init__(self) -> None:
        super().__init__()
        if threading.current_thread() is threading.main_thread():
            signal.set_wakeup_fd(self._csock.fileno())  # type: ignore[attr-defined]  # as asyncio does on Windows


class _PolicyLikeOnWindows(asyncio.DefaultEventLoopPolicy):
    """Makes such loops."""

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        return _LikeOnWindows()


@pytest.mark.skipif(sys.platform == "win32", reason="there the loops are like this anyway")
def test_a_loop_that_is_first_needed_by_a_route_leaves_the_waking_by_ctrl_c_to_the_host() -> None:
    """Routes are answered in the host's main thread, and a host that Ctrl-C does not wake does not end."""
    alarm, hosts_own = socket.socketpair()
    hosts_own.setblocking(False)
    before = signal.set_wakeup_fd(hosts_own.fileno())
    asyncio.set_event_loop_policy(_PolicyLikeOnWindows())
    try:
        service = host._Service()
    finally:
        asyncio.set_event_loop_policy(None)
        woken = signal.set_wakeup_fd(before)
    expected = hosts_own.fileno()
    service.close()
    while service._loop.is_running():  # It stops in a thread of its own.
        time.sleep(0.01)
    service._loop.close()
    alarm.close()
    hosts_own.close()

    assert woken == expected
