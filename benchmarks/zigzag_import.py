"""Read the loops that zigzag-dse's LOMA chose as one of our mappings, so that our own model can cost it."""

from collections.abc import Sequence
from math import prod

from gossamer.arch.spec import SparseAccelerator
from gossamer.arch.timing import ceil_div
from gossamer.dataflow.mapping import SLOTS, ConvMapping, ConvShape, LoopOrder
from gossamer.exports.zigzag import Levels, Loop, NotExpressible, unrolling

REDUCTION = ("C", "FX", "FY")


def mapping_of(levels: Levels, shape: ConvShape, spec: SparseAccelerator) -> ConvMapping:
    """Return the mapping with the same tiles of partial sums and inputs, and as many blocks of results on chip.

    What zigzag's loops say beyond that is lost: in a COMPUTE our loops have a fixed order. Buffers are not checked:
    zigzag need not hold two copies where we must. Raises NotExpressible if partial sums leave the accumulator.
    """
    across = {name: size for unrolled in unrolling(shape, spec).values() for name, size in unrolled}
    sums, above = levels["O"][0], [loop for memory in levels["O"][1:] for loop in memory]
    if any(name in REDUCTION for name, _ in above):
        raise NotExpressible("partial sums leave the accumulator")
    inputs, on_chip = levels["I"][0], sums + levels["O"][1]
    once = all(name == "K" for name, _ in levels["W"][2])

    def held(name: str, loops: Sequence[Loop], whole: int) -> int:
        return min(whole, across.get(name, 1) * prod(size for loop, size in loops if loop == name))

    return ConvMapping(
        shape=shape,
        order=LoopOrder.WEIGHTS_OUTER if once else LoopOrder.ACTIVATIONS_OUTER,
        tile_rows=held("OY", sums, shape.out_rows),
        tile_columns=held("OX", sums, shape.out_columns),
        group_blocks=prod(size for name, size in on_chip if name == "K"),
        split_rows=held("FY", inputs, shape.kernel[0]),
        split_columns=held("FX", inputs, shape.kernel[1]),
        split_words=ceil_div(held("C", inputs, shape.channels), spec.array.group_size),
        resident_parameters=len(shape.blocks) * shape.parameter_bytes <= spec.buffers.parameter.capacity_bytes,
    )


def fits(mapping: ConvMapping, spec: SparseAccelerator) -> bool:
    """Return whether every buffer holds the tiles of a mapping, two of each that changes."""
    group, buffers, array = spec.array.group_size, spec.buffers, spec.array
    tiles = mapping.input_tile_bytes(group) + mapping.output_tile_bytes(group)
    copies = 1 if mapping.order is LoopOrder.WEIGHTS_OUTER and mapping.group_count == 1 else SLOTS
    positions = ceil_div(mapping.tile_rows * mapping.tile_columns, array.lanes) * array.lanes
    return (
        SLOTS * tiles <= buffers.activation.capacity_bytes
        and copies * mapping.resident_rows * array.chains <= buffers.weight.capacity_bytes
        and mapping.accumulator_slots * positions * array.chains * 4 <= buffers.accumulator.capacity_bytes
    )
