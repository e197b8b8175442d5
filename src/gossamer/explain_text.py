"""Turn the explanation of a layer into text for a terminal of 80 columns."""

from collections.abc import Iterator
from textwrap import wrap

from gossamer.explanation import Explanation, MappedPart
from gossamer.render import percentages, quantity
from gossamer.report import SimulationReport


def explanation_text(report: SimulationReport, explained: Explanation) -> str:
    """Return the explanation: loops, reuse, search, bytes, roofs and limit."""
    names = " + ".join(explained.layers)
    numbers = " and ".join(map(str, explained.numbers))
    lines = [
        *wrap(f"{names} (layer {numbers} of {len(report.layers)}): {explained.op} {explained.what}", 80,
              subsequent_indent="  "),
        f"of {report.model}, {report.sparsity}, batch {report.batch}",
        f"on {report.config}: {report.config_summary}",
        f"tier: {report.tier}",
    ]  # fmt: skip
    if explained.joined is not None:
        lines += wrap(f"{explained.joined} runs in the tiles of {explained.layers[0]}, whose result stays on chip", 80)
    if explained.partner is not None:
        lines += wrap(f"its steps take turns with those of {explained.partner}; each has half of every buffer", 80)
    for part in explained.parts:
        lines += ["", *_part_lines(part)]
    if not explained.parts:
        lines += ["", "not mapped: the array multiplies no weights here; tiles are cut to the buffers"]
    if explained.cycles or any(explained.busy_cycles.values()):
        lines += ["", *_level_lines(explained), "", *_roof_lines(explained), "", *_cycle_lines(explained)]
    lines += wrap(f"limited by {explained.limit}", 80, subsequent_indent="  ")
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _part_lines(part: MappedPart) -> Iterator[str]:
    """Yield loops, reuse and search of a mapping."""
    many = f"{part.count} parts, each: " if part.count > 1 else ""
    yield f"{many + 'loops, ' + part.order.replace('_', ' '):<34}{'times':>8}  each"
    depth = 0
    for loop in part.loops:
        if loop.count == 1 and (loop.size == "1 of 1" or loop.axis.startswith("part of kernel")):
            continue
        where = "array: " if loop.on_array else ""
        yield f"  {' ' * depth + where + loop.axis:<32}{loop.count:>8,}  {loop.size}"
        depth += 1
    yield ""
    yield "reuse"
    for operand, text in part.reuse.items():
        yield from wrap(f"  {operand:<11}{text}", 80, subsequent_indent=" " * 13)
    search = part.search
    yield ""
    yield f"search for least {search.objective}" + (f", {part.assumed}" if part.assumed else "")
    illegal = ", ".join(f"{reason} {count:,}" for reason, count in search.illegal.items() if count)
    yield from wrap(
        f"  {search.tilings:,} tilings, {sum(search.illegal.values()):,} illegal"
        + (f" ({illegal})" if illegal else "") + f", {search.costed:,} costed exactly",
        80, subsequent_indent="  ",
    )  # fmt: skip
    best = "proved best" if search.proved else f"another may cost {_cost(search.least, search.unit)}, not less"
    yield f"  this mapping: {_cost(search.cost, search.unit)} alone: {best}"
    if part.runner_up is not None:
        more = f"+{100 * (part.runner_up.cost / search.cost - 1):.2f} %"
        cycles = "" if search.unit == "cycles" else f", {part.runner_up.cycles:,} cycles"
        yield from wrap(
            f"  runner-up: {_cost(part.runner_up.cost, search.unit)} ({more}){cycles}: {part.runner_up.differs}",
            80, subsequent_indent="    ",
        )  # fmt: skip


def _cost(value: float, unit: str) -> str:
    """Return a cost with its unit."""
    return f"{int(value):,} {unit}" if unit in ("cycles", "bytes") else quantity(value, unit)


def _level_lines(explained: Explanation) -> Iterator[str]:
    """Yield the bytes of every level."""
    yield f"{'bytes':<14}{'capacity':>12}{'held':>12}{'used':>7}{'read':>15}{'written':>15}"
    for level in explained.levels:
        capacity = "" if level.capacity_bytes is None else f"{level.capacity_bytes:,}"
        held, used = "", ""
        if level.held_bytes is not None and level.capacity_bytes is not None:
            held, used = f"{level.held_bytes:,}", f"{100 * level.held_bytes / level.capacity_bytes:.0f} %"
        yield f"  {level.name:<12}{capacity:>12}{held:>12}{used:>7}{level.read_bytes:>15,}{level.written_bytes:>15,}"
    kinds = ", ".join(f"{kind} {size:,}" for kind, size in explained.off_chip_bytes.items() if size)
    yield from wrap(f"  off chip: {kinds}", 80, subsequent_indent="    ")


def _roof_lines(explained: Explanation) -> Iterator[str]:
    """Yield the roofs, and how far above the highest the layer is."""
    yield f"{'roofs':<14}{'cycles':>12}  at the very least; * the highest"
    for roof in explained.roofs:
        mark = "*" if roof.cycles == explained.roofline_cycles else " "
        yield f"{mark} {roof.name:<12}{roof.cycles:>12,.0f}  {roof.reason}"
    share = explained.above_roof
    against = f"{100 * abs(share):.1f} % {'above' if share >= 0 else 'below'} the highest"
    if explained.alone_cycles is not None:
        yield f"  {'alone':<12}{explained.alone_cycles:>12,}  {against}"
        against = "what is its own where layers overlap"
    elif share < 0:
        against += ": layers overlap"
    yield f"  {'in network':<12}{explained.cycles:>12,}  {against}"


def _cycle_lines(explained: Explanation) -> Iterator[str]:
    """Yield where the cycles went, and those of the engines."""
    shares = percentages(explained.class_cycles, explained.cycles)
    text = " ".join(f"{name} {share:.1f}" for name, share in shares.items())
    yield from wrap(f"cycles in the network: {text} = 100.0 %", 80, subsequent_indent="  ")
    busy = ", ".join(f"{name.upper()} {cycles:,}" for name, cycles in explained.busy_cycles.items() if cycles)
    yield from wrap(f"engine cycles, also during other layers: {busy or 'none'}", 80, subsequent_indent="  ")
