"""Compare what sweeps estimate with the timing simulator, on random feasible points of the shipped sweeps.

    python benchmarks/sweep_accuracy.py [SWEEP ...] [--points N] [--seed S] [-o docs/sweep-accuracy.md]

An estimate adds layers, each alone; the simulator runs the whole network as `gossamer simulate` does, with the mappings
that its own search proves best and with layers that take turns.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from scipy.stats import spearmanr

from gossamer.confirmation import point_program
from gossamer.explore.designs import DesignEvaluator
from gossamer.explore.evaluate import STATUS
from gossamer.explore.spec import METRICS
from gossamer.explore.sweep_file import Sweep, load_sweep, sweep_names
from gossamer.sim.timing import simulate

COMPARED = ("cycles", "energy_j", "dram_bytes")
TRIED = 8
"""Points drawn at a time, until enough of them are feasible."""


def feasible_points(sweep: Sweep, count: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return random feasible points int64 [count] and their metrics float64 [count, METRICS]."""
    evaluator, random = DesignEvaluator(sweep.spec, sweep.space), np.random.default_rng(seed)
    ids: list[int] = []
    rows: list[NDArray[np.float64]] = []
    while len(ids) < count:
        drawn = random.integers(0, sweep.space.size, TRIED)
        drawn = drawn[sweep.space.included(drawn)]
        found = evaluator.evaluate(drawn)
        for at in np.flatnonzero((found.status == STATUS.FEASIBLE) | (found.status == STATUS.BREAKS_CONSTRAINT)):
            if int(drawn[at]) not in ids and len(ids) < count:
                ids.append(int(drawn[at]))
                rows.append(found.metrics[at])
    return np.array(ids), np.array(rows)


def simulated(sweep: Sweep, point: int) -> tuple[float, float, float]:
    """Return COMPARED of a point, simulated."""
    spec, program = point_program(sweep, point)
    run = simulate(program, spec)
    return float(run.total_cycles), run.energy.total_j, float(run.traffic.total_bytes)


def lines_of(name: str, count: int, seed: int, console: Console) -> list[str]:
    """Return the table's rows of one sweep."""
    sweep = load_sweep(name)
    ids, metrics = feasible_points(sweep, count, seed)
    found = np.array([simulated(sweep, int(point)) for point in track(ids, description=name, console=console)])
    lines = []
    for at, metric in enumerate(COMPARED):
        estimated = metrics[:, METRICS.index(metric)]
        error = 100 * (estimated / found[:, at] - 1)
        rank = spearmanr(estimated, found[:, at]).statistic
        lines.append(
            f"| {name} | {metric} | {np.median(error):+.1f} | {np.median(np.abs(error)):.1f} | {error.min():+.1f} | "
            f"{error.max():+.1f} | {rank:.4f} |"
        )
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Compare sweeps with the timing simulator.")
    parser.add_argument("sweeps", nargs="*", default=[name for name in sweep_names() if name != "resnet50-million"])
    parser.add_argument("--points", type=int, default=24)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("-o", type=Path, dest="output")
    options = parser.parse_args(arguments)
    console = Console(stderr=True)
    options_text = f"--points {options.points} --seed {options.seed}"
    command = f"python benchmarks/sweep_accuracy.py {options_text} -o docs/sweep-accuracy.md"
    lines = [
        "# How far sweeps are off", "",
        f"Estimates of {options.points} random points of each shipped sweep that fit their device, against the timing",
        "simulator on the whole network, in percent of what it finds. The simulator is held against RTL in",
        "[rtl-agreement.md](rtl-agreement.md). Made by", "",
        "<!-- not run in CI: it takes minutes and writes this page -->", "```bash", command, "```", "",
        "| sweep | metric | median | median of absolute | least | largest | rank correlation (Spearman) |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for name in options.sweeps:
        lines += lines_of(name, options.points, options.seed, console)
    text = "\n".join(lines) + "\n"
    print(text, end="")
    if options.output is not None:
        options.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
