"""Plan a convolution as sums over panel rows, so that the vector loops can run it at the speed of the processor.

Output positions are taken 64 at a time along the map, row after row, in the width of the padded input. For such a tile
the input is turned into a panel: one row of int16 per (kernel row, input channel), contiguous along positions; a
kernel column is a shift along the row. A strided convolution first sorts the input into its phases, which become more
channels of a smaller map with stride 1. Rows are cut into chunks that stay in the first-level cache.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gossamer.dataflow.network import Conv2d
from gossamer.sim.golden.compressed import CompressedWeight
from gossamer.sim.golden.vectors import DENSE_OUTPUTS, SPARSE_POSITIONS
from gossamer.sim.kernels import kernel

BLOCK = 8
"""Channels that are turned together: one 64-bit word."""

PANEL_BYTES = 24 * 1024
"""Share of a 32 kB first-level cache that a chunk of panel rows may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelPlan:
    """Where the panel rows of a convolution come from and where each weight finds its row.

    source is int64 (batch, positions, words), 8 channels a word, in which output position p (of row length `width`)
    meets unit u of group g at position p + unit_offset[u], word unit_word[u] + g * group_words. A unit is 8 panel rows
    of `pitch` int16; `chunk_units` units make a chunk. Reduction index k = (kernel row, kernel column, channel) of a
    weight is served by chunk[k], from element offset[k] of its panel on.
    """

    source: NDArray[np.int64]
    width: int
    pitch: int
    unit_offset: NDArray[np.int64]
    unit_word: NDArray[np.int64]
    group_words: int
    chunk_units: int
    chunk: NDArray[np.int64]
    offset: NDArray[np.int64]

    @property
    def chunks(self) -> int:
        """Return the number of chunks."""
        return -(-self.unit_offset.size // self.chunk_units)


def plan_panels(layer: Conv2d, source: NDArray[np.int8], zero: int) -> PanelPlan:
    """Return the plan of a convolution of int8 (batch, rows, columns, channels), which it pads with `zero`."""
    _, kernel_rows, kernel_columns, channels = layer.weight.shape
    words = -(-channels // BLOCK)
    # Per axis: how far into the padded input each tap reaches, in steps of the stride and phases between.
    step_y, phase_y = np.divmod(np.arange(kernel_rows) * layer.dilation[0], layer.stride[0])
    step_x, phase_x = np.divmod(np.arange(kernel_columns) * layer.dilation[1], layer.stride[1])
    phases_y, phases_x = np.unique(phase_y), np.unique(phase_x)
    mapped = _phases(layer, source, zero, phases_y.tolist(), phases_x.tolist(), words * BLOCK)
    batch, rows, width = mapped.shape[:3]
    shift = int(step_x.max())
    pitch = SPARSE_POSITIONS + -(-shift // 16) * 16
    # A segment is a kernel row of one column phase: the taps in it differ only by a shift along the panel row.
    segment = np.arange(kernel_rows)[:, None] * phases_x.size + np.searchsorted(phases_x, phase_x)[None, :]
    plane = np.searchsorted(phases_y, phase_y)[:, None] * phases_x.size + np.arange(phases_x.size)[None, :]
    group_words = words
    first_word = plane.reshape(-1) * layer.groups * words
    unit_offset = np.repeat(np.repeat(step_y * width, phases_x.size), words)
    unit_word = (first_word[:, None] + np.arange(words)).reshape(-1)
    chunk_units = max(1, PANEL_BYTES // (2 * pitch * BLOCK))
    # Evened out, so that the last chunk is not a sliver.
    chunk_units = -(-unit_offset.size // -(-unit_offset.size // chunk_units))
    unit = segment[:, :, None] * words + np.arange(channels) // BLOCK
    row = unit % chunk_units * BLOCK + np.arange(channels) % BLOCK
    offset = row * pitch + step_x[None, :, None]
    return PanelPlan(
        source=mapped.reshape(batch, rows * width, -1).view(np.int64), width=width, pitch=pitch,
        unit_offset=unit_offset.astype(np.int64), unit_word=unit_word.astype(np.int64), group_words=group_words,
        chunk_units=chunk_units, chunk=(unit // chunk_units).reshape(-1), offset=offset.reshape(-1),
    )  # fmt: skip


def _phases(
    layer: Conv2d, source: NDArray[np.int8], zero: int, phases_y: list[int], phases_x: list[int], per_group: int
) -> NDArray[np.int8]:
    """Return the padded input as (batch, rows, columns, phases * groups * per_group), each phase with stride 1."""
    batch, rows, columns, channels = source.shape
    (top, left, bottom, right), (stride_y, stride_x) = layer.pads, layer.stride
    own = channels // layer.groups
    if not any(layer.pads) and layer.stride == (1, 1) and own == per_group:
        return source
    out_rows = -(-(rows + top + bottom) // stride_y)
    out_columns = -(-(columns + left + right) // stride_x)
    planes = len(phases_y) * len(phases_x)
    mapped = np.full((batch, out_rows, out_columns, planes, layer.groups, per_group), zero, np.int8)
    grouped = source.reshape(batch, rows, columns, layer.groups, own)
    for i, phase_y in enumerate(phases_y):
        for j, phase_x in enumerate(phases_x):
            # Element (y, x) of a phase is element (y * stride + phase - pad) of the input, where that exists.
            first_y, first_x = -(-(top - phase_y) // stride_y), -(-(left - phase_x) // stride_x)
            first_y, first_x = max(0, first_y), max(0, first_x)
            part = grouped[
                :, first_y * stride_y + phase_y - top :: stride_y, first_x * stride_x + phase_x - left :: stride_x
            ]
            end_y, end_x = first_y + part.shape[1], first_x + part.shape[2]
            mapped[:, first_y:end_y, first_x:end_x, i * len(phases_x) + j, :, :own] = part
    return mapped.reshape(batch, out_rows, out_columns, -1)


@dataclass(frozen=True, slots=True, kw_only=True)
class SparseWeights:
    """Nonzero weights as pairs: of output o and chunk c the pairs first[o, c] .. first[o, c + 1] - 1.

    first int64 (outputs, chunks + 1); offsets int32 [2 * pairs] and weights int32 [pairs] as `vectors` reads them.
    """

    first: NDArray[np.int64]
    offsets: NDArray[np.int32]
    weights: NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseWeights:
    """All weights as pairs of reduction indices, the same pairs for every output.

    first int64 (chunks + 1): the pairs of a chunk; offsets int32 [2 * pairs]; weights int32 (groups, blocks of
    DENSE_OUTPUTS output channels, pairs, DENSE_OUTPUTS).
    """

    first: NDArray[np.int64]
    offsets: NDArray[np.int32]
    weights: NDArray[np.int32]


def pair_dense(weight: NDArray[np.int8], groups: int, plan: PanelPlan) -> DenseWeights:
    """Return int8 weights (out_channels, kernel rows, kernel columns, channels) as pairs."""
    outputs = weight.shape[0]
    order = np.argsort(plan.chunk, kind="stable")
    counts = np.bincount(plan.chunk, minlength=plan.chunks)
    first = np.concatenate([[0], np.cumsum((counts + 1) // 2)]).astype(np.int64)
    # Slot of each reduction index; the odd one out of a chunk is paired with weight 0 on row 0.
    slot = np.arange(order.size) + np.repeat(2 * first[:-1] - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts)
    offsets = np.zeros(2 * int(first[-1]), np.int32)
    offsets[slot] = plan.offset[order]
    blocks = -(-outputs // groups // DENSE_OUTPUTS)
    values = np.zeros((groups, blocks * DENSE_OUTPUTS, offsets.size), np.int16)
    values[:, : outputs // groups, slot] = weight.reshape(groups, outputs // groups, -1)[:, :, order]
    pairs = values.view(np.int32) if np.little_endian else values[..., ::-1].copy().view(np.int32)[..., ::-1]
    blocked = pairs.reshape(groups, blocks, DENSE_OUTPUTS, -1).swapaxes(2, 3)
    return DenseWeights(first=first, offsets=offsets, weights=np.ascontiguousarray(blocked))


def pair_sparse(kept: CompressedWeight, plan: PanelPlan) -> SparseWeights:
    """Return the nonzeros of N:M weights as pairs, chunk by chunk."""
    outputs = kept.values.shape[0]
    values = kept.values.reshape(outputs, -1, kept.pattern.n)
    indices = kept.indices.reshape(values.shape)
    counts = np.zeros((outputs, plan.chunks), np.int64)
    count_nonzeros(values, indices, kept.pattern.m, kept.channels, plan.chunk, counts)
    first = np.zeros((outputs, plan.chunks + 1), np.int64)
    ends = np.cumsum((counts + 1) // 2).reshape(counts.shape)
    first[:, 1:] = ends
    first[1:, 0] = ends[:-1, -1]
    offsets, weights = np.zeros(2 * int(ends[-1, -1]), np.int32), np.zeros(int(ends[-1, -1]), np.int32)
    place_nonzeros(values, indices, kept.pattern.m, kept.channels, plan.chunk, plan.offset, first, offsets, weights)
    return SparseWeights(first=first, offsets=offsets, weights=weights)


@kernel
def reduction_index(group: int, index: np.int64, group_elements: int, channels: int) -> np.int64:
    """Return k = tap * channels + channel of element `index` of a group; groups are numbered tap by tap."""
    per_tap = (channels + group_elements - 1) // group_elements
    return (group // per_tap) * channels + (group % per_tap) * group_elements + np.int64(index)


@kernel
def count_nonzeros(
    values: NDArray[np.int8],
    indices: NDArray[np.uint8],
    group_elements: int,
    channels: int,
    chunk: NDArray[np.int64],
    counts: NDArray[np.int64],
) -> None:
    """Count the nonzeros of values (outputs, groups, slots) per output and chunk into counts (outputs, chunks)."""
    for o in range(values.shape[0]):
        for g in range(values.shape[1]):
            for s in range(values.shape[2]):
                if values[o, g, s] != 0:
                    counts[o, chunk[reduction_index(g, np.int64(indices[o, g, s]), group_elements, channels)]] += 1


@kernel
def place_nonzeros(
    values: NDArray[np.int8],
    indices: NDArray[np.uint8],
    group_elements: int,
    channels: int,
    chunk: NDArray[np.int64],
    offset: NDArray[np.int64],
    first: NDArray[np.int64],
    offsets: NDArray[np.int32],
    weights: NDArray[np.int32],
) -> None:
    """Fill the pairs of every output and chunk; offsets and weights start as zeros."""
    used = np.zeros(first.shape[1], np.int64)
    for o in range(values.shape[0]):
        used[:] = 0
        for g in range(values.shape[1]):
            for s in range(values.shape[2]):
                value = np.int64(values[o, g, s])
                if value != 0:
                    k = reduction_index(g, np.int64(indices[o, g, s]), group_elements, channels)
                    slot = 2 * first[o, chunk[k]] + used[chunk[k]]
                    used[chunk[k]] += 1
                    offsets[slot] = offset[k]
                    half = value & 0xFFFF if slot % 2 == 0 else value << 16
                    weights[slot // 2] |= np.int32(half)
