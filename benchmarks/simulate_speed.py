"""Measure what a user waits for: ResNet-50 from import to table with kernels cached, the first ever run, and --help.

    python benchmarks/simulate_speed.py [--runs 5]

Each figure is of a whole process, `gossamer simulate resnet50 --config u280-sparse --sparsity 2:4` (hints included) or
`gossamer --help`, in a folder of its own: CPU seconds are user plus system time. The first ever run starts from an
empty kernel cache; the run after it writes nothing new and is not counted. On a busy machine CPU seconds grow too,
since cores share caches and memory: the load average is printed to judge them by.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

SIMULATE = ("simulate", "resnet50", "--config", "u280-sparse", "--sparsity", "2:4")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one process took."""

    cpu_seconds: float
    wall_seconds: float


def run(arguments: tuple[str, ...], folder: Path, cache: Path) -> Cost:
    """Run the command line in a folder with a cache folder and return its cost. Raises CalledProcessError."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    for name in ("NUMBA_CACHE_DIR", "PYTHONDONTWRITEBYTECODE"):  # either would hide or add work
        environment.pop(name, None)
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        (sys.executable, "-m", "gossamer", *arguments),
        cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    wall_seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(cpu_seconds=cpu_seconds, wall_seconds=wall_seconds)


def show(what: str, costs: list[Cost], limit: str) -> None:
    """Print the medians of some runs beside what is asked for."""
    cpu = statistics.median(cost.cpu_seconds for cost in costs)
    wall = statistics.median(cost.wall_seconds for cost in costs)
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{what:34s}{cpu:8.2f} s CPU{wall:9.2f} s wall   asked: {limit}   load {load}", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Time gossamer simulate and --help as processes.")
    parser.add_argument("--runs", type=int, default=5, help="runs of each warm measurement; the median is shown")
    runs = max(1, parser.parse_args().runs)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        cache = folder / "cache"
        run(("--help",), folder, cache)
        show("--help", [run(("--help",), folder, cache) for _ in range(runs)], "< 0.3 s")
        show("resnet50 2:4, first ever run", [run(SIMULATE, folder, cache)], "< 30 s wall on two cores")
        run(SIMULATE, folder, cache)
        show("resnet50 2:4, kernels cached", [run(SIMULATE, folder, cache) for _ in range(runs)], "< 3 s CPU")


if __name__ == "__main__":
    main()
