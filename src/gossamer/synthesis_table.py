"""Print a synthesis report: predicted against synthesized, by component."""

from collections.abc import Iterator

from gossamer.arch.resources import RESOURCE_NAMES, Resources
from gossamer.arch.target import Target
from gossamer.rtl.synthesis.place import DSP_LIMIT_MHZ, Clock
from gossamer.synthesis import SynthesisReport

_HEADS = {"dsp": "DSP", "bram36": "BRAM", "uram": "URAM", "lut": "LUT", "ff": "FF"}
_WIDTHS = {"dsp": 6, "bram36": 6, "uram": 5, "lut": 9, "ff": 9}


def print_synthesis(report: SynthesisReport) -> None:
    """Print the report on stdout, 80 columns wide."""
    for line in synthesis_lines(report):
        print(line)


def synthesis_lines(report: SynthesisReport) -> Iterator[str]:
    """Yield the lines of a report."""
    kept = sum(result.kept for result in report.units)
    yield (
        f"synth {report.config_name} for {report.target.value}: {len(report.units)} units, {kept} kept from before; "
        f"{report.tool}"
    )
    yield "synthesized, and below it the estimate where that differs"
    yield f"{'component':20s}" + "".join(f"{_HEADS[name]:>{_WIDTHS[name]}s}" for name in RESOURCE_NAMES)
    rows = {**report.components, "total": report.total}
    estimates = {**report.predicted, "total": report.predicted_total}
    for name, found in rows.items():
        yield f"{name:20s}{_cells(found)}"
        if estimates[name] != found:
            yield f"{'  estimated':20s}{_cells(estimates[name])}{_difference(found, estimates[name])}"
    shares = (
        f"{_HEADS[name]} {100 * getattr(report.total, name) / getattr(report.device, name):.1f}"
        for name in RESOURCE_NAMES if getattr(report.device, name)
    )  # fmt: skip
    yield f"% of {report.device.name}: {', '.join(shares)}"
    for memory in report.register_memories:
        yield f"WARNING: memory {memory.name} became {memory.bits:,} flip-flops"
    if report.depth is not None:
        yield "logic levels between registers (before a DSP): no clock is known for UltraScale+ without place and route"
        for name, depth in report.depth.items():
            yield f"  {name:18s}{depth.levels:4d}  ({depth.before_multiplier})  to {depth.unit}: {depth.cell[:30]}"
    if report.clock is not None:
        yield from _clock_lines(report.clock)
    elif report.target is Target.ECP5:
        yield "not placed and routed: no clock"
    yield f"saved {report.folder}/"


def _cells(resources: Resources) -> str:
    return "".join(f"{getattr(resources, name):{_WIDTHS[name]},d}" for name in RESOURCE_NAMES)


def _difference(found: Resources, estimate: Resources) -> str:
    """Return by how much the estimate of LUTs and flip-flops is off, of what was synthesized."""
    parts = (
        f"{_HEADS[name]} {100 * (getattr(estimate, name) / getattr(found, name) - 1):+.0f} %"
        for name in ("lut", "ff")
        if getattr(found, name)
    )
    return "  " + ", ".join(parts)


def _clock_lines(clock: Clock) -> Iterator[str]:
    """Yield the clock and the slowest path by component."""
    path = clock.median.critical_path
    each = ", ".join(f"{placement.fmax_mhz:.1f}" for placement in clock.placements)
    yield (
        f"clock  {clock.fmax_mhz:.1f} MHz, median of {len(clock.placements)} placements ({each}), speed grade "
        f"{clock.speed_grade}"
    )
    if clock.fmax_mhz == DSP_LIMIT_MHZ:
        yield "       the multiplier's data sheet limit; the placements alone would allow more"
    parts = ", ".join(f"{name} {delay:.1f}" for name, delay in path.component_ns.items())
    yield f"slowest path, {path.delay_ns:.2f} ns ({path.routing_ns:.2f} routing, {path.cells} cells): {parts}"
    yield f"  from {path.start}"
    yield f"  to   {path.end}"
