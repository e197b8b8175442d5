"""Store weights in the N:M form the golden kernels read: kept values and their places in the group, as two planes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.errors import ModelError
from gossamer.dataflow.sparsity import NmPattern
from gossamer.sim.kernels import kernel


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
    values = np.zeros((outputs, rows, columns, groups, pattern.n), np.int8)
    indices = np.zeros(values.shape, np.uint8)
    crowded = keep_nonzeros(
        np.ascontiguousarray(weight).reshape(-1, channels), pattern.m,
        values.reshape(-1, groups, pattern.n), indices.reshape(-1, groups, pattern.n),
    )  # fmt: skip
    if crowded >= 0:
        output, row, column, group = (int(i) for i in np.unravel_index(crowded, values.shape[:4]))
        count = np.count_nonzero(weight[output, row, column, group * pattern.m : (group + 1) * pattern.m])
        raise ModelError(
            f"{layer}: weights must have at most {pattern.n} nonzeros per group of {pattern.m} channels for {pattern}, "
            f"not {count} (output channel {output}, kernel row {row}, kernel column {column}, group {group}); prune "
            f"the layer to {pattern} or choose a weaker pattern"
        )
    return CompressedWeight(values=values, indices=indices, pattern=pattern, channels=channels)


@kernel
def keep_nonzeros(
    weight: NDArray[np.int8], group_elements: int, values: NDArray[np.int8], indices: NDArray[np.uint8]
) -> np.int64:
    """Fill values and indices (runs, groups, slots), zeros before, with the nonzeros of weight int8 (runs, channels).

    Return -1, or the flat number (run * groups + group) of the first group with more nonzeros than slots.
    """
    runs, channels = weight.shape
    groups, slots = values.shape[1:]
    # Every element is written to the next free place, which moves on for nonzeros only: no branch to mispredict.
    kept, places = np.empty(group_elements + 1, np.int8), np.empty(group_elements + 1, np.uint8)
    for run in range(runs):
        for group in range(groups):
            first = group * group_elements
            used = 0
            for c in range(min(group_elements, channels - first)):
                kept[used], places[used] = weight[run, first + c], c
                used += weight[run, first + c] != 0
            if used > slots:
                return np.int64(run * groups + group)
            for slot in range(slots):
                values[run, group, slot] = kept[slot] if slot < used else 0
                indices[run, group, slot] = places[slot] if slot < used else 0
    return np.int64(-1)


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
