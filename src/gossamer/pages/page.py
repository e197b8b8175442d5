"""Assemble a page: one HTML file with charts, tables, styles and the Vega libraries; nothing from outside."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from gossamer.pages.figures import Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table as texts, with what it says; if `of_points`, the first cell of a row is the number of a point."""

    name: str
    title: str
    text: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    of_points: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """The points of a sweep that charts share, as columns of numbers, and what turns one into a config.

    `fields` are mappings with name, values, of_config and the column of positions among the values (which is not there
    if there is one value); `template` is the config with `<name>` and `<field NUMBER>` where a point's own values come.
    """

    columns: Mapping[str, Sequence[Any]]
    sweep: str
    fields: Sequence[Mapping[str, Any]]
    template: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What a page shows: tables of `summary`, figures, tables; the point picked is shown below the first figure."""

    title: str
    question: str
    facts: Sequence[tuple[str, str]]
    notes: Sequence[str]
    figures: Sequence[Figure]
    tables: Sequence[Table]
    points: Points | None = None
    summary: Sequence[Table] = field(default=())
    canvas: Sequence[str] = field(default=())

    def html(self) -> str:
        """Return the page. `canvas` names the figures that have too many marks for SVG."""
        from jinja2 import Environment, StrictUndefined
        from markupsafe import Markup

        here = files("gossamer.pages")
        environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
        template = environment.from_string((here / "page.html.j2").read_text())
        return template.render(
            title=self.title, question=self.question, facts=self.facts, notes=self.notes, figures=self.figures,
            summary=self.summary, tables=self.tables, template=self.points is not None, version=version("gossamer"),
            style=Markup((here / "page.css").read_text()), script=Markup((here / "page.js").read_text()),
            library=Markup(_library()),
            data=Markup(_json_in_html(self._data())),
        )  # fmt: skip

    def _data(self) -> dict[str, Any]:
        charts = {figure.name: figure.specification() for figure in self.figures}
        data: dict[str, Any] = {"charts": charts, "canvas": list(self.canvas)}
        if self.points is not None:
            points = self.points
            data |= {
                "points": points.columns, "sweep": points.sweep, "fields": points.fields, "template": points.template,
            }  # fmt: skip
        return data


@cache
def _library() -> str:
    """Return the JavaScript of Vega, Vega-Lite and vega-embed; bundling it takes seconds, once a process."""
    import vl_convert

    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return bundle


def _json_in_html(data: object) -> str:
    """Return JSON that may stand in a script element: no text in it can end the element."""
    return json.dumps(data, allow_nan=False, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
