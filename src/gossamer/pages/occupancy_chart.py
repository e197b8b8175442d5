"""Draw how full every buffer is over time."""

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
from gossamer.pages.run_style import CLASS_COLORS, PLOT_WIDTH, above, inline, run_color
from gossamer.pages.timeline_chart import TIME_AXIS, time_axis
from gossamer.sim.occupancy import live_cells

BUFFERS = {"activation": int(Space.ACTIVATION), "weight": int(Space.WEIGHT), "index": int(Space.INDEX),
           "accumulator": ACCUMULATOR}  # fmt: skip
"""Buffers drawn, with their spaces; that of parameters is left out: instructions do not say how long tables are."""

SAMPLES = 300
_CELLS = 2048


def occupancy_figure(runs: Sequence[Run]) -> Figure | None:
    """Return the live share of the buffers of all runs over time; None without Programs."""
    executed = [run for run in runs if run.execution is not None]
    if not executed:
        return None
    title, scales = time_axis(executed)
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in BUFFERS}
    for run, scale in zip(executed, scales, strict=True):
        assert run.execution is not None
        moments = (np.arange(SAMPLES) + 0.5) * run.result.total_cycles * scale / SAMPLES
        for name in BUFFERS:
            capacity = getattr(run.execution.spec.buffers, name).capacity_bytes
            live = 100 * live_shares(run.execution, name)
            rows[name] += [
                {"run": run.label, "t": round(float(at), 3), "live": round(float(share), 2), "capacity": capacity}
                for at, share in zip(moments, live, strict=True)
            ]
    last = max(run.result.total_cycles * scale for run, scale in zip(executed, scales, strict=True))
    names = list(BUFFERS)
    charts = [
        _buffer(name, executed, max(row["live"] for row in rows[name]), title if name == names[-1] else None, last)
        for name in names
    ]
    return Figure(
        name="occupancy", title="Buffers over time",
        text="Share of each buffer that holds something which will still be read: from the start of the instruction "
        "that writes it to the end of the last that reads it before it is overwritten; ranges of instructions count "
        f"whole. Sampled at {SAMPLES} moments; where it is near, a line shows the capacity.",
        chart=above(charts, 10), tables={f"buffer_{name}": rows[name] for name in names},
    )  # fmt: skip


def live_shares(execution: Execution, buffer: str, cells: int = _CELLS, samples: int = SAMPLES) -> NDArray[np.float64]:
    """Return the share of a buffer that is live at every sample: float64 [samples], in cells of equal size."""
    accesses = buffer_accesses(execution, buffer)
    limit = capacity_units(execution, buffer)
    cell = -(-limit // cells)
    low, high, begin, end, writes = accesses
    live = live_cells(
        low // cell, -(-high // cell), begin, end, writes, cells=-(-limit // cell), samples=samples,
        total_cycles=execution.simulation.total_cycles,
    )  # fmt: skip
    shares: NDArray[np.float64] = np.minimum(1.0, live * cell / limit)
    return shares


def capacity_units(execution: Execution, buffer: str) -> int:
    """Return the capacity of a buffer in the unit of its accesses: bytes, or entries of the accumulator."""
    if buffer == "accumulator":
        return accumulator_entries(execution.spec)
    capacity: int = getattr(execution.spec.buffers, buffer).capacity_bytes
    return capacity


def buffer_accesses(execution: Execution, buffer: str) -> tuple[NDArray[np.int64], ...]:
    """Return all accesses to a buffer, int64 [n] each: first byte and that past the last, begin, end, 1 if they write.

    Of the accumulator they are entries instead of bytes.
    """
    trace, columns = execution.simulation.trace, decode_columns(execution.program.instructions)
    assert trace is not None
    opcodes = columns["opcode"]
    accesses = derive_accesses(opcodes, columns, execution.spec)
    for slot, field, which in ((3, "acc", opcodes == Opcode.COMPUTE), (0, "a", np.isin(opcodes, REQUANTIZING))):
        accesses.low[which, slot] = columns[field][which]  # entries, not halves
        accesses.high[which, slot] = (columns[field] + columns["ny"] * columns["nx"])[which]
    at, slots = np.nonzero(accesses.space == BUFFERS[buffer])
    return (
        accesses.low[at, slots], accesses.high[at, slots], trace.started[at], trace.completed[at],
        accesses.writes[at, slots],
    )  # fmt: skip


def _buffer(name: str, runs: Sequence[Run], peak: float, title: str | None, last: float) -> Layers:
    """Return the plot of one buffer, of which at most `peak` percent are live; `title` of the axis of time."""
    kinds = {getattr(run.execution.spec.buffers, name).capacity_bytes for run in runs if run.execution is not None}
    room = f" of {kinds.pop():,} bytes" if len(kinds) == 1 else ""
    top = min(105.0, 1.25 * peak + 1)
    base = alt.Chart(alt.NamedData(name=f"buffer_{name}")).encode(
        x=alt.X(
            "t:Q", title=title, scale=alt.Scale(domain=[0, last], nice=False), axis=TIME_AXIS
        ),
        y=alt.Y("live:Q", title="live (%)", scale=alt.Scale(domain=[0, top], nice=False), axis=alt.Axis(tickCount=3)),
        tooltip=["run:N", alt.Tooltip("t:Q", title="time", format=",.0f"), alt.Tooltip("live:Q", title="live (%)"),
                 alt.Tooltip("capacity:Q", title="capacity (bytes)", format=",d")],
    )  # fmt: skip
    if len(runs) == 1:
        drawn = base.mark_area(interpolate="step", color=CLASS_COLORS["edges"])
    else:
        drawn = base.mark_line(interpolate="step", strokeWidth=1.2).encode(color=run_color(runs))
    capacity = inline([{"y": 100}]).mark_rule(color=FRONT_COLOR, strokeWidth=1.5, clip=True).encode(y="y:Q")
    tiers = ", ".join(dict.fromkeys(run.tier for run in runs))
    text = f"{name}: at most {peak:.1f} %{room} ({tiers})"
    return alt.layer(drawn, capacity).properties(
        width=PLOT_WIDTH, height=64, title=alt.TitleParams(text, anchor="start", offset=4)
    )
