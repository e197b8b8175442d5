"""Compare what sweeps estimate with the timing simulator, on random feasible points of the shipped sweeps.

    python benchmarks/sweep_accuracy.py --points 8 --seed 1

Writes benchmarks/sweep_accuracy.csv, of which benchmarks/accuracy.py makes a part of docs/accuracy.md.
An estimate adds layers, each alone; the simulator runs the whole network as `gossamer simulate` does, with the mappings
that its own search proves best and with layers that take turns.
"""

import argparse
import csv
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
COLUMNS = ("sweep", "metric", "points", "seed", "median", "median_of_absolute", "least", "largest", "spearman")
TABLE = Path(__file__).with_name("sweep_accuracy.csv")
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


def rows_of(name: str, count: int, seed: int, console: Console) -> list[dict[str, str]]:
    """Return the table's rows of one sweep: errors of the estimate in percent of what is simulated."""
    sweep = load_sweep(name)
    ids, metrics = feasible_points(sweep, count, seed)
    found = np.array([simulated(sweep, int(point)) for point in track(ids, description=name, console=console)])
    rows = []
    for at, metric in enumerate(COMPARED):
        estimated = metrics[:, METRICS.index(metric)]
        error = 100 * (estimated / found[:, at] - 1)
        rank = spearmanr(estimated, found[:, at]).statistic
        figures = (np.median(error), np.median(np.abs(error)), error.min(), error.max())
        texts = (name, metric, str(count), str(seed), *(f"{figure:.1f}" for figure in figures), f"{rank:.4f}")
        rows.append(dict(zip(COLUMNS, texts, strict=True)))
    return rows


def read(path: Path = TABLE) -> list[dict[str, str]]:
    """Return the rows of the table."""
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description="Compare sweeps with the timing simulator.")
    parser.add_argument("--points", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("-o", type=Path, dest="output", default=TABLE)
    options = parser.parse_args(arguments)
    console = Console(stderr=True)
    rows = []
    for name in (name for name in sweep_names() if name != "resnet50-million"):
        rows += rows_of(name, options.points, options.seed, console)
    with options.output.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
