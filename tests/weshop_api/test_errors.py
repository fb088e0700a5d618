"""The tree of errors: as drawn, complete, and each with what its reader needs."""

from __future__ import annotations

import inspect
import re

import pytest

import weshop_api
from weshop_api import errors
from weshop_api.errors import (
    API_KEY_PAGE,
    InvalidRequestError,
    MissingKeyError,
    NotFoundError,
    RunTimeoutError,
    WeShopError,
    clean_text,
)


def drawn_tree() -> dict[str, str]:
    """Return each class of the drawing at the top of the file, with the class it stands under."""
    parents: dict[str, str] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"(?P<indent>[| `-]*)(?P<name>\w+Error) ", line)
        if found:
            depth = len(found["indent"]) // 4
            del path[depth:]
            parents[found["name"]] = path[-1] if path else "Exception"
            path.append(found["name"])
    return parents


def real_tree() -> dict[str, str]:
    members = inspect.getmembers(errors, lambda it: inspect.isclass(it) and issubclass(it, Exception))
    return {name: kind.__bases__[0].__name__ for name, kind in members}


def test_the_tree_is_drawn_as_it_is() -> None:
    assert drawn_tree() == real_tree()


def test_every_error_is_a_public_name() -> None:
    assert set(real_tree()) <= set(weshop_api.__all__)


@pytest.mark.parametrize("name", real_tree())
def test_every_error_says_in_a_sentence_what_happened(name: str) -> None:
    kind = getattr(errors, name)

    assert issubclass(kind, WeShopError)
    assert (kind.__doc__ or "").split("\n")[0].endswith((".", "``")) or "." in (kind.__doc__ or "")


def test_a_missing_key_says_where_to_get_one_and_where_to_put_it() -> None:
    text = str(MissingKeyError())

    assert API_KEY_PAGE == "https://open.weshop.ai/authorization/apikey"
    for part in (API_KEY_PAGE, "WESHOP_API_KEY", "~/.config/weshop/credentials.json", '{"api_key": "..."}'):
        assert part in text


def test_a_higher_layer_adds_what_only_it_knows() -> None:
    error = NotFoundError("There is no such run.", status=404)
    error.add("It was run abc.")

    assert str(error) == "There is no such run. It was run abc."
    assert error.status == 404


def test_an_error_about_a_run_carries_its_id() -> None:
    assert RunTimeoutError("Still going.", execution_id="abc").execution_id == "abc"


@pytest.mark.parametrize(
    ("foreign", "shown"),
    [
        ("two\r\nlines\tand  spaces ", "two lines and spaces"),
        ("\x1b[31mred\x00", "[31mred"),
        ("Please login first now", "... now"),
        ("please  add\ncredits", "..."),
        ("Unauthorized: key", "... key"),
        ("\ud83d half", "half"),
        ("x" * 300, "x" * 300),
        ("x" * 301, "x" * 297 + "..."),
    ],
)
def test_foreign_text_is_made_fit_to_be_shown(foreign: str, shown: str) -> None:
    assert clean_text(foreign) == shown


def test_an_error_can_be_shown_whatever_it_quotes() -> None:
    quoted = "half a pair \ud800, \x1b[31m red, Unauthorized: Please login first to use this node. "
    error = InvalidRequestError(f'There is no model "{quoted}"')
    error.add("x" * 10_000_000)

    assert str(error).startswith('There is no model "half a pair , [31m red, ... ... to use this node. " xxx')
    assert str(error).isprintable()
    assert len(str(error)) == 1_500
