"""The link types of the pack, and what every form shares."""

from __future__ import annotations

from comfy_api.latest import io

from ..weshop_api import InvalidRequestError

CATEGORY = "WeShop"

ReferencesLink = io.Custom("WESHOP_REFERENCES")
RunLink = io.Custom("WESHOP_RUN")


def advanced(widget: io.WidgetInput) -> io.WidgetInput:
    """Mark an input as advanced: newer pages fold it away, older ones ignore the mark."""
    return with_data(widget, advanced=True)


def with_data(widget: io.WidgetInput, **data: object) -> io.WidgetInput:
    """Send data about an input to the page."""
    widget.extra_dict = {**widget.extra_dict, **data}
    return widget


def check_link(name: str, value: object, kind: type, origin: str) -> None:
    """Refuse what did not come from ``origin``: the host lets a workflow hand anything to any input."""
    if value is not None and not isinstance(value, kind):
        raise InvalidRequestError(
            f"The input {name} takes what {origin} puts out, and got something else ({type(value).__name__}). "
            "Connect it again."
        )


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Refuse a word that the form does not offer; not every host does."""
    if value not in choices:
        raise InvalidRequestError(f'The input {name} is not "{value}" but one of: {", ".join(choices)}.')
