"""Draw a sweep: the front linked with parallel coordinates, and what each axis alone does."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np
from numpy.typing import NDArray

from gossamer.pages.figures import BAR_COLOR, FRONT_COLOR, INK, PAPER, POINTS, WIDTH, Figure
from gossamer.pages.quantities import Quantity, four_digits, value_text
from gossamer.pages.sensitivity import Effect
from gossamer.pages.sweep_points import SweepPoints
from gossamer.pages.sweep_store import MAXIMISED

_MOST_LABELS = 9
_LOG_RATIO = 20.0
"""A scale is logarithmic where the largest value is so many times the least."""

_HEIGHT = 380
_PARALLEL_HEIGHT = 260


@dataclass(frozen=True, slots=True, kw_only=True)
class _Dimension:
    """What points are coloured by and parallel coordinates run over: an axis or an objective, laid over 0..1."""

    column: str
    title: str
    position: str
    ticks: tuple[float, ...]
    labels: tuple[str, ...]


def linked_figure(points: SweepPoints) -> Figure:
    """Return the front and parallel coordinates; a brush in any plot selects in all of them."""
    plots = _planes(points)
    dimensions = tuple(_dimensions(points))
    planes = [alt.selection_interval(name=f"plane{number}") for number in range(len(plots))]
    ranges = [alt.selection_interval(name=f"range{number}", encodings=["y"]) for number in range(len(dimensions))]
    selected: Any = planes[0]
    for brush in (*planes[1:], *ranges):
        selected = selected & brush
    shared = _shared(points, dimensions)
    tips = _tooltips(points)
    scatter = alt.hconcat(
        *(
            _plane(shared, points, plot, brush, selected, tips, WIDTH // len(plots) - 90)
            for plot, brush in zip(plots, planes, strict=True)
        )
    )
    chart = (
        alt.vconcat(scatter, _parallel(shared, dimensions, ranges, selected, tips), spacing=70)
        .add_params(*_controls(points, dimensions))
        .resolve_scale(color="shared")
    )
    return Figure(
        name="front", title="Pareto front",
        text="Ringed points are on the front. Drag over a plot, or up and down beside an axis, to select; the selection "
        "is where all of them meet; a double click clears one. Click a point or line for its config.",
        chart=chart, tables={POINTS: points.rows()},
    )  # fmt: skip


def sensitivity_figure(points: SweepPoints, found: Sequence[Effect]) -> Figure | None:
    """Return the tornado: per objective a bar per axis, from the least to the largest median factor; None if empty."""
    if not found:
        return None
    charts = [_tornado(points, objective, found) for objective in points.results.objectives]
    return Figure(
        name="sensitivity", title="What each axis alone does",
        text="Each mark is a value of the axis: the factor by which an objective changes when this axis alone changes "
        "from its reference value (at ×1: that of the base config if it is swept, else the first); the median over all "
        "pairs of points that are otherwise the same. Hover for quartiles and the number of pairs.",
        chart=alt.vconcat(*charts, spacing=30),
    )  # fmt: skip


def _planes(points: SweepPoints) -> list[tuple[str, str]]:
    """Return the pairs of metrics drawn against each other: the first objective with each other one."""
    objectives = points.results.objectives
    if len(objectives) == 1:
        return [(objectives[0], "dsp" if objectives[0] != "dsp" else "lut")]
    return [(objectives[0], other) for other in objectives[1:4]]


def _dimensions(points: SweepPoints) -> Iterable[_Dimension]:
    for number in points.varied:
        values = points.fields[number].values
        last = len(values) - 1
        at = sorted({round(step * last / (_MOST_LABELS - 1)) for step in range(_MOST_LABELS)})
        yield _Dimension(
            column=f"p{number}", title=points.fields[number].name, position=f"datum.c{number} / {last}",
            ticks=tuple(position / last for position in at), labels=tuple(value_text(values[position]) for position in at),
        )  # fmt: skip
    for objective in points.results.objectives:
        quantity = points.quantities[objective]
        values = points.metrics[objective] * quantity.factor
        low, high = _span(values)
        ticks = tuple(step / 4 for step in range(5))
        if _is_wide(low, high):
            position = f"log(datum.{objective} / {low}) / {np.log(high / low)}"
            labels = [low * (high / low) ** tick for tick in ticks]
        else:
            position = f"(datum.{objective} - {low}) / {(high - low) or 1.0}"
            labels = [low + (high - low) * tick for tick in ticks]
        yield _Dimension(
            column=f"p_{objective}", title=quantity.title, position=position, ticks=ticks,
            labels=tuple(four_digits(float(f"{label:.3g}")) for label in labels),
        )  # fmt: skip


def _is_wide(low: float, high: float) -> bool:
    return low > 0 and high > _LOG_RATIO * low


def _shared(points: SweepPoints, dimensions: Sequence[_Dimension]) -> alt.Chart:
    """Return the chart that all plots start from: positions on every dimension, colour, and values as text."""
    computed = {dimension.column: dimension.position for dimension in dimensions}
    computed["shade"] = "datum[colour]"
    for number in points.varied:
        texts = [value_text(value) for value in points.fields[number].values]
        computed[f"t{number}"] = f"{json.dumps(texts)}[datum.c{number}]"
    chart = alt.Chart(alt.NamedData(name=POINTS)).transform_filter("!only_front || datum.front")
    for name, expression in computed.items():
        chart = chart.transform_calculate(**{name: expression})
    return chart


def _controls(points: SweepPoints, dimensions: Sequence[_Dimension]) -> list[alt.Parameter]:
    """Return what the reader sets: the dimension of colours, the front alone, and (by a click) the point picked."""
    preferred = [f"p_{objective}" for objective in points.results.objectives[2:]]
    return [
        alt.param(
            name="colour", value=(preferred or [dimensions[0].column])[0],
            bind=alt.binding_select(
                options=[dimension.column for dimension in dimensions],
                labels=[dimension.title for dimension in dimensions],
                name="Colour by ", element="#controls",
            ),
        ),
        alt.param(
            name="only_front", value=False, bind=alt.binding_checkbox(name="Front only ", element="#controls")
        ),
        alt.param(name="picked", value=-1),
    ]  # fmt: skip


def _colour(dimensions: Sequence[_Dimension]) -> alt.Color:
    """Return the colour of points; the legend's labels are those of the dimension chosen."""
    ticks = json.dumps({dimension.column: dimension.ticks for dimension in dimensions})
    labels = json.dumps({dimension.column: dimension.labels for dimension in dimensions})
    legend = alt.Legend(
        title=None, values=alt.ExprRef(f"{ticks}[colour]"),
        labelExpr=f"{labels}[colour][indexof({ticks}[colour], datum.value)]",
    )  # fmt: skip
    scheme = alt.SchemeParams(name="viridis", extent=[0.06, 0.94])
    return alt.Color("shade:Q", scale=alt.Scale(scheme=scheme, domain=[0, 1]), legend=legend)


def _tooltips(points: SweepPoints) -> list[alt.Tooltip]:
    """Return what hovering shows: number, every varied field, every metric."""
    tips = [alt.Tooltip("id:Q", title="point", format="d")]
    tips += [alt.Tooltip(f"t{number}:N", title=points.fields[number].name) for number in points.varied]
    tips += [
        alt.Tooltip(f"{name}:Q", title=quantity.title, format=",.4~g") for name, quantity in points.quantities.items()
    ]
    return tips


def _plane(
    shared: alt.Chart, points: SweepPoints, plot: tuple[str, str], brush: alt.Parameter, selected: Any,
    tips: list[alt.Tooltip], width: int,
) -> alt.LayerChart:  # fmt: skip
    """Return the scatter of two metrics with the staircase of the front if there are no other objectives."""
    across, up = (_position(points, metric) for metric in plot)
    dimensions = tuple(_dimensions(points))
    on_front = "datum.front"
    cloud = (
        shared.mark_circle(stroke=INK)
        .encode(
            x=alt.X(f"{plot[0]}:Q", **across),
            y=alt.Y(f"{plot[1]}:Q", **up),
            color=_colour(dimensions),
            size=alt.when(on_front).then(alt.value(75)).otherwise(alt.value(22)),
            strokeWidth=alt.when(on_front).then(alt.value(1.2)).otherwise(alt.value(0)),
            opacity=alt.when(~selected).then(alt.value(0.05)).when(on_front).then(alt.value(1)).otherwise(
                alt.value(0.45)
            ),
            tooltip=tips,
        )
        .add_params(brush)
    )  # fmt: skip
    picked = (
        shared.transform_filter("datum.id === picked")
        .mark_point(size=240, strokeWidth=2.5, color=FRONT_COLOR, filled=False, tooltip=None)
        .encode(x=f"{plot[0]}:Q", y=f"{plot[1]}:Q")
    )
    layers: list[alt.Chart] = [cloud, picked]
    if set(plot) == set(points.results.objectives):
        step = "step-before" if plot[0] in MAXIMISED else "step-after"
        stairs = shared.transform_filter(on_front).mark_line(
            interpolate=step, color=FRONT_COLOR, strokeWidth=1.2, opacity=0.8, tooltip=None
        )
        layers.insert(0, stairs.encode(x=f"{plot[0]}:Q", y=f"{plot[1]}:Q", order=f"{plot[0]}:Q"))
    return alt.layer(*layers).properties(width=width, height=_HEIGHT)


def _position(points: SweepPoints, metric: str) -> dict[str, Any]:
    """Return the title and scale of a metric."""
    quantity: Quantity = points.quantities[metric]
    values = points.metrics[metric] * quantity.factor
    spans = [_span(values[points.on_front]), _span(values)]
    wide = _is_wide(*spans[1])
    low, high = zip(*(_with_margins(*span, wide) for span in spans), strict=True)
    domain = [alt.ExprRef(f"only_front ? {ends[0]} : {ends[1]}") for ends in (low, high)]
    better = "more" if metric in MAXIMISED else "less"
    title = f"{quantity.title}, {better} is better" if metric in points.results.objectives else quantity.title
    return {"title": title, "scale": alt.Scale(type="log" if wide else "linear", domain=domain, nice=False)}


def _span(values: NDArray[np.float64]) -> tuple[float, float]:
    return float(np.nanmin(values)), float(np.nanmax(values))


def _with_margins(low: float, high: float, wide: bool) -> tuple[float, float]:
    """Return an interval some percent wider at both ends."""
    if wide:
        more = (high / low) ** 0.03 if high > low else 1.1
        return low / more, high * more
    margin = 0.03 * (high - low) or 0.1 * abs(high) or 1.0
    return low - margin, high + margin


def _parallel(
    shared: alt.Chart, dimensions: Sequence[_Dimension], brushes: Sequence[alt.Parameter], selected: Any,
    tips: list[alt.Tooltip],
) -> alt.HConcatChart:  # fmt: skip
    """Return a panel per dimension, without gaps: its axis, and the lines from there to the next one."""
    last = len(dimensions) - 1
    width = (WIDTH - 130) // max(last, 1)
    panels = []
    for number, (dimension, brush) in enumerate(zip(dimensions, brushes, strict=True)):
        following = dimensions[min(number + 1, last)].column
        scale = alt.Scale(domain=[-0.04, 1.04], nice=False)
        axis = alt.Axis(values=list(dimension.ticks), title=None, grid=False, labels=False)
        line = shared.encode(
            x=alt.XDatum(0, scale=alt.Scale(domain=[0, 1], nice=False), axis=None),
            x2=alt.X2Datum(1 if number < last else 0),
            y=alt.Y(f"{dimension.column}:Q", scale=scale, axis=axis),
            y2=f"{following}:Q",
        )
        faded, clear = alt.when(~selected).then(alt.value(0.01)), alt.value(0.8)
        all_lines = (
            line.mark_rule()
            .encode(
                color=_colour(dimensions),
                strokeWidth=alt.when("datum.front").then(alt.value(1.6)).otherwise(alt.value(0.8)),
                opacity=faded.when("datum.front").then(clear).otherwise(alt.value(0.12)),
                tooltip=tips,
            )
            .add_params(brush)
        )
        picked = line.transform_filter("datum.id === picked").mark_rule(strokeWidth=4, color=FRONT_COLOR, tooltip=None)
        layers = [all_lines, picked, *_labels(dimension)]
        panels.append(
            alt.layer(*layers, title=alt.TitleParams(_broken(dimension.title, width // 7), anchor="start", fontSize=11))
            .properties(width=width if number < last else 30, height=_PARALLEL_HEIGHT)
        )  # fmt: skip
    return alt.hconcat(*panels, spacing=0, bounds="flush").resolve_scale(y="independent")


def _labels(dimension: _Dimension) -> list[alt.Chart]:
    """Return the labels left of a panel's axis, over the lines of the panel before it."""
    rows = [{"at": at, "label": label} for at, label in zip(dimension.ticks, dimension.labels, strict=True)]
    texts = (
        alt.Chart(alt.InlineData(values=rows))
        .transform_calculate(**{dimension.column: "datum.at"})
        .encode(x=alt.datum(0), y=f"{dimension.column}:Q", text="label:N")
    )
    look: dict[str, Any] = {"align": "right", "dx": -7, "fontSize": 11, "tooltip": None}
    return [texts.mark_text(stroke=PAPER, strokeWidth=4, fill=PAPER, **look), texts.mark_text(fill=INK, **look)]


def _broken(title: str, most: int) -> list[str]:
    """Return a title in lines of about `most` characters, broken behind dots, underscores and blanks."""
    lines = [""]
    for part in re.findall(r"[^._ ]*[._ ]|[^._ ]+$", title):
        if lines[-1] and len(lines[-1]) + len(part) > most:
            lines.append("")
        lines[-1] += part
    return lines


def _tornado(points: SweepPoints, objective: str, found: Sequence[Effect]) -> alt.LayerChart:
    """Return the bars of one objective, the widest first."""
    mine = [effect for effect in found if effect.objective == objective]
    rows = [
        {
            "axis": effect.axis, "value": value_text(effect.value), "reference": value_text(effect.reference),
            "factor": effect.factor, "low": effect.low, "high": effect.high, "pairs": effect.pairs,
        }
        for effect in mine
    ]  # fmt: skip
    spans: dict[str, list[float]] = {}
    for effect in mine:
        spans.setdefault(effect.axis, []).append(effect.factor)
    order = sorted(spans, key=lambda axis: min(spans[axis]) / max(spans[axis]))
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        y=alt.Y("axis:N", sort=order, title=None, axis=alt.Axis(labelLimit=260, ticks=False, domain=False))
    )
    quantity = points.quantities[objective]
    better = "more" if objective in MAXIMISED else "less"
    axis = alt.Axis(labelExpr="'×' + format(datum.value, '.3~g')", tickCount=8)
    title = f"{quantity.name}: factor against the reference value, {better} is better"
    scale = alt.Scale(type="log", nice=False, padding=45)
    bars = base.mark_bar(color=BAR_COLOR, opacity=0.55, height=12).encode(
        x=alt.X("min(factor):Q", scale=scale, title=title, axis=axis), x2="max(factor):Q"
    )
    one = alt.Chart(alt.InlineData(values=[{}])).mark_rule(color=INK, strokeDash=[3, 3]).encode(x=alt.datum(1))
    marks = base.mark_tick(color=INK, thickness=2, height=14).encode(
        x="factor:Q",
        tooltip=[
            alt.Tooltip("axis:N"),
            alt.Tooltip("reference:N", title="from"),
            alt.Tooltip("value:N", title="to"),
            alt.Tooltip("factor:Q", title="median factor", format=".4~g"),
            alt.Tooltip("low:Q", title="lower quartile", format=".4~g"),
            alt.Tooltip("high:Q", title="upper quartile", format=".4~g"),
            alt.Tooltip("pairs:Q", title="pairs", format=",d"),
        ],
    )
    ends = [
        base.transform_joinaggregate(least="min(factor)", most="max(factor)", groupby=["axis"])
        .transform_filter(f"datum.most > datum.least && datum.factor === datum.{end}")
        .mark_text(align=align, dx=dx, fontSize=10, color=INK)
        .encode(x="factor:Q", text="value:N")
        for end, align, dx in (("least", "right", -5), ("most", "left", 5))
    ]
    return alt.layer(one, bars, marks, *ends).properties(width=WIDTH - 330, height=alt.Step(22))
