"""The demo and the key: with `--live` it is needed, without it is never passed on."""

from __future__ import annotations

import pytest

from tools.environment import EnvironmentProblem, live_variables


@pytest.mark.parametrize("key", ["", "  "])
def test_the_live_demo_without_a_key_says_where_to_get_one(key: str) -> None:
    with pytest.raises(EnvironmentProblem, match=r"WESHOP_API_KEY.*https://open\.weshop\.ai/authorization/apikey"):
        live_variables({"WESHOP_API_KEY": key})


def test_the_live_demo_passes_on_the_key_and_the_way_to_the_service() -> None:
    outside = {
        "WESHOP_API_KEY": "test-key-not-real",
        "https_proxy": "http://127.0.0.1:3128",
        "WESHOP_BASE_URL": "http://127.0.0.1:1/openapi",
        "OTHER_TOKEN": "stays-here",
    }

    assert set(live_variables(outside)) == {"WESHOP_API_KEY", "https_proxy"}
