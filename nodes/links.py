"""The link types of the pack, and what every form shares."""

from __future__ import annotations

from comfy_api.latest import io

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
