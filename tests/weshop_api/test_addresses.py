"""The rules for URLs, paths and network addresses."""

from __future__ import annotations

import ipaddress
import time
from urllib.parse import quote, unquote

import httpx
import pytest
from hypothesis import example, given, strategies as st

from weshop_api.addresses import (
    Address,
    address_of,
    check_public_url,
    is_public,
    path_complaint,
    shown,
    url_complaint,
)
from weshop_api.errors import UnusablePictureError

ACCEPTED = [
    "https://pictures.example/a.png",
    "HTTPS://Pictures.Example/a.png",
    "https://pictures.example:8443/a.png?x=1&y=%20#part",
    "https://pictures.example",
    "https://93.184.215.14/a.png",
    "https://198.18.0.7/a.png",
    "https://[2606:2800:21f:cb07::1]/a.png",
    "https://b\u00fccher.example/\u00e4.png",
    "https://a_b.example/a.png",
    "https://pictures.example/a@b.png?c=d@e",
]

REFUSED = [
    ("http://pictures.example/a.png", "https://"),
    ("ftp://pictures.example/a.png", "does not look like"),
    ("file:///etc/passwd", "does not look like"),
    ("data:image/png;base64,AAAA", "does not look like"),
    ("pictures.example/a.png", "does not look like"),
    ("//pictures.example/a.png", "does not look like"),
    ("https:pictures.example", "does not look like"),
    ("https://", "does not look like"),
    ("", "does not look like"),
    ("https://user:opensesame@pictures.example/", "user name"),
    ("https://user@pictures.example/", "user name"),
    ("https://pictures.example\\@10.0.0.1/", "backslash"),
    ("https://pictures.example/a b", "white space"),
    (" https://pictures.example/", "white space"),
    ("https://pictures.example/\n", "white space"),
    ("https://pictures.example/\x00", "white space"),
    ("https://pictures\u200b.example/", "white space"),
    ("https://pictures.example/\u202egnp.a", "white space"),
    ("https://pictures.example:0/", "port"),
    ("https://pictures.example:65536/", "port"),
    ("https://pictures.example:/", "does not look like"),
    ("https://pictures.example:\u0664\u0662/", "does not look like"),
    ("https://pictures..example/", "not valid"),
    ("https://pictures.example./", "not valid"),
    ("https://-pictures.example/", "not valid"),
    ("https://pic%74ures.example/", "not valid"),
    ("https://" + "a" * 64 + ".example/", "not valid"),
    ("https://" + "a." * 200 + "example/", "not valid"),
    ("https://[::1%25eth0]/", "does not look like"),
    ("https://[12345::]/", "not valid"),
    ("https://localhost/", "this machine"),
    ("https://LOCALHOST:8188/", "this machine"),
    ("https://127.0.0.1/", "this machine"),
    ("https://127.255.255.254/", "this machine"),
    ("https://[::1]/", "this machine"),
    ("https://[0:0:0:0:0:0:0:1]/", "this machine"),
    ("https://\uff11\uff12\uff17.0.0.1/", "this machine"),
    ("https://127\u30020\u30020\u30021/", "this machine"),
    ("https://\u2460\u2461\u2466.0.0.1/", "this machine"),
    ("https://2130706433/", "not valid"),
    ("https://0x7f000001/", "not valid"),
    ("https://0177.0.0.1/", "not valid"),
    ("https://127.1/", "not valid"),
    ("https://1.2.3.4.5/", "not valid"),
    ("https://10.0.0.1/", "private"),
    ("https://169.254.169.254/latest/meta-data", "private"),
    ("https://[::ffff:169.254.169.254]/", "private"),
    ("https://[fd00::1]/", "private"),
    ("https://printer/", "private network"),
    ("https://nas.local/", "private network"),
    ("https://metadata.google.internal/", "private network"),
    ("https://a.localhost/", "private network"),
]


@pytest.mark.parametrize("url", ACCEPTED)
def test_a_public_https_url_is_accepted(url: str) -> None:
    check_public_url(url)


@pytest.mark.parametrize(("url", "part"), REFUSED)
def test_a_url_that_is_not_plainly_public_is_refused_with_the_reason(url: str, part: str) -> None:
    with pytest.raises(UnusablePictureError) as caught:
        check_public_url(url)

    assert part in str(caught.value)
    assert "opensesame" not in str(caught.value)


def test_loopback_passes_only_where_it_is_allowed() -> None:
    assert url_complaint("http://127.0.0.1:8787/a.png", loopback_allowed=True) == ""
    assert url_complaint("http://localhost/a.png", loopback_allowed=True) == ""
    assert url_complaint("http://[::1]/a.png", loopback_allowed=True) == ""
    assert url_complaint("http://127.0.0.1:8787/a.png")
    assert url_complaint("http://pictures.example/a.png", loopback_allowed=True)
    assert url_complaint("https://10.0.0.1/a.png", loopback_allowed=True)


@pytest.mark.parametrize(
    "start", ["", "https://", "https://a/", "https://a.example/?", "https://user:", "https://\u00fc."]
)
@pytest.mark.parametrize("filler", ["a", "@", ".", "/", "%", "\u00fc", "\x00", ":", "["])
def test_a_megabyte_of_anything_is_refused_quickly_and_briefly(start: str, filler: str) -> None:
    began = time.perf_counter()
    with pytest.raises(UnusablePictureError) as caught:
        check_public_url(start + filler * 1_000_000)

    assert time.perf_counter() - began < 1.0
    assert len(str(caught.value)) < 300


# What a URL is made of, with everything that has ever confused a parser.
PIECES = st.sampled_from(
    [
        "https://",
        "http://",
        "//",
        "/",
        "\\",
        "@",
        ":",
        "#",
        "?",
        "%2e",
        "%00",
        "%40",
        "..",
        ".",
        "[",
        "]",
        "::1",
        "127.0.0.1",
        "localhost",
        "a.example",
        "10.0.0.1",
        "443",
        "xn--",
        "xn--bcher-kva",
        "\u3002",
        "\uff0e",
        "\u00df",
        "\u200d",
        "\t",
        " ",
    ]
)
URLS = st.lists(PIECES | st.text(max_size=3), max_size=8).map("".join)


@given(st.one_of(URLS, URLS.map("https://".__add__), URLS.map("https://a.example".__add__), st.text(max_size=50)))
@example("https://a.example\\@10.0.0.1/")
@example("https://a.example#@10.0.0.1/")
def test_two_parsers_read_an_accepted_url_in_the_same_way(url: str) -> None:
    """What was checked is what httpx connects to."""
    address = address_of(url)
    if isinstance(address, str):
        assert address
        return

    try:
        parsed = httpx.URL(url)
        host = parsed.raw_host.decode("ascii")
    except (httpx.InvalidURL, ValueError):
        return  # Refused by the second parser: nothing will be connected.
    assert parsed.scheme == address.scheme
    assert (parsed.port or {"http": 80, "https": 443}[parsed.scheme]) == address.port
    assert parsed.userinfo == b""
    if url.isascii():
        assert host == address.host


@given(st.one_of(URLS, URLS.map("https://".__add__), st.text()))
def test_any_text_is_either_accepted_or_refused_with_a_printable_sentence(url: str) -> None:
    try:
        check_public_url(url)
    except UnusablePictureError as error:
        message = str(error)
    else:
        message = "accepted"

    assert message.isprintable()
    assert len(message) < 300


@given(st.text(st.characters(exclude_characters="/?#@\\"), min_size=4))
def test_credentials_in_a_url_are_never_shown(secret: str) -> None:
    assert secret not in shown(f"https://me:{secret}@pictures.example/").replace("pictures.example", "")


PUBLIC = ["8.8.8.8", "1.1.1.1", "198.18.0.0", "198.19.255.255", "223.255.255.255", "2606:4700::1", "2a00:1450::1"]
PUBLIC += ["::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1", "172.15.255.255", "172.32.0.0", "100.63.255.255"]
PRIVATE = ["0.0.0.0", "10.0.0.1", "100.64.0.1", "100.127.255.255", "127.0.0.1", "169.254.169.254"]  # noqa: S104 - nothing listens there
PRIVATE += ["172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.2.1", "192.168.0.1", "198.51.100.1", "203.0.113.1"]
PRIVATE += [
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "fc00::1",
    "fd00::1",
]
PRIVATE += ["fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "2001:db8::1", "2001::1", "3fff::1", "5f00::1", "100::1"]
PRIVATE += ["::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::808:808"]
PRIVATE += ["2002:7f00:1::", "2002:c0a8:1::1", "localhost", "", "1", "8.8.8.8 ", "1.2.3"]


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", PRIVATE)
def test_everything_else_is_not_public(address: str) -> None:
    assert not is_public(address)


@given(st.ip_addresses())
def test_no_address_is_public_that_python_calls_private_except_for_synthetic_dns(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    if is_public(str(address)) and address.version == 4:
        assert address.is_global or address in ipaddress.IPv4Network("198.18.0.0/15")
        assert not address.is_multicast


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_judged_alike_in_all_its_ipv6_forms(address: ipaddress.IPv4Address) -> None:
    number = int(address)
    forms = [0xFFFF << 32 | number, 0x64FF9B << 96 | number, 0x2002 << 112 | number << 80]

    assert {is_public(str(ipaddress.IPv6Address(form))) for form in forms} == {is_public(str(address))}


GOOD_PATHS = ["/agent/runs", "/agent/runs/0123456789abcdef01234567", "/a?b=c&d=/e", "/a%20b", "/...", "/a.b", "/a%2Fb"]
BAD_PATHS = [
    "",
    "a",
    "//a",
    "/a//b",
    "/",
    "/a/",
    "/.",
    "/..",
    "/a/../b",
    "/a/./b",
    "/%2e%2e/b",
    "/%2E",
    "/%252e%252e/b",
]
BAD_PATHS += [
    "/a%2f..%2fb",
    "/a%2f%2fb",
    "/a\\b",
    "/a%5cb",
    "/a%255cb",
    "/a b",
    "/a\tb",
    "/a%0d%0ab",
    "/a%00",
    "/\u00e4",
    "/a#b",
]
BAD_PATHS += ["/a%", "/a%zz", "/a?b c", "/a?\n", "/" + "a" * 3000]


@pytest.mark.parametrize("path", GOOD_PATHS)
def test_a_plain_path_is_accepted(path: str) -> None:
    assert path_complaint(path) == ""


@pytest.mark.parametrize("path", BAD_PATHS)
def test_a_path_that_could_be_read_as_another_one_is_refused(path: str) -> None:
    assert path_complaint(path)


@given(st.text(max_size=20), st.integers(0, 4))
@example("..", 3)
@example("a/../..", 1)
def test_an_accepted_path_stays_below_its_prefix_however_often_it_is_decoded(text: str, rounds: int) -> None:
    path = "/agent/runs/" + quote(text, safe="/.%")
    for _ in range(rounds):
        path = path.replace("%", "%25")
    if path_complaint(path):
        return

    for _ in range(8):
        path = unquote(path)
        segments = path.replace("\\", "/").split("/")
        assert not {"..", "."} & set(segments)
        assert path.startswith("/agent/runs/")


def test_an_address_has_its_default_port() -> None:
    assert address_of("https://Pictures.example") == Address("https", "pictures.example", 443)
    assert address_of("http://[::1]:8787/x") == Address("http", "::1", 8787)
