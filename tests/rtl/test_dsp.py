"""Cascades of DSP48E2 and DSP58, and stages of MULT18X18D: the bench of the COMPUTE engine on the primitives' models
and on the netlist, and what synthesis makes of the array.
"""

import re
from collections.abc import Collection
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compute_cases import ComputeCase, random_fields
from compute_runs import SEED, modules, plain_fields, random_case, simulate
from synthesis import Netlist, cascade_links, cell_models, synthesize

from gossamer.arch.primitives import adder_dsps
from gossamer.arch.spec import Family
from gossamer.arch.target import LOW_LANE_BITS, Target, default_target, dot_segments, packed_stages, segment_problem
from gossamer.rtl.array.array import SparseArray
from gossamer.rtl.array.chain import Chain
from gossamer.rtl.array.shape import ArrayShape, ArrayShapeError
from gossamer.rtl.primitives import PRIMITIVES, model, primitive_models
from gossamer.rtl.testbench.simulate import SimulationFailed
from gossamer.rtl.verilog import VerilogModule, verilog_modules

SMALL = ArrayShape(
    group_size=4, chains=8, chain_length=2, lanes=2, weight_rows_per_cycle=1, vector_lanes=8, accumulator_entries=64,
    target=Target.XCUP,
)  # fmt: skip
LONGEST = replace(SMALL, chain_length=7)
"""As many stages as the low lane holds."""

NETLIST = replace(SMALL, group_size=8, chain_length=8, weight_rows_per_cycle=2, lanes=3)
"""Sums of 18 bits, a pair of lanes and an odd one, two segments."""

SEGMENTS = {count: replace(SMALL, chain_length=count, weight_rows_per_cycle=count) for count in (2, 3, 4, 5, 16)}
"""Up to four segments are added by two DSPs, more by groups of four and what adds the groups."""

VERSAL = {
    rows: replace(SMALL, chain_length=2 * rows, weight_rows_per_cycle=rows, target=Target.VERSAL) for rows in (1, 3, 5)
}
"""Two lanes in a DSP58; three segments in one; two groups of three, of which one segment is absent, and their adder."""

VERSAL_ARRAY = replace(VERSAL[3], chains=16, chain_length=12, lanes=4, vector_lanes=16)
VERSAL_ARRAYS = (
    (VERSAL_ARRAY, 3), (replace(VERSAL_ARRAY, weight_rows_per_cycle=2), 2),
    (replace(VERSAL_ARRAY, weight_rows_per_cycle=6), 3), (replace(VERSAL_ARRAY, group_size=8), 3),
    (replace(VERSAL_ARRAY, group_size=16), 3), (replace(VERSAL_ARRAY, chain_length=4, weight_rows_per_cycle=1), 2),
    (replace(VERSAL_ARRAY, chain_length=4, weight_rows_per_cycle=1, group_size=8), 2),
)  # fmt: skip
"""Arrays of docs/decisions/0024, and products of each DSP58 that multiplies; `pytest -m slow -s` prints the counts."""

VERSAL_NETLIST = replace(VERSAL[1], group_size=8, chain_length=8, weight_rows_per_cycle=4, lanes=1)
"""Two groups of two segments."""

DSPS_256 = replace(SMALL, chains=32, chain_length=4, lanes=4)

LUTS_PER_DSP = {4: 17, 8: 33, 16: 95}


def shape_name(value: object) -> str | None:
    if not isinstance(value, ArrayShape):
        return None
    return f"{value.group_size}-{value.chains}x{value.chain_length}x{value.lanes}-{value.weight_rows_per_cycle}"


def array_of(shape: ArrayShape) -> tuple[VerilogModule, ...]:
    return verilog_modules(SparseArray(shape))


def extremes(shape: ArrayShape, path: Path, activation: int, weight: int) -> None:
    """Write a case in which every product is the same extreme, dense and sparse."""
    case = ComputeCase(shape, np.random.default_rng(SEED))
    case.buffers[0][:], case.buffers[1][:] = activation, weight
    case.add(plain_fields(shape))
    case.add(plain_fields(shape, clear=0, slots=1, index_bits=2, steps=1, run_words=2 * shape.chain_length))
    value = int(np.int8(np.uint8(activation))) * int(np.int8(np.uint8(weight)))
    sums = case.sums[case.sums != 0]
    assert sums.size
    assert (sums % value == 0).all()
    assert (np.sign(sums) == np.sign(value)).all()
    case.read_back()
    case.save(str(path))


@pytest.mark.parametrize(
    ("target", "activation", "weight"),
    [
        pytest.param(target, *pair, marks=pytest.mark.slow if target is Target.VERSAL else ())
        for target in Target
        for pair in ((0x80, 0x80), (0x80, 0x7F), (0x7F, 0x80), (0x7F, 0x7F))
    ],
)
def test_extremes_fill_the_longest_segment(target: Target, activation: int, weight: int, tmp_path: Path) -> None:
    shape = replace(LONGEST, target=target)
    extremes(shape, tmp_path / "case.npz", activation, weight)
    simulate(modules(shape), tmp_path, "extremes", "instructions", tmp_path / "case.npz")


@pytest.mark.slow
def test_extremes_fill_dot_products(tmp_path: Path) -> None:
    """Nine bits of A hold every operand, and a group that lacks a segment adds nothing in its place."""
    for activation, weight in ((0x80, 0x80), (0x80, 0x7F)):
        extremes(VERSAL[5], tmp_path / "case.npz", activation, weight)
        simulate(modules(VERSAL[5]), tmp_path, f"extremes-{weight}", "instructions", tmp_path / "case.npz")


@pytest.mark.parametrize("count", [2, *(pytest.param(count, marks=pytest.mark.slow) for count in (4, 5))])
def test_extremes_fill_all_segments(count: int, tmp_path: Path) -> None:
    """Both halves of the adders reach their largest and smallest sums; five segments are four and one."""
    shape = replace(LONGEST, chain_length=7 * count, weight_rows_per_cycle=count)
    for activation, weight in ((0x80, 0x80), (0x80, 0x7F)):
        extremes(shape, tmp_path / "case.npz", activation, weight)
        simulate(modules(shape), tmp_path, f"extremes-{weight}", "instructions", tmp_path / "case.npz")


@pytest.mark.parametrize("count", [3, pytest.param(16, marks=pytest.mark.slow)])
def test_segments_are_added_in_as_many_cycles_as_in_fabric(count: int, tmp_path: Path) -> None:
    for lanes in (1, 2):
        shape = replace(SEGMENTS[count], lanes=lanes)
        random_case(shape, 20, tmp_path / "case.npz", salt=lanes)
        simulate(modules(shape), tmp_path, f"segments-{lanes}", "instructions", tmp_path / "case.npz")


@pytest.mark.parametrize("lanes", [1, 3])
def test_an_odd_lane_has_a_cascade_of_its_own(lanes: int, tmp_path: Path) -> None:
    shape = replace(LONGEST, lanes=lanes)
    random_case(shape, 20, tmp_path / "case.npz", salt=lanes)
    simulate(modules(shape), tmp_path, "odd", "instructions", tmp_path / "case.npz")


def test_lanes_stay_apart_up_to_the_limit_and_not_beyond() -> None:
    """All sums of extreme products, one after another as the cascade adds them, by arithmetic on integers."""
    corners = [a * w for a, w in product((-128, -1, 0, 1, 127), (-128, 127))]
    start, field = 1 << LOW_LANE_BITS - 1, 1 << LOW_LANE_BITS

    def fits(stages: int) -> bool:
        return all(0 <= start + stages * value < field for value in (min(corners), max(corners)))

    operand = 1 << 26
    assert -operand <= (-128 << LOW_LANE_BITS) - 128, "what the pre-adder holds"
    assert -operand > (-128 << LOW_LANE_BITS + 1) - 1, "it does not hold a wider field"
    limit = packed_stages()
    assert (limit, packed_stages(127 * 128), packed_stages(255 * 128)) == (7, 8, 4)
    assert fits(limit)
    assert not fits(limit + 1)
    random = np.random.default_rng(SEED)
    low, high, weight = (random.choice([-128, -127, -1, 0, 1, 127], (limit, 100_000)) for _ in range(3))
    packed = start + ((low + (high << LOW_LANE_BITS)) * weight).sum(axis=0)
    assert ((packed % field) - start == (low * weight).sum(axis=0)).all()
    assert (packed >> LOW_LANE_BITS == (high * weight).sum(axis=0)).all()


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (
            {"chain_length": 8},
            r"at most 7 stages on target xcup, not 8: .* 8 products .* reach 131072, more than 131071;",
        ),
        ({"chain_length": 16, "weight_rows_per_cycle": 2}, "at most 7 .*not 8.*; try 4,"),
        ({"chain_length": 21, "lanes": 1}, r"at most 20 .*not 21: a DSP cascade .*; try 3,"),
        ({"chain_length": 7}, None),
        ({"chain_length": 20, "lanes": 1}, None),
    ],
)
def test_segments_no_cascade_can_hold_are_refused(sizes: dict[str, int], message: str | None) -> None:
    rows = sizes.get("weight_rows_per_cycle", 1)
    shape = {"chain_length": sizes["chain_length"], "segments": rows, "lanes": sizes.get("lanes", 2)}
    problem = segment_problem(**shape, target=Target.XCUP)
    assert (problem is None) == (message is None)
    assert problem is None or re.search(message or "", problem)
    assert segment_problem(**shape, target=Target.ECP5) is None
    if message is not None:
        with pytest.raises(ArrayShapeError, match=r"`chain_length` must be at most \d+ x `weight_rows_per_cycle`"):
            replace(SMALL, **sizes)


@pytest.mark.parametrize(
    ("segments", "shared", "longest"), [(1, 1, 7), (2, 2, 20), (3, 3, 20), (4, 2, 20), (5, 3, 20), (8, 3, 20)]
)
def test_segments_share_a_dsp58_and_fill_no_field(segments: int, shared: int, longest: int) -> None:
    assert dot_segments(Target.VERSAL, segments) == shared
    assert dot_segments(Target.XCUP, segments) == 1
    for stages in (longest, longest + 1):
        shape = {"chain_length": segments * stages, "segments": segments, "lanes": 2, "target": Target.VERSAL}
        assert (segment_problem(**shape) is None) == (stages == longest)
    assert "; try 2," in str(segment_problem(chain_length=8, segments=1, lanes=2, target=Target.VERSAL))


def test_families_have_the_target_that_is_built_for_them() -> None:
    targets = {family: default_target(family) for family in Family}
    assert targets == {
        Family.ULTRASCALE_PLUS: Target.XCUP, Family.ECP5: Target.ECP5, Family.VERSAL: Target.VERSAL,
        Family.SERIES7: Target.GENERIC,
    }  # fmt: skip


def test_models_are_added_where_primitives_are_used_and_not_defined() -> None:
    array = array_of(NETLIST)
    assert [each.name for each in primitive_models(array)] == ["DSP48E2", "MUXF7"]
    assert [each.name for each in primitive_models((*array, model("MUXF7")))] == ["DSP48E2"]
    assert [each.name for each in primitive_models(array_of(VERSAL_NETLIST))] == ["DSP58"]
    assert primitive_models(array_of(replace(NETLIST, target=Target.GENERIC))) == ()
    for name in PRIMITIVES:
        assert re.search(rf"^module {name}\b", model(name).text, re.M)


# The netlist, on the same bench.


@pytest.fixture(scope="module")
def netlist(tmp_path_factory: pytest.TempPathFactory) -> Netlist:
    return synthesize(array_of(NETLIST), tmp_path_factory.mktemp("netlist"))


def netlist_modules(netlist: Netlist) -> tuple[VerilogModule, ...]:
    """Return the engine with its array replaced by the netlist."""
    engine, array = modules(NETLIST), {each.name for each in array_of(NETLIST)}
    rest = [each for each in engine if each.name not in array]
    return (*rest, VerilogModule(name="sparse_array", text=netlist.verilog), cell_models())


def test_the_netlist_passes_the_bench(netlist: Netlist, tmp_path: Path) -> None:
    """Dense, 2:4 and 2:8, with -128 among activations and weights."""
    print(f"GOSSAMER_SEED={SEED}")
    case = ComputeCase(NETLIST, np.random.default_rng([SEED, 8]))
    for pattern, positions in product((None, (2, 4), (2, 8)), ((1, 7), (3, 2))):
        case.add(random_fields(case, pattern, positions))
    assert (case.buffers[0] == 0x80).any()
    assert (case.buffers[1] == 0x80).any()
    case.read_back()
    case.save(str(tmp_path / "case.npz"))
    simulate(netlist_modules(netlist), tmp_path, "netlist", "instructions", tmp_path / "case.npz")
    extremes(NETLIST, tmp_path / "extremes.npz", 0x80, 0x80)
    simulate(netlist_modules(netlist), tmp_path, "extremes", "instructions", tmp_path / "extremes.npz")


@pytest.mark.slow
def test_the_netlist_of_dot_products_passes_the_bench(tmp_path: Path) -> None:
    netlist = synthesize(array_of(VERSAL_NETLIST), tmp_path / "netlist")
    check_dot_products(netlist, VERSAL_NETLIST)
    engine, array = modules(VERSAL_NETLIST), {each.name for each in array_of(VERSAL_NETLIST)}
    rest = [each for each in engine if each.name not in array]
    random_case(VERSAL_NETLIST, 10, tmp_path / "case.npz")
    sources = (*rest, VerilogModule(name="sparse_array", text=netlist.verilog), cell_models())
    simulate(sources, tmp_path, "netlist", "instructions", tmp_path / "case.npz")
    extremes(VERSAL_NETLIST, tmp_path / "extremes.npz", 0x80, 0x80)
    simulate(sources, tmp_path, "extremes", "instructions", tmp_path / "extremes.npz")


# What synthesis counts.


ADDERS = {1: (0, 0), 2: (1, 1), 3: (2, 1), 4: (2, 1), 5: (5, 3), 8: (5, 3), 16: (10, 5)}
"""DSPs that add so many segments of two sums, and cascades they form."""


def check_counts(netlist: Netlist, shape: ArrayShape) -> None:
    """One DSP per stage and pair of lanes, all but the first of each cascade fed by the one before, few LUTs; a DSP for
    two segments of two sums.
    """
    cascades = shape.chains * shape.weight_rows_per_cycle * ((shape.lanes + 1) // 2)
    dsps = cascades * shape.segment_stages
    adders, heads = (shape.chains * shape.lanes // 2 * count for count in ADDERS[shape.weight_rows_per_cycle])
    assert adders == adder_dsps(shape.chains * shape.lanes, shape.weight_rows_per_cycle)
    assert netlist.cells["DSP48E2"] == dsps + adders
    assert cascade_links(netlist) == (dsps + adders - cascades - heads, cascades + heads)
    bytes_selected = shape.chains * shape.chain_length * shape.lanes
    assert netlist.cells["MUXF7"] == bytes_selected * {4: 0, 8: 8, 16: 16}[shape.group_size]
    assert netlist.luts <= LUTS_PER_DSP[shape.group_size] * dsps
    assert netlist.cells["CARRY4"] == 0, "an adder in fabric"


LUTS_PER_BYTE_ALONE = {4: 8, 8: 24, 16: 40}
"""Without multiplexers behind the LUTs."""


def check_dot_products(netlist: Netlist, shape: ArrayShape) -> None:
    """One DSP58 for a stage of each group of segments, and lane; cascades as in `check_counts`. LUTs choose bytes, and
    two for each bit of the selections that are widened from indices in a cycle.
    """
    sums, groups = shape.chains * shape.lanes, shape.segment_groups
    dsps = sums * groups * shape.segment_stages
    adders, heads = (sums // 2 * count for count in ADDERS[groups])
    assert netlist.cells["DSP58"] == dsps + adders
    assert cascade_links(netlist) == (dsps + adders - sums * groups - heads, sums * groups + heads)
    assert netlist.cells["DSP48E2"] == netlist.cells["MUXF7"] == netlist.cells["CARRY4"] == 0
    selected = LUTS_PER_BYTE_ALONE[shape.group_size] * sums * shape.chain_length
    widened = shape.chains * shape.weight_rows_per_cycle * shape.select_bits
    assert selected <= netlist.luts <= selected + 2 * widened, netlist.cells


@pytest.mark.parametrize(
    ("shape", "products_per_dsp"),
    [
        (VERSAL[1], 2),
        (VERSAL[3], 3),
        pytest.param(VERSAL[5], 2.5, marks=pytest.mark.slow),
        *(pytest.param(shape, products, marks=pytest.mark.slow) for shape, products in VERSAL_ARRAYS),
    ],
    ids=shape_name,
)
def test_a_dsp58_takes_two_lanes_or_three_segments(shape: ArrayShape, products_per_dsp: float, tmp_path: Path) -> None:
    netlist = synthesize(array_of(shape), tmp_path)
    products = shape.chains * shape.chain_length * shape.lanes
    multipliers = netlist.cells["DSP58"] - adder_dsps(shape.chains * shape.lanes, shape.segment_groups)
    if shape.dot_segments > 1:
        check_dot_products(netlist, shape)
    else:
        cascades = shape.chains * shape.lanes // 2
        assert cascade_links(netlist) == (products // 2 - cascades, cascades)
        assert netlist.cells["DSP48E2"] == netlist.cells["MUXF7"] == netlist.cells["CARRY4"] == 0
    assert products / multipliers == products_per_dsp


@pytest.mark.parametrize(
    "shape",
    [
        pytest.param(DSPS_256, marks=pytest.mark.slow),
        replace(SMALL, chain_length=4, lanes=4),
        pytest.param(replace(SMALL, group_size=8, chain_length=4, lanes=4), marks=pytest.mark.slow),
        replace(SMALL, group_size=16, chain_length=4, vector_lanes=16),
        replace(SMALL, chains=16, chain_length=8, weight_rows_per_cycle=2),
        replace(SMALL, group_size=8, chain_length=8, weight_rows_per_cycle=2, lanes=4),
        pytest.param(
            replace(SMALL, group_size=16, chain_length=16, weight_rows_per_cycle=4, vector_lanes=16),
            marks=pytest.mark.slow,
        ),
        pytest.param(SEGMENTS[5], marks=pytest.mark.slow),
        pytest.param(replace(VERSAL_ARRAY, target=Target.XCUP), marks=pytest.mark.slow),
        pytest.param(replace(VERSAL_ARRAY, target=Target.XCUP, weight_rows_per_cycle=2), marks=pytest.mark.slow),
        pytest.param(replace(VERSAL_ARRAY, target=Target.XCUP, group_size=8), marks=pytest.mark.slow),
        pytest.param(replace(DSPS_256, group_size=8), marks=pytest.mark.slow),
        pytest.param(replace(DSPS_256, group_size=16, vector_lanes=16), marks=pytest.mark.slow),
        pytest.param(replace(SMALL, group_size=8, chains=32, chain_length=7), marks=pytest.mark.slow),
    ],
    ids=shape_name,
)
def test_the_whole_array_takes_few_luts(shape: ArrayShape, tmp_path: Path) -> None:
    check_counts(synthesize(array_of(shape), tmp_path), shape)


def test_a_chain_is_dsps_multiplexers_and_held_selections_only(tmp_path: Path) -> None:
    """With sums below 18 bits, not even an inverter."""
    shape = replace(SMALL, chain_length=3, lanes=3)
    netlist = synthesize(verilog_modules(Chain(shape)), tmp_path)
    assert netlist.cells == {"DSP48E2": 6, "LUT6": 3 * 3 * 8, "FDRE": 3 * shape.select_bits}
    assert cascade_links(netlist) == (4, 2)


# Mutants.

LOGIC_MUTANTS = {
    "rounding dropped": ("dsp_cascade", r"9'b100000101", "9'b000000101"),
    "lanes swapped": ("dsp_cascade", r"sums = \{(.*), (.*)\};", r"sums = {\2, \1};"),
    "weight not held": ("dsp_cascade", r"CEB2\(load_weight\[n\]\)", "CEB2(1'b1)"),
    "cascade cut": ("dsp_cascade", r"\.PCIN\(cascade\[48\*n \+: 48\]\)", ".PCIN(48'h0)"),
    "high lane unsigned": ("dsp_cascade", r"\{high\[8\*n \+ 7\],", "{1'b0,"),
    "second port not added": ("dsp_adder_4_16_18", r"9'b000001111", "9'b000000011"),
    "segments below not added": ("dsp_adder_4_16_18", r"9'b000011111", "9'b000001111"),
    "carry between two sums": ("dsp_adder_4_16_18", r'USE_SIMD\("TWO24"\)', 'USE_SIMD("ONE48")'),
    "segments a cycle early": ("dsp_adder_4_16_18", r"\.CREG\(n\)", ".CREG(0)"),
    "dot product without its middle": ("dot_cascade", r"operands\[16 \+ 8\*n \+: 8\]", "8'h0"),
    "one register of A": ("dot_cascade", r"AREG\(2\), \.ACASCREG\(2\)", "AREG(1), .ACASCREG(1)"),
    "weight not held in ECP5": ("registered_multiplier", r"CE1\(load_weight\)", "CE1(1'b1)"),
    "output register lost": ("registered_multiplier", r'OUTPUT_CLK\("CLK0"\)', 'OUTPUT_CLK("NONE")'),
    "bytes of a word swapped": ("byte_select", r"BLUT\(low\), \.ALUT\(high\)", "BLUT(high), .ALUT(low)"),
}
UNCOVERED = {
    "SIMD": ("dsp_cascade", r'USE_SIMD\("ONE48"\)', 'USE_SIMD("TWO24")', "SIMD needs USE_MULT of NONE"),
    "quarters": ("dsp_adder_4_16_18", r'USE_SIMD\("TWO24"\)', 'USE_SIMD("FOUR12")', "neither SIMD in quarters"),
    "carry": ("dsp_adder_4_16_18", r"\.CARRYIN\(1'b0\)", ".CARRYIN(1'b1)", "only sums without carry in SIMD"),
    "logic": ("dsp_cascade", r"ALUMODE\(4'b0000\)", "ALUMODE(4'b0100)", "no logic functions"),
    "pre-adder of a dot product": ("dot_cascade", r'AMULTSEL\("A"\)', 'AMULTSEL("AD")', "no pre-adder in INT8"),
    "bypass": ("registered_multiplier", r'BYPASS\("DISABLED"\)', 'BYPASS("ENABLED")', "no bypass"),
}
LINK = r"\.PCIN\(cascade\[48\*n \+: 48\]\)"
COUNT_MUTANTS = {
    "fabric adder in a link": ("dsp_cascade", r"\.PCIN\((cascade\[48\*n \+: 48\])\)", r".PCIN(\1 + 48'h1)", "PCOUT"),
    "PCOUT used in fabric": ("dsp_cascade", r"assign sums = \{", r"\g<0>cascade[95:48] ^ ", "PCOUT reaches pin"),
    "cascade cut": ("dsp_cascade", LINK, ".PCIN(48'h0)", r"assert 8 == \(16 \+ 0\)"),
    "dot cascade cut": ("dot_cascade", LINK.replace("48", "58"), ".PCIN(58'h0)", r"assert 16 == \(32 \+ 0\)"),
    "link between adders cut": ("dsp_adder_4_16_18", LINK, ".PCIN(48'h0)", r"assert 24 == \(32 \+ 16\)"),
}
"""Synthesis removes what stands before a cut: half of the stages, and half of the adders with the stages they add."""


def mutated(sources: tuple[VerilogModule, ...], name: str, pattern: str, replacement: str) -> tuple[VerilogModule, ...]:
    """Return the modules with one place of one of them changed."""
    changed, total = [], 0
    for each in sources:
        text = each.text
        if each.name == name:
            text, count = re.subn(pattern, replacement, text)
            total += count
        changed.append(VerilogModule(name=each.name, text=text))
    assert total == 1, f"{name}: {pattern} must match once, not {total} times"
    return tuple(changed)


def _slow_in(slow: Collection[str], name: str) -> Any:
    return pytest.param(name, marks=pytest.mark.slow if name in slow else ())


def shape_of(module: str) -> ArrayShape:
    if module.startswith("dsp_adder"):
        return SEGMENTS[4]
    if module == "dot_cascade":
        return VERSAL[3]
    return SMALL if module == "dsp_cascade" else replace(SMALL, target=Target.ECP5)


SLOW_MUTANTS = (
    "lanes swapped", "high lane unsigned", "segments below not added", "carry between two sums", "one register of A",
    "output register lost", "logic", "quarters",
)  # fmt: skip
"""Faults whose module is checked with another fault by a test that is not slow."""


@pytest.mark.parametrize("mutant", [_slow_in(SLOW_MUTANTS, mutant) for mutant in LOGIC_MUTANTS])
def test_mutants_fail_the_bench(mutant: str, tmp_path: Path) -> None:
    name, pattern, replacement = LOGIC_MUTANTS[mutant]
    shape = shape_of(name)
    random_case(shape, 10, tmp_path / "case.npz")
    changed = mutated(modules(shape), name, pattern, replacement)
    with pytest.raises(SimulationFailed, match="sums are wrong"):
        simulate(changed, tmp_path, "mutant", "instructions", tmp_path / "case.npz")


@pytest.mark.parametrize("use", [_slow_in(SLOW_MUTANTS, use) for use in UNCOVERED])
def test_models_stop_at_uses_they_do_not_cover(use: str, tmp_path: Path) -> None:
    name, pattern, replacement, message = UNCOVERED[use]
    shape = shape_of(name)
    random_case(shape, 1, tmp_path / "case.npz")
    changed = mutated(modules(shape), name, pattern, replacement)
    with pytest.raises(SimulationFailed, match=message):
        simulate(changed, tmp_path, use, "instructions", tmp_path / "case.npz")


@pytest.mark.parametrize("mutant", COUNT_MUTANTS)
def test_mutants_fail_the_counts(mutant: str, tmp_path: Path) -> None:
    name, pattern, replacement, message = COUNT_MUTANTS[mutant]
    shape = shape_of(name)
    netlist = synthesize(mutated(array_of(shape), name, pattern, replacement), tmp_path)
    with pytest.raises(AssertionError, match=message):
        (check_dot_products if shape.dot_segments > 1 else check_counts)(netlist, shape)
