"""Compare the systolic reference configs with SCALE-Sim, layer by layer, and report the CPU time of both.

Install SCALE-Sim in an environment of its own (it needs an older NumPy), then point this script at it:

    python3.11 -m venv scalesim-venv
    scalesim-venv/bin/pip install scalesim==3.0.0 'numpy<2'
    python benchmarks/scalesim_comparison.py --scalesim-python scalesim-venv/bin/python [--quick]

Every total must be equal (ours less one, SCALE-Sim#125); exit status 1 otherwise. SCALE-Sim takes 1 to 8 minutes a run.
"""

import argparse
import csv
import json
import resource
import subprocess
import sys
import tempfile
import time
from importlib.resources import files
from pathlib import Path

from gossamer.arch.spec import Stationarity, SystolicArraySpec
from gossamer.scalesim_tables import load_topology
from gossamer.sim.systolic import gemm_shapes, simulate_systolic, systolic_cycles

CONFIG = """[general]
run_name = run
[architecture_presets]
ArrayHeight: {rows}
ArrayWidth: {columns}
IfmapSramSzkB: 64
FilterSramSzkB: 64
OfmapSramSzkB: 64
IfmapOffset: 0
FilterOffset: 10000000
OfmapOffset: 20000000
Bandwidth: 10
Dataflow: {stationarity}
MemoryBanks: 1
ReadRequestBuffer: 32
WriteRequestBuffer: 32
[layout]
IfmapCustomLayout: False
IfmapSRAMBankBandwidth: 10
IfmapSRAMBankNum: 10
IfmapSRAMBankPort: 2
FilterCustomLayout: False
FilterSRAMBankBandwidth: 10
FilterSRAMBankNum: 10
FilterSRAMBankPort: 2
[sparsity]
SparsitySupport: {sparse}
SparseRep: ellpack_block
OptimizedMapping: false
BlockSize: 4
RandomNumberGeneratorSeed: 40
[run_presets]
InterfaceBandwidth: CALC
UseRamulatorTrace: False
"""
DRIVER = """
import sys
from scalesim.scale_sim import scalesim
config, topology, layout, out = sys.argv[1:]
scalesim(save_disk_space=True, verbose=False, config=config, topology=topology, layout=layout,
         input_type_gemm=False).run_scale(top_path=out)
"""
CASES = [  # model, rows, columns, stationarity, N:M
    ("resnet18", 128, 128, "ws", None),
    ("resnet18", 128, 128, "ws", "2:4"),
    ("resnet18", 128, 128, "os", None),
    ("resnet18", 128, 128, "os", "2:4"),
    ("resnet18", 32, 32, "ws", None),
    ("resnet18", 32, 32, "os", None),
    ("resnet50", 128, 128, "os", "2:4"),
    ("resnet50", 32, 32, "ws", None),
]


def child_cpu_seconds() -> float:
    """Return user plus system seconds of all finished children."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def run_scalesim(python: str, table: Path, case: tuple[str, int, int, str, str | None]) -> tuple[list[int], float]:
    """Return SCALE-Sim's total cycles per layer and the CPU seconds it took."""
    _, rows, columns, stationarity, pattern = case
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        config = CONFIG.format(rows=rows, columns=columns, stationarity=stationarity, sparse=pattern is not None)
        (work / "run.cfg").write_text(config)
        layout = ["header,"] + [f"{line.split(',')[0]}," + "1," * 20 for line in table.read_text().splitlines()[1:]]
        (work / "layout.csv").write_text("\n".join(layout) + "\n")
        before = child_cpu_seconds()
        process = subprocess.run(
            [python, "-c", DRIVER, "run.cfg", str(table), "layout.csv", str(work)],
            cwd=work, capture_output=True, text=True, check=False,
        )  # fmt: skip
        seconds = child_cpu_seconds() - before
        report = next(work.rglob("COMPUTE_REPORT.csv"), None)
        if report is None:
            sys.exit(f"SCALE-Sim wrote no report:\n{process.stdout[-2000:]}\n{process.stderr[-2000:]}")
        with report.open() as stream:
            rows_read = list(csv.DictReader(stream, skipinitialspace=True))
    return [int(float(row["Total Cycles"])) for row in rows_read], seconds


def run_ours(table: Path, case: tuple[str, int, int, str, str | None], repeats: int) -> tuple[list[int], float, float]:
    """Return our cycles per layer and the CPU seconds of one analytic and one event evaluation of the network."""
    _, rows, columns, stationarity, _ = case
    array = SystolicArraySpec(kind="systolic", rows=rows, columns=columns, stationarity=Stationarity(stationarity))
    shapes = gemm_shapes(load_topology(table))
    simulate_systolic(shapes, array)  # compiles the kernel
    start = time.process_time()
    for _ in range(repeats):
        analytic = [systolic_cycles(shape, array) for shape in shapes]
    middle = time.process_time()
    for _ in range(repeats):
        events = [layer.cycles for layer in simulate_systolic(shapes, array)]
    end = time.process_time()
    if events != analytic:
        sys.exit("event simulation and closed form differ")
    return analytic, (middle - start) / repeats, (end - middle) / repeats


def main() -> None:
    """Run every case in both tools and print one line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scalesim-python", required=True)
    parser.add_argument("--quick", action="store_true", help="only the 128x128 ResNet-18 cases")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    lines, equal = [], True
    for case in CASES[:4] if arguments.quick else CASES:
        model, rows, columns, stationarity, pattern = case
        text = (Path(str(files("gossamer.configs"))) / "topologies" / f"{model}.csv").read_text()
        with tempfile.TemporaryDirectory() as folder:
            table = Path(folder) / f"{model}.csv"
            head, *body = text.splitlines()
            table.write_text("\n".join([head, *(f"{row}{pattern}," if pattern else row for row in body)]) + "\n")
            ours, analytic_s, event_s = run_ours(table, case, repeats=20)
            theirs, scalesim_s = run_scalesim(arguments.scalesim_python, table, case)
        same = sum(mine - 1 == other for mine, other in zip(ours, theirs, strict=True))
        equal &= same == len(ours)
        lines.append(
            {
                "case": f"{model} {rows}x{columns} {stationarity} {pattern or 'dense'}",
                "layers": len(ours), "layers_equal": same, "total_cycles": sum(ours) - len(ours),
                "scalesim_total_cycles": sum(theirs), "scalesim_cpu_s": scalesim_s, "analytic_cpu_s": analytic_s,
                "event_cpu_s": event_s, "analytic_ratio": scalesim_s / analytic_s, "event_ratio": scalesim_s / event_s,
            }
        )  # fmt: skip
        last = lines[-1]
        print(
            f"{last['case']:34s} layers equal {same}/{len(ours)}  cycles {last['total_cycles']:,} / "
            f"{last['scalesim_total_cycles']:,}  CPU {scalesim_s:.1f} s; less by {last['analytic_ratio']:,.0f}x "
            f"(analytic), {last['event_ratio']:,.0f}x (event)",
            flush=True,
        )
    print(f"peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(lines, indent=1) + "\n")
    sys.exit(0 if equal else 1)


if __name__ == "__main__":
    main()
