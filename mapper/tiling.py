"""Choose the mapping of a multiply-accumulate layer: the best of all legal ones, found and proved by branch and bound.

Every tiling of the space (loop order, tile, group of blocks, split of the reduction) has a lower bound of its cycles
(`gossamer.mapper.mapping_bound`) and of its cost under the objective (`gossamer.mapper.objective`). They are costed
exactly, by the analytic model, in the order of their bounds; when the next bound is not below the best cost, no tiling
is better. If that takes too long the search ends earlier and says how much better another tiling might be.
"""

import struct
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.accumulator import tile_entries
from gossamer.arch.activation import half_bytes
from gossamer.arch.config import fingerprint
from gossamer.arch.errors import MappingError
from gossamer.arch.isa import index_pitch_bytes
from gossamer.arch.spec import SparseAccelerator
from gossamer.arch.timing import ceil_div
from gossamer.dataflow.mapping import SLOTS, ConvMapping, ConvShape, LoopOrder, Objective
from gossamer.mapper.mapping_bound import (
    ACCUMULATOR,
    ACTIVATION,
    CHAIN_LENGTH,
    CHAINS,
    CHIP,
    CHOICE,
    GROUP,
    GROUP_SIZE,
    INDEX_ROWS,
    KIND,
    LANES,
    LATENCY,
    LAYER,
    LOADED,
    ORDER,
    PARAMETER,
    REASONS,
    ROW_BYTES,
    TICKS,
    TILE_COLUMNS,
    TILE_ROWS,
    VECTOR_LANES,
    WEIGHT_RATE,
    WEIGHT_ROWS,
    WRITTEN,
    bounds,
)
from gossamer.mapper.mapping_cache import keep_numbers, key_of, read_numbers
from gossamer.mapper.mapping_counts import COUNTS, count_all
from gossamer.mapper.objective import Cost, Prices, prices
from gossamer.mapper.shares import PARTS, WHOLE, Share
from gossamer.sim.analytic import LayerModel
from gossamer.sim.offchip import offchip_timing

MAX_POSITIONS = 2**16 - 1
"""Rows and columns of an instruction are 16-bit fields."""

SEARCH_JOBS = 4_000_000
"""Instructions costed at most in the search for one mapping: some seconds."""

LAG_STRIPS = 2
"""Strips of a layer that what reads it stays behind when both run together: one to be stored, one under way."""

ILLEGAL = ("weights and indices", "partial sums", "input and output tiles", "results out of order")
"""What does not fit its buffer, in the order of `gossamer.mapper.mapping_bound`; where layers take turns, what does not
finish strip after strip."""

KEPT = CHOICE + 6 + len(ILLEGAL)
"""Integers a search is kept as."""

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Chip:
    """What tiling needs to know of a config: `numbers` in the order of `gossamer.mapper.mapping_bound`."""

    numbers: tuple[int, ...]

    def __getitem__(self, entry: int) -> int:
        return self.numbers[entry]


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What a search found.

    `cycles`: of `mapping`, alone. `cost`: under the objective, in its unit. `least`: no tiling of the space costs less;
    equal to `cost` if the search ended by itself. `tilings`: of the space, `illegal` of them by why;
    `costed`: exactly. `runner_up`: the best mapping that is not as good, with its cost, if it was asked for and exists.
    """

    mapping: ConvMapping
    cycles: int
    cost: float
    least: float
    tilings: int
    illegal: Mapping[str, int]
    costed: int
    runner_up: tuple[ConvMapping, Cost] | None = None

    @property
    def rank(self) -> tuple[float, int]:
        """What searches under one objective, also of different shapes, are compared by: cost, then cycles."""
        return self.cost, self.cycles

    @property
    def proved(self) -> bool:
        """Whether no tiling of the space is better."""
        return self.least == self.cost


def timing_numbers(spec: SparseAccelerator) -> dict[int, int]:
    """Return the numbers of a config that say what a tiling takes, by their places."""
    array, memory = spec.array, offchip_timing(spec)
    return {
        GROUP_SIZE: array.group_size, CHAINS: array.chains, CHAIN_LENGTH: array.chain_length, LANES: array.lanes,
        WEIGHT_RATE: array.weight_rows_per_cycle, VECTOR_LANES: spec.vector.lanes, ROW_BYTES: memory.row_bytes,
        TICKS: memory.beat_ticks // (memory.channels * memory.beat_bytes),  # rounded down: a bound
        LATENCY: memory.latency_cycles,
    }  # fmt: skip


def _activation_room(
    spec: SparseAccelerator, reserved_bytes: int, apart: bool, held_bytes: int = 0
) -> tuple[int, ...]:  # fmt: skip
    """Return the bytes of activations of all kinds, those that LOAD and those that VECTOR may fill."""
    end = spec.buffers.activation.capacity_bytes - held_bytes
    room = max(0, end - reserved_bytes)
    if not apart:
        return room, room, room
    middle = half_bytes(spec)
    return room, max(0, min(middle, end) - reserved_bytes), max(0, end - middle)


def _index_rows(spec: SparseAccelerator) -> int:
    """Return the rows of indices, which are as wide as the widest pattern needs."""
    array = spec.array
    return spec.buffers.index.capacity_bytes // index_pitch_bytes(array.chains, array.group_size.bit_length() - 1)


ROOMS: tuple[tuple[str, tuple[int, ...], Callable[..., tuple[int, ...]]], ...] = (
    ("activation", (ACTIVATION, LOADED, WRITTEN), _activation_room),
    ("weight", (WEIGHT_ROWS,), lambda spec, *_: (spec.buffers.weight.capacity_bytes // spec.array.chains,)),
    ("index", (INDEX_ROWS,), lambda spec, *_: (_index_rows(spec),)),
    ("accumulator", (ACCUMULATOR,), lambda spec, *_: (tile_entries(spec),)),
    ("parameter", (PARAMETER,), lambda spec, *_: (spec.buffers.parameter.capacity_bytes,)),
)
"""The numbers of a config that say which tilings fit, by their buffer and places, and what tells them."""


def chip_numbers(
    spec: SparseAccelerator, reserved_bytes: int = 0, *, apart: bool = True, share: Share = WHOLE, held_bytes: int = 0
) -> Chip:  # fmt: skip
    """Return the numbers of a config, `reserved_bytes` of its activation buffer put aside, `held_bytes` at its end.

    `apart`: what LOAD and what VECTOR writes must fit a half of the activation buffer each, so that neither waits.
    `share`: what of every buffer is to be used.
    """
    numbers = timing_numbers(spec)
    for buffer, places, room in ROOMS:
        reserved = ceil_div(reserved_bytes * PARTS, max(1, share.of(buffer)))
        sizes = room(spec, reserved, apart, held_bytes)
        numbers.update((place, size * share.of(buffer) // PARTS) for place, size in zip(places, sizes, strict=True))
    return Chip(tuple(numbers[place] for place in range(CHIP)))


def _cuts(length: int, limit: int, multiple: int = 1, *, coarse: bool = False) -> Ints:
    """Return tile lengths to try for an axis: near-equal parts, none above `limit`, largest first; coarse: halves."""
    counts: Iterable[int] = [*range(1, 9), 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 96, 128, 192, 256, 512]
    powers = {1 << bit for bit in range(length.bit_length())}
    if coarse:
        counts, powers = [1 << bit for bit in range(length.bit_length() + 1)], set()
    sizes = {ceil_div(ceil_div(length, count), multiple) * multiple for count in counts}
    legal = sorted((min(size, length) for size in sizes | powers if min(size, length) <= limit), reverse=True)
    return np.array(list(dict.fromkeys(legal)) or [1], dtype=np.int64)


def _halves(length: int) -> list[int]:
    """Return length, then ever smaller parts of it, down to 1."""
    sizes = [length]
    while sizes[-1] > 1:
        sizes.append(ceil_div(sizes[-1], 2))
    return sizes


def _splits(shape: ConvShape) -> list[tuple[int, int, int]]:
    """Return the parts (kernel rows, kernel columns, words) a reduction may be cut into."""
    kernel_rows, kernel_columns = shape.kernel
    taps = [(rows, kernel_columns) for rows in _halves(kernel_rows)]
    taps += [(1, columns) for columns in _halves(kernel_columns)[1:]]
    return [(*each, words) for each in taps for words in _halves(shape.block_words)]


class Space:
    """All tilings of a shape that a search considers, in the order of `bound`, float64 [n], of their costs.

    `choices` int64 [n, CHOICE], `least` and `likely` float64 [n] cycles, `counts` int64 [n, COUNTS]. Costs are cycles
    where no `charged` prices are given; counts are made for other prices only. `lag`: if not 0, only tilings that
    finish strip after strip, with so many strips more: what follows waits for them. `coarse`: tiles are halves of
    halves only.
    """

    def __init__(
        self, shape: ConvShape, chip: Chip, charged: Prices | None = None, lag: int = 0, *, coarse: bool = False
    ) -> None:
        self.shape, self.lag = shape, lag
        blocks = len(shape.blocks)
        room = chip[PARAMETER] - shape.joined_bytes
        self.resident = blocks * shape.parameter_bytes <= room
        limit = min(MAX_POSITIONS, chip[ACCUMULATOR])
        columns = _cuts(shape.out_columns, limit, chip[LANES] if shape.out_rows == 1 else 1, coarse=coarse)
        rows, groups = _cuts(shape.out_rows, limit, coarse=coarse), np.array(_halves(blocks), dtype=np.int64)
        splits = np.array(_splits(shape), dtype=np.int64)
        self.tilings = 2 * len(rows) * len(columns) * len(groups) * len(splits)
        illegal = np.zeros(REASONS, dtype=np.int64)
        found, cycles = np.zeros((self.tilings, CHOICE), dtype=np.int64), np.zeros((self.tilings, 2))
        count = 0
        if self.resident or SLOTS * shape.parameter_bytes <= room:
            count = bounds(
                layer_numbers(shape, chip, self.resident), block_kinds(shape), np.array(chip.numbers, dtype=np.int64),
                rows, columns, groups, splits, found, cycles, illegal, np.zeros(CHOICE, dtype=np.int64),
            )  # fmt: skip
        found, least, likely = found[:count], cycles[:count, 0], cycles[:count, 1]
        if lag:
            in_order = (found[:, ORDER] == 1) | (found[:, GROUP] >= blocks)
            found, least, likely = found[in_order], least[in_order], likely[in_order]
            size, axis = (TILE_COLUMNS, shape.out_columns) if shape.out_rows == 1 else (TILE_ROWS, shape.out_rows)
            least = least * (1 + lag / (shape.batch * -(-axis // found[:, size])))
        counts, bound = np.zeros((len(found), COUNTS), dtype=np.int64), least
        if charged is not None and charged.objective is not Objective.LATENCY:
            count_all(
                layer_numbers(shape, chip, self.resident), block_kinds(shape),
                np.array(chip.numbers, dtype=np.int64), found, counts,
            )  # fmt: skip
            bound = charged.bound(least, counts)
        order = np.lexsort((least, bound))
        self.choices, self.least, self.bound, self.counts = found[order], least[order], bound[order], counts[order]
        self.likely = likely[order]
        self.illegal = dict(zip(ILLEGAL, (*illegal.tolist(), count - len(self.choices)), strict=True))

    def mapping(self, number: int) -> ConvMapping:
        """Return a legal mapping; they are numbered in the order of their bounds."""
        return _mapping(self.shape, self.choices[number].tolist(), self.resident)


def search_mapping(
    shape: ConvShape, spec: SparseAccelerator, who: str, *, reserved_bytes: int = 0,
    objective: Objective = Objective.LATENCY,
) -> Search:  # fmt: skip
    """Return the best mapping of a shape; equal shapes are searched once. `reserved_bytes` of activations stay free.

    Raises MappingError naming the layer, the buffer, its need and capacity if not even the smallest tile fits.
    """
    found = try_mapping(shape, spec, reserved_bytes=reserved_bytes, objective=objective)
    if found is None:
        chip = chip_numbers(spec, reserved_bytes, apart=False, held_bytes=shape.held_bytes)
        raise MappingError(f"{who}: {_shortage(shape, chip)}")
    return found


def try_mapping(
    shape: ConvShape, spec: SparseAccelerator, *, reserved_bytes: int = 0, share: Share = WHOLE,
    objective: Objective = Objective.LATENCY,
) -> Search | None:  # fmt: skip
    """Return the same, None if nothing fits.

    `share`: what it has of every buffer. If that is not all, it runs together with another layer, and finishes strip
    after strip, and many of them, since what follows waits for LAG_STRIPS of them.
    """
    return _search(shape, spec, reserved_bytes, share, objective)


def choose_mapping(
    shape: ConvShape, spec: SparseAccelerator, who: str, *, reserved_bytes: int = 0,
    objective: Objective = Objective.LATENCY,
) -> ConvMapping:  # fmt: skip
    """Return the mapping that `search_mapping` finds."""
    return search_mapping(shape, spec, who, reserved_bytes=reserved_bytes, objective=objective).mapping


def search_again(
    shape: ConvShape, spec: SparseAccelerator, reserved_bytes: int, share: Share, objective: Objective
) -> Search:
    """Return the search of a shape that has a mapping, as `try_mapping` does."""
    found = _search(shape, spec, reserved_bytes, share, objective)
    assert found is not None
    return found


def search_two(
    shape: ConvShape, spec: SparseAccelerator, reserved_bytes: int, share: Share, objective: Objective
) -> Search:
    """Return the search of a shape that has a mapping, with its runner-up; nothing is kept."""
    charged = prices(objective, spec)
    space = _space(shape, spec, reserved_bytes, share, charged)
    return branch_and_bound(space, LayerModel(shape, spec), charged, keep=2)


def _space(shape: ConvShape, spec: SparseAccelerator, reserved_bytes: int, share: Share, charged: Prices) -> Space:
    """Return the tilings whose loads and results lie apart, or if there are none and all buffers are its, all."""
    held, lag = shape.held_bytes, LAG_STRIPS if share != WHOLE else 0
    space = Space(shape, chip_numbers(spec, reserved_bytes, share=share, held_bytes=held), charged, lag)
    if not len(space.choices) and share == WHOLE:
        space = Space(shape, chip_numbers(spec, reserved_bytes, apart=False, held_bytes=held), charged)
    return space


@lru_cache(maxsize=4096)
def _search(
    shape: ConvShape, spec: SparseAccelerator, reserved_bytes: int, share: Share, objective: Objective
) -> Search | None:
    key = key_of(shape, fingerprint(spec), reserved_bytes, share, str(objective))
    kept = read_numbers(key, KEPT)
    if kept is not None:
        return _kept_search(shape, kept)
    charged = prices(objective, spec)
    space = _space(shape, spec, reserved_bytes, share, charged)
    if not len(space.choices):
        return None
    search = branch_and_bound(space, LayerModel(shape, spec), charged)
    keep_numbers(key, _numbers_kept(search))
    return search


def _numbers_kept(search: Search) -> list[int]:
    """Return a search as KEPT integers."""
    mapping = search.mapping
    choice = (
        int(mapping.order is LoopOrder.ACTIVATIONS_OUTER), mapping.tile_rows, mapping.tile_columns,
        mapping.group_blocks, mapping.split_rows, mapping.split_columns, mapping.split_words,
    )  # fmt: skip
    costs = struct.unpack("<2q", struct.pack("<2d", search.cost, search.least))  # the bits: exactly the same floats
    counts = search.cycles, *costs, search.tilings, search.costed, *search.illegal.values()
    return [*choice, int(mapping.resident_parameters), *counts]


def _kept_search(shape: ConvShape, numbers: list[int]) -> Search:
    """Return the search of `_numbers_kept`."""
    choice, resident, cycles, *bits = numbers[:CHOICE], *numbers[CHOICE : CHOICE + 4]
    tilings, costed, *illegal = numbers[CHOICE + 4 :]
    cost, least = struct.unpack("<2d", struct.pack("<2q", *bits))
    return Search(
        mapping=_mapping(shape, choice, bool(resident)), cycles=cycles, cost=cost, least=least, tilings=tilings,
        costed=costed, illegal=dict(zip(ILLEGAL, illegal, strict=True)),
    )  # fmt: skip


def _mapping(shape: ConvShape, choice: list[int], resident: bool) -> ConvMapping:
    """Return the mapping of CHOICE integers."""
    order, tile_rows, tile_columns, group, split_rows, split_columns, split_words = choice
    return ConvMapping(
        shape=shape, order=LoopOrder.ACTIVATIONS_OUTER if order else LoopOrder.WEIGHTS_OUTER, tile_rows=tile_rows,
        tile_columns=tile_columns, group_blocks=group, split_rows=split_rows, split_columns=split_columns,
        split_words=split_words, resident_parameters=resident,
    )  # fmt: skip


def branch_and_bound(space: Space, model: LayerModel, charged: Prices | None = None, *, keep: int = 1) -> Search:
    """Return the best mapping of a space that has one: cost in the order of bounds until no bound is below the best.

    `charged`: those the space was made with. With `keep` 2 also the best of those that are not as good: the search goes
    on until no bound is below its cost.
    """
    charged = charged or prices(Objective.LATENCY, model.spec)
    best: list[tuple[tuple[float, int], int, Cost]] = []
    jobs, number = 0, 0
    while number < len(space.choices) and (jobs < SEARCH_JOBS or not best):
        if len(best) == keep and best[-1][0] <= (space.bound[number], space.least[number]):
            break
        mapping = space.mapping(number)
        cost = charged.cost(model, mapping, space.counts[number])
        if space.lag:
            cost = replace(cost, value=cost.value * (1 + space.lag / mapping.strip_count))
        if all(cost.rank != rank for rank, *_ in best):
            best = sorted([*best, (cost.rank, number, cost)], key=lambda one: one[0])[:keep]
        jobs += cost.jobs
        number += 1
    (_, first, cost), *others = best
    rest = float(space.bound[number]) if number < len(space.choices) else cost.value
    return Search(
        mapping=space.mapping(first), cycles=cost.cycles, cost=cost.value, tilings=space.tilings, costed=number,
        illegal=space.illegal, least=min(cost.value, float(np.ceil(rest)) if charged.integral else rest),
        runner_up=(space.mapping(others[0][1]), others[0][2]) if others else None,
    )  # fmt: skip


def layer_numbers(shape: ConvShape, chip: Chip, resident: bool) -> Ints:
    """Return int64 [LAYER] of `gossamer.mapper.mapping_bound`."""
    words = max(ceil_div(block.channels, chip[GROUP_SIZE]) for block in shape.blocks)
    layer = np.zeros(LAYER, dtype=np.int64)
    layer[:] = (
        shape.batch, shape.rows, shape.columns, shape.out_rows, shape.out_columns,
        ceil_div(shape.out_channels, chip[GROUP_SIZE]), len(shape.blocks), words, shape.block_words, *shape.kernel,
        *shape.stride, *shape.dilation, *shape.pads, shape.steps, shape.index_bits, shape.shares_input,
        shape.parameter_bytes, resident, shape.joined, shape.joined_bytes,
        shape.source_words if shape.source_on_chip else 0, shape.target_on_chip, shape.operand_on_chip,
    )  # fmt: skip
    return layer


def block_kinds(shape: ConvShape) -> Ints:
    """Return int64 [n, KIND]: how many blocks there are of each size."""
    counts = Counter((block.channels, block.words) for block in shape.blocks)
    return np.array([(*size, count) for size, count in counts.items()], dtype=np.int64).reshape(-1, KIND)


def _shortage(shape: ConvShape, chip: Chip) -> str:
    """Say which buffer cannot hold the smallest possible tile."""
    row = chip[CHAINS]
    out_words = max(ceil_div(block.channels, chip[GROUP_SIZE]) for block in shape.blocks)
    smallest = [
        ("weight", SLOTS * shape.steps * row, chip[WEIGHT_ROWS] * row, "bytes for two tiles of one word and one tap"),
        ("index", SLOTS * shape.steps if shape.index_bits else 0, chip[INDEX_ROWS], "rows for two tiles of one word"),
        (
            "accumulator", SLOTS * chip[LANES], SLOTS * max(0, chip[ACCUMULATOR]),
            "positions for two tiles of one position",
        ),
        (
            "activation", SLOTS * (1 + out_words) * chip[GROUP_SIZE], chip[ACTIVATION],
            "bytes for two input and two output words",
        ),
        ("parameter", SLOTS * shape.parameter_bytes, chip[PARAMETER], "bytes for two blocks of channels"),
    ]  # fmt: skip
    for buffer, need, capacity, what in smallest:
        if need > capacity:
            return f"the {buffer} buffer must hold at least {need} {what}, not {capacity}: enlarge `buffers.{buffer}`"
    return (
        "no tile fits the buffers together: the smallest input and output tiles, weights and partial sums need more "
        "than the activation, weight and accumulator buffers hold; enlarge `buffers.activation` or `buffers.weight`"
    )
