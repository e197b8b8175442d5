"""Draw what every buffer holds over time: how much of it each layer's tensors take."""

import json
from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
from numpy.typing import NDArray

from gossamer.arch.accumulator import accumulator_entries
from gossamer.arch.encoding import decode_columns
from gossamer.arch.isa import REQUANTIZING, Opcode, Space
from gossamer.mapper.tokens import ACCUMULATOR, derive_accesses
from gossamer.pages.figures import FRONT_COLOR, Figure, Layers
from gossamer.pages.run_folder import Execution, Run
from gossamer.pages.run_style import PLOT_WIDTH, UNLESS_OTHER_PICKED, above, inline
from gossamer.pages.timeline_chart import LAYER_HUE, TIME_AXIS, layer_color, layer_names, time_axis
from gossamer.sim.occupancy import live_cells

BUFFERS = {"activation": int(Space.ACTIVATION), "weight": int(Space.WEIGHT), "index": int(Space.INDEX),
           "accumulator": ACCUMULATOR}  # fmt: skip
"""Buffers drawn, with their spaces; that of parameters is left out: instructions do not say how long tables are."""

KINDS = ("inputs", "results", "weights", "indices", "sums")
"""What a layer has in buffers: what it loads, what VECTOR writes, and what the other buffers are for."""

SAMPLES = 300
_CELLS = 2048
_LOADED = {"activation": "inputs", "weight": "weights", "index": "indices", "accumulator": "sums"}


def occupancy_figure(runs: Sequence[Run]) -> Figure | None:
    """Return what the buffers that are used hold over time, in all runs; None without Programs."""
    executed = [run for run in runs if run.execution is not None]
    if not executed:
        return None
    title, scales = time_axis(executed)
    last = max(run.result.total_cycles * scale for run, scale in zip(executed, scales, strict=True))
    tables: dict[str, list[dict[str, Any]]] = {}
    charts = []
    held = {
        buffer: [owned_shares(run.execution, buffer) for run in executed if run.execution is not None]
        for buffer in BUFFERS
    }
    used = [buffer for buffer, shares in held.items() if any(each.any() for each in shares)]
    for buffer in used:
        highest = max(100 * float(each.sum(axis=0).max()) for each in held[buffer])
        for number, (run, each) in enumerate(zip(executed, held[buffer], strict=True)):
            table = f"{buffer}{number}"
            tables[table] = owner_rows(each, run.result.total_cycles * scales[number] / SAMPLES)
            ends = number == len(executed) - 1 and buffer == used[-1]
            chart = _buffer(buffer, run, table, min(105.0, 1.25 * highest + 1), last, title if ends else None)
            peak = 100 * float(each.sum(axis=0).max())
            chart = chart.properties(height=80 if len(executed) == 1 else 48)
            charts.append(chart.properties(title=_title(buffer, run, peak, alone=len(executed) == 1)))
    return Figure(
        name="occupancy", title="Buffers over time",
        text="What each buffer holds that will still be read, by the layer whose tensor it is: from the start of the "
        "instruction that writes it to the end of the last that reads it before it is overwritten; ranges of "
        "instructions count whole. Colours tell layers that follow each other apart, as above; inputs are paler. Hover "
        f"for tensor and bytes, click to mark a layer. Sampled at {SAMPLES} moments; where it is near, a line shows "
        "the capacity.",
        chart=above(charts, 10), tables=tables,
    )  # fmt: skip


def owned_shares(execution: Execution, buffer: str, cells: int = _CELLS, samples: int = SAMPLES) -> NDArray[np.float64]:
    """Return the share of a buffer that every tensor takes at every sample: float64 [len(KINDS) * layers, samples].

    Tensor k of layer l is row len(KINDS) * l + k. The buffer is looked at in cells of equal size.
    """
    low, high, begin, end, owner = buffer_accesses(execution, buffer)
    limit = capacity_units(execution, buffer)
    cell = -(-limit // cells)
    live = live_cells(
        low // cell, -(-high // cell), begin, end, owner, cells=-(-limit // cell), samples=samples,
        owners=len(KINDS) * len(execution.program.layers), total_cycles=execution.simulation.total_cycles,
    )  # fmt: skip
    shares = live * cell / limit
    shares /= np.maximum(1.0, shares.sum(axis=0))  # the last cell may reach beyond the buffer
    return shares


def capacity_units(execution: Execution, buffer: str) -> int:
    """Return the capacity of a buffer in the unit of its accesses: bytes, or entries of the accumulator."""
    if buffer == "accumulator":
        return accumulator_entries(execution.spec)
    capacity: int = getattr(execution.spec.buffers, buffer).capacity_bytes
    return capacity


def buffer_accesses(execution: Execution, buffer: str) -> tuple[NDArray[np.int64], ...]:
    """Return all accesses to a buffer, int64 [n] each: first byte and that past the last, begin, end, tensor written.

    The tensor is the row of `owned_shares`, -1 for a read. Of the accumulator they are entries instead of bytes.
    """
    trace, columns = execution.simulation.trace, decode_columns(execution.program.instructions)
    assert trace is not None
    opcodes = columns["opcode"]
    accesses = derive_accesses(opcodes, columns, execution.spec)
    for slot, field, which in ((3, "acc", opcodes == Opcode.COMPUTE), (0, "a", np.isin(opcodes, REQUANTIZING))):
        accesses.low[which, slot] = columns[field][which]  # entries, not halves
        accesses.high[which, slot] = (columns[field] + columns["ny"] * columns["nx"])[which]
    at, slots = np.nonzero(accesses.space == BUFFERS[buffer])
    loaded = KINDS.index(_LOADED[buffer])
    kind = np.where(opcodes[at] >= Opcode.REQUANTIZE, KINDS.index("results"), loaded)
    tensor = len(KINDS) * execution.program.layer_of[at].astype(np.int64) + kind
    return (
        accesses.low[at, slots], accesses.high[at, slots], trace.started[at], trace.completed[at],
        np.where(accesses.writes[at, slots] > 0, tensor, -1),
    )  # fmt: skip


def owner_rows(shares: NDArray[np.float64], width: float) -> list[dict[str, Any]]:
    """Return a row per tensor and stretch of samples, each `width` long, in which it takes the same place.

    Keys are short, for there are many: s(tart), f(inish), l(ayer), k(ind), from a to b percent of the buffer.
    Tensors lie upon each other in order of layers.
    """
    tops = np.round(100 * shares.cumsum(axis=0), 2)
    bottoms = np.vstack([np.zeros((1, tops.shape[1])), tops[:-1]])
    rows = []
    for owner in np.flatnonzero((tops > bottoms).any(axis=1)).tolist():
        layer, kind = divmod(owner, len(KINDS))
        place = np.stack([bottoms[owner], tops[owner]])
        starts = np.flatnonzero(np.diff(place, axis=1, prepend=-1.0).any(axis=0))
        for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), tops.shape[1]], strict=True):
            low, high = place[:, start].tolist()
            if high > low:
                rows.append({"s": round(start * width, 3), "f": round(stop * width, 3), "l": layer, "k": kind,
                             "a": low, "b": high})  # fmt: skip
    return rows


def _buffer(buffer: str, run: Run, table: str, top: float, last: float, title: str | None) -> Layers:
    """Return the plot of one buffer, up to `top` percent of it and `last` of time; `title` of the axis of time."""
    assert run.execution is not None
    per_cent = getattr(run.execution.spec.buffers, buffer).capacity_bytes / 100
    axis = TIME_AXIS if title is not None else alt.Axis(grid=False, labels=False)
    held = (
        alt.Chart(alt.NamedData(name=table))
        .transform_calculate(
            layer=f"{layer_names(run.execution)}[datum.l]",
            tensor=f"{json.dumps(KINDS)}[datum.k] + ' of ' + datum.layer",
            bytes=f"round((datum.b - datum.a) * {per_cent})", share="datum.b - datum.a", hue=LAYER_HUE,
        )
        .mark_rect(clip=True, cursor="pointer")
        .encode(
            x=alt.X("s:Q", title=title, scale=alt.Scale(domain=[0, last], nice=False), axis=axis), x2="f:Q",
            y=alt.Y("a:Q", title="live (%)", scale=alt.Scale(domain=[0, top], nice=False), axis=alt.Axis(tickCount=3)),
            y2="b:Q", color=layer_color(), opacity=UNLESS_OTHER_PICKED,
            fillOpacity=alt.condition(f"datum.k === {KINDS.index('inputs')}", alt.value(0.6), alt.value(1)),
            tooltip=["tensor:N", alt.Tooltip("s:Q", title="from", format=",.6~r"),
                     alt.Tooltip("f:Q", title="to", format=",.6~r"), alt.Tooltip("bytes:Q", format=",d"),
                     alt.Tooltip("share:Q", title="of the buffer (%)", format=".2f")],
        )
    )  # fmt: skip
    capacity = inline([{"y": 100}]).mark_rule(color=FRONT_COLOR, strokeWidth=1.5, clip=True).encode(y="y:Q")
    return alt.layer(held, capacity).properties(width=PLOT_WIDTH)


def _title(buffer: str, run: Run, peak: float, *, alone: bool) -> alt.TitleParams:
    assert run.execution is not None
    room = getattr(run.execution.spec.buffers, buffer).capacity_bytes
    text = f"{buffer}: at most {peak:.1f} % of {room:,} bytes" + ("" if alone else f", {run.label}") + f" ({run.tier})"
    return alt.TitleParams(text, anchor="start", offset=4)
