"""Draw what each axis of a sweep alone does to each objective."""

from collections.abc import Sequence

import altair as alt

from gossamer.explore.spec import MAXIMISED
from gossamer.pages.figures import BAR_COLOR, INK, WIDTH, Figure, Layers
from gossamer.pages.quantities import value_text
from gossamer.pages.sensitivity import Effect
from gossamer.pages.sweep_points import SweepPoints


def sensitivity_figure(points: SweepPoints, found: Sequence[Effect]) -> Figure | None:
    """Return the tornado: per objective a bar per axis, from the least to the largest median factor; None if empty."""
    if not found:
        return None
    charts = [_tornado(points, objective, found) for objective in points.results.sweep.objectives]
    return Figure(
        name="sensitivity", title="What each axis alone does",
        text="Each mark is a value of the axis: the factor by which an objective changes when this axis alone changes "
        "from its reference value (at ×1: that of the base config if it is swept, else the first); the median over all "
        "pairs of points that are otherwise the same. Hover for quartiles and the number of pairs.",
        chart=alt.vconcat(*charts, spacing=30),
    )  # fmt: skip


def _tornado(points: SweepPoints, objective: str, found: Sequence[Effect]) -> Layers:
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
        alt.Chart(alt.InlineData(values=_ends(mine, least)))
        .mark_text(align="right" if least else "left", dx=-5 if least else 5, fontSize=10, color=INK)
        .encode(y=alt.Y("axis:N", sort=order, title=None), x="factor:Q", text="values:N")
        for least in (True, False)
    ]
    return alt.layer(one, bars, marks, *ends).properties(width=WIDTH - 330, height=alt.Step(22))


def _ends(found: Sequence[Effect], least: bool) -> list[dict[str, str | float]]:
    """Return the least or largest factor of every axis that has an effect, with the values that have it."""
    rows: list[dict[str, str | float]] = []
    for axis in dict.fromkeys(effect.axis for effect in found):
        factors = {value_text(effect.value): effect.factor for effect in found if effect.axis == axis}
        if min(factors.values()) < max(factors.values()):
            end = min(factors.values()) if least else max(factors.values())
            values = [value for value, factor in factors.items() if factor == end]
            rows.append({"axis": axis, "factor": end, "values": ", ".join(values[:2]) + ", …" * (len(values) > 2)})
    return rows
