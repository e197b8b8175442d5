"""Make the page of a sweep."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gossamer.arch.config import config_yaml
from gossamer.explore.spec import Bounds
from gossamer.pages.figures import Figure
from gossamer.pages.front_chart import linked_figure
from gossamer.pages.page import Page, Points, Table
from gossamer.pages.progress_chart import progress_figure
from gossamer.pages.quantities import four_digits, value_text
from gossamer.pages.sensitivity import effects
from gossamer.pages.sweep_points import SweepPoints, choose_points
from gossamer.pages.sweep_store import SweepResults, read_sweep
from gossamer.pages.tornado_chart import sensitivity_figure

TABLE_ROWS = 500
"""Most rows of the table of the front."""

_WHY = {1: "break a rule", 2: "exceed the device", 3: "do not fit the buffers", 4: "break a constraint"}


def sweep_page(store: Path) -> Page:
    """Return the page of a results database. Raises GossamerError if it is not one."""
    results = read_sweep(store)
    points = choose_points(results)
    title = results.sweep.name
    figures = _figures(points)
    return Page(
        title=f"Sweep {title}", question=results.sweep.question, facts=_facts(points),
        notes=_notes(points), figures=figures, tables=_tables(points) if figures else [],
        points=_embedded(points, title) if figures else None, canvas=("front",),
    )  # fmt: skip


def _figures(points: SweepPoints) -> list[Figure]:
    if not points.ids.size:
        return []
    results = points.results
    found = (linked_figure(points), sensitivity_figure(points, effects(results)), progress_figure(results))
    return [figure for figure in found if figure is not None]


def _facts(points: SweepPoints) -> list[tuple[str, str]]:
    results = points.results
    strategy = results.sweep.strategy
    how = "" if strategy.points is None else f", {strategy.points:,} points, seed {strategy.seed}"
    facts = [
        ("strategy", f"{strategy.kind}{how}"),
        ("points evaluated", f"{sum(results.counts.values()):,}"),
        ("feasible", f"{results.counts.get(0, 0):,}"),
        *((why, f"{results.counts[status]:,}") for status, why in _WHY.items() if results.counts.get(status)),
        ("on the front", f"{points.front_size:,}"),
        ("objectives", ", ".join(results.sweep.objectives)),
        ("base", results.sweep.base),
    ]
    facts += [(field.name, value_text(field.values[0])) for field in points.fields if len(field.values) == 1]
    facts += [(f"limit of {name}", _limits(limits)) for name, limits in results.sweep.constraints.items()]
    return facts


def _limits(limits: Bounds) -> str:
    ends = (("at least", limits.min), ("at most", limits.max))
    return ", ".join(f"{words} {value:g}" for words, value in ends if value is not None)


def _notes(points: SweepPoints) -> list[str]:
    """Return what the reader must know: what is left out of the plots, and that figures are of the analytic tier."""
    results = points.results
    if not points.ids.size:
        return ["No point is feasible: nothing to draw."]
    notes = ["All figures are estimates of the analytic model unless a table says otherwise."]
    shown_front = int(points.on_front.sum())
    shown_rest = int(points.ids.size) - shown_front
    rest = points.feasible - points.front_size
    if points.ids.size < points.feasible:
        different = f", {points.different.size:,} with different objectives" * (shown_front < points.front_size)
        notes.append(
            f"Drawn: {shown_front:,} of {points.front_size:,} points of the front{different}, and {shown_rest:,} of "
            f"{rest:,} other feasible points, a seeded sample. The front and the sensitivities are of all points."
        )
    if results.excluded and results.sweep.strategy.kind in ("grid", "random"):
        notes.append(f"{results.excluded:,} combinations of values do not meet the sweep's conditions: not part of it.")
    return notes


def _embedded(points: SweepPoints, title: str) -> Points:
    """Return the points for the page, with the config as a template."""
    config: dict[str, Any] = points.results.space.base.model_dump(mode="json")
    config["name"] = "<name>"
    for number, field in enumerate(points.fields):
        if field.of_config:
            *above, last = field.name.split(".")
            node = config
            for key in above:
                node = node[key]
            node[last] = f"<field {number}>"
    fields = [
        {"name": field.name, "values": field.values, "of_config": field.of_config, "column": f"c{number}"}
        for number, field in enumerate(points.fields)
    ]
    return Points(columns=points.columns, sweep=title, fields=fields, template=config_yaml(config))


def _tables(points: SweepPoints) -> list[Table]:
    return [_front_table(points), *([_confirmed_table(points.results)] if points.results.confirmations else [])]


def _front_table(points: SweepPoints) -> Table:
    """Return the front, the best of the first objective first: objectives, varied fields, then the other metrics."""
    objectives = points.results.sweep.objectives
    at = {point: row for row, point in enumerate(points.ids.tolist())}
    shown = [number for number, point in enumerate(points.different.tolist()) if point in at][:TABLE_ROWS]
    rows = [at[int(points.different[number])] for number in shown]
    others = [name for name in points.quantities if name not in objectives]
    columns = {"point": [str(points.ids[row]) for row in rows]}
    for name in objectives:
        columns[points.quantities[name].title] = _texts(points, name, rows)
    for field in (points.fields[number] for number in points.varied):
        columns[field.name] = [value_text(field.values[field.codes[row]]) for row in rows]
    for other in others:
        columns[points.quantities[other].title] = _texts(points, other, rows)
    columns["points alike"] = [f"{points.alike[number]:,}" for number in shown]
    total = points.different.size
    cut = f"{len(rows):,} of {total:,} points with different objectives, by" if total > len(rows) else "By"
    return Table(
        name="table", title="Points of the front", of_points=True, columns=list(columns),
        rows=list(zip(*columns.values(), strict=True)),
        text=f"{cut} {points.quantities[objectives[0]].name.lower()}; points with the same objectives are counted as "
        "alike. A number shows the config of its point.",
    )  # fmt: skip


def _texts(points: SweepPoints, metric: str, rows: Sequence[int]) -> list[str]:
    return [points.quantities[metric].text(points.metrics[metric][row]) for row in rows]


def _confirmed_table(results: SweepResults) -> Table:
    """Return the points that a more exact tier evaluated, with the error of the analytic model."""
    ids = np.unique(np.array([entry.id for entry in results.confirmations], dtype=np.int64))
    metrics = results.metrics_of(ids)
    at = {int(point): row for row, point in enumerate(ids)}
    rows = []
    for entry in results.confirmations:
        cells = [str(entry.id), entry.tier]
        for exact, metric in ((entry.cycles, "cycles"), (entry.latency_s, "latency_s"), (entry.energy_j, "energy_j")):
            estimate = float(metrics[metric][at[entry.id]])
            error = 100 * (estimate / exact - 1) if exact > 0 else float("nan")
            cells += [four_digits(estimate), four_digits(exact), "" if np.isnan(error) else f"{error:+.2f} %"]
        rows.append(cells)
    names = ("cycles", "latency (s)", "energy (J)")
    heads = [f"{name}, {what}" for name in names for what in ("analytic", "tier", "error")]
    return Table(
        name="confirmed", title="Points evaluated again", columns=["point", "tier", *heads], rows=rows,
        text="The same points by a more exact tier; error: analytic model against it.",
    )  # fmt: skip
