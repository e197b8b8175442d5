"""Colours, selections and frames that all charts of simulated runs share."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from gossamer.pages.figures import WIDTH, Layers
from gossamer.pages.run_folder import Run

CLASS_COLORS: Mapping[str, str] = {
    "compute": "#0072B2", "edges": "#56B4E9", "fill": "#009E73", "memory": "#D55E00", "vector": "#CC79A7",
    "control": "#8c8c8c",
}  # fmt: skip
"""Colours of the cycle classes, from the palette of Okabe and Ito."""

CLASS_MEANINGS: Mapping[str, str] = {
    "compute": "useful work at full array", "edges": "array busy, part of it unused", "fill": "pipeline fill and drain",
    "memory": "waiting for off-chip memory", "vector": "VECTOR busy, array not", "control": "fetch, dispatch, tokens",
}  # fmt: skip

BOUND_COLORS: Mapping[str, str] = {
    "compute": CLASS_COLORS["compute"], "memory": CLASS_COLORS["memory"], "vector": CLASS_COLORS["vector"],
    "overhead": CLASS_COLORS["control"],
}  # fmt: skip

RUN_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
"""Colours of the runs of a comparison."""

PLOT_WIDTH = WIDTH - 100
"""Width of a plot below which nothing stands but its axis."""

PICKED = alt.param(name="picked", value="")
"""Name of the layer clicked last in any chart of the page; empty for none."""

UNLESS_OTHER_PICKED = alt.condition("!picked || datum.layer === picked", alt.value(1), alt.value(0.25))
"""Opacity of marks of layers: faint while another layer is picked."""

Rows = Sequence[Mapping[str, Any]]


def inline(rows: Rows) -> alt.Chart:
    """Return a chart of rows."""
    return alt.Chart(alt.InlineData(values=[dict(row) for row in rows]))


def legend(title: str | None = None) -> alt.Legend:
    """Return a legend over the chart."""
    return alt.Legend(title=title, orient="top", symbolType="square", labelLimit=320, titleLimit=320)


def key(names: Sequence[str], colors: Sequence[str], title: str | None = None) -> dict[str, Any]:
    """Return scale and legend, on top, of a colour that names something."""
    return {
        "scale": alt.Scale(domain=list(names), range=list(colors)),
        "legend": legend(title),
    }


def run_color(runs: Sequence[Run]) -> alt.Color:
    """Return the colour of the runs, by the field `run`."""
    names = [run.label for run in runs]
    columns = alt.Legend(title=None, orient="top", symbolType="square", labelLimit=420, columns=2)
    return alt.Color("run:N", **{**key(names, RUN_COLORS[: len(runs)]), "legend": columns})


def layer_axis(runs: Sequence[Run], number: int) -> alt.X:
    """Return the axis of the layers of run `number`, in their order, by the field `layer`.

    Its labels are left out if the next run below has the same layers.
    """
    names = [[layer.name for layer in run.result.layers] for run in runs[number : number + 2]]
    labels = len(names) == 1 or names[0] != names[1]
    axis = alt.Axis(labelAngle=-90, labelFontSize=8, labelLimit=90, labelOverlap=True, ticks=False, labels=labels)
    return alt.X("layer:N", sort=names[0], title="Layer" if labels else None, axis=axis)


def titled(chart: Layers | alt.Chart, run: Run, what: str = "") -> Any:
    """Return the chart with the run it is of, and its tier, as title."""
    return chart.properties(title=alt.TitleParams(run.title + what, anchor="start", offset=8))


def beside(charts: Sequence[Any], spacing: int = 26) -> alt.VConcatChart:
    """Return charts beside each other, two in a row if there are more, that know which layer is picked."""
    per_row = len(charts) if len(charts) <= 2 else 2
    rows = [charts[at : at + per_row] for at in range(0, len(charts), per_row)]
    return above([alt.hconcat(*row, spacing=spacing) for row in rows])


def above(charts: Sequence[Any], spacing: int = 22) -> alt.VConcatChart:
    """Return charts above each other that know which layer is picked."""
    return alt.vconcat(*charts, spacing=spacing).add_params(PICKED)
