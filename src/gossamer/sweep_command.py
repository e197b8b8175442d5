"""Run a sweep for the command line: progress on stderr while it runs, what it found as text when it is done."""

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import wrap

from gossamer.arch.errors import GossamerError
from gossamer.explore.evaluate import EvaluatorFactory, make_evaluator
from gossamer.explore.outcome import FrontPoint, SweepReport
from gossamer.explore.runner import Progress, Watch, run_sweep
from gossamer.explore.spec import MAXIMISED
from gossamer.explore.sweep_file import Sweep, load_sweep
from gossamer.render import quantity

_SHOWN_POINTS = 20
_REASONS = {
    "breaks_rule": "break a rule of the config",
    "exceeds_device": "exceed the device",
    "does_not_fit_buffers": "do not fit the buffers",
    "breaks_constraint": "break a constraint",
}
_UNITS = {"latency_s": "s", "energy_j": "J", "power_w": "W", "edp_js": "Js", "dram_bytes": "B"}


class SweepInterrupted(GossamerError):
    """Ctrl-C while a sweep runs: what is completed is kept."""


def run_sweep_command(
    name: str,
    output: Path,
    *,
    resume: bool,
    workers: int,
    cluster: str | None,
    quiet: bool,
    factory: EvaluatorFactory = make_evaluator,
) -> SweepReport:
    """Return the report of a sweep file or shipped sweep; progress goes to stderr unless `quiet`."""
    sweep = load_sweep(name)
    with _progress(sweep, quiet) as watch:
        try:
            return run_sweep(
                sweep, output, workers=workers, cluster=cluster, resume=resume, factory=factory, watch=watch
            )
        except KeyboardInterrupt:
            what = "completed points are kept; the same command resumes" if output.exists() else "nothing was written"
            raise SweepInterrupted(f"interrupted; {what}") from None


@contextmanager
def _progress(sweep: Sweep, quiet: bool) -> Iterator[Watch]:
    """Yield what shows the progress on stderr; nothing if that is no terminal."""
    from rich.console import Console

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield lambda progress: None
        return
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (BarColumn(20), TaskProgressColumn(), TextColumn("{task.description}"))
    with Bar(*columns, console=console, transient=True) as bar:
        console.print(_plan(sweep), markup=False, highlight=False)
        console.print("Ctrl-C is safe: the same command resumes", markup=False, highlight=False)
        task = bar.add_task("reading models", total=None)

        def watch(now: Progress) -> None:
            text = f"front {now.front:,}  infeasible {now.infeasible:,}  {quantity(now.points_per_s)}points/s"
            bar.update(task, total=now.total, completed=now.done, description=text)

        yield watch


def _plan(sweep: Sweep) -> str:
    """Return what will be done."""
    strategy, size = sweep.spec.strategy, sweep.space.size
    grid = f"{sweep.spec.name}: grid of {size:,} points"
    if sweep.space.conditions:
        grid += " before conditions"
    match strategy.kind:
        case "grid":
            return f"{grid}, all of them"
        case "random":
            return f"{grid}, {strategy.points:,} at random, seed {strategy.seed}"
        case kind:
            return f"{grid}, {strategy.points:,} by {kind}, seed {strategy.seed}"


def sweep_text(report: SweepReport) -> str:
    """Return the report for a terminal of 80 columns."""
    feasible = report.points_evaluated - report.points_infeasible
    found = [f"{count:,} {_REASONS[reason]}" for reason, count in report.infeasible.items() if count]
    lines = wrap(f"{report.name}: {report.question}".removesuffix(": "), 80)
    lines += wrap(
        f"points {report.points_evaluated:,}: {', '.join([f'{feasible:,} feasible', *found])}"
        + (f"; {report.points_excluded:,} left out by conditions" if report.points_excluded else ""),
        80,
        subsequent_indent=" " * 7,
    )
    if report.points_evaluated < report.points_total:
        lines += wrap(
            f"note   {report.points_total:,} were asked for, but the search proposed no new ones any more", 80,
            subsequent_indent=" " * 7,
        )  # fmt: skip
    if report.points_new:
        rate = f"{quantity(report.points_new / report.seconds)}points/s"
        lines.append(f"time   {report.seconds:.1f} s for {report.points_new:,} new points, {rate}")
    if not report.pareto:
        lines.append("front  none: no point is feasible; loosen the constraints or widen the axes")
        return "\n".join(lines) + "\n"
    directions = [f"{'most' if name in MAXIMISED else 'least'} {name}" for name in report.objectives]
    entries = _alike(report)
    different = f", {len(entries):,} with different objectives," * (len(entries) < len(report.pareto))
    lines += ["", *wrap(f"front  {len(report.pareto):,} points{different} of {', '.join(directions)}", 80), ""]
    lines += _table(report, entries)
    place = shlex.quote(str(report.store))
    lines += ["", f"saved  {report.store}", f"next   gossamer export {place} -o points.csv"]
    return "\n".join(lines) + "\n"


def _alike(report: SweepReport) -> list[list[FrontPoint]]:
    """Return the points of the front, those with equal objectives together, in their order."""
    found: dict[tuple[float, ...], list[FrontPoint]] = {}
    for point in report.pareto:
        found.setdefault(tuple(point.metrics[name] for name in report.objectives), []).append(point)
    return list(found.values())


def _table(report: SweepReport, entries: list[list[FrontPoint]]) -> Iterator[str]:
    """Yield the first entries of the front: objectives, then the values in which the front's points differ."""
    first = report.pareto[0].values
    varying = [name for name in first if any(point.values[name] != first[name] for point in report.pareto)]
    fixed = [f"{name}={first[name]}" for name in first if name not in varying]
    yield from wrap(f"all of them: {' '.join(fixed)}", 80, subsequent_indent="  ", break_long_words=False)
    widths = [max(10, len(name)) for name in report.objectives]
    yield f"{'id':>10}  " + "  ".join(f"{name:>{width}}" for name, width in zip(report.objectives, widths, strict=True))
    for point, *others in entries[:_SHOWN_POINTS]:
        texts = (_shown(point, name) for name in report.objectives)
        yield f"{point.id:>10}  " + "  ".join(f"{text:>{width}}" for text, width in zip(texts, widths, strict=True))
        values = " ".join(f"{name}={point.values[name]}" for name in varying)
        yield from wrap(values, 80, initial_indent=" " * 12, subsequent_indent=" " * 12, break_long_words=False)
        if others:
            yield f"{'':>12}and {len(others):,} more with the same objectives"
    if len(entries) > _SHOWN_POINTS:
        yield f"{'...':>10}  {len(entries) - _SHOWN_POINTS:,} more: --json has all"


def _shown(point: FrontPoint, name: str) -> str:
    value = point.metrics[name]
    if name in _UNITS:
        return quantity(value, _UNITS[name])
    return f"{value:,.0f}" if value.is_integer() else f"{value:.4g}"


def print_sweep(report: SweepReport) -> None:
    """Write the report to stdout."""
    sys.stdout.write(sweep_text(report))
