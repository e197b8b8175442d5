"""Draw every layer under the roofs that array and off-chip memory set."""

from collections.abc import Iterator, Sequence
from typing import Any

import altair as alt

from gossamer.arch.config import fingerprint
from gossamer.arch.spec import SparseAccelerator
from gossamer.pages.figures import INK, Figure
from gossamer.pages.run_folder import Run, StoredRoofline
from gossamer.pages.run_style import BOUND_COLORS, PLOT_WIDTH, UNLESS_OTHER_PICKED, above, inline, key, run_color
from gossamer.render import quantity

_HEIGHT = 400
_SHAPES = ("circle", "square", "triangle-up", "diamond")


def roofline_figure(runs: Sequence[Run]) -> Figure | None:
    """Return the roofline of all runs in one plot; None if none has an off-chip memory."""
    drawn = [(run, run.result.roofline) for run in runs if run.result.roofline is not None]
    dots = [row for run, roofs in drawn for row in layer_dots(run, roofs)]
    if not dots:
        return None
    low = min(row["intensity"] for row in dots) / 1.6
    high = max(
        *(1.6 * row["intensity"] for row in dots),
        *(2 * roofs.peak_macs_per_s / roofs.memory_bytes_per_s for _, roofs in drawn),
    )
    cores: dict[str, list[dict[str, Any]]] = {}
    for run, roofs in drawn:
        cores.setdefault(fingerprint(run.spec), roof_lines(run, roofs, low, high))
    lines = [line for core in cores.values() for line in core]
    bottom = min(row["rate"] for row in (*dots, *(line for line in lines if line["binds"]))) / 1.6
    top = 1.6 * 1.4 ** (len(cores) - 1) * max(line["rate"] for line in lines)  # names of roofs stand over them
    x = alt.X(
        "intensity:Q", title="Operational intensity (kept MAC per off-chip byte)",
        scale=alt.Scale(type="log", domain=[low, high], nice=False),
    )  # fmt: skip
    y = alt.Y(
        "rate:Q", title="Rate (kept MAC/s)",
        scale=alt.Scale(type="log", domain=[bottom, top], nice=False), axis=alt.Axis(format="~s"),
    )  # fmt: skip
    own = run_color(runs) if len(cores) > 1 else alt.value(INK)
    ranked = sorted(cores.values(), key=lambda core: float(core[-1]["rate"]))
    names = [
        name
        for number, core in enumerate(ranked)
        for name in _names(core, 13 * number, 13 * (len(ranked) - 1 - number), own, x, y)
    ]
    layers = [_roofs(lines, own, x, y), *_dots(dots, runs, x, y), *names]
    chart = alt.layer(*layers).properties(width=PLOT_WIDTH - 20, height=_HEIGHT)
    tiers = "; ".join(dict.fromkeys(run.result.tier for run, _ in drawn))
    title = drawn[0][0].title if len(runs) == 1 else ", ".join(dict.fromkeys(run.tier for run, _ in drawn))
    return Figure(
        name="roofline", title="Roofline",
        text="A dot is a layer, its area the cycles that are its own; the diamond is the whole network. Solid: the "
        "roofs that limit; dashed: the other limit of memory, which is higher (channels at their efficiency, or AXI "
        "ports). A dot above the roof of memory had its bytes moved while other layers computed. Click a dot to mark "
        f"its layer in all charts, again to unmark it. Tier: {tiers}.",
        chart=above([chart.properties(title=alt.TitleParams(title, anchor="start", offset=8))]),
    )  # fmt: skip


def layer_dots(run: Run, roofs: StoredRoofline) -> list[dict[str, Any]]:
    """Return a row per layer that multiplies: kept MACs per off-chip byte, and per second while it has the array."""
    rows = [
        {
            "run": run.label, "layer": layer.name, "name": layer.name, "op": layer.op,
            "bound": layer.bound, "pattern": layer.pattern, "cycles": layer.cycles,
            "us": layer.cycles / run.result.clock_mhz, "macs": layer.macs,
            "bytes": layer.dram_bytes, "intensity": layer.macs / max(1, layer.dram_bytes),
            "rate": layer.utilization * roofs.peak_macs_per_s, "whole": False,
        }
        for layer in run.result.layers
        if layer.macs
    ]  # fmt: skip
    result = run.result
    whole = {
        "run": run.label, "name": "whole network", "op": "", "bound": "", "pattern": result.sparsity,
        "cycles": result.total_cycles, "us": result.latency_s * 1e6, "macs": result.macs, "bytes": result.dram_bytes,
        "intensity": roofs.intensity_macs_per_byte, "rate": result.macs / result.latency_s, "whole": True,
    }  # fmt: skip
    return [*rows, whole] if rows else []


def roof_lines(run: Run, roofs: StoredRoofline, low: float, high: float) -> list[dict[str, Any]]:
    """Return the ends of the roofs between two intensities; `binds` marks those that limit, `ridge` where they meet."""
    peak = roofs.peak_macs_per_s
    limits = {"off-chip memory": roofs.memory_bytes_per_s}
    if isinstance(run.spec, SparseAccelerator):
        memory, axi = run.spec.off_chip, run.spec.axi
        limits = {
            f"{memory.kind} channels": memory.bandwidth_gb_s * 1e9,
            "AXI ports": axi.row_bytes * run.spec.clock_mhz * 1e6,
        }
    slowest = min(limits, key=lambda name: limits[name])
    rows = []
    for name, bandwidth in limits.items():
        ridge = peak / bandwidth
        what = f"{name}, {quantity(bandwidth, 'B/s')}"
        named = f"ridge {ridge:.4g} MAC/B" if name == slowest else ""
        line = f"{run.label} {name}"
        common = {"run": run.label, "roof": what, "line": line, "binds": name == slowest, "flat": False}
        rows.append({**common, "intensity": low, "rate": low * bandwidth, "ridge": ""})
        rows.append({**common, "intensity": min(ridge, high), "rate": min(peak, high * bandwidth), "ridge": named})
    start = max(low, peak / limits[slowest])
    what = f"array, {quantity(peak, 'MAC/s')}"
    common = {"run": run.label, "roof": what, "line": f"{run.label} array", "binds": True, "flat": True, "ridge": ""}
    return [*rows, *({**common, "intensity": end, "rate": peak} for end in (start, high))]


def _roofs(lines: list[dict[str, Any]], color: Any, x: alt.X, y: alt.Y) -> alt.Chart:
    roofs: alt.Chart = (
        inline(lines)
        .mark_line(strokeWidth=1.8, clip=True)
        .encode(
            x=x, y=y, detail="line:N", color=color, tooltip=[alt.Tooltip("run:N"), alt.Tooltip("roof:N")],
            strokeDash=alt.condition("datum.binds", alt.value([1, 0]), alt.value([5, 4])),
            opacity=alt.condition("datum.binds", alt.value(1), alt.value(0.5)),
        )
    )  # fmt: skip
    return roofs


def _names(
    lines: list[dict[str, Any]], up: int, down: int, color: Any, x: alt.X, y: alt.Y
) -> Iterator[alt.Chart]:  # fmt: skip
    """Yield the names of the roofs of a core, and of the ridge where they meet, so many pixels apart from them."""
    left_ends = {line["line"]: line for line in reversed(lines)}
    right_ends = {line["line"]: line for line in lines}
    places: tuple[tuple[list[dict[str, Any]], str, dict[str, Any]], ...] = (
        ([line for line in lines if line["ridge"]], "ridge", {"align": "right", "dy": -8 - up}),
        (
            [line for line in left_ends.values() if not line["flat"]],
            "roof",
            {"align": "left", "dx": 8, "dy": 14 + down},
        ),
        (
            [line for line in right_ends.values() if line["flat"]],
            "roof",
            {"align": "right", "dx": -6, "dy": -7 - up},
        ),
    )
    for rows, field, style in places:
        if rows:
            text = inline(rows).mark_text(fontSize=11, clip=True, **style)
            yield text.encode(x=x, y=y, text=f"{field}:N", color=color)


def _dots(dots: list[dict[str, Any]], runs: Sequence[Run], x: alt.X, y: alt.Y) -> list[alt.Chart]:
    tooltip = [
        alt.Tooltip("run:N"), alt.Tooltip("name:N", title="layer"), alt.Tooltip("op:N"), alt.Tooltip("pattern:N"),
        alt.Tooltip("bound:N", title="bound by"), alt.Tooltip("cycles:Q", format=",d"),
        alt.Tooltip("us:Q", title="time (µs)", format=",.4~g"), alt.Tooltip("macs:Q", title="kept MACs", format=",d"),
        alt.Tooltip("bytes:Q", title="off-chip bytes", format=",d"),
        alt.Tooltip("intensity:Q", title="MAC/B", format=",.4~g"),
        alt.Tooltip("rate:Q", title="MAC/s", format=".4~s"),
    ]  # fmt: skip
    size = alt.Size("cycles:Q", title="Cycles", scale=alt.Scale(range=[0, 900], zero=True), legend=None)
    if len(runs) == 1:
        color: Any = alt.Color("bound:N", **key(list(BOUND_COLORS), list(BOUND_COLORS.values()), "bound by"))
        shape: Any = alt.value("circle")
    else:
        color = run_color(runs)
        labels = [run.label for run in runs]
        shape = alt.Shape("run:N", scale=alt.Scale(domain=labels, range=list(_SHAPES[: len(runs)])))
    layers = inline([row for row in dots if not row["whole"]]).mark_point(
        filled=True, fillOpacity=0.65, stroke=INK, strokeWidth=0.6, cursor="pointer"
    )
    whole = inline([row for row in dots if row["whole"]]).mark_point(
        filled=True, shape="diamond", size=260, stroke=INK, strokeWidth=1.5
    )
    own: Any = alt.value(INK) if len(runs) == 1 else color
    return [
        layers.encode(x=x, y=y, size=size, color=color, shape=shape, opacity=UNLESS_OTHER_PICKED, tooltip=tooltip),
        whole.encode(x=x, y=y, color=own, tooltip=tooltip),
    ]
