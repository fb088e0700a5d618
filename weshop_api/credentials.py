"""The API key: where it comes from, how it is kept out of sight, and which service it belongs to.

No function here raises while a local variable of its own holds the text of a key, because tracebacks show locals.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from .addresses import Address, address_of, is_loopback_host, path_complaint
from .errors import API_KEY_PAGE, CredentialsError, ForbiddenDestinationError, MissingKeyError, UnusableKeyError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

REAL_BASE_URL = "https://openapi.weshop.ai/openapi"
BASE_URL_VARIABLE = "WESHOP_BASE_URL"
KEY_VARIABLE = "WESHOP_API_KEY"
KEY_FILE = ".config/weshop/credentials.json"
PLACEHOLDER_KEY = "emulator"

MIN_KEY_LENGTH = 8
MAX_KEY_LENGTH = 500
MAX_KEY_FILE_BYTES = 16_384

_FROM_VARIABLE = f"the environment variable {KEY_VARIABLE}"
_FROM_FILE = f"the file ~/{KEY_FILE}"
_PREFIX = "bearer "


class ApiKey:
    """A key that prints as asterisks. Its text comes out of ``reveal`` only."""

    __slots__ = ("_text", "source")

    def __init__(self, text: str, source: str = "") -> None:
        """Clean and check the text; raises UnusableKeyError. ``source`` says where the key comes from."""
        cleaned = _cleaned(text)
        complaint = _complaint(cleaned)
        if complaint:
            text = cleaned = ""
            raise UnusableKeyError(_unusable(complaint, source or "given"))
        self._text = cleaned
        self.source = source

    def reveal(self) -> str:
        """The key itself, for the line that sets the header and for nothing else."""
        return self._text

    def masked_in(self, data: bytes) -> bytes:
        """Bytes in which the key, wherever it is quoted, is replaced by asterisks; the placeholder is no secret."""
        return data if self.is_placeholder else data.replace(self._text.encode("ascii"), b"***")

    @property
    def is_placeholder(self) -> bool:
        """Whether this is the word that a loopback service is sent instead of a key."""
        return self._text == PLACEHOLDER_KEY

    @property
    def last_four(self) -> str:
        """The last four characters; empty when they would be too much of the whole."""
        return self._text[-4:] if len(self._text) >= 4 * 4 else ""

    def __repr__(self) -> str:
        return "***"

    def __format__(self, _spec: str) -> str:
        return "***"

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        raise TypeError("An API key is neither copied nor pickled.")


@dataclass(frozen=True)
class Service:
    """The service that requests go to: WeShop's own, or one on this machine. Others cannot be expressed.

    ``base_url`` includes ``/openapi`` and has no slash at the end. Raises ForbiddenDestinationError.
    """

    base_url: str = REAL_BASE_URL

    def __post_init__(self) -> None:
        address = address_of(self.base_url)
        local = isinstance(address, Address) and is_loopback_host(address.host)
        if self.base_url != REAL_BASE_URL and not (local and _ends_as_it_should(self.base_url)):
            raise ForbiddenDestinationError(
                f"{BASE_URL_VARIABLE} must be an address of this machine that ends with /openapi, such as "
                "http://127.0.0.1:8787/openapi, because requests carry the API key. Correct the variable, "
                "or remove it to use the WeShop service."
            )

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Service:
        """The service that ``WESHOP_BASE_URL`` names, or the real one. Raises ForbiddenDestinationError."""
        return cls(environ.get(BASE_URL_VARIABLE, "").strip().rstrip("/") or REAL_BASE_URL)

    @property
    def is_real(self) -> bool:
        """Whether this is WeShop's own service."""
        return self.base_url == REAL_BASE_URL

    @property
    def address(self) -> Address:
        """Scheme, host and port of the service."""
        address = address_of(self.base_url)
        assert isinstance(address, Address)  # noqa: S101 - __post_init__ has seen to it
        return address

    @property
    def prefix(self) -> str:
        """What the path of every request begins with, such as ``/openapi/``."""
        return "/" + self.base_url.split("/", 3)[3] + "/"


@dataclass(frozen=True)
class KeyState:
    """What a settings page may show: ``problem`` says why a key that is there cannot be used."""

    configured: bool
    source: str = ""
    last_four: str = ""
    problem: str = ""


def find_key(service: Service, environ: Mapping[str, str], home: Path) -> ApiKey:
    """The key for this service, read anew. Raises MissingKeyError or UnusableKeyError.

    A loopback service gets the placeholder, never the user's key.
    """
    if not service.is_real:
        return ApiKey(PLACEHOLDER_KEY, "the placeholder for a service on this machine")
    found = _look_up(environ, home)
    del environ  # it holds the key, and the traceback of what is raised below shows this frame
    if found is None:
        raise MissingKeyError
    if isinstance(found, ApiKey):
        return found
    raise UnusableKeyError(found.problem)


def key_state(environ: Mapping[str, str], home: Path) -> KeyState:
    """Whether a key for the real service is configured, without the key itself."""
    found = _look_up(environ, home)
    if isinstance(found, ApiKey):
        return KeyState(configured=True, source=found.source, last_four=found.last_four)
    return found or KeyState(configured=False)


def save_key(text: str, home: Path) -> KeyState:
    """Write the key file, readable by its owner only. Raises UnusableKeyError, and CredentialsError when writing fails.

    The environment variable, where it is set, still goes first.
    """
    found = _judged(text, _FROM_FILE)
    del text
    if isinstance(found, KeyState):
        raise UnusableKeyError(found.problem)
    failure = _written(home / KEY_FILE, found)
    if failure:
        raise CredentialsError(f"The API key could not be saved in {_FROM_FILE}: {failure}.")
    return KeyState(configured=True, source=found.source, last_four=found.last_four)


def remove_key(home: Path) -> None:
    """Delete the key file, if there is one. Raises CredentialsError when that fails."""
    try:
        (home / KEY_FILE).unlink(missing_ok=True)
    except OSError as error:
        raise CredentialsError(f"{_FROM_FILE.capitalize()} could not be removed: {error.strerror}.") from None


def _look_up(environ: Mapping[str, str], home: Path) -> ApiKey | KeyState | None:
    """A key, or the state that tells what is wrong with it, or None."""
    text = environ.get(KEY_VARIABLE, "")
    if text.strip():
        return _judged(text, _FROM_VARIABLE)
    return _from_file(home / KEY_FILE)


def _from_file(path: Path) -> ApiKey | KeyState | None:
    content = _private_content(path)
    if content is None or isinstance(content, KeyState):
        return content
    with contextlib.suppress(ValueError, RecursionError):
        fields = json.loads(content.decode("utf-8-sig"))
        text = fields.get("api_key") if isinstance(fields, dict) else None
        if isinstance(text, str):
            return _judged(text, _FROM_FILE) if text.strip() else None
    return _broken('does not have the form {"api_key": "..."}. Correct it, or save the key again.')


def _private_content(path: Path) -> bytes | KeyState | None:
    """The file's bytes; None when there is no file; the complaint when others can get at it."""
    try:
        # Non-blocking, so that a pipe in the file's place does not hold up the host.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return _broken(f"cannot be opened: {error.strerror}.")
    try:
        # Modes are taken from what was opened, so a link is judged by its target and cannot be swapped in between.
        exposure = _exposure(os.fstat(descriptor), path)
        if exposure:
            return _broken(exposure)
        content = os.read(descriptor, MAX_KEY_FILE_BYTES + 1)
    except OSError as error:
        return _broken(f"cannot be read: {error.strerror}.")
    finally:
        os.close(descriptor)
    return content if len(content) <= MAX_KEY_FILE_BYTES else _broken("is too large to be a key file.")


def _exposure(status: os.stat_result, path: Path) -> str:
    if not stat.S_ISREG(status.st_mode):
        return "is not a regular file."
    if os.name != "posix":
        return ""
    if status.st_mode & 0o077:
        return f"may be read by other users of this machine. Run: chmod 600 ~/{KEY_FILE}"
    folder = path.parent.stat().st_mode
    if folder & stat.S_IWOTH and not folder & stat.S_ISVTX:
        return "is in a folder that every user of this machine may write to. Run: chmod 700 ~/.config/weshop"
    return ""


def _written(path: Path, key: ApiKey) -> str:
    """Write the file and put it in place in one step; returns why that failed, or nothing."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.parent.chmod(0o700)
        try:
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                json.dump({"api_key": key.reveal()}, file)
                file.flush()
                os.fsync(descriptor)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        return error.strerror or type(error).__name__
    return ""


def _judged(text: str, source: str) -> ApiKey | KeyState:
    complaint = _complaint(_cleaned(text))
    if complaint:
        return KeyState(configured=False, source=source, problem=_unusable(complaint, f"in {source}"))
    return ApiKey(text, source)


def _cleaned(text: str) -> str:
    text = text.strip()
    while text.lower().startswith(_PREFIX):
        text = text[len(_PREFIX) :].strip()
    return text


def _complaint(text: str) -> str:
    if not all("!" <= character <= "~" for character in text):
        return "contains characters that no key has (spaces, line breaks, invisible or accented characters)"
    if len(text) < MIN_KEY_LENGTH:
        return "is too short to be a key"
    return "is too long to be a key" if len(text) > MAX_KEY_LENGTH else ""


def _unusable(complaint: str, where: str) -> str:
    return f"The WeShop API key {where} {complaint}. Copy it again from {API_KEY_PAGE}"


def _broken(complaint: str) -> KeyState:
    return KeyState(
        configured=False, source=_FROM_FILE, problem=f"The WeShop API key was not used: {_FROM_FILE} {complaint}"
    )


def _ends_as_it_should(base_url: str) -> bool:
    path = base_url.partition("://")[2].partition("/")[2]
    return f"/{path}".endswith("/openapi") and not path_complaint(f"/{path}") and not set(path) & set("?#%")
