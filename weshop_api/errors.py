"""Everything that can go wrong, as one tree.

WeShopError                       base class; ``str(error)`` is one paragraph a user can act on
|-- InvalidRequestError           refused before or by the service: something in the request must change
|   `-- UnusablePictureError      a picture or a URL that cannot serve as a reference
|-- CredentialsError              the key on this machine: no usable one
|   |-- MissingKeyError           no key is configured
|   |-- UnusableKeyError          a key is there, but malformed or readable by others
|   `-- ForbiddenDestinationError a request that would have carried the key elsewhere
|-- ServiceError                  the service answered, and the answer is an error
|   |-- AuthenticationError       key wrong, disabled or expired
|   |-- InsufficientPointsError   not enough points
|   |-- LimitReachedError         too many requests, or too many runs at once
|   |-- NotFoundError             the service does not know this run
|   `-- ServerError               the service's own fault
|-- NoAnswerError                 no answer arrived
|   `-- NotSentError              the request certainly never reached the service
|-- UnreadableReplyError          an answer arrived, but not in the promised shape
|-- RunError                      about one run; carries its execution id where there is one
|   |-- OutcomeUnknownError       submitted, and nobody knows whether the service accepted it
|   |-- RunFailedError            accepted, ended without a usable picture
|   `-- RunTimeoutError           accepted, still going when the wait ended
`-- DownloadError                 a result could not be fetched
    |-- ExpiredAddressError       the file server no longer serves the picture; a fresh address may help
    |-- ForbiddenAddressError     a URL that must not be fetched from this machine
    `-- UndeliveredError          a picture that was fetched could not be taken here

Classes are decisions. Whether a request may be repeated is decided from them in ``retry``, and nowhere else.
"""

from __future__ import annotations

import re

API_KEY_PAGE = "https://open.weshop.ai/authorization/apikey"
MAX_SHOWN_LENGTH = 300
MAX_PARAGRAPH_LENGTH = 1_500

# The host's page opens its own sign-in and payment dialogs when it finds these words in an error.
_HOST_DIALOG_WORDS = re.compile(
    r"please\s+(login|log\s+in|sign\s+in)\s+first|please\s+add\s+credits|unauthorized:|payment\s+required:",
    re.IGNORECASE,
)


def clean_text(text: str, limit: int = MAX_SHOWN_LENGTH) -> str:
    """Foreign text made fit to be shown: one line, printable, bounded, without words that open the host's dialogs."""
    printable = "".join(c if c.isprintable() else " " for c in text[: 8 * limit])
    quiet = _HOST_DIALOG_WORDS.sub("...", " ".join(printable.split()))
    return quiet if len(quiet) <= limit else quiet[: limit - 3] + "..."


class WeShopError(Exception):
    """Base of every exception that leaves this library.

    Whatever a message quotes of workflows, services and proxies, its text can be shown: one half of a surrogate pair
    in an error would end the worker of a host that writes it to its log.
    """

    def __str__(self) -> str:
        return clean_text(super().__str__(), MAX_PARAGRAPH_LENGTH)

    def add(self, sentence: str) -> None:
        """Append what only a higher layer knows, such as which run this is about; once, when several share it."""
        if sentence not in str(self):
            self.args = (f"{self} {sentence}",)


class InvalidRequestError(WeShopError):
    """Something in the request has to change; nothing was charged.

    ``code`` is the service's own code, empty when this side refused the request.
    """

    def __init__(self, message: str, *, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class UnusablePictureError(InvalidRequestError):
    """A picture or a URL that cannot serve as a reference."""


class CredentialsError(WeShopError):
    """There is no usable API key on this machine."""


class MissingKeyError(CredentialsError):
    """No API key is configured."""

    def __init__(self) -> None:
        super().__init__(
            f"No WeShop API key is configured. Get one at {API_KEY_PAGE} and save it in ComfyUI under Settings, "
            "WeShop, API key. Instead, or outside ComfyUI, set the environment variable WESHOP_API_KEY or write "
            '{"api_key": "..."} to the file ~/.config/weshop/credentials.json, readable by you alone.'
        )


class UnusableKeyError(CredentialsError):
    """A key is configured, but malformed or readable by other users."""


class ForbiddenDestinationError(CredentialsError):
    """A request would have carried the key to a place where it must not go."""


class ServiceError(WeShopError):
    """The service answered with an error.

    ``status`` is the HTTP status, ``code`` the service's own code as text (empty when there was none),
    ``retryable`` what the service itself says about trying again (None when it does not say), and
    ``retry_after_seconds`` how long it asks to wait (None when it does not say).
    ``refused`` is true when the answer proves that the request was not accepted.
    """

    def __init__(  # noqa: PLR0913 - the parts of one answer; keyword only
        self,
        message: str,
        *,
        status: int,
        code: str = "",
        retryable: bool | None = None,
        retry_after_seconds: float | None = None,
        refused: bool = True,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retryable = retryable
        self.retry_after_seconds = retry_after_seconds
        self.refused = refused


class AuthenticationError(ServiceError):
    """The service does not accept the API key."""


class InsufficientPointsError(ServiceError):
    """The account has too few points for this run."""


class LimitReachedError(ServiceError):
    """Too many requests, or more runs at once than the plan allows."""


class NotFoundError(ServiceError):
    """The service does not know the run. This never proves that nothing was created."""


class ServerError(ServiceError):
    """The service failed on its own side."""


class NoAnswerError(WeShopError):
    """The connection broke or the time ran out before an answer arrived."""


class NotSentError(NoAnswerError):
    """No connection could be made, so the service certainly did not see the request."""


class UnreadableReplyError(WeShopError):
    """The answer does not have the promised shape; ``part`` names what was wrong or missing."""

    def __init__(self, message: str, *, part: str, status: int) -> None:
        super().__init__(message)
        self.part = part
        self.status = status


class RunError(WeShopError):
    """Something happened to one run; ``execution_id`` is empty when it is not known."""

    def __init__(self, message: str, *, execution_id: str = "") -> None:
        super().__init__(message)
        self.execution_id = execution_id


class OutcomeUnknownError(RunError):
    """A run was submitted, and no answer tells whether the service accepted it."""


class RunFailedError(RunError):
    """The run ended without a usable picture."""


class RunTimeoutError(RunError):
    """The run was still going when the wait ended. It goes on at the service."""


class DownloadError(WeShopError):
    """A result could not be fetched; ``missing`` are the numbers (from 1) of the pictures that are not there."""

    def __init__(self, message: str, *, missing: tuple[int, ...] = (), execution_id: str = "") -> None:
        super().__init__(message)
        self.missing = missing
        self.execution_id = execution_id


class ExpiredAddressError(DownloadError):
    """The file server no longer serves this address; the run may have a fresh one."""


class ForbiddenAddressError(DownloadError):
    """A URL points to a place that must not be fetched from this machine."""


class UndeliveredError(DownloadError):
    """There was no room or no place here for a picture that was fetched. It is kept: fetching it anew is no help."""
