"""Who may read and change the pack's settings: rules about one request, pure.

The host knows no users. Whoever reaches its port can call its routes, and so can every web page that is open in a
browser on this machine. A request therefore has to come from the host's own page, opened on this machine.

Part of ``settings``, which is the only module that imports it.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

ALLOW_REMOTE_VARIABLE = "WESHOP_ALLOW_REMOTE_SETTINGS"

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{1,5})?")
_NO = ("", "0", "false", "no", "off")


@dataclass(frozen=True)
class Caller:
    """What a request says about where it comes from; of headers every occurrence, because two that differ are a trick.

    ``peer`` is the numeric address of the other end of the connection, ``is_forwarded`` whether a proxy stands in
    between, ``is_change`` whether the request changes something.
    """

    peer: str
    hosts: tuple[str, ...]
    origins: tuple[str, ...]
    fetch_sites: tuple[str, ...]
    is_forwarded: bool
    is_change: bool


def complaint_about(caller: Caller, allowed: str) -> str:
    """Why a caller is refused; empty when it may go on. ``allowed`` is the value of WESHOP_ALLOW_REMOTE_SETTINGS."""
    allowed = allowed.strip().lower()
    is_remote_allowed = allowed not in _NO
    if not is_remote_allowed and (caller.is_forwarded or not _is_loopback(caller.peer)):
        return (
            "The WeShop settings are open only on the machine that ComfyUI runs on. To open them to others, read "
            f"docs/security.md and start ComfyUI with {ALLOW_REMOTE_VARIABLE}=1."
        )
    names = allowed.split(",") if is_remote_allowed else []
    if len(caller.hosts) != 1 or not _is_own_name(caller.hosts[0].lower(), names):
        return (
            "The WeShop settings are closed under this name of the machine, because other sites can make names lead "
            "here. Open ComfyUI by its address, such as http://127.0.0.1:8188, or name it in "
            f"{ALLOW_REMOTE_VARIABLE}."
        )
    if not _is_same_origin(caller):
        return "The WeShop settings take requests from ComfyUI's own page only."
    return ""


def _is_same_origin(caller: Caller) -> bool:
    if any(site != "same-origin" for site in caller.fetch_sites):
        return False
    # Browsers leave Origin out when a page only reads from its own site.
    if not caller.origins and not caller.is_change:
        return True
    host = caller.hosts[0].lower()
    return len(caller.origins) == 1 and caller.origins[0].lower() in (f"http://{host}", f"https://{host}")


def _is_own_name(host: str, names: list[str]) -> bool:
    """Whether no foreign site can have chosen this Host: it is this machine, an address where allowed, or listed.

    A page of another site can make its own name lead here (DNS rebinding), but no address and no name of ours.
    """
    parts = _HOST.fullmatch(host)
    if parts is None:
        return False
    name = parts[1].strip("[]")
    if name == "localhost" or _is_loopback(name):
        return True
    return bool(names) and (_numeric(name) is not None or name in [own.strip() for own in names])


def _is_loopback(address: str) -> bool:
    numeric = _numeric(address)
    if isinstance(numeric, ipaddress.IPv6Address) and numeric.ipv4_mapped is not None:
        numeric = numeric.ipv4_mapped  # How a socket that speaks both names a caller on 127.0.0.1.
    return numeric is not None and numeric.is_loopback


def _numeric(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
