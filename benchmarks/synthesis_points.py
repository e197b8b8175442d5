"""Synthesize configs drawn at random and write what each component takes: what the resource model is held against.

    python benchmarks/synthesis_points.py --points 40 --work DIR -o benchmarks/synthesis_points.csv

Rows whose Verilog has not changed are not synthesized again, and neither are modules that points share (`--work` keeps
them): the command goes on where it was stopped. Points of even number are for fitting the coefficients of
arch/logic.py, those of odd number are held out: the column `use` says so. `--check` synthesizes nothing and prints how
far the estimate is off on either kind; benchmarks/fit_resources.py fits the coefficients.
"""

import argparse
import csv
import hashlib
import random
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from unittest.mock import patch

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
UNLIMITED = 10**9
"""Of every resource: points are sizes, whatever device they fit."""

ALTERNATIVES = {"sizes": 6, "ports": 5}
"""Of each group of axes, for either half of a target's points: several points share them, and what was synthesized for
them. Every pair comes up once in 30 points of a half. The halves have no sizes in common."""

FINGERPRINT = 0x5A3C96E10F8B7D24
"""Of every point, instead of its own: a constant in `control`, which is then the same for many points."""

SIZES: dict[str, tuple[object, ...]] = {
    "array.chains": (8, 16, 24, 32),
    "array.chain_length": (2, 4, 6, 8, 16),
    "array.lanes": (1, 2, 3, 4),
    "array.group_size": (4, 8, 16),
    "array.weight_rows_per_cycle": (1, 2, 4),
    "vector.lanes": (4, 8, 16, 32),
    "buffers.activation.capacity_bytes": (16384, 32768, 65536, 131072),
    "buffers.weight.capacity_bytes": (4096, 8192, 16384, 32768),
    "buffers.index.capacity_bytes": (1536, 3072, 6144, 12288),
    "buffers.accumulator.capacity_bytes": (8192, 16384, 49152, 65536),
    "buffers.parameter.capacity_bytes": (2048, 4096, 16384),
}
PORTS: dict[str, tuple[object, ...]] = {
    "axi.ports": (1, 1, 2, 4),
    "axi.data_bits": (32, 64, 128, 256),
    "axi.burst_beats": (8, 16, 32),
    "axi.max_outstanding": (4, 8, 16, 32),
    "dispatch.queue_depth": (2, 4, 8, 16),
}
EVEN = ("array.chain_length", "array.lanes", "array.group_size", "axi.ports", "axi.data_bits")
"""Axes of which the alternatives of a half have every value about equally often; the others are drawn."""

BUFFERS = ("activation", "weight", "index", "accumulator", "parameter")
MEMORIES = {
    Target.XCUP: ("bram36", "bram36", "uram288", "lutram"), Target.ECP5: ("dp16kd", "dp16kd", "dp16kd", "lutram")
}  # fmt: skip
LUTRAM_BYTES_LIMIT = 8192
"""Largest buffer made of LUTs: synthesis of larger ones takes long, and counts the same thing again and again."""

PARTS = tuple(dict.fromkeys(COMPONENTS.values()))
AXES = (*SIZES, *PORTS, *(f"buffers.{name}.memory" for name in BUFFERS))
COLUMNS = (
    "point", "use", "target", "verilog", *AXES, *(f"{part}.{name}" for part in PARTS for name in RESOURCE_NAMES)
)  # fmt: skip

Row = Mapping[str, str]


def configuration(target: Target, values: Mapping[str, object]) -> SparseAccelerator:
    """Return the config of a point. Raises ConfigError if there is none."""
    unlimited = {f"device.{name}": UNLIMITED for name in RESOURCE_NAMES if name != "uram" or target is Target.XCUP}
    settings = [f"{key}={value}" for key, value in {**unlimited, **values}.items()]
    return require_hardware(load_config(BASES[target], settings), BASES[target], target)


def alternative(target: Target, half: str, group: str, number: int) -> dict[str, object]:
    """Return a value of every axis of a group, which with the rest as in the base make a legal config."""
    axes = {"sizes": SIZES, "ports": PORTS}[group]
    even: dict[str, object] = {}
    for axis in (axis for axis in EVEN if axis in axes):
        order = list(axes[axis])
        random.Random(f"{half} {axis}").shuffle(order)
        even[axis] = order[number % len(order)]
    rng = random.Random(f"{half} {group} {number}")
    plain: dict[str, object] = {f"buffers.{name}.memory": MEMORIES[target][0] for name in BUFFERS}
    while True:
        values = {axis: rng.choice(choices) for axis, choices in axes.items()} | even
        try:
            configuration(target, {**plain, "axi.ports": 1, **values})
            return values
        except ConfigError:
            continue


def draw(point: int) -> tuple[str, Target, dict[str, object]]:
    """Return use, target and values of a point; the same for the same number."""
    use, target = ("fit", "held out")[point % 2], (Target.XCUP, Target.ECP5)[point // 2 % 2]
    values: dict[str, object] = {}
    for group, count in ALTERNATIVES.items():
        values |= alternative(target, f"{target.value} {use}", group, point // 4 % count)
    rng = random.Random(point)
    for name in BUFFERS:
        capacity = values[f"buffers.{name}.capacity_bytes"]
        assert isinstance(capacity, int)
        small = capacity <= LUTRAM_BYTES_LIMIT
        values[f"buffers.{name}.memory"] = rng.choice([k for k in MEMORIES[target] if small or k != "lutram"])
    return use, target, values


def synthesize(point: int, work: Path, workers: int | None, known: Row | None) -> dict[str, str] | None:
    """Return the row of a point, None if `known` is a row of the same Verilog."""
    use, target, values = draw(point)
    with patch("gossamer.rtl.control.control.config_number", return_value=FINGERPRINT):
        core = Core(configuration(target, values), target)
        files = {module.name: module.text for module in verilog_modules(core)}
    verilog = hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()[:16]
    if known is not None and known["verilog"] == verilog:
        return None
    design = Design(top="gossamer_core", files=files)
    results = synthesize_units(
        target, design.units(COMPONENTS), design, work / target.value, lambda stage: None, shared=True,
        workers=workers,
    )  # fmt: skip
    row = {"point": point, "use": use, "target": target.value, "verilog": verilog, **values}
    for name, part in component_resources(target, results).items():
        row |= {f"{name}.{resource}": getattr(part, resource) for resource in RESOURCE_NAMES}
    return {key: str(value) for key, value in row.items()}


def read(table: Path) -> dict[int, dict[str, str]]:
    """Return the rows of a table by point; none if it is not there, or has other columns."""
    if not table.exists():
        return {}
    with table.open(newline="") as file:
        reader = csv.DictReader(file)
        rows = {int(row["point"]): row for row in reader}
        return rows if tuple(reader.fieldnames or ()) == COLUMNS else {}


def write(table: Path, rows: Mapping[int, Row]) -> None:
    """Write a table as a whole."""
    part = table.with_suffix(".part")
    with part.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows[number] for number in sorted(rows))
    part.replace(table)


def found(row: Row) -> dict[str, Resources]:
    """Return what each component of a row was synthesized to."""
    return {
        part: Resources(**{name: int(row[f"{part}.{name}"]) for name in RESOURCE_NAMES}) for part in PARTS
    }  # fmt: skip


def estimated(row: Row) -> dict[str, Resources]:
    """Return the estimate of each component of a row."""
    target = Target(row["target"])
    return predicted_components(configuration(target, {axis: row[axis] for axis in AXES}))


def check(rows: Mapping[int, Row]) -> None:
    """Print per target, component and use at how many points hard blocks differ, and the errors of LUT and FF."""
    grouped: dict[tuple[str, str, str], list[tuple[Resources, Resources]]] = {}
    for row in rows.values():
        truth, estimate = found(row), estimated(row)
        pairs = [(name, truth[name], estimate[name]) for name in PARTS]
        total = ("total", sum(truth.values(), Resources()), sum(estimate.values(), Resources()))
        for name, is_there, is_said in (*pairs, total):
            grouped.setdefault((row["target"], name, row["use"]), []).append((is_there, is_said))
    print(
        f"{'target':7s}{'component':20s}{'use':10s}{'points':>6s}{'blocks':>7s}{'LUT error %':>17s}{'FF error %':>17s}"
    )
    for (target, name, use), found_and_said in grouped.items():
        ranges = [" to ".join(f"{error:+.1f}" for error in _extremes(found_and_said, what)) for what in ("lut", "ff")]
        wrong = sum(any(getattr(a, n) != getattr(b, n) for n in RESOURCE_NAMES[:3]) for a, b in found_and_said)
        print(f"{target:7s}{name:20s}{use:9s}{len(found_and_said):7d}{wrong:7d}{ranges[0]:>17s}{ranges[1]:>17s}")


def _extremes(pairs: list[tuple[Resources, Resources]], resource: str) -> Iterator[float]:
    """Yield the smallest and the largest error in percent, where there is something."""
    errors = [
        100 * (getattr(said, resource) / getattr(there, resource) - 1)
        for there, said in pairs if getattr(there, resource)
    ]  # fmt: skip
    if errors:
        yield from (min(errors), max(errors))


def main() -> None:
    """Parse the command line, synthesize what is missing, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=40, help="points 0 to this one, without it")
    parser.add_argument("--first", type=int, default=0, help="first point")
    parser.add_argument("--work", type=Path, default=Path("synthesis-points"), help="folder of what was synthesized")
    parser.add_argument("--workers", type=int, help="modules synthesized at a time; absent: as many as processors")
    parser.add_argument("--check", action="store_true", help="compare the table with the estimate, synthesize nothing")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_suffix(".csv"))
    options = parser.parse_args()
    rows = read(options.output)
    for point in range(options.first, 0 if options.check else options.points):
        begin = time.perf_counter()
        row = synthesize(point, options.work, options.workers, rows.get(point))
        if row is not None:
            rows[point] = row
            write(options.output, rows)
            print(f"point {point}: {time.perf_counter() - begin:.0f} s", file=sys.stderr, flush=True)
    check(rows)


if __name__ == "__main__":
    main()
