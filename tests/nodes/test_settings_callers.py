"""Who may use the settings: callers as they arrive, good and bad."""

from __future__ import annotations

from dataclasses import replace

import pytest
from weshop_pack.nodes._callers import Caller, complaint_about

OWN_PAGE = Caller(
    peer="127.0.0.1",
    hosts=("127.0.0.1:8188",),
    origins=("http://127.0.0.1:8188",),
    fetch_sites=("same-origin",),
    is_forwarded=False,
    is_change=True,
)
NEIGHBOUR = replace(OWN_PAGE, peer="192.168.1.20", hosts=("192.168.1.5:8188",), origins=("http://192.168.1.5:8188",))


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"fetch_sites": ()},
        {"hosts": ("localhost:8188",), "origins": ("http://localhost:8188",)},
        {"hosts": ("LocalHost:8188",), "origins": ("http://localhost:8188",)},
        {"hosts": ("[::1]:8188",), "origins": ("http://[::1]:8188",), "peer": "::1"},
        {"peer": "::ffff:127.0.0.1"},
        {"hosts": ("localhost:9000",), "origins": ("http://localhost:9000",)},
        {"hosts": ("localhost",), "origins": ("https://localhost",)},
        {"origins": (), "is_change": False},
        {"origins": (), "fetch_sites": (), "is_change": False},
    ],
)
def test_the_hosts_own_page_on_this_machine_goes_on(change: dict[str, object]) -> None:
    assert complaint_about(replace(OWN_PAGE, **change), "") == ""  # type: ignore[arg-type]  # any field


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"origins": ("https://evil.example",)}, id="foreign origin"),
        pytest.param({"origins": ("null",)}, id="null origin"),
        pytest.param({"origins": ()}, id="missing origin"),
        pytest.param({"origins": ("http://127.0.0.1:8189",)}, id="another port of this machine"),
        pytest.param({"origins": ("http://localhost:8188",)}, id="another name of this machine"),
        pytest.param({"origins": ("http://127.0.0.1:8188", "https://evil.example")}, id="two origins"),
        pytest.param({"origins": ("http://127.0.0.1:8188.evil.example",)}, id="origin that begins alike"),
        pytest.param({"origins": ("chrome-extension://127.0.0.1:8188",)}, id="extension of the browser"),
        pytest.param({"origins": ("https://evil.example",), "is_change": False}, id="reading from a foreign origin"),
        pytest.param({"origins": ("null",), "is_change": False}, id="reading from a null origin"),
        pytest.param({"fetch_sites": ("cross-site",)}, id="cross-site"),
        pytest.param({"fetch_sites": ("same-site",)}, id="same-site"),
        pytest.param({"fetch_sites": ("none",)}, id="typed by the user"),
        pytest.param({"fetch_sites": ("same-origin", "cross-site")}, id="two sites"),
        pytest.param({"fetch_sites": ("cross-site",), "origins": (), "is_change": False}, id="reading cross-site"),
        pytest.param({"peer": "192.168.1.20"}, id="neighbour"),
        pytest.param({"peer": "fe80::1"}, id="neighbour over IPv6"),
        pytest.param({"peer": "::ffff:192.168.1.20"}, id="neighbour with a mapped address"),
        pytest.param({"peer": ""}, id="unknown peer"),
        pytest.param({"is_forwarded": True}, id="through a proxy"),
        pytest.param({"hosts": ("evil.example:8188",), "origins": ("http://evil.example:8188",)}, id="rebinding"),
        pytest.param(
            {"hosts": ("evil.example",), "origins": (), "fetch_sites": (), "is_change": False},
            id="reading by rebinding",
        ),
        pytest.param(
            {"hosts": ("127.0.0.1.evil.example",), "origins": ("http://127.0.0.1.evil.example",)}, id="prefix"
        ),
        pytest.param(
            {"hosts": ("localhost.evil.example",), "origins": ("http://localhost.evil.example",)}, id="prefix"
        ),
        pytest.param(
            {"hosts": ("192.168.1.5:8188",), "origins": ("http://192.168.1.5:8188",)}, id="address of the net"
        ),
        pytest.param({"hosts": ()}, id="no host"),
        pytest.param({"hosts": ("127.0.0.1:8188", "evil.example")}, id="two hosts"),
        pytest.param({"hosts": ("",), "origins": ("http://",)}, id="empty host"),
        pytest.param({"hosts": ("user@127.0.0.1",), "origins": ("http://user@127.0.0.1",)}, id="user in host"),
    ],
)
def test_everybody_else_is_refused_with_a_sentence(change: dict[str, object]) -> None:
    complaint = complaint_about(replace(OWN_PAGE, **change), "")  # type: ignore[arg-type]  # any field

    assert complaint.startswith("The WeShop settings")


@pytest.mark.parametrize("value", ["", " ", "0", "false", "No", "OFF"])
def test_a_neighbour_is_refused_unless_allowed(value: str) -> None:
    assert "WESHOP_ALLOW_REMOTE_SETTINGS=1" in complaint_about(NEIGHBOUR, value)


def test_an_allowed_neighbour_goes_on() -> None:
    assert complaint_about(NEIGHBOUR, "1") == ""


def test_an_allowed_neighbour_is_still_protected_from_foreign_pages() -> None:
    assert complaint_about(replace(NEIGHBOUR, origins=("https://evil.example",)), "1")
    assert complaint_about(replace(NEIGHBOUR, origins=()), "1")


def test_a_name_has_to_be_listed_because_other_sites_can_make_names_lead_here() -> None:
    by_name = replace(NEIGHBOUR, hosts=("studio.example",), origins=("https://studio.example",), is_forwarded=True)

    assert complaint_about(by_name, "1")
    assert complaint_about(by_name, "other.example, studio.example") == ""
    assert complaint_about(
        replace(by_name, hosts=("evil.example",), origins=("https://evil.example",)), "studio.example"
    )
