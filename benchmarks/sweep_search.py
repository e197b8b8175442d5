"""Compare searches with a whole grid: the share of its hypervolume that few of its points reach.

    python benchmarks/sweep_search.py [--share 0.05] [--seeds 5] [--strategies random,nsga2,tpe]

Evaluates a grid of MobileNet-V2 on a KV260, then runs each strategy with each seed on `--share` of its points. Searches
run as `gossamer sweep` runs them, but look up their points in the grid's store, whose results are the same bits.
Hypervolume is between the front and the worst feasible value of every objective, each scaled to its range.
"""

import argparse
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gossamer.explore.evaluate import STATUS, Results
from gossamer.explore.pareto import hypervolume, oriented
from gossamer.explore.runner import run_sweep
from gossamer.explore.space import Space
from gossamer.explore.spec import SweepSpec
from gossamer.explore.store import read_store
from gossamer.explore.sweep_file import load_sweep

SWEEP = """
name: mobilenet-kv260
base: kv260-edge
axes:
  model: [mobilenet-v2]
  sparsity: [dense, "2:4"]
  array.chains: [16, 24, 32, 48]
  array.chain_length: [2, 4, 8]
  array.lanes: [1, 2, 3]
  vector.lanes: [16, 32]
  axi.ports: [1, 2]
  buffers.activation.capacity_bytes: [32768, 49152, 65536, 98304, 131072, 262144]
  buffers.weight.capacity_bytes: [16384, 32768, 65536, 131072]
  buffers.accumulator.capacity_bytes: [8192, 16384, 32768]
objectives: [latency_s, energy_j, dsp]
"""


@dataclass(frozen=True)
class LookUp:
    """Make evaluators that find their points in a store."""

    store: Path

    def __call__(self, sweep: SweepSpec, space: Space) -> "LookUp":
        return self

    def evaluate(self, ids: NDArray[np.int64]) -> Results:
        """Return the results of points."""
        with read_store(self.store) as store:
            found = store.look_up(ids)
        rows = np.searchsorted(found.ids, ids)
        return Results(ids=ids, status=found.status[rows], metrics=found.metrics[rows])


def costs_in(path: Path) -> NDArray[np.float64]:
    """Return the objectives of the feasible points of a store, float64 [n, objectives]; less is better."""
    with read_store(path) as store:
        return oriented(store.results(f"status = {STATUS.FEASIBLE.value}").metrics, store.spec().objectives)


def main() -> None:
    """Run grid and searches and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=0.05, help="of the grid's points")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--strategies", default="random,nsga2,tpe")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--grid", type=Path, help="store of the grid, to make or to use again")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        grid, file = options.grid or folder / "grid.db", folder / "sweep.yaml"
        file.write_text(SWEEP)
        report = run_sweep(load_sweep(file), grid, workers=options.workers)
        print(
            f"{report.name}: {report.points_total:,} points, {report.points_infeasible:,} infeasible, front "
            f"{len(report.pareto):,}; grid in {report.seconds:.0f} s", flush=True
        )  # fmt: skip
        costs = costs_in(grid)
        low, high = costs.min(axis=0), costs.max(axis=0)
        width, worst = np.where(high > low, high - low, 1.0), np.full(costs.shape[1], 1.01)
        whole, points = hypervolume((costs - low) / width, worst), round(options.share * report.points_total)
        for kind in options.strategies.split(","):
            shares, started = [], time.monotonic()
            for seed in range(1, options.seeds + 1):
                file.write_text(f"{SWEEP}strategy: {{kind: {kind}, points: {points}, seed: {seed}}}\n")
                run_sweep(load_sweep(file), folder / f"{kind}{seed}.db", factory=LookUp(grid))
                shares.append(hypervolume((costs_in(folder / f"{kind}{seed}.db") - low) / width, worst) / whole)
            each = (time.monotonic() - started) / options.seeds
            print(
                f"  {kind:<7}{points:>7,} points: {100 * statistics.mean(shares):.2f} % of the grid's hypervolume, "
                f"least {100 * min(shares):.2f} %, {options.seeds} seeds; {each:.1f} s each", flush=True
            )  # fmt: skip


if __name__ == "__main__":
    main()
