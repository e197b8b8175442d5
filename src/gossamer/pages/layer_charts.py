"""Draw what every layer takes as bars above its name: cycles by class, off-chip bytes by tensor, MACs, utilisation."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from gossamer.pages.execution import issued_slots
from gossamer.pages.figures import Figure
from gossamer.pages.run_folder import Run
from gossamer.pages.run_style import (
    BOUND_COLORS,
    CLASS_COLORS,
    CLASS_MEANINGS,
    PLOT_WIDTH,
    UNLESS_OTHER_PICKED,
    Rows,
    above,
    inline,
    key,
    layer_axis,
    titled,
)
from gossamer.sim.results import TrafficKind

_HEIGHT = 210
TRAFFIC_COLORS = {
    "weights": "#0072B2", "index": "#56B4E9", "parameters": "#F0E442", "inputs": "#E69F00", "results": "#D55E00",
    "instructions": "#8c8c8c",
}  # fmt: skip
"""Colours of off-chip bytes: read for weights, their indices, parameters and inputs, written results, instructions."""

PATTERN_COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#332288", "#44AA99",
                  "#882255", "#DDCC77", "#117733")  # fmt: skip
"""Colours of N:M patterns, of which a page has few."""

_MACS_COLORS = {"kept": "#0072B2", "skipped zeros": "#CC79A7", "wasted slots": "#8c8c8c"}


def cycles_figure(runs: Sequence[Run]) -> Figure:
    """Return the cycles of every layer by class."""
    tooltip = [
        alt.Tooltip("cycles:Q", format=",d"), alt.Tooltip("us:Q", title="time (µs)", format=",.4~g"),
        alt.Tooltip("share:Q", title="of the layer (%)", format=".1f"),
        alt.Tooltip("of_layer:Q", title="layer's cycles", format=",d"),
    ]  # fmt: skip
    rows = [cycle_rows(run) for run in runs]
    return Figure(
        name="cycles", title="Where cycles went",
        text="Every cycle of the run belongs to one layer and one class; the classes of all layers sum to 100 %: "
        + "; ".join(f"{name}: {meaning}" for name, meaning in CLASS_MEANINGS.items())
        + ". Click a bar to mark its layer in all charts, a name in the legend to see one class alone.",
        chart=_stacked(runs, rows, "cycles", "Cycles", CLASS_COLORS, tooltip),
    )  # fmt: skip


def cycle_rows(run: Run) -> list[dict[str, Any]]:
    """Return cycles by layer and class."""
    return [
        {
            "layer": layer.name, "op": layer.op, "part": name, "cycles": cycles, "order": order,
            "us": cycles / run.result.clock_mhz, "share": 100 * cycles / layer.cycles, "of_layer": layer.cycles,
        }
        for layer in run.result.layers
        for order, (name, cycles) in enumerate(layer.classes.items())
        if cycles
    ]  # fmt: skip


def traffic_figure(runs: Sequence[Run]) -> Figure | None:
    """Return off-chip bytes of every layer by what they are for; None if no run has a Program."""
    executed = [run for run in runs if run.execution is not None]
    if not executed:
        return None
    return Figure(
        name="traffic", title="Off-chip traffic",
        text="Bytes each layer reads and writes off chip, by tensor. Inputs are activations that were not on chip; "
        "results are written. Bytes of padding in a beat are not counted.",
        chart=_stacked(
            executed, [traffic_rows(run) for run in executed], "bytes", "Bytes", TRAFFIC_COLORS,
            [alt.Tooltip("bytes:Q", format=",d"), alt.Tooltip("of_layer:Q", title="layer's bytes", format=",d")],
        ),
    )  # fmt: skip


def traffic_rows(run: Run) -> list[dict[str, Any]]:
    """Return off-chip bytes by layer and tensor."""
    assert run.execution is not None
    rows = []
    for timing in run.execution.simulation.layers:
        read = timing.traffic.read_bytes
        parts = {str(kind): read[kind] for kind in TrafficKind if kind is not TrafficKind.ACTIVATIONS}
        parts |= {"inputs": read[TrafficKind.ACTIVATIONS], "results": timing.traffic.write_bytes}
        for order, name in enumerate(TRAFFIC_COLORS):
            if parts[name]:
                rows.append(
                    {
                        "layer": timing.record.name, "op": timing.record.op, "part": name, "bytes": parts[name],
                        "order": order, "of_layer": timing.traffic.total_bytes,
                    }
                )  # fmt: skip
    return rows


def sparsity_figure(runs: Sequence[Run]) -> Figure | None:
    """Return the MACs of every layer: kept, skipped as zeros, and slots of the array in which nothing was kept."""
    rows = [macs_rows(run) for run in runs]
    if not any(rows):
        return None
    tooltip = [
        alt.Tooltip("pattern:N"), alt.Tooltip("macs:Q", title="MACs", format=",d"),
        alt.Tooltip("share:Q", title="of dense-equivalent MACs (%)", format=".1f"),
    ]  # fmt: skip
    return Figure(
        name="sparsity", title="Sparsity",
        text="Multiply-accumulates of every layer: kept by its N:M pattern; skipped, because the pattern has a zero "
        "there; and slots that the array issued for padding of channels, positions or groups, which no weight fills. "
        "Kept and skipped sum to the dense-equivalent. Below, in the colour of its pattern, how much of the energy of "
        "its weights (the sum of their squares) every layer keeps; pale where that is not known: placeholders, or a "
        "compiled Program.",
        chart=above([
            _stacked(runs, rows, "macs", "MACs", _MACS_COLORS, tooltip),
            *(_kept_energy(runs, number) for number in range(len(runs))),
        ]).resolve_scale(color="independent"),
    )  # fmt: skip


def _kept_energy(runs: Sequence[Run], number: int) -> Any:
    """Return the pattern and the kept energy of every layer with weights of run `number`."""
    patterns = sorted({layer.pattern for run in runs for layer in run.result.layers if layer.pattern} - {"dense"})
    colors = key(["dense", *patterns], ["#8c8c8c", *PATTERN_COLORS][: len(patterns) + 1], "pattern")
    if number:
        colors["legend"] = None
    bars = inline(kept_rows(runs[number])).mark_bar(cursor="pointer").encode(
        x=layer_axis(runs, number),
        y=alt.Y("shown:Q", title="Kept energy (%)", scale=alt.Scale(domain=[0, 100])),
        color=alt.Color("pattern:N", **colors), opacity=UNLESS_OTHER_PICKED,
        fillOpacity=alt.condition("isValid(datum.kept)", alt.value(1), alt.value(0.3)),
        tooltip=["layer:N", "op:N", "pattern:N", alt.Tooltip("kept:Q", title="kept weight energy (%)", format=".1f")],
    )  # fmt: skip
    return titled(bars.properties(width=PLOT_WIDTH, height=70), runs[number], ": pattern and kept weight energy")


def kept_rows(run: Run) -> list[dict[str, Any]]:
    """Return pattern and kept weight energy in percent, None where it is not known, by layer with weights."""
    kept = [(layer, layer.kept_energy) for layer in run.result.layers if layer.pattern]
    return [
        {"layer": layer.name, "op": layer.op, "pattern": layer.pattern, "kept": None if share is None else 100 * share,
         "shown": 100 if share is None else 100 * share}
        for layer, share in kept
    ]  # fmt: skip


def macs_rows(run: Run) -> list[dict[str, Any]]:
    """Return MACs by layer and fate."""
    slots = _slots(run)
    rows = []
    for at, layer in enumerate(run.result.layers):
        wasted = max(0, slots[at] - layer.macs) if slots else 0
        fates = {"kept": layer.macs, "skipped zeros": layer.dense_macs - layer.macs, "wasted slots": wasted}
        for order, (name, macs) in enumerate(fates.items()):
            if macs:
                rows.append(
                    {
                        "layer": layer.name, "op": layer.op, "part": name, "macs": macs, "order": order,
                        "pattern": layer.pattern, "share": 100 * macs / layer.dense_macs if layer.dense_macs else None,
                    }
                )  # fmt: skip
    return rows


def _slots(run: Run) -> list[int]:
    """Return the MAC slots that the COMPUTEs of every layer issue; nothing without a Program."""
    return [] if run.execution is None else issued_slots(run.execution)


def utilization_figure(runs: Sequence[Run]) -> Figure:
    """Return the share of the array's MACs that every layer uses, and the best that it could."""
    charts = []
    for number, run in enumerate(runs):
        rows = [
            {
                "layer": layer.name, "op": layer.op, "bound": layer.bound, "pattern": layer.pattern,
                "utilization": 100 * layer.utilization, "cycles": layer.cycles,
            }
            for layer in run.result.layers
        ]  # fmt: skip
        whole = inline([{"y": 100 * run.result.utilization, "name": f"network {100 * run.result.utilization:.1f} %"}])
        bars = inline(rows).mark_bar(cursor="pointer").encode(
            x=layer_axis(runs, number),
            y=alt.Y("utilization:Q", title="Kept MACs of peak (%)", scale=alt.Scale(domain=[0, 100])),
            color=alt.Color("bound:N", **key(list(BOUND_COLORS), list(BOUND_COLORS.values()), "bound by")),
            opacity=UNLESS_OTHER_PICKED,
            tooltip=["layer:N", "op:N", "pattern:N", alt.Tooltip("bound:N", title="bound by"),
                     alt.Tooltip("utilization:Q", title="of peak (%)", format=".1f"),
                     alt.Tooltip("cycles:Q", format=",d")],
        )  # fmt: skip
        rule = whole.mark_rule(strokeDash=[4, 3], color="#8c8c8c").encode(y="y:Q", tooltip="name:N")
        charts.append(titled(alt.layer(bars, rule).properties(width=PLOT_WIDTH, height=150), run))
    return Figure(
        name="utilization", title="Utilisation of every layer",
        text="Kept multiply-accumulates as a share of what the array could do in the layer's cycles, or in those it "
        "computes for if they are more; dashed: the whole network. The colour says what limits the layer.",
        chart=above(charts),
    )  # fmt: skip


def _stacked(
    runs: Sequence[Run], rows: Sequence[Rows], value: str, title: str, colors: Mapping[str, str],
    tooltip: list[alt.Tooltip],
) -> alt.VConcatChart:  # fmt: skip
    """Return bars of the rows of every run, stacked by the field `part`, one run above the other on one scale."""
    highest = max((_highest(table, value) for table in rows), default=0.0)
    chosen = alt.selection_point(fields=["part"], bind="legend", name="part")
    charts = []
    for number, (run, table) in enumerate(zip(runs, rows, strict=True)):
        bars = inline(table).transform_filter(chosen).mark_bar(cursor="pointer")
        if number == 0:
            bars = bars.add_params(chosen)
        bars = bars.encode(
            x=layer_axis(runs, number),
            y=alt.Y(f"{value}:Q", title=title, axis=alt.Axis(format="~s"), scale=alt.Scale(domain=[0, highest])),
            color=alt.Color("part:N", **key(list(colors), list(colors.values()))),
            order=alt.Order("order:Q"),
            opacity=UNLESS_OTHER_PICKED,
            tooltip=[alt.Tooltip("layer:N"), alt.Tooltip("op:N"), alt.Tooltip("part:N"), *tooltip],
        )
        charts.append(titled(bars.properties(width=PLOT_WIDTH, height=_HEIGHT), run))
    return above(charts)


def _highest(table: Rows, value: str) -> float:
    totals: dict[str, float] = {}
    for row in table:
        totals[row["layer"]] = totals.get(row["layer"], 0.0) + row[value]
    return max(totals.values(), default=0.0)
