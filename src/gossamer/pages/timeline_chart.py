"""Draw what the engines do over time: an overview to drag over, and the instructions of what is dragged over."""

import json
from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np

from gossamer.arch.isa import ENGINES, Opcode
from gossamer.pages.execution import busy_shares, spans
from gossamer.pages.figures import Figure
from gossamer.pages.run_folder import Execution, Run
from gossamer.pages.run_style import PLOT_WIDTH, UNLESS_OTHER_PICKED, above, inline, titled

TIMELINE_MARKS = 12_000
"""Most marks of all timelines of a page."""

_BINS = 220
_NAMES = [str(engine).upper() for engine in ENGINES]
TIME_AXIS = alt.Axis(format=",d", grid=False)
_LAYER_COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8c8c8c")
"""Colours of layers in turn: neighbours differ; the last is that of no layer."""


def timeline_figure(runs: Sequence[Run], most: int = TIMELINE_MARKS) -> Figure | None:
    """Return the timelines of all runs over one axis of time, with at most `most` marks; None without Programs."""
    executed = [run for run in runs if run.execution is not None]
    if not executed:
        return None
    title, scales = time_axis(executed)
    last = max(run.result.total_cycles * scale for run, scale in zip(executed, scales, strict=True))
    window = alt.selection_interval(encodings=["x"], name="window")
    tables: dict[str, list[dict[str, Any]]] = {}
    strips, details = [], []
    for number, (run, scale) in enumerate(zip(executed, scales, strict=True)):
        strip = _overview(run, scale, last, legend=number == 0)
        strip = strip.add_params(window) if number == 0 else strip
        strips.append(titled(strip, run, ": busy share of every engine" + (", drag to zoom" if not number else "")))
        tables[f"spans{number}"] = span_rows(run, scale, most // len(executed))
        detail = _detail(run, f"spans{number}", window, title)
        details.append(titled(detail, run, ": instructions"))
    text = (
        "Drag over the upper strip to zoom, drag the selection to move it, wheel over it to widen or narrow, "
        "double-click to see all. Colours tell layers that follow each other apart; hover for instruction, layer and "
        "cycles; click to mark a layer in all charts."
    )
    if any(row["n"] > 1 for rows in tables.values() for row in rows):
        text += (
            f" There are more instructions than {most:,}: a mark stands for those of an engine that start together; "
            "simulate --trace writes every one, for Perfetto."
        )
    zoomed = alt.vconcat(*details, spacing=12).resolve_scale(x="shared")
    return Figure(
        name="timeline", title="Engines over time", text=text, chart=above([*strips, zoomed], 12), tables=tables
    )


def time_axis(runs: Sequence[Run]) -> tuple[str, list[float]]:
    """Return the title of an axis of time and what cycles of each run are multiplied by: µs where clocks differ."""
    clocks = {run.result.clock_mhz for run in runs}
    if len(clocks) > 1:
        return "Time (µs)", [1 / run.result.clock_mhz for run in runs]
    return f"Time (cycles; 1,000 cycles are {1000 / clocks.pop():.4g} µs)", [1.0] * len(runs)


def layer_names(execution: Execution) -> str:
    """Return an expression of the names of the layers, as a list."""
    return json.dumps([record.name for record in execution.program.layers])


LAYER_HUE = f"datum.l < 0 ? {len(_LAYER_COLORS) - 1} : datum.l % {len(_LAYER_COLORS) - 1}"
"""Expression of the number of the colour of the layer numbered `l`; of no layer: -1."""


def layer_color() -> alt.Color:
    """Return the colour of layers, by the field `hue`."""
    scale = alt.Scale(domain=list(range(len(_LAYER_COLORS))), range=list(_LAYER_COLORS))
    return alt.Color("hue:O", legend=None, scale=scale)


def _overview(run: Run, scale: float, last: float, *, legend: bool) -> alt.Chart:
    assert run.execution is not None
    shares = busy_shares(run.execution, _BINS)
    width = run.result.total_cycles * scale / _BINS
    rows = [
        {
            "engine": _NAMES[number], "from": round(bin * width, 3), "to": round((bin + 1) * width, 3),
            "busy": round(100 * share, 1),
        }
        for number in range(len(ENGINES))
        for bin, share in enumerate(shares[number].tolist())
    ]  # fmt: skip
    strip: alt.Chart = (
        inline(rows)
        .mark_rect()
        .encode(
            x=alt.X("from:Q", title=None, scale=alt.Scale(domain=[0, last], nice=False), axis=TIME_AXIS),
            x2="to:Q",
            y=alt.Y("engine:N", sort=_NAMES, title=None),
            color=alt.Color(
                "busy:Q", scale=alt.Scale(scheme="blues", domain=[0, 100]),
                legend=alt.Legend(title="busy (%)", orient="right", gradientLength=60) if legend else None,
            ),
            tooltip=["engine:N", alt.Tooltip("busy:Q", title="busy (%)")],
        )
        .properties(width=PLOT_WIDTH, height=60)
    )  # fmt: skip
    return strip


def span_rows(run: Run, scale: float, most: int) -> list[dict[str, Any]]:
    """Return a row per span with short keys, for there are many: e(ngine), s(tart), f(inish), b(usy), w(aited),
    n instructions from i on, l(ayer), o(pcode), m(ore layers)."""
    assert run.execution is not None
    found = spans(run.execution, most)
    fields = {
        "e": found.engine, "s": found.start, "f": found.end, "b": found.busy, "w": found.waited, "n": found.count,
        "i": found.number, "l": found.layer, "o": found.opcode, "m": found.others,
    }  # fmt: skip
    columns = {name: column.tolist() for name, column in fields.items()}
    if scale != 1.0:
        columns |= {name: np.round(fields[name] * scale, 4).tolist() for name in ("s", "f")}
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _detail(run: Run, table: str, window: alt.Parameter, title: str) -> alt.Chart:
    assert run.execution is not None
    layers = layer_names(run.execution)
    opcodes = json.dumps([Opcode(number).name if number in set(Opcode) else "" for number in range(max(Opcode) + 1)])
    detail: alt.Chart = (
        alt.Chart(alt.NamedData(name=table))
        .transform_calculate(
            engine=f"{json.dumps(_NAMES)}[datum.e]",
            layer=f"datum.l < 0 ? '' : {layers}[datum.l]",
            what=f"{opcodes}[datum.o] + (datum.n > 1 ? ' and others' : '')",
            instruction="format(datum.i, ',') + (datum.n > 1 ? ' and ' + format(datum.n - 1, ',') + ' more' : '')",
            where="datum.layer + (datum.m ? ' and ' + datum.m + ' more' : '')",
            hue=LAYER_HUE,
        )
        .mark_rect(clip=True, cursor="pointer")
        .encode(
            x=alt.X("s:Q", title=title, scale=alt.Scale(domain=window, nice=False), axis=TIME_AXIS),
            x2="f:Q",
            y=alt.Y("engine:N", sort=_NAMES, title=None, scale=alt.Scale(paddingInner=0.15)),
            color=layer_color(),
            opacity=UNLESS_OTHER_PICKED,
            tooltip=[
                alt.Tooltip("instruction:N"), alt.Tooltip("what:N", title="operation"),
                alt.Tooltip("where:N", title="layer"),
                alt.Tooltip("s:Q", title="from", format=",.6~r"), alt.Tooltip("f:Q", title="to", format=",.6~r"),
                alt.Tooltip("b:Q", title="busy cycles", format=",d"),
                alt.Tooltip("w:Q", title="cycles waited for tokens", format=",d"),
            ],
        )
        .properties(width=PLOT_WIDTH, height=120)
    )  # fmt: skip
    return detail
