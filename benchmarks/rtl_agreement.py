"""Run many random programs on the RTL of one or several cores and report how often the simulator gives its cycles.

    python benchmarks/rtl_agreement.py --programs 1000 --core ecp5-tiny --core ecp5-tiny,axi.ports=4,axi.data_bits=32

docs/rtl-agreement.md has the command that wrote it, and configs/trust.json.

Exit status 1 if a program is not bit-exact. About 4 a second on one core; `--workers` runs several at a time.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path

import numpy as np

from gossamer.arch.config import load_config, require_hardware
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
Checks = dict[str, list[ProgramCheck]]
"""Checks of each core."""

EDGES_PCT = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0, np.inf)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Consecutive seeds to run in one simulation; `core` is a config with settings behind commas."""

    core: str
    stalls: str
    seed: int
    count: int


def spec_of(core: str) -> SparseAccelerator:
    """Return the config of a core."""
    config, *settings = core.split(",")
    return require_hardware(load_config(config, settings), core)


def run_chunk(chunk: Chunk) -> list[ProgramCheck]:
    """Return the checks of a chunk."""
    spec = spec_of(chunk.core)
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


def columns(checks: Checks, rows: Callable[[Sequence[ProgramCheck]], list[tuple[str, str]]]) -> list[list[str]]:
    """Return lines of a name and its value for each core and, of several, for all together."""
    groups = list(checks.values())
    if len(groups) > 1:
        groups.append(list(chain.from_iterable(groups)))
    tables = [rows(group) for group in groups]
    return [[lines[0][0], *(value for _, value in lines)] for lines in zip(*tables, strict=True)]


def heads(checks: Checks) -> list[str]:
    """Return the names of the columns."""
    numbers = [f"core {number}" for number, _ in enumerate(checks, 1)]
    return [*numbers, *(["all"] if len(checks) > 1 else [])]


def text(checks: Checks) -> str:
    """Return the figures for the terminal."""
    lines = [["", *heads(checks)], *columns(checks, table), *columns(checks, distribution)]
    return "\n".join(f"{name:36s}" + "".join(f"{value:>24s}" for value in values) for name, *values in lines)


STALLS = {
    "none": "The memory of the config, of fixed latency and bandwidth.",
    "random": "Every AXI channel pauses in a random quarter of the cycles; the simulator is given the recorded pauses.",
}
"""What the memory does, by the choices of `gossamer verify`."""


def markdown(command: str, options: argparse.Namespace, runs: Mapping[str, Checks]) -> str:
    """Return the page for docs."""
    cores = "\n".join(
        f"{number}. `{core.split(',')[0]}`" + "".join(f", {each}" for each in core.split(",")[1:])
        for number, core in enumerate(options.core, 1)
    )

    def lines(checks: Checks, head: str, rows: Sequence[Sequence[str]]) -> str:
        all_rows = [[head, *heads(checks)], ["---"] * (len(heads(checks)) + 1), *rows]
        return "\n".join(f"| {' | '.join(row)} |" for row in all_rows)

    page = f"""# RTL and simulator

Random programs (layer kinds, shapes, N:M patterns, strides, pads, tilings) on the generated Verilog under Verilator,
driven and fed by independent AXI models. Every byte of outputs and spilled tensors is compared with the golden
executor, every cycle counter with the timing simulator. The cores:

{cores}

Each runs the programs of seeds {options.seed} to {options.seed + options.programs - 1}. Written by

<!-- not run in CI: it takes an hour and writes this page -->
```bash
{command}
```
"""
    for stalls, checks in runs.items():
        page += f"""
## Stalls: {stalls}

{STALLS[stalls]}

{lines(checks, "", columns(checks, table))}

{lines(checks, "cycle error, of either sign", columns(checks, distribution))}
"""
    return page


def write_trust(command: str, checks: Checks) -> None:
    """Write the table that reports of simulate quote; only if every program was bit-exact."""
    every = list(chain.from_iterable(checks.values()))
    errors = np.array([abs(check.cycle_error_pct) for check in every])
    table = TrustTable(
        command=command, cores=tuple(checks), programs=len(every), exact=int((errors == 0).sum()),
        median_error_pct=round(float(np.median(errors)), 4), worst_error_pct=round(float(errors.max()), 4),
    )  # fmt: skip
    TRUST.write_text(table.model_dump_json(indent=2) + "\n", encoding="utf-8")


def run(options: argparse.Namespace, stalls: str) -> Checks:
    """Run all programs and return their checks by core."""
    chunks = [
        Chunk(core=core, stalls=stalls, seed=options.seed + at, count=min(CHUNK, options.programs - at))
        for core in options.core
        for at in range(0, options.programs, CHUNK)
    ]
    checks: Checks = {core: [] for core in options.core}
    with ProcessPoolExecutor(options.workers) as pool:
        for chunk, done in zip(chunks, pool.map(run_chunk, chunks), strict=True):
            checks[chunk.core] += done
    assert all(len(each) == options.programs for each in checks.values())
    return checks


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=200, help="on each core")
    parser.add_argument("--core", action="append", help="config, and settings behind commas; may be repeated")
    parser.add_argument("--stalls", nargs="+", choices=STALLS, default=["none"], help="as for gossamer verify")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--trust", action="store_true", help=f"write {TRUST}, which simulate quotes; without stalls")
    parser.add_argument("-o", "--output", type=Path, help="Markdown file to write")
    options = parser.parse_args()
    if options.programs < 1:
        parser.error("--programs must be at least 1")
    if options.trust and "none" not in options.stalls:
        parser.error("--trust needs a run with --stalls none")
    options.core = list(dict.fromkeys(options.core or ["ecp5-tiny"]))
    return options


def main() -> None:
    """Run, print, write."""
    options = arguments()
    for core in options.core:
        build_core(verilog_modules(Core(spec_of(core))))  # once, for all workers
    begin = time.perf_counter()
    runs = {stalls: run(options, stalls) for stalls in dict.fromkeys(options.stalls)}
    every = [check for checks in runs.values() for check in chain.from_iterable(checks.values())]
    for stalls, checks in runs.items():
        print(f"stalls {stalls}\n{text(checks)}")
    print(f"{time.perf_counter() - begin:.0f} s")
    for check in every:
        if not check.bit_exact or abs(check.cycle_error_pct) > EDGES_PCT[3]:
            print(f"{check.name}: {check.cycle_error_pct:+.3f} %, {check.mismatch or check.failure or 'bit-exact'}")
    if not all(check.bit_exact for check in every):
        sys.exit("nothing is written: not every program is bit-exact")
    words = [f"--programs {options.programs}", *(f"--core {core}" for core in options.core), f"--seed {options.seed}"]
    words += [] if options.stalls == ["none"] else [f"--stalls {' '.join(options.stalls)}"]
    command = f"python benchmarks/rtl_agreement.py {' '.join(words)}"
    if options.output is not None:
        options.output.parent.mkdir(exist_ok=True)
        options.output.write_text(markdown(command, options, runs), encoding="utf-8")
    if options.trust:
        write_trust(command, runs["none"])


if __name__ == "__main__":
    main()
