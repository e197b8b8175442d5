"""The logic estimate: against synthesized configs it was not fitted to, and its counts against brute force."""

import importlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from gossamer.arch.logic import _place, _spread, _turn, logic_demand
from gossamer.arch.logic_coefficients import FLIP_FLOP_COEFFICIENTS, LUT_COEFFICIENTS, MEANING
from gossamer.arch.resources import Resources
from gossamer.arch.spec import Family
from gossamer.arch.target import Target

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

points = importlib.import_module("synthesis_points")
fit_resources = importlib.import_module("fit_resources")

LUT_BOUND_PCT = 10.0
FF_BOUND_PCT = 10.0
"""Of the total of every config held out."""

POINTS_WANTED = 40

POINTS = points.read(BENCHMARKS / "synthesis_points.csv")
HELD_OUT = {number: row for number, row in POINTS.items() if row["use"] == "held out"}


def error_pct(found: int, estimate: int) -> float:
    return 100 * (estimate / found - 1)


@pytest.mark.parametrize("number", HELD_OUT)
def test_configs_held_out_take_what_is_estimated(number: int) -> None:
    row = HELD_OUT[number]
    found, estimate = points.found(row), points.estimated(row)
    for part in points.PARTS:
        for block in ("dsp", "bram36", "uram"):
            assert getattr(estimate[part], block) == getattr(found[part], block), (part, block)
    totals = [sum(parts.values(), Resources()) for parts in (found, estimate)]
    assert abs(error_pct(totals[0].lut, totals[1].lut)) <= LUT_BOUND_PCT
    assert abs(error_pct(totals[0].ff, totals[1].ff)) <= FF_BOUND_PCT


@pytest.mark.parametrize("part", ["array", "accumulator", "activation buffer", "weight buffer", "index buffer"])
def test_registers_that_are_counted_are_not_fitted(part: str) -> None:
    """Flip-flops that follow from the RTL's declarations: within 2 %, at every point, without a coefficient."""
    for number, row in POINTS.items():
        demand = logic_demand(points.configuration(Target(row["target"]), {axis: row[axis] for axis in points.AXES}))
        assert not demand[part].ff_of
        assert abs(error_pct(points.found(row)[part].ff, demand[part].ff)) <= 2, number


def test_the_table_has_both_targets_in_both_halves_and_no_config_in_two() -> None:
    for target in fit_resources.FAMILIES:
        assert {row["use"] for row in POINTS.values() if row["target"] == target} == {"fit", "held out"}
    sizes = {use: {tuple(row[axis] for axis in points.SIZES) for row in POINTS.values() if row["use"] == use}
             for use in ("fit", "held out")}  # fmt: skip
    assert not sizes["fit"] & sizes["held out"]
    for number, row in POINTS.items():
        use, target, values = points.draw(number)
        assert (use, target.value) == (row["use"], row["target"])
        assert {key: str(value) for key, value in values.items()} == {key: row[key] for key in values}


def test_the_table_is_complete_and_half_of_it_is_held_out() -> None:
    assert len(POINTS) >= POINTS_WANTED
    assert 2 * len(HELD_OUT) == len(POINTS)


def test_the_coefficients_are_those_of_the_table() -> None:
    """Fitting again gives what is committed, to the digits that the algorithm may leave open."""
    again = fit_resources.fitted(POINTS)
    for resource, committed in (("lut", LUT_COEFFICIENTS), ("ff", FLIP_FLOP_COEFFICIENTS)):
        for column, target in enumerate(fit_resources.FAMILIES):
            values = {quantity: pair[column] for quantity, pair in committed.items()}
            assert again[resource][target] == pytest.approx(values, rel=2e-3, abs=1e-6)


def test_every_coefficient_says_what_it_is_of_and_is_used() -> None:
    used: set[str] = set()
    for row in POINTS.values():
        spec = points.configuration(Target(row["target"]), {axis: row[axis] for axis in points.AXES})
        for demand in logic_demand(spec).values():
            used |= demand.lut_of.keys() | demand.ff_of.keys()
    assert used == set(MEANING) == LUT_COEFFICIENTS.keys()
    assert FLIP_FLOP_COEFFICIENTS.keys() <= used


def sources(units: int, shifts: Sequence[int], modulo: int | None) -> Iterator[tuple[int, set[int]]]:
    """Yield every output of a shift or rotation with the inputs it can show."""
    reach: dict[int, set[int]] = {unit: {unit} for unit in range(units)}
    for shift in shifts:
        shifted: dict[int, set[int]] = {}
        for place, inputs in reach.items():
            for to in (place, place + shift):
                shifted.setdefault(to if modulo is None else to % modulo, set()).update(inputs)
        reach = shifted
    yield from reach.items()


@pytest.mark.parametrize("units", [1, 4, 7, 8, 9, 32])
@pytest.mark.parametrize("levels", [1, 2, 3, 5])
def test_levels_of_a_shift_by_brute_force(units: int, levels: int) -> None:
    """A LUT4 for each output of each level that more than one input reaches; in the last, not for a lone one."""
    total, reached = 0, units
    for level in range(levels):
        pairs = {place: {place, place - (1 << level)} & set(range(reached)) for place in range(reached + (1 << level))}
        total += sum(1 for inputs in pairs.values() if level < levels - 1 or len(inputs) > 1)
        reached += 1 << level
    assert _spread(Family.ECP5, units, levels) == total
    assert len(list(sources(units, [1 << level for level in range(levels)], None))) == reached


@pytest.mark.parametrize(("units", "word", "banks"), [(8, 8, 2), (15, 8, 2), (19, 16, 2), (31, 8, 4), (64, 8, 8)])
def test_rotations_of_few_units_by_brute_force(units: int, word: int, banks: int) -> None:
    """What an output can show: of so many inputs it chooses; one alone needs no LUT if one bit says whether it does."""
    shifts = [word << level for level in range((banks - 1).bit_length())]
    for family in (Family.ECP5, Family.ULTRASCALE_PLUS):
        levels = _turn(family, 1, len(shifts))
        total = 0
        for _, inputs in sources(units, shifts, word * banks):
            if len(inputs) > 1:
                total += min(levels, len(inputs) - 1)
            elif inputs and banks > 2:
                total += 1
        assert _place(family, units, word, banks) == total
