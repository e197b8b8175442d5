"""Write how accurate the simulator, the sweeps and the resource estimate are, from what was measured: page and charts.

    python benchmarks/accuracy.py -o docs/accuracy.md

Reads benchmarks/rtl_agreement.csv, sweep_accuracy.csv and synthesis_points.csv; the page names the command that wrote
each. The estimates of resources are worked out anew. Charts go to docs/pictures.
"""

import argparse
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import altair as alt
import numpy as np
import rtl_agreement
import sweep_accuracy
import synthesis_points
from markdown_table import table

from gossamer.arch.energy import energy_table
from gossamer.arch.isa import ENGINES
from gossamer.arch.resources import RESOURCE_NAMES, Resources
from gossamer.pages.figures import BAR_COLOR, FRONT_COLOR, Figure

QUANTILES = (0, 5, 25, 50, 75, 95, 100)
WIDTH, HEIGHT = 560, 160
LABELS = {"dsp": "DSP", "bram36": "BRAM36", "uram": "URAM", "lut": "LUT", "ff": "FF"}
TARGETS = {"xcup": "UltraScale+", "ecp5": "ECP5"}
STALLED = {
    "sim_cycles": "the stalls recorded on the RTL", "independent_cycles": "other stalls of the same probability",
}  # fmt: skip

Rows = Sequence[rtl_agreement.Row]
Point = tuple[synthesis_points.Row, dict[str, Resources], dict[str, Resources]]
"""A synthesized config: its row, what each component was found to take, and the estimate."""


def quantiles(errors: Sequence[float]) -> list[str]:
    """Return the quantiles of errors in percent."""
    return [f"{value + 0:+.2f}" for value in np.percentile(errors, QUANTILES)]


QUANTILE_HEADS = ("least", "5 %", "25 %", "median", "75 %", "95 %", "largest")


def errors_of(rows: Rows, simulated: str) -> list[float]:
    """Return the cycle errors of programs in percent."""
    return [rtl_agreement.error_pct(row[simulated], row["rtl_cycles"]) for row in rows]


def total(rows: Rows, column: str) -> int:
    """Return the sum of a column."""
    return sum(int(row[column] or 0) for row in rows)


def by_core(rows: Rows) -> dict[str, Rows]:
    """Return the rows of each core, and of all."""
    cores = sorted({row["core"] for row in rows})
    return {f"core {core}": [row for row in rows if row["core"] == core] for core in cores} | {"all": rows}


def cycles_table(rows: Rows) -> str:
    """Return what was compared and how much of it was equal."""
    groups = by_core(rows)
    lines = {
        "programs, every byte equal": lambda each: len(each),
        "bytes compared": lambda each: total(each, "bytes"),
        "RTL cycles": lambda each: total(each, "rtl_cycles"),
        "programs of equal cycles": lambda each: sum(row["rtl_cycles"] == row["sim_cycles"] for row in each),
        "counters compared": lambda each: total(each, "counters"),
        "counters that differ": lambda each: total(each, "counters_off"),
        "instructions": lambda each: sum(total(each, f"{engine.value}.instructions.rtl") for engine in ENGINES),
        "dispatched, started or completed in another cycle": lambda each: total(each, "instructions_off"),
    }
    cells = [[name, *(f"{figure(group):,}" for group in groups.values())] for name, figure in lines.items()]
    return table(["", *groups], cells)


def engines_table(rows: Rows) -> str:
    """Return busy cycles of every engine in RTL and simulator."""
    cells = []
    for engine in ENGINES:
        rtl, sim = (f"{engine.value}.busy.{side}" for side in ("rtl", "sim"))
        cells.append(
            [engine.value.upper(), f"{total(rows, f'{engine.value}.instructions.rtl'):,}", f"{total(rows, rtl):,}",
             f"{total(rows, sim):,}", f"{sum(row[rtl] == row[sim] for row in rows):,} of {len(rows):,}"]
        )  # fmt: skip
    return table(["engine", "instructions", "busy cycles, RTL", "simulator", "programs in which equal"], cells)


@cache
def synthesized() -> tuple[Point, ...]:
    """Return every synthesized config."""
    rows = synthesis_points.read(Path(synthesis_points.__file__).with_suffix(".csv")).values()
    return tuple((row, synthesis_points.found(row), synthesis_points.estimated(row)) for row in rows)


def points_of(use: str) -> list[Point]:
    """Return the synthesized configs of a use."""
    return [point for point in synthesized() if point[0]["use"] == use]


def whole(parts: dict[str, Resources]) -> Resources:
    """Return the sum of all components."""
    return sum(parts.values(), Resources())


def resource_errors(points: Sequence[Point], resource: str, part: str | None = None) -> list[float]:
    """Return errors in percent of the synthesized, of all or of one component, where there is any."""
    errors = []
    for _, found, said in points:
        there, estimate = (getattr(whole(each) if part is None else each[part], resource) for each in (found, said))
        if there:
            errors.append(100 * (estimate / there - 1))
    return errors


def resources_table() -> str:
    """Return the errors of totals, by use, target and resource."""
    cells = []
    for use in ("held out", "fit"):
        points = points_of(use)
        for target, label in TARGETS.items():
            some = [point for point in points if point[0]["target"] == target]
            for resource in ("lut", "ff"):
                errors = resource_errors(some, resource)
                cells.append([use, label, LABELS[resource], str(len(errors)), *quantiles(errors)])
    return table(["configs", "family", "", "number", *QUANTILE_HEADS], cells)


def blocks_text() -> str:
    """Return at how many configs hard blocks are as estimated."""
    points = synthesized()
    equal = [
        f"{LABELS[name]} {sum(getattr(whole(a), name) == getattr(whole(b), name) for _, a, b in points)}"
        for name in RESOURCE_NAMES if name in ("dsp", "bram36", "uram")
    ]  # fmt: skip
    return f"Hard blocks are equal at as many of {len(points)} configs: {', '.join(equal)}."


def components_table() -> str:
    """Return the errors of components over the configs held out."""
    points, cells = points_of("held out"), []
    for part in synthesis_points.PARTS:
        row = [part]
        for resource in ("lut", "ff"):
            share = sum(getattr(found[part], resource) for _, found, _ in points)
            share /= sum(getattr(whole(found), resource) for _, found, _ in points)
            errors = resource_errors(points, resource, part)
            spread = (min(errors), float(np.median(errors)), max(errors)) if errors else ()
            row += [f"{100 * share:.1f}", *(f"{each:+.1f}" for each in spread), *[""] * (3 - len(spread))]
        cells.append(row)
    head = ["least", "median", "largest"]
    return table(["component", "% of LUT", *head, "% of FF", *head], cells)


def sweeps_table() -> str:
    """Return the errors of the analytic estimate of whole networks."""
    names = ("sweep", "metric", "points", "least", "median", "largest", "median_of_absolute", "spearman")
    head = [*names[:6], "median of absolute", "rank correlation"]
    return table(head, [[row[name] for name in names] for row in sweep_accuracy.read()])


def energy_text() -> str:
    """Return of how many entries of the energy table the source is an engineering estimate, at least in part."""
    entries = energy_table()
    sources = [
        entries.mac_int8.source, entries.select_byte.source, entries.chain_hop.source, entries.vector_element.source,
        entries.instruction.source, *(each.source for each in entries.buffer_read.values()),
        *(each.source for each in entries.buffer_write.values()), *(each.source for each in entries.off_chip.values()),
        *(each.source for each in entries.family.values()),
    ]  # fmt: skip
    estimates = sum("engineering estimate" in source for source in sources)
    return f"Of the {len(sources)} entries of the table, {estimates} rest on an engineering estimate, at least in part."


def stalls_chart(rows: Rows) -> Figure:
    """Return the distribution of cycle errors under stalls: share of programs below an error."""
    values = [
        {"error": error, "share": 100 * (at + 1) / len(rows), "simulated under": label}
        for column, label in STALLED.items()
        for at, error in enumerate(sorted(errors_of(rows, column)))
    ]
    chart = alt.Chart(alt.InlineData(values=values)).mark_line(interpolate="step-after").encode(
        x=alt.X("error:Q", title="cycles of the simulator, error in % of the RTL's"),
        y=alt.Y("share:Q", title="% of programs"),
        color=alt.Color(
            "simulated under:N", scale=alt.Scale(domain=list(STALLED.values()), range=[BAR_COLOR, FRONT_COLOR]),
            legend=alt.Legend(orient="top", labelLimit=400),
        ),
    )  # fmt: skip
    return figure("accuracy-stalls", chart)


def resources_chart() -> Figure:
    """Return errors of every synthesized config, by resource and use."""
    values = [
        {"error": error, "row": f"{LABELS[resource]}, {TARGETS[target]}", "configs": use}
        for use in ("held out", "fit")
        for target in TARGETS
        for resource in ("lut", "ff")
        for error in resource_errors(
            [point for point in points_of(use) if point[0]["target"] == target], resource
        )
    ]  # fmt: skip
    chart = alt.Chart(alt.InlineData(values=values)).mark_point(filled=True, size=45, opacity=0.75).encode(
        x=alt.X("error:Q", title="estimate, error in % of what was synthesized"),
        y=alt.Y("row:N", title=None),
        color=alt.Color(
            "configs:N", scale=alt.Scale(domain=["held out", "fit"], range=[FRONT_COLOR, BAR_COLOR]),
            legend=alt.Legend(orient="top"),
        ),
        shape=alt.Shape("configs:N", scale=alt.Scale(domain=["held out", "fit"])),
    )  # fmt: skip
    return figure("accuracy-resources", chart)


def sweeps_chart() -> Figure:
    """Return range and median of the errors in cycles of every sweep."""
    values = [
        {"sweep": row["sweep"], **{name: float(row[name]) for name in ("least", "median", "largest")}}
        for row in sweep_accuracy.read() if row["metric"] == "cycles"
    ]  # fmt: skip
    base = alt.Chart(alt.InlineData(values=values)).encode(y=alt.Y("sweep:N", title=None))
    title = "estimated cycles, error in % of the simulator's: range and median"
    ranges = base.mark_rule(strokeWidth=5, color=BAR_COLOR, opacity=0.5).encode(
        x=alt.X("least:Q", title=title), x2="largest:Q"
    )
    return figure("accuracy-sweeps", alt.layer(ranges, base.mark_point(filled=True, size=70, color=FRONT_COLOR).encode(
        x="median:Q")))  # fmt: skip


def figure(name: str, chart: alt.Chart | alt.LayerChart) -> Figure:
    """Return a small chart."""
    return Figure(name=name, title="", text="", chart=chart.properties(width=WIDTH, height=HEIGHT))


def charts() -> list[Figure]:
    """Return all charts."""
    stalled = [row for row in rtl_agreement.read().values() if row["stalls"] == "random"]
    return [stalls_chart(stalled), sweeps_chart(), resources_chart()]


def settings(core: str) -> str:
    """Return a core as a line of the page."""
    config, *changes = core.split(",")
    return f"`{config}`" + "".join(f", {each}" for each in changes)


def page() -> str:
    """Return the page."""
    rows = list(rtl_agreement.read().values())
    plain, stalled = ([row for row in rows if row["stalls"] == stalls] for stalls in rtl_agreement.STALLS)
    count = {len(each) for each in list(by_core(plain).values())[:-1]}
    seeds = {len(each) for each in list(by_core(stalled).values())[:-1]}
    cores = "\n".join(f"{number}. {settings(core)}" for number, core in enumerate(rtl_agreement.CORES, 1))
    return PAGE.format(
        programs=max(count), stalled_programs=max(seeds), cores=cores, cycles=cycles_table(plain),
        engines=engines_table(plain),
        plain_quantiles=table(["", *QUANTILE_HEADS], [
            [name, *quantiles(errors_of(group, "sim_cycles"))] for name, group in by_core(plain).items()]),
        stalls=table(["simulated under", "programs", *QUANTILE_HEADS], [
            [label, f"{len(stalled):,}", *quantiles(errors_of(stalled, column))] for column, label in STALLED.items()]),
        stalled_exact=sum(row["rtl_cycles"] == row["sim_cycles"] for row in stalled), stalled_count=len(stalled),
        independent=100 * (total(stalled, "independent_cycles") / total(stalled, "rtl_cycles") - 1),
        sweeps=sweeps_table(), resources=resources_table(), blocks=blocks_text(), components=components_table(),
        energy=energy_text(),
    )  # fmt: skip


PAGE = Path(__file__).with_name("accuracy.md.in").read_text(encoding="utf-8")


def main() -> None:
    """Write page and charts, or print the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, help="Markdown file to write; charts go to pictures/ beside it")
    output = parser.parse_args().output
    if output is None:
        print(page(), end="")
        return
    output.write_text(page(), encoding="utf-8")
    pictures = output.parent / "pictures"
    pictures.mkdir(exist_ok=True)
    for each in charts():
        (pictures / f"{each.name}.svg").write_bytes(each.pictures()[f"{each.name}.svg"])


if __name__ == "__main__":
    main()
