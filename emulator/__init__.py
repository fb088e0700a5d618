"""A stand-in for the WeShop OpenAPI on the loopback address, for tests and the demo.

It imports nothing from the client library, so that one misreading of the API cannot stand on both sides.
"""

from __future__ import annotations

from .fault_queue import OrderedFault, Where
from .faults import Fault
from .request_log import RequestRecord
from .runs import ByPolls, BySeconds, RunRecord
from .server import Emulator, PortTakenError
from .uploads import UploadLimits, UploadRecord

__all__ = [
    "ByPolls",
    "BySeconds",
    "Emulator",
    "Fault",
    "OrderedFault",
    "PortTakenError",
    "RequestRecord",
    "RunRecord",
    "UploadLimits",
    "UploadRecord",
    "Where",
]
