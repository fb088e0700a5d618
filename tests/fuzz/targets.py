"""What the fuzzers and the tests of the corpus throw bytes at, and what must hold whatever the bytes are.

A target returns what came out. An error of another tree than ours, and whatever could harm a page, is a finding.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

import httpx
import numpy as np
from weshop_pack.nodes import images

from weshop_api import protocol
from weshop_api.addresses import Address, address_of, url_complaint
from weshop_api.errors import WeShopError
from weshop_api.models import Answer

EXECUTION_ID = "65f0c0ffee0000000000abcd"
STATUSES = (200, 201, 204, 302, 400, 401, 402, 404, 408, 409, 422, 429, 500, 503)
LONGEST_SENTENCE = 1_500

READERS: tuple[Callable[[Answer], object], ...] = (
    protocol.read_upload,
    protocol.read_submission,
    lambda answer: protocol.read_execution(answer, EXECUTION_ID),
    protocol.read_estimate,
    protocol.read_success,
)
# The sentences at which the page opens its sign-in and payment dialogs (frontends 1.32.9 and 1.58.1).
DIALOG_SENTENCES = (
    "Unauthorized: Please login first to use this node.",
    "Payment Required: Please add credits to your account to use this node.",
    "Payment Required: Please add credits to your workspace to continue.",
)


def check_sentence(error: WeShopError) -> None:
    """Demand that an error can be shown: one printable paragraph of bounded length that opens no dialog."""
    sentence = str(error)
    assert sentence.isprintable(), ascii(sentence)
    assert 20 <= len(sentence) <= LONGEST_SENTENCE, len(sentence)
    assert not any(words in sentence for words in DIALOG_SENTENCES), sentence


def read_reply(data: bytes) -> object:
    """Let one of the readers read an answer; the first two bytes choose the reader and the status."""
    reader = READERS[data[0] % len(READERS)] if data else READERS[0]
    status = STATUSES[data[1] % len(STATUSES)] if len(data) > 1 else STATUSES[0]
    body = data[2:]
    answer = Answer(status, {"retry-after": body[:8].decode("latin-1")}, body)
    try:
        value = reader(answer)
    except WeShopError as error:
        check_sentence(error)
        return error
    for url in re.findall(r"(?:address|url)='([^']*)'", repr(value)):
        assert not url or url.lower().startswith(("https://", "http://")), ascii(url)
    return value


def read_picture(data: bytes) -> object:
    """Decode a file as a result, and make its preview."""
    batch = images.PictureBatch(1, "pad")
    try:
        batch.add(0, data)
        pictures = batch.finish().images.numpy()
    except WeShopError as error:
        check_sentence(error)
        return error
    assert pictures.ndim == 4
    assert pictures.shape[0] == 1
    assert pictures.shape[3] == 3
    assert np.isfinite(pictures).all()
    assert pictures.min(initial=0.0) >= 0.0
    assert pictures.max(initial=1.0) <= 1.0
    assert images.preview(data).mode == "RGB"
    return pictures.shape


def read_address(data: bytes) -> object:
    """Judge a URL; one that passes must mean the same to the HTTP library, which reads it with a parser of its own."""
    text = data.decode("utf-8", errors="replace")
    complaint = url_complaint(text)
    if complaint:
        assert complaint.isprintable(), ascii(complaint)
        return complaint
    address = address_of(text)
    assert isinstance(address, Address)
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, ValueError):
        return "refused by the HTTP library"
    assert (url.scheme, url.port or 443, url.userinfo) == (address.scheme, address.port, b""), ascii(text)
    assert _host(url.raw_host.decode("ascii").strip("[]")) == _host(address.host), ascii(text)
    return address


def _host(text: str) -> object:
    """Return a name, or an address whatever its spelling."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return text


TARGETS: Mapping[str, Callable[[bytes], object]] = MappingProxyType(
    {"replies": read_reply, "pictures": read_picture, "addresses": read_address}
)
