"""Fit the coefficients of the logic estimate to the points of the table that are for it, and write them to arch/.

    python benchmarks/fit_resources.py
    python benchmarks/fit_resources.py --print

Run it when benchmarks/synthesis_points.csv has been made again. Least squares with no coefficient below 0 (Lawson and
Hanson's algorithm in scipy), of each component's error relative to what was synthesized; quantities that two components
have in common share a coefficient. Points held out are only looked at afterwards: how far the estimate is off there is
written beside the coefficients.
"""

import argparse
import re
from collections.abc import Mapping
from math import ceil
from pathlib import Path

import numpy as np
from scipy.optimize import nnls
from synthesis_points import AXES, PARTS, Row, configuration, found, read

from gossamer.arch import logic_coefficients
from gossamer.arch.logic import logic_demand
from gossamer.arch.logic_coefficients import MEANING
from gossamer.arch.target import Target

NEGLIGIBLE = 300
"""LUTs or flip-flops of a component below which its relative error counts less."""

DIGITS = 4
"""Significant digits that are kept."""

STRUCTURAL = frozenset({"row", "walker", "half", "view", "activation_read", "activation_write", "window", "deep"})
PRIOR = 0.1
"""Quantities that are LUTs already, whose coefficients stay near 1 where the points say little; and how much that
counts, beside the errors of components."""

TABLES = {"lut": "LUT_COEFFICIENTS", "ff": "FLIP_FLOP_COEFFICIENTS"}

FAMILIES = (Target.XCUP, Target.ECP5)
"""In the order of the pairs in arch/logic_coefficients.py."""


def fit(rows: Mapping[int, Row], resource: str, target: Target) -> dict[str, float]:
    """Return the coefficients of "lut" or "ff" on a target, by quantity."""
    equations: list[dict[str, float]] = []
    wanted: list[float] = []
    for row in rows.values():
        if row["use"] != "fit" or row["target"] != target:
            continue
        demands = logic_demand(configuration(target, {axis: row[axis] for axis in AXES}))
        truth = found(row)
        for part in PARTS:
            demand = demands.get(part)
            quantities = getattr(demand, f"{resource}_of", None)
            if demand is None or not quantities:
                continue
            there = getattr(truth[part], resource)
            weight = 1 / (there + NEGLIGIBLE)
            equations.append({name: weight * quantity for name, quantity in quantities.items()})
            wanted.append(weight * (there - getattr(demand, resource)))
    names = [name for name in MEANING if any(name in equation for equation in equations)]
    if not names:
        return {}
    matrix = np.array([[equation.get(name, 0.0) for name in names] for equation in equations])
    scale = np.maximum(np.abs(matrix).max(axis=0), 1e-12)
    # As if a component made of nothing else had been synthesized and had taken as many LUTs as the structure says.
    expected = np.array([name in STRUCTURAL for name in names]) * PRIOR
    values, _ = nnls(np.vstack([matrix / scale, np.diag(expected)]), np.concatenate([wanted, expected * scale]))
    return {name: float(f"{value:.{DIGITS}g}") for name, value in zip(names, values / scale, strict=True)}


def held_out(rows: Mapping[int, Row], coefficients: Mapping[str, Mapping[Target, Mapping[str, float]]]) -> list[str]:
    """Return the lines that say at how many points held out, and how far, LUTs and flip-flops are off in total."""
    errors: dict[str, list[float]] = {resource: [0.0] for resource in coefficients}
    others = [row for row in rows.values() if row["use"] != "fit"]
    for row in others:
        target = Target(row["target"])
        demands = logic_demand(configuration(target, {axis: row[axis] for axis in AXES})).values()
        for resource, columns in coefficients.items():
            there = sum(getattr(part, resource) for part in found(row).values())
            said = sum(getattr(demand, resource) for demand in demands)
            said += sum(
                columns[target].get(name, 0.0) * quantity
                for demand in demands for name, quantity in getattr(demand, f"{resource}_of").items()
            )  # fmt: skip
            errors[resource].append(abs(100 * (said / there - 1)))
    worst = {resource: ceil(10 * max(each)) / 10 for resource, each in errors.items()}
    return [f"HELD_OUT_POINTS, HELD_OUT_LUT_PCT, HELD_OUT_FF_PCT = {len(others)}, {worst['lut']}, {worst['ff']}"]


def fitted(rows: Mapping[int, Row]) -> dict[str, dict[Target, dict[str, float]]]:
    """Return the coefficients by resource, target and quantity."""
    return {resource: {target: fit(rows, resource, target) for target in FAMILIES} for resource in TABLES}


def text(rows: Mapping[int, Row]) -> str:
    """Return the fitted part of arch/logic_coefficients.py."""
    lines = []
    coefficients = fitted(rows)
    for resource, name in TABLES.items():
        columns = list(coefficients[resource].values())
        lines.append(f"{name}: dict[str, tuple[float, float]] = {{")
        for quantity in (each for each in MEANING if any(each in column for column in columns)):
            pair = ", ".join(str(column.get(quantity, 0.0)) for column in columns)
            lines.append(f'    "{quantity}": ({pair}),')
        lines.append("}")
    return "\n".join([*lines, *held_out(rows, coefficients)]) + "\n"


def main() -> None:
    """Parse the command line, fit, print or write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, default=Path(__file__).with_name("synthesis_points.csv"))
    parser.add_argument("--print", action="store_true", help="print the coefficients, write nothing")
    options = parser.parse_args()
    lines = text(read(options.table))
    if options.print:
        print(lines, end="")
        return
    module = Path(logic_coefficients.__file__)
    whole = re.sub(
        r"(?<=fit_resources.py.\n).*?(?=# As far as here.\n)", lambda _: lines, module.read_text(), count=1, flags=re.S
    )
    module.write_text(whole)


if __name__ == "__main__":
    main()
