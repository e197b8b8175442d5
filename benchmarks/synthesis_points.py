"""Synthesize configs drawn at random and write what each component takes: what the resource model is held against.

    python benchmarks/synthesis_points.py --points 40 --work DIR -o benchmarks/synthesis_points.csv

Rows that the table has are not synthesized again, and neither are modules that points share (`--work` keeps them).
Points of even number are for fitting the constants of arch/resources.py, those of odd number are held out: the column
`use` says so. `--check` synthesizes nothing and prints how far the estimate is off on either kind.
"""

import argparse
import csv
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from gossamer.arch.config import load_config, require_hardware
from gossamer.arch.errors import ConfigError
from gossamer.arch.resources import RESOURCE_NAMES, Resources
from gossamer.arch.spec import SparseAccelerator
from gossamer.arch.target import Target
from gossamer.rtl.core import Core
from gossamer.rtl.synthesis.components import COMPONENTS
from gossamer.rtl.synthesis.hierarchy import Design
from gossamer.rtl.synthesis.units import synthesize_units
from gossamer.rtl.verilog import verilog_modules
from gossamer.synthesis import component_resources, predicted_components

BASES = {Target.XCUP: "kv260-edge", Target.ECP5: "ecp5-tiny"}
NO_LIMITS = ("axi.ports=1", *(f"device.{name}=1000000000" for name in ("dsp", "bram36", "lut", "ff")))

AXES: dict[str, tuple[object, ...]] = {
    "array.chains": (8, 16, 32, 64),
    "array.chain_length": (2, 4, 8, 16),
    "array.lanes": (1, 2, 3, 4),
    "array.group_size": (4, 8, 16),
    "array.weight_rows_per_cycle": (1, 2, 4),
    "axi.data_bits": (32, 64, 128, 256),
    "axi.burst_beats": (8, 16, 32, 64),
    "axi.max_outstanding": (4, 8, 16, 32),
    "vector.lanes": (4, 8, 16, 32),
    "dispatch.queue_depth": (2, 4, 8, 16),
    "buffers.activation.capacity_bytes": (32768, 65536, 131072, 262144),
    "buffers.weight.capacity_bytes": (16384, 32768, 65536, 131072),
    "buffers.index.capacity_bytes": (6144, 12288, 24576, 49152),
    "buffers.accumulator.capacity_bytes": (32768, 65536, 131072, 262144),
    "buffers.parameter.capacity_bytes": (16384, 32768),
}
MEMORIES = {Target.XCUP: ("bram36", "uram288", "lutram"), Target.ECP5: ("dp16kd",)}
BUFFERS = ("activation", "weight", "index", "accumulator", "parameter")
KEYS = ("point", "use", "target", *AXES, *(f"buffers.{name}.memory" for name in BUFFERS))
COLUMNS = (*KEYS, *(f"{part}.{name}" for part in dict.fromkeys(COMPONENTS.values()) for name in RESOURCE_NAMES))


def draw(point: int) -> tuple[dict[str, object], SparseAccelerator, Target]:
    """Return the values of a point, its config and target; the same for the same number."""
    rng = random.Random(point)
    target = (Target.XCUP, Target.ECP5)[point // 2 % 2]
    while True:
        values: dict[str, object] = {axis: rng.choice(choices) for axis, choices in AXES.items()}
        values |= {f"buffers.{name}.memory": rng.choice(MEMORIES[target]) for name in BUFFERS}
        settings = [*NO_LIMITS, *(["device.uram=1000000000"] if target is Target.XCUP else [])]
        try:
            spec = load_config(BASES[target], [*settings, *(f"{key}={value}" for key, value in values.items())])
            return values, require_hardware(spec, BASES[target]), target
        except ConfigError:
            continue


def synthesize(point: int, work: Path) -> dict[str, object]:
    """Return the row of a point."""
    values, spec, target = draw(point)
    design = Design(top="gossamer_core", files={module.name: module.text for module in verilog_modules(Core(spec))})
    results = synthesize_units(
        target, design.units(COMPONENTS), design, work / target.value, lambda stage: None, shared=True
    )
    row = {"point": point, "use": ("fit", "held out")[point % 2], "target": target.value, **values}
    for name, part in component_resources(target, results).items():
        row |= {f"{name}.{resource}": getattr(part, resource) for resource in RESOURCE_NAMES}
    return row


def read(table: Path) -> dict[int, dict[str, str]]:
    """Return the rows of a table by point; none if it is not there."""
    if not table.exists():
        return {}
    with table.open(newline="") as file:
        return {int(row["point"]): row for row in csv.DictReader(file)}


def errors(rows: dict[int, dict[str, str]]) -> Iterator[tuple[str, str, str, Resources, Resources]]:
    """Yield use, target, component, what was synthesized and what is estimated, for every component of every row."""
    for point, row in sorted(rows.items()):
        predicted = predicted_components(draw(point)[1])
        for name in dict.fromkeys(COMPONENTS.values()):
            found = Resources(**{resource: int(row[f"{name}.{resource}"]) for resource in RESOURCE_NAMES})
            yield row["use"], row["target"], name, found, predicted[name]


def check(rows: dict[int, dict[str, str]]) -> None:
    """Print per use, target and component at how many points hard blocks differ, and the errors of LUT and FF."""
    grouped: dict[tuple[str, str, str], list[tuple[Resources, Resources]]] = {}
    for use, target, name, found, estimate in errors(rows):
        grouped.setdefault((target, name, use), []).append((found, estimate))
    print(
        f"{'target':7s}{'component':20s}{'use':10s}{'points':>7s}{'blocks':>8s}{'LUT error %':>18s}{'FF error %':>18s}"
    )
    for (target, name, use), pairs in sorted(grouped.items()):
        wrong = sum(
            any(getattr(a, block) != getattr(b, block) for block in ("dsp", "bram36", "uram")) for a, b in pairs
        )
        ranges = []
        for resource in ("lut", "ff"):
            off = [
                100 * (getattr(b, resource) / getattr(a, resource) - 1) for a, b in pairs if getattr(a, resource)
            ]  # fmt: skip
            ranges.append(f"{min(off):+.0f} to {max(off):+.0f}" if off else "")
        print(f"{target:7s}{name:20s}{use:10s}{len(pairs):7d}{wrong:8d}{ranges[0]:>18s}{ranges[1]:>18s}")


def main() -> None:
    """Parse the command line, synthesize what is missing, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=40, help="points 0 to this one")
    parser.add_argument("--first", type=int, default=0, help="first point")
    parser.add_argument("--work", type=Path, default=Path("synthesis-points"), help="folder of what was synthesized")
    parser.add_argument("--check", action="store_true", help="compare the table with the estimate, synthesize nothing")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_suffix(".csv"))
    options = parser.parse_args()
    rows = read(options.output)
    if options.check:
        check(rows)
        return
    for point in range(options.first, options.points):
        if point in rows:
            continue
        begin = time.perf_counter()
        rows[point] = {key: str(value) for key, value in synthesize(point, options.work).items()}
        part = options.output.with_suffix(".part")
        with part.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows[number] for number in sorted(rows))
        part.replace(options.output)
        print(f"point {point}: {time.perf_counter() - begin:.0f} s", file=sys.stderr, flush=True)
    check(rows)


if __name__ == "__main__":
    main()
