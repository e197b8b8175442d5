"""Make the page of a sweep."""

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np

from gossamer.arch.config import config_yaml
from gossamer.pages.figures import Figure
from gossamer.pages.page import Page, Points, Table
from gossamer.pages.quantities import four_digits, value_text
from gossamer.pages.sensitivity import effects
from gossamer.pages.sweep_charts import linked_figure, sensitivity_figure
from gossamer.pages.sweep_points import SweepPoints, choose_points
from gossamer.pages.sweep_store import SweepResults, read_sweep

TABLE_ROWS = 500
"""Most rows of the table of the front."""

_WHY = {1: "break a rule", 2: "exceed the device", 3: "do not fit the buffers", 4: "break a constraint"}


def sweep_page(store: Path) -> Page:
    """Return the page of a results database. Raises GossamerError if it is not one."""
    results = read_sweep(store)
    points = choose_points(results)
    title = str(results.sweep.get("name", store.stem))
    figures = _figures(points)
    return Page(
        title=f"Sweep {title}", question=str(results.sweep.get("question", "")), facts=_facts(points),
        notes=_notes(points), figures=figures, tables=_tables(points) if figures else [],
        points=_embedded(points, title) if figures else None, canvas=("front",),
    )  # fmt: skip


def _figures(points: SweepPoints) -> list[Figure]:
    if not points.ids.size:
        return []
    found = (linked_figure(points), sensitivity_figure(points, effects(points.results)))
    return [figure for figure in found if figure is not None]


def _facts(points: SweepPoints) -> list[tuple[str, str]]:
    results = points.results
    strategy = results.sweep.get("strategy", {"kind": "grid"})
    facts = [
        ("strategy", ", ".join(f"{key} {value}" if key != "kind" else str(value) for key, value in strategy.items())),
        ("points evaluated", f"{sum(results.counts.values()):,}"),
        ("feasible", f"{results.counts.get(0, 0):,}"),
        *((why, f"{results.counts[status]:,}") for status, why in _WHY.items() if results.counts.get(status)),
        ("on the front", f"{points.front_ids.size:,}"),
        ("objectives", ", ".join(results.objectives)),
        ("base", str(results.sweep.get("base", results.base.get("name", "")))),
    ]
    facts += [(field.name, value_text(field.values[0])) for field in points.fields if len(field.values) == 1]
    facts += [(f"limit of {name}", _limits(limits)) for name, limits in results.sweep.get("constraints", {}).items()]
    return facts


def _limits(limits: dict[str, Any]) -> str:
    return ", ".join(f"{'at least' if key == 'min' else 'at most'} {value}" for key, value in limits.items())


def _notes(points: SweepPoints) -> list[str]:
    """Return what the reader must know: what is left out of the plots, and that figures are of the analytic tier."""
    results = points.results
    if not points.ids.size:
        return ["No point is feasible: nothing to draw."]
    notes = ["All figures are estimates of the analytic model unless a table says otherwise."]
    shown_front = int(points.on_front.sum())
    shown_rest = int(points.ids.size) - shown_front
    rest = points.feasible - int(points.front_ids.size)
    if shown_front < points.front_ids.size:
        notes.append(f"Drawn: {shown_front:,} of the {points.front_ids.size:,} points of the front, a seeded sample.")
    if shown_rest < rest:
        notes.append(
            f"Drawn: the front and {shown_rest:,} of the {rest:,} other feasible points, a seeded sample; the front "
            "and the sensitivities are of all points."
        )
    if results.excluded:
        notes.append(f"{results.excluded:,} combinations are not part of the space (`where`).")
    return notes


def _embedded(points: SweepPoints, title: str) -> Points:
    """Return the points for the page, with the config as a template."""
    config = deepcopy(dict(points.results.base))
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
    objectives = points.results.objectives
    rows = np.flatnonzero(points.on_front)
    cost = dict(zip(points.results.ids.tolist(), points.results.costs[:, 0].tolist(), strict=True))
    rows = sorted(rows.tolist(), key=lambda row: (cost[int(points.ids[row])], points.ids[row]))
    names = [*objectives, *(name for name in points.quantities if name not in objectives)]
    columns: list[Sequence[str]] = [[str(points.ids[row]) for row in rows]]
    columns += [[points.quantities[name].text(points.metrics[name][row]) for row in rows] for name in objectives]
    for number in points.varied:
        field = points.fields[number]
        columns.append([value_text(field.values[field.codes[row]]) for row in rows])
    others = names[len(objectives) :]
    columns += [[points.quantities[name].text(points.metrics[name][row]) for row in rows] for name in others]
    heads = ["point", *(points.quantities[name].title for name in objectives)]
    heads += [points.fields[number].name for number in points.varied]
    heads += [points.quantities[name].title for name in others]
    total = points.front_ids.size
    cut = f"The first {TABLE_ROWS:,} of {total:,} points, by" if total > TABLE_ROWS else "By"
    return Table(
        name="table", title="Points of the front", of_points=True, columns=heads,
        rows=list(zip(*columns, strict=True))[:TABLE_ROWS],
        text=f"{cut} {points.quantities[objectives[0]].name.lower()}. A number shows the config of its point.",
    )  # fmt: skip


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
    heads = [f"{name}, {what}" for name in ("cycles", "latency s", "energy J") for what in ("analytic", "tier", "error")]
    return Table(
        name="confirmed", title="Points evaluated again", columns=["point", "tier", *heads], rows=rows,
        text="The same points by a more exact tier; error: analytic model against it.",
    )  # fmt: skip
