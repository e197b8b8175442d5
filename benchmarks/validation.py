"""Set published figures beside ours, table by table, on one page.

    python benchmarks/validation.py -o docs/validation.md
    python benchmarks/validation.py --measure

What is cheap is worked out anew each time; whole simulations and their CPU seconds are read from
benchmarks/validation_runs.csv, which `--measure` writes. Nothing here is fitted.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

import flightllm_resources
import numpy as np
from markdown_table import table
from scipy.stats import binom

from gossamer.arch.config import load_config, require_hardware
from gossamer.arch.spec import Stationarity, SystolicArraySpec
from gossamer.arch.target import packed_stages
from gossamer.arch.user_cache import user_cache
from gossamer.dataflow.sparsity import NmPattern
from gossamer.mapper.pruning.prune import magnitude_mask
from gossamer.scalesim_tables import load_topology
from gossamer.sim.systolic import GemmShape, gemm_shapes, kept_reduction, systolic_cycles

RUNS = Path(__file__).with_name("validation_runs.csv")
TEMPLATE = Path(__file__).with_name("validation.md.in")

DECODE_LAYERS = {
    "gemm:1x4096x4096": 4 * 32, "gemm:1x4096x11008": 2 * 32, "gemm:1x11008x4096": 32, "gemm:1x4096x32000": 1,
}  # fmt: skip
"""Matrix-vector products of one decode step of LLaMA2-7B, and how often each occurs."""

FLIGHT, FLIGHT_GB = "u280-6144", 3.088
"""Our config, and FlightLLM's weights and metadata of one decode step."""

TOPOLOGIES = {name: str(files("gossamer.configs") / "topologies" / f"{name}.csv") for name in ("resnet18", "resnet50")}
WHOLE_NETWORKS = [
    (TOPOLOGIES["resnet18"], "systolic-32x32-ws", "dense"), (TOPOLOGIES["resnet18"], "systolic-32x32-os", "dense"),
    (TOPOLOGIES["resnet18"], "systolic-128x128-ws", "dense"), (TOPOLOGIES["resnet50"], "systolic-32x32-ws", "dense"),
    ("mobilenet-v2", "u280-sparse", "dense"), ("gemm:256x128x256", "u280-sparse", "dense"),
    ("resnet50", "u280-sparse", "dense"), ("resnet50", "u280-sparse", "2:4"), ("resnet50", "u280-sparse", "2:8"),
]  # fmt: skip
SIMULATIONS = [
    *((model, FLIGHT, sparsity) for sparsity in ("dense", "2:4") for model in DECODE_LAYERS), *WHOLE_NETWORKS
]  # fmt: skip
"""Model, config and sparsity of every measured run."""

COLUMNS = ("model", "config", "sparsity", "total_cycles", "latency_s", "dram_bytes", "cpu_s", "memory_mib")
SEED = 1


def name_of(model: str) -> str:
    """Return a model as the page and the table call it."""
    return Path(model).name if model in TOPOLOGIES.values() else model


def measure() -> None:
    """Run every simulation as a process of its own and write the table: kernels compiled, mappings searched anew."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(user_cache()), "XDG_CACHE_HOME": folder}
        for model, config, sparsity in SIMULATIONS:
            arguments = ["-m", "gossamer", "simulate", model, "--config", config, "--sparsity", sparsity, "--json"]
            with subprocess.Popen(
                [sys.executable, *arguments], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
            ) as process:
                assert process.stdout is not None
                result = json.loads(process.stdout.read())
                _, _, usage = os.wait4(process.pid, 0)
                process.returncode = 0
            values = (name_of(model), config, sparsity, result["total_cycles"], f"{result['latency_s']:.6g}",
                      result["dram_bytes"], f"{usage.ru_utime + usage.ru_stime:.1f}",
                      round(usage.ru_maxrss / 1024))  # fmt: skip
            rows.append(values)
            print(*values, file=sys.stderr)
    with RUNS.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows([COLUMNS, *rows])


def runs() -> dict[tuple[str, str, str], dict[str, str]]:
    """Return the measured runs by model, config and sparsity."""
    with RUNS.open(encoding="utf-8", newline="") as stream:
        return {(row["model"], row["config"], row["sparsity"]): row for row in csv.DictReader(stream)}


def storage_table() -> str:
    """Return bits per dense weight."""
    published = {"2:4": 5.00, "2:8": 2.75}
    return table(["N:M, int8", "closed form", "ours"], [
        [name, f"{bits:.2f}", f"{NmPattern.parse(name).bits_per_dense_weight():.2f}"]
        for name, bits in published.items()])  # fmt: skip


def energy_table() -> str:
    """Return the share of energy that magnitude pruning keeps of Gaussian weights, by N:M and without structure."""
    published = {"2:4": 0.868, "4:8": 0.897, "1:4": 0.618, "2:8": 0.665, "4:16": 0.693}
    weight = np.random.default_rng(SEED).standard_normal((1024, 1, 1, 1024)).astype(np.float32)
    energy = weight.astype(np.float64) ** 2
    kept = {name: energy[magnitude_mask(weight, NmPattern.parse(name))].sum() / energy.sum() for name in published}
    rows = [[name, f"{share:.3f}", f"{kept[name]:.3f}"] for name, share in published.items()]
    ordered = np.sort(energy.ravel())[::-1]
    for density, share in ((0.5, 0.929), (0.25, 0.724)):
        largest = ordered[: int(density * ordered.size)].sum() / ordered.sum()
        rows.append([f"unstructured {density:.0%}", f"{share:.3f}", f"{largest:.3f}"])
    return table(["kept", "published", "ours"], rows)


def axis_table() -> str:
    """Return how many groups of a random mask break the pattern along the other axis."""
    rows = []
    for name, share in (("2:4", 31.25), ("2:8", 32.15)):
        pattern = NmPattern.parse(name)
        weight = np.random.default_rng(SEED).standard_normal((2048, 1, 1, 2048)).astype(np.float32)
        counts = magnitude_mask(weight, pattern)[:, 0, 0].reshape(2048 // pattern.m, pattern.m, 2048).sum(axis=1)
        rows.append([name, f"{share:.2f}", f"{100 * np.mean(counts > pattern.n):.2f}"])
    return table(["mask", "published, % of groups", "ours"], rows)


def array(rows: int, columns: int, stationarity: str) -> SystolicArraySpec:
    """Return a plain systolic array."""
    return SystolicArraySpec(kind="systolic", rows=rows, columns=columns, stationarity=Stationarity(stationarity))


def network_cycles(model: str, spec: SystolicArraySpec, pattern: NmPattern | None = None) -> int:
    """Return the cycles of a topology on a systolic array, every layer at N:M, as SCALE-Sim counts them: one less."""
    shapes = gemm_shapes(load_topology(Path(TOPOLOGIES[model])))
    kept = [
        GemmShape(name=each.name, op=each.op, positions=each.positions, channels=each.channels,
                  reduction=each.reduction, kept_reduction=kept_reduction(each.reduction, pattern), count=each.count)
        for each in shapes
    ]  # fmt: skip
    return sum(systolic_cycles(shape, spec) - 1 for shape in kept)


def systolic_table() -> str:
    """Return totals of SCALE-Sim 3.0.0 beside ours."""
    gemm = GemmShape(name="g", op="gemm", positions=64, channels=512, reduction=784, kept_reduction=784)
    rows = [
        [f"GEMM 64 x 784 x 512, 32x32, {each}", f"{printed:,}", f"{systolic_cycles(gemm, array(32, 32, each)) - 1:,}"]
        for each, printed in (("os", 27_071), ("ws", 63_199))
    ]
    ours = network_cycles("resnet50", array(32, 32, "ws"))
    return table(["", "SCALE-Sim, cycles", "ours"], [*rows, ["ResNet-50, 32x32, ws", "5,753,486", f"{ours:,}"]])


def gain_table() -> str:
    """Return what 2:4 with free metadata gains on systolic arrays."""
    rows = []
    for model, size, stationarity, printed in (
        ("resnet18", 32, "ws", 1.98), ("resnet18", 128, "os", 1.59), ("resnet50", 128, "os", 1.46),
    ):  # fmt: skip
        spec = array(size, size, stationarity)
        ours = network_cycles(model, spec) / network_cycles(model, spec, NmPattern.parse("2:4"))
        rows.append([f"{model}, {size}x{size}, {stationarity}", f"{printed:.2f}x", f"{ours:.2f}x"])
    return table(["2:4 against dense", "SCALE-Sim", "ours, same array"], rows)


def lockstep_utilization(density: float, deep: int, lanes: int) -> float:
    """Return mean over mean of the largest of `lanes` binomial counts: lanes that wait for the slowest."""
    below = binom.cdf(np.arange(deep + 1), deep, density) ** lanes
    return density * deep / float(np.sum(1 - below))


def lockstep_table() -> str:
    """Return the utilisation of lanes in lockstep without structure."""
    return table(["32 lanes, density 0.25", "published, %", "closed form here", "N:M"], [
        [f"K = {deep}", f"{share}", f"{100 * lockstep_utilization(0.25, deep, 32):.1f}", "100"]
        for deep, share in ((256, 81.4), (64, 68.3))])  # fmt: skip


def flight_tables() -> dict[str, str]:
    """Return the parts about FlightLLM."""
    found = flightllm_resources.estimate(4)
    components = table(
        ["FlightLLM", "ours", *flightllm_resources.NAMES.values()], flightllm_resources.component_rows(found)
    )
    matrix = flightllm_resources.per_dsp_rows()
    per_dsp = table(["", "M at most", "array: LUT", "FF", "with accumulator: LUT", "FF"], matrix)
    measured, rows = runs(), []
    for sparsity in ("dense", "2:4"):
        step = [(count, measured[model, FLIGHT, sparsity]) for model, count in DECODE_LAYERS.items()]
        cycles = sum(count * int(row["total_cycles"]) for count, row in step)
        seconds = sum(count * float(row["latency_s"]) for count, row in step)
        moved = sum(count * int(row["dram_bytes"]) for count, row in step)
        rows.append([f"ours, {FLIGHT}, int8, {sparsity}, matrix products alone", f"{cycles:,}", f"{1 / seconds:.1f}",
                     f"{moved / 1e9:.2f}", f"{moved / seconds / 1e9:.1f}"])  # fmt: skip
    board = [
        [f"FlightLLM on the board, whole step, KV length {length}", cycles, f"{rate}", f"{FLIGHT_GB:.2f}",
         f"{FLIGHT_GB * rate:.0f}"]
        for length, cycles, rate in ((128, "3,937,100 - 3,938,548", 57.1), (512, "4,272,163 - 4,272,339", 52.7))
    ]  # fmt: skip
    decode = table(["", "cycles", "tokens/s", "GB of weights, metadata (ours: all)", "GB/s"], [*board, *rows])
    return {"flight_components": components, "flight_per_dsp": per_dsp, "decode": decode, "floors": floors_table(),
            "decode_gain": decode_cycles("dense") / decode_cycles("2:4")}  # fmt: skip


def decode_cycles(sparsity: str) -> int:
    """Return the cycles of the matrix products of a decode step."""
    measured = runs()
    return sum(count * int(measured[model, FLIGHT, sparsity]["total_cycles"]) for model, count in DECODE_LAYERS.items())


def floors_table() -> str:
    """Return the least time of a decode step by multipliers and by memory."""
    spec = require_hardware(load_config(FLIGHT, ()), FLIGHT)
    a_cycle = spec.array.chains * spec.array.chain_length  # one position uses one lane
    ports_gb_s = spec.axi.row_bytes * spec.clock_mhz / 1e3
    macs = sum(count * int(model.split("x")[1]) * int(model.split("x")[2]) for model, count in DECODE_LAYERS.items())
    measured, rows = runs(), []
    for sparsity, kept in (("dense", 1.0), ("2:4", 0.5)):
        step = [(count, measured[model, FLIGHT, sparsity]) for model, count in DECODE_LAYERS.items()]
        moved = sum(count * int(row["dram_bytes"]) for count, row in step)
        total = sum(count * float(row["latency_s"]) for count, row in step)
        compute_ms = 1e3 * kept * macs / (a_cycle * spec.clock_mhz * 1e6)
        rows.append([f"ours, matrix products, {sparsity}", f"{a_cycle:,}", f"{compute_ms:.2f}", f"{ports_gb_s:.1f}",
                     f"{moved / ports_gb_s / 1e6:.1f}", f"{1e3 * total:.1f}"])  # fmt: skip
    theirs = ["FlightLLM", "3,072", "9.56", "460 (HBM)", "8.95", "17.0 measured"]
    head = ["", "MAC per cycle, one position", "compute floor, ms", "GB/s", "memory floor, ms", "ms"]
    return table(head, [theirs, *rows])


def sat_table() -> str:
    """Return the ceilings of BDWP, and the gain of the whole network on our array, which runs inference."""
    measured, rows = runs(), []
    dense = int(measured["resnet50", "u280-sparse", "dense"]["total_cycles"])
    for name, published in (("2:4", "1.50x"), ("2:8", "2.00x"), ("2:16", "2.40x")):
        pattern = NmPattern.parse(name)
        row = measured.get(("resnet50", "u280-sparse", name))
        gain = "not run: M <= 8" if row is None else f"{dense / int(row['total_cycles']):.2f}x"
        rows.append([name, published, f"{3 / (1 + 2 * pattern.density):.2f}x", gain])
    head = ["N:M", "published ceiling of training", "closed form here", "ours: inference, ResNet-50, u280-sparse"]
    return table(head, rows)


TOOLS = [
    ("SCALE-Sim 3.0.0", "ResNet-18, 32x32, ws", "216", "5.3 GB", ("resnet18.csv", "systolic-32x32-ws", "dense")),
    ("SCALE-Sim 3.0.0", "ResNet-18, 32x32, os", "201", "3.6 GB", ("resnet18.csv", "systolic-32x32-os", "dense")),
    ("SCALE-Sim 3.0.0", "ResNet-18, 128x128, ws", "76", "3.4 GB", ("resnet18.csv", "systolic-128x128-ws", "dense")),
    ("SCALE-Sim 3.0.0", "ResNet-18, 128x128, ws, 2:4", "41", "2.1 GB", None),
    ("SCALE-Sim 3.0.0", "ResNet-50, 32x32, ws", "474", "11.8 GB", ("resnet50.csv", "systolic-32x32-ws", "dense")),
    ("zigzag-dse 3.9.1", "ResNet-18, TPU-like, one design point", "43", "0.2 GB", "mapping-search"),
    ("zigzag-dse 3.9.1", "MobileNetV2, same", "108", "0.3 GB", ("mobilenet-v2", "u280-sparse", "dense")),
    ("accelforge 1.0.467", "GPT-3 6.7B on a TPUv4i", "47", "0.4 GB", None),
    ("STONNE", "GEMM 256x128x256", "8", "0.02 GB", ("gemm:256x128x256", "u280-sparse", "dense")),
]  # fmt: skip


def tools_table() -> str:
    """Return CPU seconds and memory of other tools beside ours."""
    measured, rows = runs(), []
    for tool, work, seconds, memory, key in TOOLS:
        ours = ["not measured", "", ""]
        if key == "mapping-search":
            ours[0] = "equal problem: [mapping search](mapping-search.md)"
        elif key is not None:
            row = measured[key]
            what = f"`gossamer simulate {key[0]} --config {key[1]} --sparsity {key[2]}`"
            ours = [what, row["cpu_s"], f"{int(row['memory_mib']):,} MiB"]
        rows.append([tool, work, seconds, memory, *ours])
    return table(["tool", "work", "CPU s", "memory", "ours", "CPU s", "memory"], rows)


def page() -> str:
    """Return the page."""
    measured = runs()
    cycles = {each: int(measured["resnet50", "u280-sparse", each]["total_cycles"]) for each in ("dense", "2:4")}
    return TEMPLATE.read_text(encoding="utf-8").format(
        storage=storage_table(), energy=energy_table(), axis=axis_table(), systolic=systolic_table(),
        gain=gain_table(), lockstep=lockstep_table(), stages=packed_stages(), stages_127=packed_stages(127 * 128),
        sat=sat_table(), tools=tools_table(), end_to_end=cycles["dense"] / cycles["2:4"], **flight_tables(),
    )  # fmt: skip


def main() -> None:
    """Write the page, print it, or measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true", help=f"run the simulations and write {RUNS.name}")
    parser.add_argument("-o", "--output", type=Path, help="Markdown file to write")
    options = parser.parse_args()
    if options.measure:
        measure()
    elif options.output is None:
        print(page(), end="")
    else:
        options.output.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
