"""Store weights in the N:M form the golden kernels read: kept values and their places in the group, as two planes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.errors import ModelError
from gossamer.dataflow.sparsity import NmPattern


@dataclass(frozen=True, slots=True, kw_only=True)
class CompressedWeight:
    """Weights (out_channels, kernel rows, kernel columns, channels) with N slots per group of M channels.

    values int8 and indices uint8, both (out_channels, kernel rows, kernel columns, groups, N): slot s of a group has
    value values[...] at channel group * M + indices[...]. Unused slots have value 0, index 0. The last group of a tap
    is padded with absent channels.
    """

    values: NDArray[np.int8]
    indices: NDArray[np.uint8]
    pattern: NmPattern
    channels: int


def compress(weight: NDArray[Any], pattern: NmPattern, layer: str) -> CompressedWeight:
    """Return int8 weight (out_channels, kernel rows, kernel columns, channels) in the N:M form, zeros dropped.

    Raises ModelError naming the layer, output channel and group of the first group with more than N nonzeros.
    """
    outputs, rows, columns, channels = weight.shape
    groups = -(-channels // pattern.m)
    padded = np.zeros((outputs, rows, columns, groups * pattern.m), np.int8)
    padded[..., :channels] = weight
    grouped = padded.reshape(outputs, rows, columns, groups, pattern.m)
    counts = np.count_nonzero(grouped, axis=4)
    if counts.max(initial=0) > pattern.n:
        output, row, column, group = (int(i) for i in np.argwhere(counts > pattern.n)[0])
        raise ModelError(
            f"{layer}: weights must have at most {pattern.n} nonzeros per group of {pattern.m} channels for {pattern}, "
            f"not {counts[output, row, column, group]} (output channel {output}, kernel row {row}, kernel column "
            f"{column}, group {group}); prune the layer to {pattern} or choose a weaker pattern"
        )
    # A stable sort moves the kept elements to the front in channel order, whatever their values.
    order = np.argsort(grouped == 0, axis=4, kind="stable")[..., : pattern.n]
    values = np.take_along_axis(grouped, order, axis=4)
    indices = np.where(values == 0, 0, order).astype(np.uint8)
    return CompressedWeight(values=values, indices=indices, pattern=pattern, channels=channels)


def decompress(compressed: CompressedWeight) -> NDArray[np.int8]:
    """Return the dense int8 weight (out_channels, kernel rows, kernel columns, channels)."""
    outputs, rows, columns, groups, _ = compressed.values.shape
    dense = np.zeros((outputs, rows, columns, groups, compressed.pattern.m), np.int8)
    for slot in range(compressed.pattern.n):
        place = compressed.indices[..., slot : slot + 1].astype(np.intp)
        kept = compressed.values[..., slot : slot + 1]
        # Unused slots add zero to element 0, which may hold a kept value of another slot.
        np.put_along_axis(dense, place, np.take_along_axis(dense, place, axis=4) + kept, axis=4)
    return dense.reshape(outputs, rows, columns, -1)[..., : compressed.channels]
