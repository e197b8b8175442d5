"""Hold charts of a page: Vega-Lite built with altair, in colours for light and dark, drawn as PNG and SVG too."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import altair as alt

POINTS = "points"
"""Name of the table that several charts of a page share."""

WIDTH = 980
"""Pixels of a page's widest chart."""

FRONT_COLOR = "#D55E00"
BAR_COLOR = "#0072B2"
"""Vermilion and blue of Okabe and Ito, safe for the colour-blind, visible on white and on black."""

INK = {"expr": "dark ? '#e4e4e4' : '#222222'"}
FAINT = {"expr": "dark ? '#3c3c3c' : '#e3e3e3'"}
PAPER = {"expr": "dark ? '#161616' : '#ffffff'"}
"""Colours that follow the parameter `dark` of every chart."""

_LABELS = {"labelColor": INK, "titleColor": INK, "labelFontSize": 11, "titleFontSize": 12}
_CONFIG: Mapping[str, Any] = {
    "background": None,
    "font": "Helvetica, Arial, sans-serif",
    "axis": {**_LABELS, "domainColor": INK, "tickColor": INK, "gridColor": FAINT, "titleFontWeight": "normal"},
    "legend": _LABELS,
    "title": {"color": INK, "fontSize": 12, "fontWeight": "normal"},
    "view": {"stroke": None},
}

Layers = alt.LayerChart | alt.FacetChart
"""What altair.layer yields."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A chart with its place on the page: `name` is that of its files and anchor, `text` says how to read it.

    `tables` are the rows of the named data it uses: in a page those called POINTS are embedded once, apart.
    """

    name: str
    title: str
    text: str
    chart: Layers | alt.VConcatChart
    tables: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)

    def specification(self) -> dict[str, Any]:
        """Return the Vega-Lite specification without the rows called POINTS."""
        specification: dict[str, Any] = self.chart.to_dict(validate=False)  # takes seconds; tests validate
        own = {name: list(rows) for name, rows in self.tables.items() if name != POINTS}
        own |= specification.get("datasets", {})
        parameters = [*specification.get("params", ()), {"name": "dark", "value": False}]
        return {**specification, "config": dict(_CONFIG), "datasets": own, "params": parameters}

    def whole(self) -> dict[str, Any]:
        """Return the Vega-Lite specification with all rows, on white."""
        whole = self.specification()
        whole["datasets"] |= {name: list(rows) for name, rows in self.tables.items()}
        whole["config"]["background"] = "white"
        return whole

    def pictures(self) -> dict[str, bytes]:
        """Return the chart on white as PNG (twice the page's resolution) and SVG, by the name of the file."""
        import vl_convert

        whole = self.whole()
        return {
            f"{self.name}.png": vl_convert.vegalite_to_png(whole, scale=2),
            f"{self.name}.svg": vl_convert.vegalite_to_svg(whole).encode(),
        }
