"""Draw what a whole network takes: a waterfall of its cycles, its energy, the area of its core, the array's units."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np

from gossamer.arch.resources import RESOURCE_NAMES, TIER, estimate_resources
from gossamer.arch.spec import SparseAccelerator
from gossamer.pages.execution import unit_slots
from gossamer.pages.figures import FRONT_COLOR, INK, WIDTH, Figure
from gossamer.pages.run_folder import Run
from gossamer.pages.run_style import CLASS_COLORS, PLOT_WIDTH, above, beside, inline, run_color, titled
from gossamer.render import percentages

_STEPS = {"compute": "ideal", "edges": "+ edges", "fill": "+ fill", "memory": "+ memory", "vector": "+ vector",
          "control": "+ control"}  # fmt: skip
_MEASURED = "measured"
_MOST_ROWS = 64
"""Rows of the map of the array: more chains are drawn several to a row."""

_COMPONENT_COLORS = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#8c8c8c", "#332288", "#44AA99",
    "#882255", "#DDCC77", "#117733", "#AA4499", "#88CCEE", "#661100",
)  # fmt: skip
"""Palette of Okabe and Ito, then of Tol: components of a core are more than either has."""


def waterfall_figure(runs: Sequence[Run]) -> Figure:
    """Return from the cycles of an ideal array to those measured, class by class."""
    width = PLOT_WIDTH if len(runs) == 1 else PLOT_WIDTH // 2 - 40
    highest = max(run.result.total_cycles for run in runs)
    charts = []
    axis = alt.Axis(labelAngle=-30, ticks=False)
    colors = alt.Scale(domain=[*CLASS_COLORS, _MEASURED], range=[*CLASS_COLORS.values(), "#5f5f5f"])
    for run in runs:
        base = inline(waterfall_rows(run)).encode(
            x=alt.X("step:N", sort=[*_STEPS.values(), _MEASURED], title=None, axis=axis)
        )
        bars = base.mark_bar().encode(
            y=alt.Y("from:Q", title="Cycles", axis=alt.Axis(format="~s"), scale=alt.Scale(domain=[0, 1.06 * highest])),
            y2="to:Q",
            color=alt.Color("part:N", scale=colors, legend=None),
            tooltip=["step:N", alt.Tooltip("cycles:Q", format=",d"),
                     alt.Tooltip("us:Q", title="time (µs)", format=",.4~g"),
                     alt.Tooltip("share:Q", title="of the run (%)", format=".1f")],
        )  # fmt: skip
        texts = base.mark_text(dy=-7, color=INK, fontSize=10).encode(y="to:Q", text="text:N")
        charts.append(titled(alt.layer(bars, texts).properties(width=width, height=230), run))
    return Figure(
        name="waterfall", title="From ideal to measured",
        text="Ideal: the kept multiply-accumulates at full array. Each step adds a class of cycles; the last bar is "
        "what the run took. Percentages are of the run and sum to 100.0 %.",
        chart=beside(charts),
    )  # fmt: skip


def waterfall_rows(run: Run) -> list[dict[str, Any]]:
    """Return a bar per class that begins where the one before ends, then the total."""
    result = run.result
    shares = percentages(result.class_cycles, result.total_cycles)
    rows, begin = [], 0.0
    for name, step in _STEPS.items():
        cycles = result.class_cycles[name]
        rows.append({"part": name, "step": step, "from": begin, "to": begin + cycles, "cycles": cycles,
                     "share": shares[name], "text": f"{shares[name]:.1f} %"})  # fmt: skip
        begin += cycles
    total = result.total_cycles
    rows.append({"part": _MEASURED, "step": _MEASURED, "from": 0, "to": total, "cycles": total, "share": 100.0,
                 "text": f"{total:,}"})  # fmt: skip
    return [{**row, "us": float(row["cycles"]) / result.clock_mhz} for row in rows]  # type: ignore[arg-type]


def energy_figure(runs: Sequence[Run]) -> Figure | None:
    """Return energy by component; None if no run has any."""
    rows: list[dict[str, Any]] = [
        {
            "run": run.label, "component": name.replace("_", " "), "mj": 1e3 * joules,
            "share": 100 * joules / run.result.energy_j, "text": f"{100 * joules / run.result.energy_j:.1f} %",
        }
        for run in runs
        if run.result.energy_j
        for name, joules in run.result.energy_by_component_j.items()
    ]  # fmt: skip
    if not rows:
        return None
    sums: dict[str, float] = {}
    for row in rows:
        sums[row["component"]] = sums.get(row["component"], 0.0) + row["mj"]
    order = sorted(sums, key=lambda name: -sums[name])
    base = inline(rows).encode(
        y=alt.Y("component:N", sort=order, title=None, axis=alt.Axis(ticks=False)),
        x=alt.X("mj:Q", title="Energy (mJ)"), yOffset=alt.YOffset("run:N", sort=[run.label for run in runs]),
    )  # fmt: skip
    bars = base.mark_bar().encode(
        color=run_color(runs) if len(runs) > 1 else alt.value(CLASS_COLORS["compute"]),
        tooltip=["run:N", "component:N", alt.Tooltip("mj:Q", title="mJ", format=".4~g"),
                 alt.Tooltip("share:Q", title="of the run (%)", format=".1f")],
    )  # fmt: skip
    texts = base.mark_text(align="left", dx=4, fontSize=10, color=INK).encode(text="text:N")
    title = runs[0].label if len(runs) == 1 else "energy by component"
    wholes = "; ".join(f"{run.label}: {1e3 * run.result.energy_j:.4g} mJ" for run in runs if run.result.energy_j)
    return Figure(
        name="energy", title="Energy",
        text=f"{wholes}. Estimated: events of the simulation times one table of published energies per event, and "
        "static power times the run's time; not measured.",
        chart=above([
            alt.layer(bars, texts).properties(
                width=PLOT_WIDTH - 60, height=alt.Step(13 if len(runs) > 1 else 20),
                title=alt.TitleParams(f"{title} (estimated)", anchor="start", offset=8),
            )
        ]),
    )  # fmt: skip


def area_figure(runs: Sequence[Run]) -> Figure | None:
    """Return the share of every resource of the device that each component takes; runs with the same core once."""
    cores: list[tuple[Run, str, list[dict[str, Any]]]] = []
    for run in runs:
        if isinstance(run.spec, SparseAccelerator):
            core = (run, run.spec.device.name, area_rows(run.spec))
            cores += [core] if core[1:] not in [other[1:] for other in cores] else []
    if not cores:
        return None
    charts = []
    resources = [name.upper() for name in RESOURCE_NAMES]
    names = list(dict.fromkeys(row["component"] for _, _, rows in cores for row in rows))
    for run, device, rows in cores:
        bars = inline(rows).mark_bar().encode(
            y=alt.Y("resource:N", sort=resources, title=None, axis=alt.Axis(ticks=False)),
            x=alt.X("share:Q", title=f"Share of the budget of {device} (%)",
                    scale=alt.Scale(domain=[0, max(100.0, _fullest(rows))])),
            color=alt.Color("component:N", scale=alt.Scale(domain=names, range=list(_COMPONENT_COLORS[: len(names)])),
                            legend=alt.Legend(title=None, orient="bottom", columns=7, symbolType="square")),
            order=alt.Order("order:Q"),
            tooltip=["resource:N", "component:N", alt.Tooltip("used:Q", format=",d"),
                     alt.Tooltip("share:Q", title="of the budget (%)", format=".2f"),
                     alt.Tooltip("total:Q", title="all components", format=",d"),
                     alt.Tooltip("budget:Q", format=",d")],
        )  # fmt: skip
        budget = inline([{"x": 100}]).mark_rule(color=FRONT_COLOR, strokeWidth=2).encode(x="x:Q")
        name = run.result.config if len(cores) == 1 else run.label
        chart = alt.layer(bars, budget).properties(
            width=PLOT_WIDTH, height=alt.Step(24), title=alt.TitleParams(f"{name} ({TIER})", anchor="start")
        )
        charts.append(chart)
    return Figure(
        name="area", title="Area by component",
        text=f"What each component of the core takes of the device; the line is the budget. Tier: {TIER}; `gossamer "
        "synth` confirms it.",
        chart=above(charts),
    )  # fmt: skip


def area_rows(spec: SparseAccelerator) -> list[dict[str, Any]]:
    """Return the need of every component and resource that the device has."""
    estimate = estimate_resources(spec)
    rows = []
    for name in RESOURCE_NAMES:
        budget, total = getattr(estimate.device, name), getattr(estimate.total, name)
        for order, (component, part) in enumerate(estimate.components.items()):
            used = getattr(part, name)
            if used and budget:
                rows.append({
                    "resource": name.upper(), "component": component, "used": used, "share": 100 * used / budget,
                    "total": total, "budget": budget, "order": order,
                })  # fmt: skip
    return rows


def _fullest(rows: list[dict[str, Any]]) -> float:
    sums: dict[str, float] = {}
    for row in rows:
        sums[row["resource"]] = sums.get(row["resource"], 0.0) + row["share"]
    return max(sums.values(), default=0.0)


def array_figure(runs: Sequence[Run]) -> Figure | None:
    """Return how busy every chain and stage of the array is; None without Programs."""
    executed = [run for run in runs if run.execution is not None]
    if not executed:
        return None
    charts = []
    width = 620 if len(executed) == 1 else WIDTH // 2 - 125
    for run in executed:
        rows, per_row = unit_rows(run)
        title = "Chain" if per_row == 1 else f"Chain (mean of {per_row})"
        stages = len({row["stage"] for row in rows})
        marks = inline(rows).mark_rect().encode(
            x=alt.X("stage:O", title="Stage of the chain", axis=alt.Axis(labelAngle=0, labelOverlap=True)),
            y=alt.Y("chain:O", title=title, axis=alt.Axis(values=_some(rows))),
            color=alt.Color("busy:Q", scale=alt.Scale(scheme="viridis", domain=[0, 100]),
                            legend=alt.Legend(title="busy (%)", gradientLength=120)),
            tooltip=[alt.Tooltip("chain:O", title="first chain" if per_row > 1 else "chain"), "stage:O",
                     alt.Tooltip("busy:Q", title="of cycles × lanes (%)", format=".1f")],
        )  # fmt: skip
        rows_drawn = len(rows) // stages
        size = {"width": stages * min(40, width // stages), "height": rows_drawn * max(1, 224 // rows_drawn)}
        charts.append(titled(marks.properties(**size), run))  # whole pixels: no seams between cells
    return Figure(
        name="array", title="Utilisation of the array",
        text="Each cell is a stage of a chain: the share of the run's cycles, over all lanes, in which it got a weight "
        "and a value to multiply. Later stages are idle where a reduction does not fill the chain, later chains where "
        "channels do not. Counted from the Program's instructions.",
        chart=beside(charts),
    )  # fmt: skip


def _some(rows: Sequence[dict[str, Any]]) -> list[int]:
    """Return the chains that an axis has room to name."""
    chains = sorted({row["chain"] for row in rows})
    return chains[:: -(-len(chains) // 16)]


def unit_rows(run: Run) -> tuple[list[dict[str, Any]], int]:
    """Return the busy share of chains and stages, and how many chains a row stands for."""
    assert run.execution is not None
    slots = unit_slots(run.execution)
    chains, stages = slots.shape
    per_row = -(-chains // _MOST_ROWS)
    starts = np.arange(0, chains, per_row)
    room = run.result.total_cycles * run.execution.spec.array.lanes
    counts = np.diff(starts, append=chains)[:, None]
    busy = 100 * np.add.reduceat(slots, starts, axis=0) / (room * counts)
    rows = [
        {"chain": int(start), "stage": stage, "busy": round(float(busy[row, stage]), 2)}
        for row, start in enumerate(starts)
        for stage in range(stages)
    ]
    return rows, per_row
