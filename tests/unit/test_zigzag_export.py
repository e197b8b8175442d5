"""The equivalent hardware zigzag-dse is given: sizes, unrolling and loops against the config and our closed forms."""

import importlib
import sys
from dataclasses import replace
from math import prod
from pathlib import Path

import pytest

from gossamer.arch.accumulator import tile_entries
from gossamer.arch.config import load_config
from gossamer.arch.energy import energy_table
from gossamer.arch.spec import SparseAccelerator
from gossamer.arch.timing import ceil_div
from gossamer.dataflow.mapping import ConvMapping
from gossamer.exports import zigzag
from gossamer.mapper.tiling import Space, chip_numbers

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))


zigzag_import = importlib.import_module("zigzag_import")
resnet18_layers = importlib.import_module("resnet18_layers")
mapping_random = importlib.import_module("mapping_random")

CONFIGS = ("u280-sparse", "kv260-edge", "ecp5-tiny")


def config(name: str) -> SparseAccelerator:
    spec = load_config(name)
    assert isinstance(spec, SparseAccelerator)
    return spec


def ports(memory) -> dict[str, int]:
    """Return bits per cycle by operand and direction."""
    return {name: port["bandwidth_max"] for port in memory["ports"] for name in port["allocation"]}


@pytest.mark.parametrize("name", CONFIGS)
def test_sizes_and_widths_are_those_of_the_config(name: str) -> None:
    spec = config(name)
    array, buffers = spec.array, spec.buffers
    found = zigzag.accelerator(spec)
    assert found["operational_array"]["sizes"] == [array.chains, array.chain_length, array.lanes]
    memories = found["memories"]
    assert memories["weight_buffer"]["size"] == 8 * buffers.weight.capacity_bytes
    halves = memories["activation_in"]["size"] + memories["activation_out"]["size"]
    assert halves == 8 * buffers.activation.capacity_bytes
    # Two copies of a tile, one in each half of the accumulator.
    assert memories["accumulator"]["size"] // 2 // 32 // array.chains == tile_entries(spec)
    assert memories["weight_register"]["served_dimensions"] == ["D3"]
    assert ports(memories["weight_buffer"])["I2, tl"] == 8 * array.chains * array.weight_rows_per_cycle
    assert ports(memories["accumulator"])["O, fl"] == 32 * array.chains * array.lanes
    assert ports(memories["activation_out"])["O, fl"] == 8 * spec.vector.lanes
    for memory, port in (("activation_in", "I1, fh"), ("weight_buffer", "I2, fh"), ("activation_out", "O, th")):
        assert ports(memories[memory])[port] == ports(memories["off_chip"])["I1, tl"] <= 8 * spec.axi.row_bytes


def test_u280_by_hand() -> None:
    """What the documentation says: 8 ports of 256 bits, 2 + 1 MiB for LOAD and VECTOR, URAM at 2.6 pJ per byte read."""
    memories = zigzag.accelerator(config("u280-sparse"))["memories"]
    assert ports(memories["off_chip"])["I2, tl"] == 2048
    assert [memories[name]["size"] >> 23 for name in ("weight_buffer", "accumulator")] == [4, 4]
    assert [memories[name]["size"] >> 23 for name in ("activation_in", "activation_out")] == [2, 1]
    assert memories["activation_in"]["r_cost"] == pytest.approx(2.6 * 4096 / 8)
    assert memories["off_chip"]["r_cost"] == pytest.approx(31.2 * 256)
    table = energy_table()
    assert zigzag.mac_pj(config("u280-sparse")) == pytest.approx(
        table.mac_int8.pj + table.select_byte.pj + 8 * table.chain_hop.pj
    )


@pytest.mark.parametrize(
    ("name", "chains", "stages", "lanes"),
    [
        ("conv1", 64, [("C", 1), ("FX", 7)], [("OX", 4)]),
        ("conv2_1a", 64, [("C", 8), ("FX", 2)], [("OX", 4)]),
        ("conv3_1b", 128, [("C", 16)], [("OX", 4)]),
        ("conv4_1b", 128, [("C", 16)], [("OX", 2), ("OY", 2)]),
        ("conv5_1b", 128, [("C", 16)], [("OX", 4)]),
        ("fc", 128, [("C", 16)], [("OX", 1)]),
    ],
)
def test_unrolling(name: str, chains: int, stages: list[tuple[str, int]], lanes: list[tuple[str, int]]) -> None:
    spec = config("u280-sparse")
    shape = resnet18_layers.resnet18_shapes(spec)[name]
    assert zigzag.unrolling(shape, spec) == {"D1": [("K", chains)], "D2": stages, "D3": lanes}


def array_cycles(mapping: ConvMapping, spec: SparseAccelerator) -> int:
    """Return the cycles of all COMPUTEs without fill: steps x folds of kernel columns and words x positions."""
    return sum(
        split.rows * ceil_div(split.columns * split.words, spec.array.chain_length) * mapping.shape.steps
        * ceil_div(tile.rows * tile.columns, spec.array.lanes)
        for tile in mapping.tiles()
        for block in range(len(mapping.shape.blocks))
        for split in mapping.splits(block)
    )  # fmt: skip


@pytest.mark.parametrize("name", ["u280-sparse", "kv260-edge"])
def test_the_loops_of_a_mapping_are_the_cycles_of_its_computes(name: str) -> None:
    spec = config(name)
    seen = refused = 0
    for layer, shape in resnet18_layers.resnet18_shapes(spec).items():
        space, whole = Space(shape, chip_numbers(spec)), dict(zip(*sizes(shape), strict=True))
        across = {dim: size for loops in zigzag.unrolling(shape, spec).values() for dim, size in loops}
        for number in range(0, len(space.choices), max(1, len(space.choices) // 400)):
            mapping = space.mapping(number)
            try:
                loops = zigzag.ordering(mapping, spec)
            except zigzag.NotExpressible:
                refused += 1
                continue
            for dim, size in whole.items():
                turns = prod(turns for loop, turns in loops if loop == dim)
                assert turns == ceil_div(size, across.get(dim, 1)), (layer, dim)
            assert all(turns > 1 for _, turns in loops)  # zigzag stumbles over loops of one turn
            cycles = prod(turns for _, turns in loops)
            x, y = across.get("OX", 1), across.get("OY", 1)
            if any(length % x for length in (shape.out_columns, mapping.tile_columns)) or any(
                length % y for length in (shape.out_rows, mapping.tile_rows)
            ):  # lanes of ours go on in the next row of a tile
                assert cycles >= array_cycles(mapping, spec), layer
            else:
                assert cycles == array_cycles(mapping, spec), layer
                seen += 1
    assert seen > 50
    assert refused > 50


def sizes(shape) -> tuple[list[str], list[int]]:
    described = zigzag.layer("layer", shape)
    return described["loop_dims"], described["loop_sizes"]


def test_padding_reaches_the_last_window() -> None:
    spec = config("u280-sparse")
    for shape in resnet18_layers.resnet18_shapes(spec).values():
        described = zigzag.layer("layer", shape)
        (left, right), (top, bottom) = described["padding"]
        for out, kernel, stride, length, low, high in (
            (shape.out_columns, shape.kernel[1], shape.stride[1], shape.columns, left, right),
            (shape.out_rows, shape.kernel[0], shape.stride[0], shape.rows, top, bottom),
        ):
            assert (out - 1) * stride + kernel <= length + low + high < out * stride + kernel


def test_tiles_that_do_not_divide_are_refused() -> None:
    spec = config("u280-sparse")
    shape = resnet18_layers.resnet18_shapes(spec)["conv2_1a"]
    space = Space(shape, chip_numbers(spec))
    every = map(space.mapping, range(len(space.choices)))
    mapping = next(each for each in every if (each.tile_rows, each.tile_columns) == (19, 56))
    with pytest.raises(zigzag.NotExpressible, match="56 rows in tiles of 19"):
        zigzag.ordering(mapping, spec)


@pytest.mark.parametrize("name", ["u280-sparse", "kv260-edge"])
def test_loops_are_read_back_as_the_mapping_they_came_from(name: str) -> None:
    spec = config(name)
    seen = 0
    for layer, shape in resnet18_layers.resnet18_shapes(spec).items():
        space = Space(shape, chip_numbers(spec))
        for number in range(0, len(space.choices), max(1, len(space.choices) // 100)):
            mapping = space.mapping(number)
            try:
                levels = zigzag.levels(mapping, spec)
            except zigzag.NotExpressible:
                continue
            loops, *others = ([loop for memory in memories for loop in memory] for memories in levels.values())
            assert others == [loops, loops]
            found = zigzag_import.mapping_of(levels, shape, spec)
            assert zigzag_import.fits(mapping, spec)
            if mapping.tile_count == 1 and mapping.split_count == 1:  # nothing says whether weights stay
                found = replace(found, order=mapping.order)
            x, y = (dict(zigzag.unrolling(shape, spec)["D3"]).get(dim, 1) for dim in ("OX", "OY"))
            if mapping.tile_columns % x == 0 and mapping.tile_rows % y == 0 and shape.kernel[0] < 7:
                assert found == mapping, layer
                seen += 1
    assert seen > 50


def test_partial_sums_that_leave_the_accumulator_are_refused() -> None:
    spec = config("u280-sparse")
    shape = resnet18_layers.resnet18_shapes(spec)["conv4_1b"]
    compute, rest = [("OX", 7), ("OY", 7), ("C", 8), ("FX", 3), ("FY", 3)], [("K", 2), ("C", 2)]
    with pytest.raises(zigzag.NotExpressible, match="partial sums"):
        zigzag_import.mapping_of({"O": [compute, rest, []], "I": [compute, rest], "W": [[], [], []]}, shape, spec)


@pytest.mark.parametrize(
    ("name", "layer"), [("u280-sparse", "conv5_1s"), ("u280-sparse", "fc"), ("kv260-edge", "conv4_1s")]
)
def test_ten_times_as_many_random_tilings_are_not_better(name: str, layer: str) -> None:
    spec = config(name)
    found = mapping_random.compare(resnet18_layers.resnet18_shapes(spec)[layer], spec, seed=1)
    assert found.drawn == min(10 * found.search.costed, found.legal)
    assert found.search.cycles == found.search.least <= found.cycles
