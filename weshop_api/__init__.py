"""WeShop's Seedream from Python: ``async with WeShop() as weshop: run = await weshop.generate(SeedreamRequest(...))``.

The names below are the public ones. Those that need the HTTP library are loaded at first use, so that importing this
package is cheap; it loads neither torch nor ComfyUI.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from .addresses import check_public_url
from .errors import (
    AuthenticationError,
    CredentialsError,
    DownloadError,
    ExpiredAddressError,
    ForbiddenAddressError,
    ForbiddenDestinationError,
    InsufficientPointsError,
    InvalidRequestError,
    LimitReachedError,
    MissingKeyError,
    NoAnswerError,
    NotFoundError,
    NotSentError,
    OutcomeUnknownError,
    RunError,
    RunFailedError,
    RunTimeoutError,
    ServerError,
    ServiceError,
    UndeliveredError,
    UnreadableReplyError,
    UnusableKeyError,
    UnusablePictureError,
    WeShopError,
)
from .models import Charge, Estimate, Execution, Picture, Reference, References, Result, RunStatus
from .progress import Phase, Progress
from .seedream import Model, Run, SeedreamRequest

if TYPE_CHECKING:
    from .client import WeShopClient
    from .retry import RetryPolicy
    from .uploading import PictureSource, Uploaded
    from .weshop import Limits, WeShop

_LOADED_AT_FIRST_USE = {
    "Limits": "weshop",
    "PictureSource": "uploading",
    "RetryPolicy": "retry",
    "Uploaded": "uploading",
    "WeShop": "weshop",
    "WeShopClient": "client",
}

__all__ = [
    "AuthenticationError",
    "Charge",
    "CredentialsError",
    "DownloadError",
    "Estimate",
    "Execution",
    "ExpiredAddressError",
    "ForbiddenAddressError",
    "ForbiddenDestinationError",
    "InsufficientPointsError",
    "InvalidRequestError",
    "LimitReachedError",
    "Limits",
    "MissingKeyError",
    "Model",
    "NoAnswerError",
    "NotFoundError",
    "NotSentError",
    "OutcomeUnknownError",
    "Phase",
    "Picture",
    "PictureSource",
    "Progress",
    "Reference",
    "References",
    "Result",
    "RetryPolicy",
    "Run",
    "RunError",
    "RunFailedError",
    "RunStatus",
    "RunTimeoutError",
    "SeedreamRequest",
    "ServerError",
    "ServiceError",
    "UndeliveredError",
    "UnreadableReplyError",
    "UnusableKeyError",
    "UnusablePictureError",
    "Uploaded",
    "WeShop",
    "WeShopClient",
    "WeShopError",
    "check_public_url",
]


def __getattr__(name: str) -> object:
    module = _LOADED_AT_FIRST_USE.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{module}", __name__), name)
