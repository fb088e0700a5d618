"""The host comes up with the pack, and goes away again when it is told to."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.comfyui import ComfyUIProcess, HostDiedError, Hosts, UnreachableError
from tools.environment import Environment

NODE_TYPES = ("WeShopUploadReference", "WeShopSeedreamGenerate", "WeShopLoadResult")


def test_the_host_offers_its_own_nodes(host: ComfyUIProcess) -> None:
    assert "SaveImage" in host.client.object_info()


@pytest.mark.parametrize("node_type", NODE_TYPES)
def test_the_host_offers_the_node(host: ComfyUIProcess, node_type: str) -> None:
    assert node_type in host.client.object_info(node_type)


def test_the_pack_is_imported_without_a_complaint(host: ComfyUIProcess) -> None:
    log, started, _ = host.log_text().partition("Starting server")

    assert started
    assert "weshop-seedream" in log
    assert "IMPORT FAILED" not in log
    assert "Traceback" not in log


def test_a_killed_host_starts_again_with_what_it_had(hosts: Hosts) -> None:
    host = hosts.start(packs={})
    name = host.client.upload_image("kept.png", b"not looked at")
    host.kill()

    with pytest.raises(UnreachableError):
        host.client.system_stats()
    host.start()

    assert (host.base_directory / "input" / name).read_bytes() == b"not looked at"
    assert host.client.system_stats()


def test_a_host_that_cannot_start_says_why(environment: Environment, tmp_path: Path) -> None:
    host = ComfyUIProcess(environment, tmp_path, arguments=("--no-such-flag",))

    with pytest.raises(HostDiedError, match="unrecognized arguments: --no-such-flag"):
        host.start()
    assert not host.is_running
