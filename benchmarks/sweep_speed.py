"""Time a sweep of a million designs of ResNet-50, beside one zigzag-dse design point of ResNet-18.

    python benchmarks/sweep_speed.py [--points N] [--workers 2] [--zigzag-python zigzag-venv/bin/python] [--scaling]

Prints points, wall time, CPU time per point of all processes together, model import and kernels included, and their
peak memory together: resident pages, those that processes share counted for each. `--points N` ends after about the
first N of the sweep. `--scaling` takes the same points with one worker too. `zigzag_comparison.py` says how zigzag-dse
is installed; its CPU time is that of its searches alone. A sweep without points first compiles the kernels.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from resnet18_layers import resnet18_shapes
from zigzag_comparison import run_zigzag

from gossamer.arch.config import load_config, require_hardware
from gossamer.explore.runner import Progress, run_sweep
from gossamer.explore.sweep_file import load_sweep

SWEEP = "resnet50-million"
_SAMPLE_S = 0.25


class Enough(Exception):
    """Raised when the points asked for are done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a sweep took: `wall_s`, imports included, `cpu_s` and `peak_bytes` of all its processes."""

    points: int
    infeasible: int
    front: int
    wall_s: float
    cpu_s: float
    peak_bytes: int

    def text(self, workers: int) -> str:
        """Return lines to print."""
        return (
            f"{SWEEP}, {workers} worker{'s' * (workers > 1)}: {self.points:,} points, "
            f"{self.points - self.infeasible:,} feasible, {self.infeasible:,} infeasible; front {self.front:,}\n"
            f"  {self.wall_s:.1f} s, {self.points / self.wall_s:,.0f} points/s; CPU {self.cpu_s:.1f} s, "
            f"{1e6 * self.cpu_s / self.points:,.0f} us per point; peak memory {self.peak_bytes / 2**20:,.0f} MiB"
        )


def sweep(points: int, workers: int) -> Run:
    """Run the sweep in a process of its own, with workers of its own."""
    with tempfile.TemporaryDirectory() as folder:
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        command = [sys.executable, __file__, "--points", str(points), "--workers", str(workers), "--into", folder]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        peak, done = [0], threading.Event()
        watcher = threading.Thread(target=_watch_memory, args=(process.pid, peak, done))
        watcher.start()
        output, _ = process.communicate()
        wall = time.monotonic() - started
        done.set()
        watcher.join()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if process.returncode:
            sys.exit("the sweep failed")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Run(**json.loads(output), wall_s=wall, cpu_s=cpu, peak_bytes=peak[0])


def _watch_memory(process: int, peak: list[int], done: threading.Event) -> None:
    """Keep the most resident bytes of a process and its descendants together in `peak`."""
    while not done.wait(_SAMPLE_S):
        peak[0] = max(peak[0], _resident_bytes(process))


def _resident_bytes(process: int) -> int:
    """Return the resident bytes of a process and its descendants; 0 for what has ended."""
    total, folder = 0, Path(f"/proc/{process}")
    with suppress(OSError):
        total += int((folder / "statm").read_text().split()[1]) * resource.getpagesize()
        for task in (folder / "task").iterdir():
            total += sum(_resident_bytes(int(child)) for child in (task / "children").read_text().split())
    return total


def run_here(points: int, workers: int, folder: Path) -> None:
    """Run the sweep in this process and print what it found as JSON."""
    last: list[Progress] = []

    def watch(progress: Progress) -> None:
        last[:] = [progress]
        if progress.done >= points:
            raise Enough

    with suppress(Enough):
        run_sweep(load_sweep(SWEEP), folder / "results.db", workers=workers, watch=watch)
    now = last[0]
    print(json.dumps({"points": now.points, "infeasible": now.infeasible, "front": now.front}))


def main() -> None:
    """Run the sweep and zigzag-dse and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    whole = load_sweep(SWEEP).space.size
    parser.add_argument("--points", type=int, default=whole)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--scaling", action="store_true", help="take the same points with one worker too")
    parser.add_argument("--zigzag-python", help="the python of zigzag-dse's environment")
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.into is not None:
        run_here(options.points, options.workers, options.into)
        return
    sweep(1, 1)  # compiles kernels
    found = sweep(options.points, options.workers)
    print(found.text(options.workers), flush=True)
    if options.scaling:
        alone = sweep(options.points, 1)
        print(alone.text(1), flush=True)
        faster = alone.wall_s / alone.points / (found.wall_s / found.points)
        print(f"  {options.workers} workers are {faster:.2f} times as fast as one")
    if options.zigzag_python is not None:
        config = "u280-sparse"
        spec = require_hardware(load_config(config), config)
        layers, _ = run_zigzag(options.zigzag_python, spec, resnet18_shapes(spec), "latency", 6)
        theirs = sum(layer.cpu_s for layer in layers)
        ratio = theirs / (found.cpu_s / found.points)
        print(f"zigzag-dse, ResNet-18 on {config}: {theirs:.1f} s of CPU for one design point, {ratio:,.0f} times ours")


if __name__ == "__main__":
    main()
