"""Fill the Tcl and XDC templates of this folder: `@NAME@` stands for a value."""

import re
from collections.abc import Mapping
from importlib.resources import files

_PLACE = re.compile(r"@([A-Z_]+)@")


def filled(template: str, values: Mapping[str, str]) -> str:
    """Return a template of this folder with its places filled; a place without a value is our own error."""
    text = (files("gossamer.rtl.packaging.vivado") / template).read_text(encoding="utf-8")
    return _PLACE.sub(lambda place: values[place[1]], text)
