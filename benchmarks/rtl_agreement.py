"""Run many random programs on the RTL of several cores and write how far the simulator was off, program by program.

    python benchmarks/rtl_agreement.py --programs 400 --stalls none random --trust

Writes benchmarks/rtl_agreement.csv, of which benchmarks/accuracy.py makes docs/accuracy.md, and with `--trust`
configs/trust.json, which simulate quotes. Programs whose core's Verilog has not changed are not run again: the command
goes on where it was stopped. About 2 programs a second on one CPU; `--workers` runs several chunks at a time.
Exit status 1 if a program is not bit-exact.
"""

import argparse
import csv
import hashlib
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gossamer.arch.config import load_config, require_hardware
from gossamer.arch.isa import ENGINES
from gossamer.arch.spec import SparseAccelerator
from gossamer.rtl.core import Core
from gossamer.rtl.verilog import verilog_modules
from gossamer.rtl_run import build_core
from gossamer.trust import FILE, TrustTable
from gossamer.verification import ProgramCheck, verify_programs
from gossamer.verify_candidates import random_candidate

CHUNK = 20
"""Programs per simulation; each pays a few seconds for start."""

CORES = (
    "ecp5-tiny",
    "ecp5-tiny,axi.ports=4",
    "ecp5-tiny,device.dsp=200,array.group_size=4,array.chain_length=6,array.lanes=3,array.weight_rows_per_cycle=3,"
    "vector.lanes=4,buffers.activation.capacity_bytes=8192,buffers.weight.capacity_bytes=2048,"
    "buffers.index.capacity_bytes=1024,buffers.accumulator.capacity_bytes=8192,buffers.parameter.capacity_bytes=2048,"
    "dispatch.queue_depth=2",
)
"""A config each, with settings behind commas."""

STALLS = ("none", "random")
TABLE = Path(__file__).with_name("rtl_agreement.csv")
TRUST = Path(__file__).parents[1] / "configs" / FILE
COUNTERS = tuple(f"{engine.value}.{name}" for engine in ENGINES for name in ("instructions", "busy"))
COLUMNS = (
    "core", "stalls", "program", "verilog", "bytes", "instructions_off", "counters", "counters_off", "rtl_cycles",
    "sim_cycles", "independent_cycles", *(f"{name}.{side}" for name in COUNTERS for side in ("rtl", "sim")),
)  # fmt: skip
"""core: number in CORES, from 1. program: seed. verilog: digest of the core's. independent_cycles: of the simulator
under stalls other than those recorded on the RTL, of the same probability."""

Key = tuple[int, str, int]
"""Core, stalls, program."""

Row = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Programs to run in one simulation: their seeds."""

    core: int
    stalls: str
    programs: tuple[int, ...]


def spec_of(core: int) -> SparseAccelerator:
    """Return the config of a core."""
    config, *settings = CORES[core - 1].split(",")
    return require_hardware(load_config(config, settings), config)


def run_chunk(chunk: Chunk) -> list[ProgramCheck]:
    """Return the checks of a chunk."""
    spec = spec_of(chunk.core)
    candidates = [random_candidate(spec, program) for program in chunk.programs]
    with tempfile.TemporaryDirectory(prefix="gossamer-agreement-") as folder:
        report = verify_programs(spec, candidates, stalls=chunk.stalls, seed=chunk.programs[0], folder=Path(folder))
    assert len(report.programs) == len(chunk.programs)
    return list(report.programs)


def row_of(chunk: Chunk, program: int, verilog: str, check: ProgramCheck) -> Row:
    """Return the line of one program."""
    values = {
        "core": chunk.core, "stalls": chunk.stalls, "program": program, "verilog": verilog,
        "bytes": check.outputs_checked, "instructions_off": check.instructions_off, "counters": len(check.counters),
        "counters_off": sum(each.rtl != each.sim for each in check.counters), "rtl_cycles": check.rtl_cycles,
        "sim_cycles": check.sim_cycles, "independent_cycles": check.independent_cycles,
    }  # fmt: skip
    for each in check.counters:
        if f"{each.engine.value}.{each.name}" in COUNTERS:
            values |= {f"{each.engine.value}.{each.name}.{side}": getattr(each, side) for side in ("rtl", "sim")}
    assert set(values) == set(COLUMNS), set(COLUMNS) ^ set(values)
    return {name: "" if value is None else str(value) for name, value in values.items()}


def key_of(row: Row) -> Key:
    """Return what a line is about."""
    return int(row["core"]), row["stalls"], int(row["program"])


def read(path: Path = TABLE) -> dict[Key, Row]:
    """Return the lines of a table."""
    if not path.exists():
        return {}
    with path.open(encoding="utf-8", newline="") as stream:
        return {key_of(row): row for row in csv.DictReader(stream)}


def write(path: Path, rows: Iterable[Row]) -> None:
    """Write a table in the order of its keys, as a whole."""
    part = path.with_suffix(".part")
    with part.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(rows, key=key_of))
    part.replace(path)


def build(core: int) -> str:
    """Compile a core once, for all workers, and return the digest of its Verilog."""
    modules = verilog_modules(Core(spec_of(core)))
    build_core(modules)
    return hashlib.sha256("".join(module.text for module in modules).encode()).hexdigest()[:16]


def error_pct(simulated: str, rtl: str) -> float:
    """Return how far simulated cycles are off, in percent of the RTL's; above 0 if they are too many."""
    return 100.0 * (int(simulated) - int(rtl)) / int(rtl)


def write_trust(command: str, rows: Sequence[Row]) -> None:
    """Write the table that reports of simulate quote: of programs without stalls."""
    errors = np.array([abs(error_pct(row["sim_cycles"], row["rtl_cycles"])) for row in rows])
    table = TrustTable(
        command=command, cores=CORES, programs=len(rows), exact=int((errors == 0).sum()),
        median_error_pct=round(float(np.median(errors)), 4), worst_error_pct=round(float(errors.max()), 4),
    )  # fmt: skip
    TRUST.write_text(table.model_dump_json(indent=2) + "\n", encoding="utf-8")


def missing(options: argparse.Namespace, rows: Mapping[Key, Row], digests: Mapping[int, str]) -> list[Chunk]:
    """Return what is still to be run, the cores in turn."""
    chunks = []
    for first in range(1, options.programs + 1, CHUNK):
        programs = range(first, min(first + CHUNK, options.programs + 1))
        for stalls in options.stalls:
            for core, verilog in digests.items():
                left = tuple(
                    program for program in programs
                    if rows.get((core, stalls, program), {}).get("verilog") != verilog
                )  # fmt: skip
                if left:
                    chunks.append(Chunk(core=core, stalls=stalls, programs=left))
    return chunks


def main() -> None:
    """Run what is missing, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=400, help="on each core, of seeds 1 to this")
    parser.add_argument("--stalls", nargs="+", choices=STALLS, default=["none"], help="as for gossamer verify")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--trust", action="store_true", help=f"write {TRUST.name}; of the programs without stalls")
    parser.add_argument("-o", "--output", type=Path, default=TABLE, help="table to go on with")
    options = parser.parse_args()
    if options.programs < 1:
        parser.error("--programs must be at least 1")
    digests = {core: build(core) for core in range(1, len(CORES) + 1)}
    rows = {key: row for key, row in read(options.output).items() if row["verilog"] == digests[key[0]]}
    chunks = missing(options, rows, digests)
    with ProcessPoolExecutor(options.workers) as pool:
        for chunk, checks in zip(chunks, pool.map(run_chunk, chunks), strict=True):
            for program, check in zip(chunk.programs, checks, strict=True):
                if not check.bit_exact:
                    pool.shutdown(wait=False, cancel_futures=True)
                    sys.exit(f"core {chunk.core}, {check.name}: {check.mismatch or check.failure}")
                row = row_of(chunk, program, digests[chunk.core], check)
                rows[key_of(row)] = row
            write(options.output, rows.values())
            print(f"{len(rows):,} programs", file=sys.stderr)
    if options.trust:
        command = f"python benchmarks/rtl_agreement.py --programs {options.programs} --stalls none --trust"
        write_trust(command, [row for row in rows.values() if row["stalls"] == "none"])


if __name__ == "__main__":
    main()
