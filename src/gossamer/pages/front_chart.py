"""Draw the front of a sweep, linked with parallel coordinates."""

from typing import Any

import altair as alt

from gossamer.explore.spec import MAXIMISED
from gossamer.pages.figures import FRONT_COLOR, INK, POINTS, WIDTH, Figure, Layers
from gossamer.pages.linked_points import TIP, LinkedPoints, is_wide, span
from gossamer.pages.parallel_chart import parallel_chart
from gossamer.pages.sweep_points import SweepPoints

_HEIGHT = 380


def linked_figure(points: SweepPoints) -> Figure:
    """Return the front and parallel coordinates; a brush in any plot selects in all of them."""
    plots = _planes(points)
    linked = LinkedPoints(points, len(plots))
    width = WIDTH // len(plots) - 90
    planes = alt.hconcat(*(_plane(linked, plot, number, width) for number, plot in enumerate(plots)))
    chart = alt.vconcat(planes, parallel_chart(linked), spacing=70)
    return Figure(
        name="front", title="Pareto front",
        text="Ringed points are on the front. Drag over a plot, or up and down beside an axis, to select; several "
        "selections meet; a double click clears one. Click a point or line for its config.",
        chart=chart.add_params(*linked.controls).resolve_scale(color="shared"), tables={POINTS: points.rows()},
    )  # fmt: skip


def _planes(points: SweepPoints) -> list[tuple[str, str]]:
    """Return the pairs of metrics drawn against each other: the first objective with each other one."""
    first, *others = points.results.sweep.objectives
    return [(first, other) for other in (*others[:3],) or ("dsp" if first != "dsp" else "lut",)]


def _plane(linked: LinkedPoints, plot: tuple[str, str], number: int, width: int) -> Layers:
    """Return the scatter of two metrics, with the staircase of the front if there are no other objectives."""
    across, up = plot
    on_front = "datum.front"
    place = {
        "x": alt.X(f"{across}:Q", **_title_and_scale(linked.points, across)),
        "y": alt.Y(f"{up}:Q", **_title_and_scale(linked.points, up)),
    }
    backdrop = (
        linked.chart.mark_circle(size=22, opacity=0.12, color=INK, tooltip=None)
        .encode(**place)
        .add_params(linked.plane_brushes[number])
    )
    cloud = linked.selected.mark_circle(stroke=INK, tooltip=TIP).encode(
        **place,
        color=linked.colour,
        size=alt.when(on_front).then(alt.value(75)).otherwise(alt.value(22)),
        strokeWidth=alt.when(on_front).then(alt.value(1.2)).otherwise(alt.value(0)),
        opacity=alt.when(on_front).then(alt.value(1)).otherwise(alt.value(0.6)),
    )
    picked = (
        linked.chart.transform_filter("datum.id === picked")
        .mark_point(size=240, strokeWidth=2.5, color=FRONT_COLOR, filled=False, tooltip=None)
        .encode(x=f"{across}:Q", y=f"{up}:Q")
    )
    layers: list[alt.Chart] = [backdrop, cloud, picked]
    if {across, up} == set(linked.points.results.sweep.objectives):
        stairs = linked.chart.transform_filter(on_front).mark_line(
            interpolate="step-before" if across in MAXIMISED else "step-after",
            color=FRONT_COLOR, strokeWidth=1.2, opacity=0.8, tooltip=None,
        )  # fmt: skip
        layers.insert(1, stairs.encode(x=f"{across}:Q", y=f"{up}:Q", order=f"{across}:Q"))
    drawing = alt.layer(*layers).properties(width=width, height=_HEIGHT)
    return drawing.properties(title=linked.colour_title) if number == linked.planes - 1 else drawing


def _title_and_scale(points: SweepPoints, metric: str) -> dict[str, Any]:
    """Return the title and scale of a metric; the scale is that of the front while it is shown alone."""
    quantity = points.quantities[metric]
    values = points.metrics[metric] * quantity.factor
    spans = [span(values[points.on_front]), span(values)]
    wide = is_wide(*spans[1])
    low, high = zip(*(_with_margins(*ends, wide) for ends in spans), strict=True)
    domain = [alt.ExprRef(f"only_front ? {ends[0]} : {ends[1]}") for ends in (low, high)]
    better = "more" if metric in MAXIMISED else "less"
    title = f"{quantity.title}, {better} is better" if metric in points.results.sweep.objectives else quantity.title
    return {"title": title, "scale": alt.Scale(type="log" if wide else "linear", domain=domain, nice=False)}


def _with_margins(low: float, high: float, wide: bool) -> tuple[float, float]:
    """Return an interval some percent wider at both ends."""
    if wide:
        more = (high / low) ** 0.03 if high > low else 1.1
        return low / more, high * more
    margin = 0.03 * (high - low) or 0.1 * abs(high) or 1.0
    return low - margin, high + margin
