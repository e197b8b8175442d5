"""Run many random programs on the RTL of a config and report how often the timing simulator gives its cycles.

    python benchmarks/rtl_agreement.py --programs 2000 --config ecp5-tiny -o docs/rtl-agreement.md

Exit status 1 if a program is not bit-exact. About 4 a second on one core; `--workers` runs several at a time.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path

import numpy as np

from gossamer.arch.config import load_config
from gossamer.arch.spec import SparseAccelerator
from gossamer.rtl.core import Core
from gossamer.rtl.verilog import verilog_modules
from gossamer.rtl_run import build_core
from gossamer.trust import FILE, TrustTable
from gossamer.verification import ProgramCheck, verify_programs
from gossamer.verify_candidates import random_candidates

CHUNK = 50
"""Programs per simulation; each pays a few seconds for Verilog and start."""

TRUST = Path(__file__).parents[1] / "configs" / FILE
EDGES_PCT = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0, np.inf)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Consecutive seeds to run in one simulation."""

    config: str
    settings: tuple[str, ...]
    stalls: str
    seed: int
    count: int


def sparse_config(config: str, settings: Sequence[str]) -> SparseAccelerator:
    """Return a config that has RTL."""
    spec = load_config(config, settings)
    if not isinstance(spec, SparseAccelerator):
        sys.exit(f"{config} has no RTL")
    return spec


def run_chunk(chunk: Chunk) -> list[ProgramCheck]:
    """Return the checks of a chunk."""
    spec = sparse_config(chunk.config, chunk.settings)
    candidates = random_candidates(spec, count=chunk.count, seed=chunk.seed, stage=lambda stage: None)
    with tempfile.TemporaryDirectory(prefix="gossamer-agreement-") as folder:
        report = verify_programs(spec, candidates, stalls=chunk.stalls, seed=chunk.seed, folder=Path(folder))
    assert len(report.programs) == chunk.count
    return list(report.programs)


def table(checks: Sequence[ProgramCheck]) -> list[tuple[str, str]]:
    """Return the figures by name."""
    errors = np.array([abs(check.cycle_error_pct) for check in checks])
    total, rtl = len(checks), sum(check.rtl_cycles for check in checks)
    worst = max(checks, key=lambda check: abs(check.cycle_error_pct))
    return [
        ("programs", f"{total:,}"),
        ("RTL cycles", f"{rtl:,}"),
        ("bytes compared", f"{sum(check.outputs_checked for check in checks):,}"),
        ("bit-exact", f"{sum(check.bit_exact for check in checks):,}"),
        ("busy cycles of every engine equal", f"{sum(check.busy_exact for check in checks):,}"),
        ("total cycles equal", f"{sum(check.rtl_cycles == check.sim_cycles for check in checks):,}"),
        ("median cycle error", f"{np.median(errors):.3f} %"),
        ("99th percentile", f"{np.percentile(errors, 99):.3f} %"),
        ("largest", f"{errors.max():.3f} % ({worst.name})"),
    ]


def distribution(checks: Sequence[ProgramCheck]) -> list[tuple[str, str]]:
    """Return how many programs have a cycle error within each range."""
    errors = np.array([abs(check.cycle_error_pct) for check in checks])
    rows = [("0 %", f"{int((errors == 0).sum()):,}")]
    for low, high in pairwise(EDGES_PCT):
        label = f"above {low:g} %" if np.isinf(high) else f"above {low:g} % to {high:g} %"
        rows.append((label, f"{int(((errors > low) & (errors <= high)).sum()):,}"))
    return rows


def text(rows: Sequence[tuple[str, str]]) -> str:
    """Return rows as lines of a terminal."""
    return "\n".join(f"{name:36s}{value:>24s}" for name, value in rows)


def markdown(command: str, options: argparse.Namespace, checks: Sequence[ProgramCheck]) -> str:
    """Return the page for docs."""

    def rows(values: Sequence[tuple[str, str]]) -> str:
        return "\n".join(f"| {name} | {value} |" for name, value in values)

    memory = "the memory of the config, of fixed latency and bandwidth" if options.stalls == "none" else options.stalls
    return f"""# RTL and simulator

Random programs (layer kinds, shapes, N:M patterns, strides, pads, tilings) on the generated Verilog under Verilator,
driven and fed by independent AXI models. Every byte of outputs and spilled tensors is compared with the golden
executor, every cycle counter with the timing simulator.

Written by `{command}`: config `{options.config}`{" with " + ", ".join(options.set) if options.set else ""}, seeds
{options.seed} to {options.seed + options.programs - 1}, {memory}.

| | |
|---|---|
{rows(table(checks))}

| cycle error, of either sign | programs |
|---|---|
{rows(distribution(checks))}
"""


def write_trust(command: str, config: str, checks: Sequence[ProgramCheck]) -> None:
    """Write the table that reports of simulate quote; only if every program was bit-exact."""
    if not all(check.bit_exact for check in checks):
        sys.exit(f"{TRUST} is not written: not every program is bit-exact")
    errors = np.array([abs(check.cycle_error_pct) for check in checks])
    table = TrustTable(
        command=command, config=config, programs=len(checks), exact=int((errors == 0).sum()),
        median_error_pct=round(float(np.median(errors)), 4), worst_error_pct=round(float(errors.max()), 4),
    )  # fmt: skip
    TRUST.write_text(table.model_dump_json(indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Parse the command line, run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=200)
    parser.add_argument("--config", default="ecp5-tiny")
    parser.add_argument("--set", action="append", default=[], help="override a config value")
    parser.add_argument("--stalls", default="none", help="as for gossamer verify")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--trust", action="store_true", help=f"write {TRUST}, which simulate quotes")
    parser.add_argument("-o", "--output", type=Path, help="Markdown file to write")
    options = parser.parse_args()
    if options.programs < 1:
        parser.error("--programs must be at least 1")
    build_core(verilog_modules(Core(sparse_config(options.config, options.set))))  # once, for all workers
    begin = time.perf_counter()
    chunks = [
        Chunk(
            config=options.config, settings=tuple(options.set), stalls=options.stalls, seed=options.seed + at,
            count=min(CHUNK, options.programs - at),
        )
        for at in range(0, options.programs, CHUNK)
    ]  # fmt: skip
    with ProcessPoolExecutor(options.workers) as pool:
        checks = list(chain.from_iterable(pool.map(run_chunk, chunks)))
    assert len(checks) == options.programs
    print(text(table(checks)))
    print(text(distribution(checks)))
    print(f"{time.perf_counter() - begin:.0f} s")
    for check in checks:
        if not check.bit_exact or abs(check.cycle_error_pct) > EDGES_PCT[3]:
            print(f"{check.name}: {check.cycle_error_pct:+.3f} %, {check.mismatch or check.failure or 'bit-exact'}")
    words = [f"--programs {options.programs}", f"--config {options.config}", f"--seed {options.seed}"]
    words += [f"--set {each}" for each in options.set]
    words += [] if options.stalls == "none" else [f"--stalls {options.stalls}"]
    command = f"python benchmarks/rtl_agreement.py {' '.join(words)}"
    if options.output is not None:
        options.output.parent.mkdir(exist_ok=True)
        options.output.write_text(markdown(command, options, checks), encoding="utf-8")
    if options.trust:
        write_trust(command, options.config, checks)
    if not all(check.bit_exact for check in checks):
        sys.exit(1)


if __name__ == "__main__":
    main()
