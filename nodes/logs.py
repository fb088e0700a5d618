"""The host's log: an error that is expected takes one line there, and no traceback."""

from __future__ import annotations

import logging
import sys

from ..weshop_api import WeShopError

log = logging.getLogger("weshop")


def register() -> None:
    """Watch what the host writes, once. It writes the traceback of every error of a node as a line of its own."""
    host_log = logging.getLogger()
    if not any(isinstance(installed, _OneLine) for installed in host_log.filters):
        host_log.addFilter(_OneLine())


class _OneLine(logging.Filter):
    """Leaves out the traceback while the host handles an error of ours, whose text says what happened and what to do.

    At level DEBUG it stays, and the page's report of the error has it as well.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        is_ours = isinstance(sys.exc_info()[1], WeShopError)
        is_traceback = str(record.msg).startswith("Traceback (most recent call last)")
        return not (is_ours and is_traceback) or log.isEnabledFor(logging.DEBUG)
