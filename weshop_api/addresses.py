"""Which paths, URLs and network addresses are acceptable: pure rules, nothing is looked up and nothing is opened."""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import unquote

from .errors import UnusablePictureError

MAX_URL_LENGTH = 8_000
MAX_PATH_LENGTH = 2_000
MAX_HOST_LENGTH = 253

DEFAULT_PORTS = MappingProxyType({"http": 80, "https": 443})

# scheme "://" authority, then path, query and fragment. Deliberately narrower than any URL parser:
# what two parsers could read in two ways is refused.
_URL = re.compile(r"(?P<scheme>[Hh][Tt][Tt][Pp][Ss]?)://(?P<authority>[^/?#]*)(?P<rest>[^#]*)(?:#.*)?")
_AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::(?P<port>[0-9]{1,5}))?")
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PATH = re.compile(r"(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+)+")
_QUERY = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*")

_SHOWN_LENGTH = 80

_PRIVATE_SUFFIXES = ("localhost", "local", "internal", "lan", "localdomain", "home.arpa")

# IANA's special-purpose registries. 198.18.0.0/15 is missing on purpose: local proxies with synthetic DNS answers
# use it, and nothing else routes there.
_CLOSED_V4 = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
# Of IPv6 only global unicast is open, without its reserved parts.
_OPEN_V6 = ipaddress.IPv6Network("2000::/3")
_CLOSED_V6 = tuple(
    ipaddress.IPv6Network(network) for network in ("2001::/23", "2001:db8::/32", "3fff::/20", "3ffe::/16")
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


@dataclass(frozen=True)
class Address:
    """Where a URL points: lower-case ``host`` without brackets, and ``port`` with the scheme's default filled in."""

    scheme: str
    host: str
    port: int


def address_of(url: str) -> Address | str:
    """The address a URL names, or the complaint, when it is not an unambiguous http or https URL."""
    if len(url) > MAX_URL_LENGTH:
        return f"it is longer than {MAX_URL_LENGTH:,} characters"
    if any(character <= " " or character == "\\" or unicodedata.category(character)[0] in "CZ" for character in url):
        return "it contains white space, a control character or a backslash"
    parts = _URL.fullmatch(url)
    if parts is not None and "@" in parts["authority"]:
        return "it contains a user name or a password"
    authority = _AUTHORITY.fullmatch(parts["authority"]) if parts is not None else None
    if parts is None or authority is None:
        return "it does not look like https://host/path"
    scheme = parts["scheme"].lower()
    host = _host_name(authority["host"])
    port = int(authority["port"] or DEFAULT_PORTS[scheme])
    if not host or not 0 < port < 2**16:
        return "its host name or its port is not valid"
    return Address(scheme, host, port)


def url_complaint(url: str, *, loopback_allowed: bool = False) -> str:
    """Why a URL must not be fetched, judged by its text alone; empty when nothing speaks against it.

    With ``loopback_allowed`` http and https URLs of this machine pass as well.
    """
    address = address_of(url)
    if isinstance(address, str):
        return address
    if is_loopback_host(address.host):
        return "" if loopback_allowed else "it points to this machine"
    if address.scheme != "https":
        return "it does not begin with https://"
    numeric = _ip_address(address.host)
    if numeric is not None:
        return "" if is_public(address.host) else "it points to a private or reserved address"
    if "." not in address.host or address.host.endswith(tuple("." + suffix for suffix in _PRIVATE_SUFFIXES)):
        return "it points to a name inside a private network"
    return ""


def check_public_url(url: str) -> None:
    """Raise UnusablePictureError for a URL that the service could not or should not fetch. Nothing is looked up."""
    complaint = url_complaint(url)
    if complaint:
        raise UnusablePictureError(
            f"The image URL {shown(url)} cannot be used: {complaint}. "
            "Give the public https:// address of a picture, or connect the picture itself."
        )


def shown(url: str) -> str:
    """A URL for messages: without user info, query and fragment, printable, short, in quotation marks."""
    parts = _URL.match(url[:MAX_URL_LENGTH])
    if parts is None:
        return '"..."'
    host = parts["authority"].rpartition("@")[2]
    path = re.split(r"[?#@\\]", parts["rest"])[0]
    text = "".join(character if character.isprintable() else "?" for character in f"{parts['scheme']}://{host}{path}")
    return f'"{text[:_SHOWN_LENGTH]}..."' if len(text) > _SHOWN_LENGTH else f'"{text}"'


def path_complaint(path: str) -> str:
    """Why a path (with an optional query) must not be appended to the service's address; empty when it may.

    Refused is everything that some server or proxy could take for another path: dot segments, empty segments and
    backslashes, written plainly or percent-encoded any number of times.
    """
    bare, _, query = path.partition("?")
    if len(path) > MAX_PATH_LENGTH:
        return f"it is longer than {MAX_PATH_LENGTH:,} characters"
    if not _PATH.fullmatch(bare) or not _QUERY.fullmatch(query):
        return "it contains characters that do not belong into a path"
    while bare != unquote(bare):
        bare = unquote(bare)
        if any(character < " " or character in "\\\x7f" for character in bare):
            return "it hides control characters or backslashes"
    if any(segment in ("", ".", "..") for segment in bare[1:].split("/")):
        return "it contains an empty segment or a dot segment"
    return ""


def is_loopback_host(host: str) -> bool:
    """Whether a host, as written in a URL, is this machine: ``localhost``, 127.0.0.0/8 or ``::1``."""
    return host == "localhost" or is_loopback(host)


def is_loopback(address: str) -> bool:
    """Whether a numeric address is this machine."""
    numeric = _ip_address(address)
    return numeric is not None and numeric.is_loopback


def is_public(address: str) -> bool:
    """Whether a numeric address belongs to the public internet; IPv4 inside IPv6 is judged by what is inside."""
    numeric = _ip_address(address)
    if numeric is None:
        return False
    if isinstance(numeric, ipaddress.IPv6Address):
        inner = _inner_v4(numeric)
        if inner is None:
            return numeric in _OPEN_V6 and not any(numeric in network for network in _CLOSED_V6)
        numeric = inner
    return not any(numeric in network for network in _CLOSED_V4)


def _inner_v4(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if address.ipv4_mapped or address.sixtofour:
        return address.ipv4_mapped or address.sixtofour
    return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None


def _ip_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _host_name(written: str) -> str:
    """The host in the form in which it is compared and resolved; empty when it is not valid."""
    if written.startswith("["):
        numeric = _ip_address(written[1:-1])
        return str(numeric) if numeric is not None else ""
    try:
        # The codec also turns full-width and other look-alike digits and dots into the usual ones.
        host = written[: MAX_HOST_LENGTH + 1].encode("idna").decode("ascii").lower()
    except UnicodeError:
        return ""
    labels = host.split(".")
    if len(host) > MAX_HOST_LENGTH or not all(_LABEL.fullmatch(label) for label in labels):
        return ""
    # Systems read 127.1, 0x7f.1 and 2130706433 as addresses. Only the usual four numbers are accepted here.
    if _NUMBER.fullmatch(labels[-1]) and _ip_address(host) is None:
        return ""
    return host
