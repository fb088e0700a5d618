"""The public names: complete, in order, loaded when needed."""

from __future__ import annotations

import pytest

import weshop_api


def test_the_public_names_are_sorted_and_each_once() -> None:
    assert weshop_api.__all__ == sorted(set(weshop_api.__all__))


@pytest.mark.parametrize("name", weshop_api.__all__)
def test_a_public_name_can_be_had_and_is_documented(name: str) -> None:
    thing = getattr(weshop_api, name)

    assert (thing.__doc__ or "").strip()
    assert thing.__module__.startswith("weshop_api.")


def test_names_that_are_not_public_are_not_in_the_way() -> None:
    modules = {"addresses", "client", "errors", "http", "models", "network", "progress", "protocol", "seedream"}
    shown = {name for name in vars(weshop_api) if not name.startswith("_") and name not in sys_modules()}

    assert shown <= {*weshop_api.__all__, *modules, "import_module", "annotations", "TYPE_CHECKING"}


def sys_modules() -> set[str]:
    """Return the modules of the package, which appear as attributes once something has imported them."""
    return {name for name, value in vars(weshop_api).items() if type(value).__name__ == "module"}


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Seedance"):
        weshop_api.Seedance  # noqa: B018 - looking is what is tested
