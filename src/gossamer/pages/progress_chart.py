"""Draw how good the front was after every evaluation, of a strategy that does not evaluate all points."""

import altair as alt
import numpy as np
from numpy.typing import NDArray

from gossamer.explore.pareto import hypervolume
from gossamer.explore.strategies import order_of
from gossamer.pages.figures import BAR_COLOR, WIDTH, Figure
from gossamer.pages.sweep_store import SweepResults

_STEPS = 120


def progress_figure(results: SweepResults) -> Figure | None:
    """Return the hypervolume of the front against points evaluated; None for a grid.

    The volume is that between the front and the worst feasible value of every objective, as a share of what the whole
    front has in the end; every objective is scaled to its range first.
    """
    if results.sweep.strategy.kind == "grid" or not results.feasible.any():
        return None
    evaluated = _evaluated(results)
    rows = np.searchsorted(results.ids, evaluated)
    rows[rows == results.ids.size] = 0
    good = (results.ids[rows] == evaluated) & results.feasible[rows]
    costs = results.costs
    low, high = costs[results.feasible].min(axis=0), costs[results.feasible].max(axis=0)
    scaled = (costs - low) / np.where(high > low, high - low, 1.0)
    worst = np.ones(costs.shape[1]) * 1.01
    counts = np.unique(np.geomspace(1, evaluated.size, min(_STEPS, evaluated.size)).astype(int))
    volumes = [hypervolume(scaled[rows[:count][good[:count]]], worst) for count in counts]
    shares = [
        {"evaluated": int(count), "share": volume / volumes[-1]} for count, volume in zip(counts, volumes, strict=True)
    ]
    chart = (
        alt.Chart(alt.InlineData(values=shares))
        .mark_line(interpolate="step-after", color=BAR_COLOR, strokeWidth=2)
        .encode(
            x=alt.X("evaluated:Q", title="Points evaluated", scale=alt.Scale(type="log", nice=False)),
            y=alt.Y(
                "share:Q",
                title="Hypervolume (share of the final)",
                axis=alt.Axis(format="~%"),
                scale=alt.Scale(zero=False),
            ),
        )
        .properties(width=WIDTH - 200, height=240)
    )  # fmt: skip
    return Figure(
        name="progress", title="What evaluations bought",
        text="Hypervolume of the front so far: the volume of objectives, each scaled to its range, that the front "
        "dominates below the worst feasible values, as a share of the volume in the end.",
        chart=alt.vconcat(chart),
    )  # fmt: skip


def _evaluated(results: SweepResults) -> NDArray[np.int64]:
    """Return the ids of points in the order in which the strategy came to them, each once."""
    asked = results.proposed
    if results.sweep.strategy.kind == "random":
        order = order_of(results.sweep.strategy, results.space)
        asked = np.concatenate([order.ids(first, count) for first, count in results.chunks.items()])
    _, first = np.unique(asked, return_index=True)
    asked = asked[np.sort(first)]
    return asked[results.space.included(asked)]
