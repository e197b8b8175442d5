"""Draw points as lines over parallel axes, one panel from each axis to the next."""

import re
from typing import Any

import altair as alt

from gossamer.pages.figures import FRONT_COLOR, INK, PAPER, WIDTH, Layers
from gossamer.pages.linked_points import TIP, Dimension, LinkedPoints

_HEIGHT = 260
_LEAST_PIXELS = 85
_LAST_PIXELS = 30


def parallel_chart(linked: LinkedPoints) -> Any:
    """Return the panels side by side without gaps, so that lines go on from one to the next."""
    width = max((WIDTH - 130) // max(len(linked.dimensions) - 1, 1), _LEAST_PIXELS)
    panels = [_panel(linked, number, width) for number in range(len(linked.dimensions))]
    return alt.hconcat(*panels, spacing=0, bounds="flush").resolve_scale(y="independent")


def _panel(linked: LinkedPoints, number: int, width: int) -> Layers:
    """Return one axis and the lines from there to the next one; the last axis has none."""
    last = number == len(linked.dimensions) - 1
    dimension = linked.dimensions[number]
    place: dict[str, Any] = {
        "x": alt.XDatum(0, scale=alt.Scale(domain=[0, 1], nice=False), axis=None),
        "x2": alt.X2Datum(0 if last else 1),
        "y": alt.Y(
            f"{dimension.column}:Q",
            scale=alt.Scale(domain=[-0.04, 1.04], nice=False),
            axis=alt.Axis(values=list(dimension.ticks), title=None, grid=False, labels=False),
        ),
        "y2": f"{linked.dimensions[number if last else number + 1].column}:Q",
    }
    haze = min(0.5, max(0.06, 120 / linked.points.ids.size))
    lines = linked.selected.mark_rule(tooltip=TIP).encode(
        **place,
        color=linked.colour,
        strokeWidth=alt.when("datum.front").then(alt.value(1.6)).otherwise(alt.value(0.8)),
        opacity=alt.when("datum.front").then(alt.value(0.8)).otherwise(alt.value(haze)),
    )
    picked = linked.chart.transform_filter("datum.id === picked").mark_rule(
        strokeWidth=3, color=FRONT_COLOR, tooltip=None
    )
    title = alt.TitleParams(_broken(dimension.title, width // 7), anchor="start", fontSize=11)
    layers = alt.layer(
        lines.add_params(linked.range_brushes[number]), picked.encode(**place), *_labels(dimension), title=title
    )
    return layers.properties(width=_LAST_PIXELS if last else width, height=_HEIGHT)


def _labels(dimension: Dimension) -> list[alt.Chart]:
    """Return the labels left of an axis, over the lines of the panel before it."""
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
        if lines[-1] and len(lines[-1]) + len(part) > most + 2:
            lines.append("")
        lines[-1] += part
    return lines
