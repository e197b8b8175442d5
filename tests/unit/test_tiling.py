"""Mappings of a space against what they must hold on chip; what a search says of itself."""

from itertools import product

import numpy as np
import pytest
from layer_programs import shape_of, sized_spec

from gossamer.arch.spec import SparseAccelerator
from gossamer.dataflow.mapping import SLOTS, ConvMapping, LoopOrder, accumulator_slot
from gossamer.dataflow.sparsity import NmPattern
from gossamer.mapper import tiling
from gossamer.mapper.tiling import Space, branch_and_bound, chip_numbers, choose_mapping, search_mapping
from gossamer.sim.analytic import LayerModel


def check_fits(mapping: ConvMapping, spec: SparseAccelerator) -> None:
    """Every buffer holds the slots of a mapping."""
    group, buffers, array = spec.array.group_size, spec.buffers, spec.array
    tiles = mapping.input_tile_bytes(group) + mapping.output_tile_bytes(group)
    assert SLOTS * tiles <= buffers.activation.capacity_bytes
    slots = 1 if mapping.order is LoopOrder.WEIGHTS_OUTER and mapping.group_count == 1 else SLOTS
    rows = slots * mapping.resident_rows
    assert rows * array.chains <= buffers.weight.capacity_bytes
    if mapping.shape.index_bits:
        assert rows * array.chains * (group.bit_length() - 1) // 8 <= buffers.index.capacity_bytes
    entries = mapping.accumulator_slots * accumulator_slot(mapping.tile_rows * mapping.tile_columns, array.lanes)
    assert entries * array.chains * 4 <= buffers.accumulator.capacity_bytes
    blocks = len(mapping.shape.blocks) if mapping.resident_parameters else SLOTS
    assert blocks * mapping.shape.parameter_bytes <= buffers.parameter.capacity_bytes


@pytest.mark.parametrize("seed", range(10))
def test_every_mapping_of_a_space_fits(seed: int) -> None:
    rng = np.random.default_rng(seed)
    chains = int(rng.choice([16, 32]))
    spec = sized_spec(
        group=8, chains=chains, activation=int(rng.choice([2048, 16384])), weight=chains * int(rng.choice([32, 500])),
        index=chains * int(rng.choice([32, 500])), accumulator=chains * int(rng.choice([32, 1024])), parameter=2048,
    )  # fmt: skip
    channels, outputs = (int(v) for v in rng.integers(1, 200, 2))
    pattern = NmPattern(2, 4) if seed % 2 else None
    kernel = int(rng.integers(1, 6))
    shape = shape_of(spec, 20, 13, channels, outputs, kernel, stride=int(rng.integers(1, 3)), pattern=pattern)
    space = Space(shape, chip_numbers(spec))
    assert len(space.choices) + sum(space.illegal.values()) == space.tilings
    assert len(space.choices)
    for number in range(len(space.choices)):
        check_fits(space.mapping(number), spec)


def test_tiles_cover_every_position_and_tap_once() -> None:
    spec = sized_spec(group=8, chains=16, activation=2048, weight=2048, accumulator=2048)
    mapping = choose_mapping(shape_of(spec, 11, 7, 40, 50, 3), spec, "layer")
    positions = [
        (tile.batch, y, x)
        for tile in mapping.tiles()
        for y, x in product(range(tile.row, tile.row + tile.rows), range(tile.column, tile.column + tile.columns))
    ]
    assert sorted(positions) == list(product(range(1), range(11), range(7)))
    assert [block for group in mapping.groups() for block in group] == list(range(len(mapping.shape.blocks)))
    taps = [
        (y, x, w)
        for split in mapping.splits(0)
        for y, x, w in product(
            range(split.row, split.row + split.rows),
            range(split.column, split.column + split.columns),
            range(split.word, split.word + split.words),
        )
    ]
    assert sorted(taps) == list(product(range(3), range(3), range(5)))


def test_a_search_that_is_cut_short_says_what_it_may_have_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = sized_spec(group=8, chains=16, activation=1 << 15, weight=1 << 14, index=1 << 13, accumulator=1 << 14)
    shape = shape_of(spec, 14, 14, 64, 96, 3)
    whole = search_mapping(shape, spec, "layer")
    assert whole.least == whole.cycles
    assert 1 < whole.costed < whole.tilings
    monkeypatch.setattr(tiling, "SEARCH_JOBS", 1)
    short = branch_and_bound(Space(shape, chip_numbers(spec)), LayerModel(shape, spec))
    assert short.costed == 1
    assert short.least <= whole.cycles <= short.cycles
