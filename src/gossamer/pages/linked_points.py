"""Hold what all linked plots of a sweep share: the points with colours and texts, the selections, the tooltips."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import altair as alt
import numpy as np
from numpy.typing import NDArray

from gossamer.pages.figures import POINTS
from gossamer.pages.quantities import four_digits, value_text
from gossamer.pages.sweep_points import SweepPoints

_MOST_LABELS = 9
TIP = alt.ExprRef("datum.tip")
_LOG_RATIO = 20.0
"""A scale is logarithmic where the largest value is so many times the least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimension:
    """What points are coloured by and parallel coordinates run over: a field or an objective, laid over 0..1."""

    column: str
    title: str
    position: str
    ticks: tuple[float, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class LinkedPoints:
    """The points as every linked plot draws them; `planes` is the number of scatter plots."""

    points: SweepPoints
    planes: int

    @cached_property
    def dimensions(self) -> tuple[Dimension, ...]:
        """Return the varied fields, then the objectives."""
        return tuple(_dimensions(self.points))

    @cached_property
    def plane_brushes(self) -> tuple[alt.Parameter, ...]:
        """Return the selection of each scatter plot."""
        return tuple(alt.selection_interval(name=f"plane{number}") for number in range(self.planes))

    @cached_property
    def range_brushes(self) -> tuple[alt.Parameter, ...]:
        """Return the selection on each dimension."""
        numbers = range(len(self.dimensions))
        return tuple(alt.selection_interval(name=f"range{number}", encodings=["y"]) for number in numbers)

    @cached_property
    def chart(self) -> alt.Chart:
        """Return the chart that all plots start from: positions on every dimension, colour, and the tooltip TIP.

        The tooltip (number, varied fields, metrics) is made once a point: made by marks, it would take most of the time
        that a page takes to open.
        """
        computed = {dimension.column: dimension.position for dimension in self.dimensions}
        computed["shade"] = "datum[colour]"
        shown = [("point", "format(datum.id, 'd')")]
        for number in self.points.varied:
            texts = [value_text(value) for value in self.points.fields[number].values]
            shown.append((self.points.fields[number].name, f"{json.dumps(texts)}[datum.c{number}]"))
        for name, quantity in self.points.quantities.items():
            shown.append((quantity.title, f"format(datum.{name}, ',.4~r')"))
        computed["tip"] = "{" + ", ".join(f"{json.dumps(title)}: {text}" for title, text in shown) + "}"
        chart = alt.Chart(alt.NamedData(name=POINTS)).transform_filter("!only_front || datum.front")
        for name, expression in computed.items():
            chart = chart.transform_calculate(**{name: expression})
        return chart

    @cached_property
    def selected(self) -> alt.Chart:
        """Return that chart with only the points that are in all selections."""
        first, *others = (*self.plane_brushes, *self.range_brushes)
        condition: Any = first
        for brush in others:
            condition = condition & brush
        return self.chart.transform_filter(condition)

    @cached_property
    def controls(self) -> list[alt.Parameter]:
        """Return what the reader sets: the dimension of colours, the front alone, and (by a click) the point picked."""
        preferred = [f"p_{objective}" for objective in self.points.results.sweep.objectives[2:]]
        choice = alt.binding_select(
            options=[dimension.column for dimension in self.dimensions],
            labels=[dimension.title for dimension in self.dimensions],
            name="Colour by ", element="#controls",
        )  # fmt: skip
        alone = alt.binding_checkbox(name="Front only ", element="#controls")
        return [
            alt.param(name="colour", value=[*preferred, self.dimensions[0].column][0], bind=choice),
            alt.param(name="only_front", value=False, bind=alone),
            alt.param(name="picked", value=-1),
        ]

    @cached_property
    def colour(self) -> alt.Color:
        """Return the colour of points; the legend's labels are those of the dimension chosen."""
        ticks = json.dumps({dimension.column: dimension.ticks for dimension in self.dimensions})
        labels = json.dumps({dimension.column: dimension.labels for dimension in self.dimensions})
        legend = alt.Legend(
            title=None, values=alt.ExprRef(f"{ticks}[colour]"),
            labelExpr=f"{labels}[colour][indexof({ticks}[colour], datum.value)]",
        )  # fmt: skip
        scheme = alt.SchemeParams(name="viridis", extent=[0.06, 0.94])
        return alt.Color("shade:Q", scale=alt.Scale(scheme=scheme, domain=[0, 1]), legend=legend)

    @cached_property
    def colour_title(self) -> alt.TitleParams:
        """Return what the colour is, to stand over the legend."""
        titles = json.dumps({dimension.column: dimension.title for dimension in self.dimensions})
        return alt.TitleParams(alt.ExprRef(f"'colour: ' + {titles}[colour]"), anchor="end", fontSize=11)


def is_wide(low: float, high: float) -> bool:
    """Tell whether a scale is logarithmic."""
    return low > 0 and high > _LOG_RATIO * low


def span(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the least and the largest value."""
    return float(np.nanmin(values)), float(np.nanmax(values))


def _dimensions(points: SweepPoints) -> Iterator[Dimension]:
    for number in points.varied:
        values = points.fields[number].values
        last = len(values) - 1
        at = sorted({round(step * last / (_MOST_LABELS - 1)) for step in range(_MOST_LABELS)})
        yield Dimension(
            column=f"p{number}", title=points.fields[number].name, position=f"datum.c{number} / {last}",
            ticks=tuple(position / last for position in at),
            labels=tuple(value_text(values[position]) for position in at),
        )  # fmt: skip
    for objective in points.results.sweep.objectives:
        quantity = points.quantities[objective]
        low, high = span(points.metrics[objective] * quantity.factor)
        ticks = tuple(step / 4 for step in range(5))
        if is_wide(low, high):
            position = f"log(datum.{objective} / {low}) / {np.log(high / low)}"
            labels = [low * (high / low) ** tick for tick in ticks]
        else:
            position = f"(datum.{objective} - {low}) / {(high - low) or 1.0}"
            labels = [low + (high - low) * tick for tick in ticks]
        yield Dimension(
            column=f"p_{objective}", title=quantity.title, position=position, ticks=ticks,
            labels=tuple(four_digits(float(f"{label:.3g}")) for label in labels),
        )  # fmt: skip
