"""Turn results into text for a terminal of 80 columns: no colour, no boxes, the same bytes for the same result."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import wrap

from gossamer.arch.spec import AcceleratorSpec, SparseAccelerator
from gossamer.report import CLASSES, CoresReport, LayerReport, SimulationReport

_MARKS = {"compute": "#", "edges": "=", "fill": "-", "memory": "~", "vector": "v", "control": "."}
_BAR_CELLS = 8
_NAME_CELLS = 12
_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "u"), (1e-9, "n"))


def describe_config(spec: AcceleratorSpec) -> str:
    """Return one line that says what a config is."""
    if not isinstance(spec, SparseAccelerator):
        plain = spec.array
        return f"plain systolic {plain.rows}x{plain.columns}, {plain.stationarity}, {spec.clock_mhz:g} MHz; no RTL"
    array, memory = spec.array, spec.off_chip
    bandwidth = memory.channels * memory.channel_bandwidth_gb_s
    cores = f"{spec.cores} cores of " if spec.cores > 1 else ""
    return (
        f"{cores}{array.chains} chains x {array.chain_length} stages x {array.lanes} lanes, M <= {array.group_size}, "
        f"{spec.clock_mhz:g} MHz, {memory.kind} {bandwidth:g} GB/s"
    )


def quantity(value: float, unit: str = "") -> str:
    """Return a number of four significant digits with a decimal prefix."""
    for factor, prefix in _PREFIXES:
        if abs(value) >= factor:
            return f"{value / factor:.4g} {prefix}{unit}"
    return f"{value:.4g} {unit}"


def percentages(classes: Mapping[str, float], total: float) -> dict[str, float]:
    """Return the shares in percent, rounded to one digit so that they sum to exactly 100.0 (largest remainder)."""
    if total <= 0:
        return dict.fromkeys(classes, 0.0)
    exact = {name: 1000 * value / total for name, value in classes.items()}
    tenths = {name: int(value) for name, value in exact.items()}
    missing = 1000 - sum(tenths.values())
    for name in sorted(exact, key=lambda name: tenths[name] - exact[name])[:missing]:
        tenths[name] += 1
    return {name: value / 10 for name, value in tenths.items()}


def _bar(layer: LayerReport) -> str:
    """Return the layer's classes as a bar."""
    shares = percentages(layer.classes, layer.cycles)
    bar, filled = "", 0.0
    for name in CLASSES:
        filled += shares[name]
        bar += _MARKS[name] * (round(filled / 100 * _BAR_CELLS) - len(bar))
    return bar


def _short(count: int) -> str:
    """Return a count in at most five characters."""
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= factor:
            return f"{count / factor:.3g}{prefix}"
    return str(count)


def _layer_lines(report: SimulationReport) -> Iterator[str]:
    yield (
        f"{'#':>3} {'layer':<{_NAME_CELLS}} {'op':<9} {'MACs':>5} {'kept':>5} {'cycles':>10} {'%time':>5} {'util%':>5} "
        f"{'bound':<8} went to"
    )
    for number, layer in enumerate(report.layers, start=1):
        name = layer.name if len(layer.name) <= _NAME_CELLS else "~" + layer.name[1 - _NAME_CELLS :]
        yield (
            f"{number:>3} {name:<{_NAME_CELLS}} {layer.op[:9]:<9} {_short(layer.dense_macs):>5} "
            f"{_short(layer.macs):>5} {layer.cycles:>10,} {100 * layer.cycles / max(1, report.total_cycles):>5.1f} "
            f"{100 * layer.utilization:>5.1f} {layer.bound:<8} {_bar(layer)}"
        ).rstrip()


def simulation_text(report: SimulationReport) -> str:
    """Return the whole report: header, layer table, totals, roofs, area, hints."""
    lines = [
        f"{report.model} ({len(report.layers)} layers, {quantity(report.dense_macs, 'MAC')} dense, "
        f"{quantity(report.macs, 'MAC')} kept, int8, {report.sparsity}, batch {report.batch})",
        f"on {report.config}: {report.config_summary}",
        f"tier: {report.tier}",
        *(line for note in report.notes for line in wrap(f"note: {note}", 80, subsequent_indent="      ")),
        "",
        *_layer_lines(report),
        "    # compute  = ragged edges  - fill, drain  ~ memory  v vector  . control",
        "    MACs: dense-equivalent; kept: effective; util%: kept / (MAC units x cycles)",
        "",
        *(line for text in _total_lines(report) for line in wrap(text, 80, subsequent_indent=" " * 7)),
    ]
    if report.hints:
        lines += ["", "what would help (each re-simulated)"]
        for rank, hint in enumerate(report.hints, start=1):
            saved = hint.saved_cycles / report.clock_mhz / 1e6
            lines.append(
                f"  {rank} saves {quantity(saved, 's')} ({100 * hint.saved_share:.1f} %): --set {hint.setting}"
            )
            lines += wrap(f"    costs {hint.cost}", 80, subsequent_indent=" " * 10)
    return "\n".join(lines) + "\n"


def _total_lines(report: SimulationReport) -> Iterator[str]:
    rate = report.batch / report.latency_s if report.latency_s > 0 else 0.0
    yield (
        f"total  {report.total_cycles:,} cycles = {quantity(report.latency_s, 's')} = {rate:.4g} inputs/s, "
        f"{100 * report.utilization:.1f} % of {report.peak_macs_per_cycle:,} MAC/cycle"
    )
    if report.cores is not None:
        yield from _core_lines(report.cores)
    shares = percentages(report.classes, report.total_cycles)
    yield "  " + " ".join(f"{name} {share:.1f}" for name, share in shares.items()) + " = 100.0 %"
    if report.energy_j is not None:
        largest = sorted(report.energy_by_component_j.items(), key=lambda item: -item[1])[:4]
        parts = ", ".join(f"{name} {100 * value / report.energy_j:.0f} %" for name, value in largest)
        yield f"energy {quantity(report.energy_j, 'J')} ({report.energy_j / report.latency_s:.3g} W): {parts}"
    roof = report.roofline
    if roof is not None:
        side = "memory" if roof.intensity_macs_per_byte < roof.ridge_macs_per_byte else "compute"
        bounds = {bound: sum(layer.bound == bound for layer in report.layers) for bound in _bounds(report)}
        layers = ", ".join(f"{count} {bound}" for bound, count in bounds.items())
        yield (
            f"roof   {quantity(roof.peak_macs_per_s, 'MAC/s')}, {quantity(roof.memory_bytes_per_s, 'B/s')}, ridge "
            f"{roof.ridge_macs_per_byte:.3g} MAC/B; here {roof.intensity_macs_per_byte:.3g} MAC/B: {side} roof"
        )
        yield f"       off-chip {quantity(report.dram_bytes, 'B')}; layers bound by: {layers}"
    search = report.mappings
    if search is not None:
        yield (
            f"search least {search.objective}; layer shapes {search.shapes}, proved best {search.proved}; "
            f"tilings {search.tilings:,}, illegal {sum(search.illegal.values()):,}, costed {search.costed:,}"
        )
    if report.area:
        uses = [
            f"{use.used:,} {use.resource.upper()} ({100 * use.used / use.available:.0f} %)"
            for use in report.area
            if use.available
        ]
        yield f"area   {', '.join(uses[:3])},"
        yield f"       {', '.join((*uses[3:], 'estimated'))}"


def _core_lines(cores: CoresReport) -> Iterator[str]:
    counts = ", ".join(f"{count} {way}" for way, count in cores.layers.items() if count)
    yield f"cores  {len(cores.cores)}, {cores.stages} stages between barriers; layers cut by: {counts}"
    for number, core in enumerate(cores.cores):
        yield f"       core {number}: {core.cycles:,} cycles, {core.working:,} at work, {core.waiting:,} waiting"


def _bounds(report: SimulationReport) -> list[str]:
    return sorted({layer.bound for layer in report.layers})


def print_report(report: SimulationReport, folder: Path | None) -> None:
    """Write the report to stdout, then where it was saved and what draws it."""
    sys.stdout.write(str(report))
    if folder is not None:
        sys.stdout.write(f"saved  {folder}\nnext   gossamer report {folder}\n")
