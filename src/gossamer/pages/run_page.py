"""Make the page of simulated runs: one, or two to four beside each other."""

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gossamer.arch.spec import SparseAccelerator
from gossamer.pages.figures import Figure
from gossamer.pages.layer_charts import cycles_figure, sparsity_figure, traffic_figure, utilization_figure
from gossamer.pages.network_charts import area_figure, array_figure, energy_figure, waterfall_figure
from gossamer.pages.occupancy_chart import occupancy_figure
from gossamer.pages.page import Page, Table
from gossamer.pages.quantities import four_digits
from gossamer.pages.roofline_chart import roofline_figure
from gossamer.pages.run_folder import Run, read_runs
from gossamer.pages.timeline_chart import timeline_figure
from gossamer.render import describe_config, percentages, quantity

_CHANGED_LAYERS = 400
_SETTING_CHARACTERS = 60


def run_page(folders: Sequence[Path]) -> Page:
    """Return the page of run folders. Raises GossamerError if one is none."""
    runs = read_runs(folders)
    single = len(runs) == 1
    title = runs[0].label if single else f"Comparison of {len(runs)} runs"
    return Page(
        title=title, question="Where does every cycle go?" if single else "What changed?", facts=_facts(runs),
        notes=_notes(runs), figures=run_figures(runs),
        summary=_hints(runs[0]) if single else [_changes(runs), _settings(runs)],
        tables=[_layer_table(runs[0])] if single else _layer_changes(runs), canvas=("timeline", "occupancy", "array"),
    )  # fmt: skip


def run_figures(runs: Sequence[Run]) -> tuple[Figure, ...]:
    """Return the charts of runs that there are data for."""
    found = (
        roofline_figure(runs), cycles_figure(runs), waterfall_figure(runs), timeline_figure(runs),
        occupancy_figure(runs), traffic_figure(runs), energy_figure(runs), utilization_figure(runs),
        array_figure(runs), sparsity_figure(runs), area_figure(runs),
    )  # fmt: skip
    return tuple(figure for figure in found if figure is not None)


def _facts(runs: Sequence[Run]) -> list[tuple[str, str]]:
    if len(runs) > 1:
        return [(letter, run.label) for letter, run in zip("ABCD", runs, strict=False)]
    result = runs[0].result
    facts = [
        ("cycles", f"{result.total_cycles:,}"),
        ("latency", f"{quantity(result.latency_s, 's')} at {result.clock_mhz:g} MHz"),
        ("throughput", f"{four_digits(result.batch / result.latency_s)} inputs/s"),
        ("utilisation", f"{100 * result.utilization:.1f} % of {result.peak_macs_per_cycle:,} MAC/cycle"),
        ("kept", f"{quantity(result.macs, 'MAC')} of {quantity(result.dense_macs, 'MAC')} dense"),
        ("off chip", quantity(result.dram_bytes, "B")),
    ]
    if result.energy_j is not None:
        facts.append(("energy, estimated", quantity(result.energy_j, "J")))
    return [*facts, ("hardware", describe_config(runs[0].spec)), ("command", " ".join(runs[0].command))]


def _notes(runs: Sequence[Run]) -> list[str]:
    tiers = "; ".join(dict.fromkeys(run.result.tier for run in runs))
    several = [run.label for run in runs if isinstance(run.spec, SparseAccelerator) and run.spec.cores > 1]
    left_out = "timelines, buffers, off-chip bytes by tensor and units of the array are drawn of one core only"
    notes = [f"{', '.join(several)}: {left_out}."] if several else []
    notes += [f"Tier of cycles, time, bytes and MACs: {tiers}. Energy and area are estimates."]
    return notes + list(dict.fromkeys(note for run in runs for note in run.result.notes))


def _hints(run: Run) -> list[Table]:
    """Return the single changes that would help; no table if none was found."""
    rows = [
        [f"--set {hint.setting}", f"{hint.saved_cycles:,}", f"{hint.saved_cycles / run.result.clock_mhz:,.1f}",
         f"{100 * hint.saved_share:.1f}", hint.cost or "nothing"]
        for hint in run.result.hints
    ]  # fmt: skip
    if not rows:
        return []
    return [Table(
        name="hints", title="What would help", columns=["change", "saves cycles", "µs", "% of the run", "costs"],
        rows=rows, text=f"Single changes, each simulated. Tier: {run.tier}; costs: estimated.",
    )]  # fmt: skip


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"


def _layer_table(run: Run) -> Table:
    rows = []
    for number, layer in enumerate(run.result.layers, start=1):
        shares = percentages(layer.classes, layer.cycles)
        rows.append([
            str(number), layer.name, layer.op, layer.pattern, _percent(layer.kept_energy), f"{layer.macs:,}",
            f"{layer.cycles:,}", f"{layer.cycles / run.result.clock_mhz:,.1f}",
            f"{100 * layer.cycles / run.result.total_cycles:.1f}",
            f"{100 * layer.utilization:.1f}", layer.bound, f"{layer.dram_bytes:,}",
            *(f"{share:.1f}" for share in shares.values()),
        ])  # fmt: skip
    return Table(
        name="layers", title="Layers", rows=rows,
        text=f"Cycles sum to the total; classes are percent of the layer's cycles. Tier: {run.result.tier}. Kept "
        "energy: share of the squares of the weights that pruning kept.",
        columns=["#", "layer", "op", "pattern", "kept energy (%)", "kept MACs", "cycles", "time (µs)",
                 "of total (%)", "utilisation (%)", "bound", "off-chip bytes",
                 *(f"{name} (%)" for name in run.result.class_cycles)],
    )  # fmt: skip


def _changes(runs: Sequence[Run]) -> Table:
    """Return every total of the runs, with its change against the first."""
    rows = []
    for name, unit, values in _totals(runs):
        cells = [f"{name} ({unit})" if unit else name, four_digits(values[0]) if values[0] is not None else "none"]
        for value in values[1:]:
            cells += ["none" if value is None else four_digits(value), _change(values[0], value)]
        rows.append(cells)
    columns = ["", "A"]
    for letter in "BCD"[: len(runs) - 1]:
        columns += [letter, f"{letter} against A"]
    tiers = "; ".join(dict.fromkeys(run.result.tier for run in runs))
    return Table(
        name="changes", title="What changed", columns=columns, rows=rows,
        text=f"{'; '.join(f'{letter}: {label}' for letter, label in _facts(runs))}. Tier: {tiers}; energy: estimated.",
    )  # fmt: skip


def _totals(runs: Sequence[Run]) -> Iterator[tuple[str, str, list[float | None]]]:
    results = [run.result for run in runs]
    yield "cycles", "", [result.total_cycles for result in results]
    yield "latency", "µs", [1e6 * result.latency_s for result in results]
    yield "throughput", "inputs/s", [result.batch / result.latency_s for result in results]
    for name in results[0].class_cycles:
        yield name, "cycles", [result.class_cycles.get(name) for result in results]
    yield "utilisation", "% of peak", [100 * result.utilization for result in results]
    yield "kept MACs", "MMAC", [result.macs / 1e6 for result in results]
    yield "dense-equivalent MACs", "MMAC", [result.dense_macs / 1e6 for result in results]
    yield "off-chip bytes", "kB", [result.dram_bytes / 1e3 for result in results]
    yield "energy", "mJ", [None if result.energy_j is None else 1e3 * result.energy_j for result in results]


def _change(before: float | None, after: float | None) -> str:
    if before is None or after is None:
        return ""
    if before == after:
        return "="
    return f"{100 * (after / before - 1):+.1f} %" if before else "new"


def _settings(runs: Sequence[Run]) -> Table:
    """Return the settings in which runs differ: of the request and of the hardware."""
    flat = [{**_request(run), **_flat(run.spec.model_dump(mode="json"))} for run in runs]
    names = dict.fromkeys(name for settings in flat for name in settings)
    rows = []
    for name in names:
        values = [str(settings.get(name, "")) for settings in flat]
        if len(set(values)) > 1:
            rows.append([name, *(textwrap.shorten(value, _SETTING_CHARACTERS, placeholder=" ...") for value in values)])
    return Table(
        name="settings", title="Settings that differ", columns=["", *"ABCD"[: len(runs)]], rows=rows,
        text="Of the command and of the resolved config." if rows else "None: the same command and config.",
    )  # fmt: skip


def _request(run: Run) -> dict[str, Any]:
    words = run.command
    options = {word: words[at + 1] for at, word in enumerate(words[:-1]) if word.startswith("--") and word != "--set"}
    return {"model": run.result.model, **options}


def _flat(node: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in node.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def _layer_changes(runs: Sequence[Run]) -> list[Table]:
    """Return the cycles of layers that all runs have, those that changed most first; no table if there are none."""
    layers = [{layer.name: layer for layer in run.result.layers} for run in runs]
    names = [
        name
        for name, layer in layers[0].items()
        if all(
            name in each and (each[name].op, each[name].dense_macs) == (layer.op, layer.dense_macs) for each in layers
        )
    ]
    if len(names) < len(layers[0]) / 2:
        return []
    cycles = [{name: each[name].cycles for name in names} for each in layers]
    names.sort(key=lambda name: -max(abs(each[name] - cycles[0][name]) for each in cycles))
    rows = []
    for name in names[:_CHANGED_LAYERS]:
        cells = [name, f"{cycles[0][name]:,}"]
        for each in cycles[1:]:
            cells += [f"{each[name]:,}", f"{each[name] - cycles[0][name]:+,}", _change(cycles[0][name], each[name])]
        rows.append(cells)
    columns = ["layer", "A: cycles"]
    for letter in "BCD"[: len(runs) - 1]:
        columns += [f"{letter}: cycles", f"{letter} - A", f"{letter} against A"]
    only = sum(len(each) for each in layers) - len(runs) * len(names)
    left = f" {only:,} layers that not all runs have are left out." if only else ""
    return [Table(
        name="layers", title="Layers, the most changed first", columns=columns, rows=rows,
        text=f"Cycles of the layers that all runs have.{left}",
    )]  # fmt: skip
