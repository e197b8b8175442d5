"""Choose the kernel that accumulates a convolution or matrix product fastest; all of them give the same sums."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gossamer.dataflow.network import Conv2d
from gossamer.sim.golden import convolution, tiles
from gossamer.sim.golden.compressed import compress
from gossamer.sim.golden.panels import (
    MAX_SHIFT,
    DenseWeights,
    PanelPlan,
    SparseWeights,
    map_input,
    pair_dense,
    pair_sparse,
    plan_panels,
)
from gossamer.sim.golden.threads import share

MIN_TILE_POSITIONS = 16
"""Fewer output positions per image leave most of a tile of 64 empty: plain sums of products are quicker."""

MAX_SPARSE_DENSITY = 0.5
"""Above it the nonzeros alone take longer than all weights, whose loop shares the activations between outputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedConvolution:
    """A convolution with its weights packed for the vector loops, to be run on any number of inputs of one width."""

    layer: Conv2d
    plan: PanelPlan
    weights: DenseWeights | SparseWeights

    def accumulate(self, source: NDArray[np.int8], zero: int, acc: NDArray[np.int32]) -> None:
        """Accumulate source int8 (N, H, W, C), padded with `zero`, into acc int32 (N, h, w, O)."""
        plan, weights = self.plan, self.weights
        share(
            tiles.convolve_dense if isinstance(weights, DenseWeights) else tiles.convolve_sparse,
            acc.shape[0] * tiles.tiles_per_image(acc.shape[1], acc.shape[2], plan.width),
            map_input(self.layer, plan, source, zero), plan.width, plan.pitch, plan.unit_offset, plan.unit_channel,
            plan.group_channels, plan.chunk_units, self.layer.groups, weights.first, weights.offsets, weights.weights,
            acc,
        )  # fmt: skip


def prepare(layer: Conv2d, shape: tuple[int, ...]) -> PreparedConvolution:
    """Return a convolution of inputs of `shape` (N, H, W, C) with packed weights.

    Raises ModelError if the weights break the layer's pattern.
    """
    plan = plan_panels(layer, shape[2])
    weights: DenseWeights | SparseWeights
    if layer.pattern is not None and layer.pattern.density <= MAX_SPARSE_DENSITY:
        weights = pair_sparse(compress(layer.weight, layer.pattern, layer.name), plan)
    else:
        if layer.pattern is not None and layer.pattern.n < layer.pattern.m:
            compress(layer.weight, layer.pattern, layer.name)
        weights = pair_dense(layer.weight, layer.groups, plan)
    return PreparedConvolution(layer=layer, plan=plan, weights=weights)


def convolve(layer: Conv2d, source: NDArray[np.int8], zero: int, acc: NDArray[np.int32]) -> None:
    """Accumulate a convolution of source int8 (N, H, W, C), padded with `zero`, into acc int32 (N, h, w, O).

    Raises ModelError if the weights break the layer's pattern.
    """
    weight = np.ascontiguousarray(layer.weight)
    depthwise = weight.shape[3] == 1 and weight.shape[0] == layer.groups
    reach = (weight.shape[2] - 1) * layer.dilation[1]
    if not depthwise and reach <= MAX_SHIFT and acc.shape[1] * acc.shape[2] >= MIN_TILE_POSITIONS:
        prepare(layer, source.shape).accumulate(source, zero, acc)
        return
    top, left, bottom, right = layer.pads
    padded = source
    if any(layer.pads):
        padded = np.pad(source, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=zero)
    steps = (*layer.stride, *layer.dilation)
    if layer.pattern is not None and layer.pattern.n < layer.pattern.m:
        kept = compress(weight, layer.pattern, layer.name)
        convolution.convolve_compressed(
            padded, kept.values, kept.indices, kept.pattern.m, weight.shape[3], *steps, layer.groups, acc
        )
    elif depthwise:
        taps = np.ascontiguousarray(weight[..., 0].transpose(1, 2, 0))
        convolution.convolve_depthwise(padded, taps, *steps, acc)
    else:
        convolution.convolve_direct(padded, weight, *steps, layer.groups, acc)


def multiply_batches(a: NDArray[np.int8], b: NDArray[np.int8], zero_a: int, acc: NDArray[np.int32]) -> None:
    """Accumulate (a - zero_a) b for each of B pairs: a int8 (B, T, K), b transposed int8 (B, C, K), acc (B, T, C)."""
    if a.shape[1] < MIN_TILE_POSITIONS:
        convolution.multiply_batches(a, b, zero_a, acc)
        return
    for one, other, sums in zip(a, b, acc, strict=True):
        weight = other[:, None, None, :]
        layer = Conv2d(name="product", inputs=("a",), output="product", op="matmul", weight=weight)
        convolve(layer, one[None, None], 0, sums[None, None])
        # The vector loops read stored values; the zero point's share is the same for every row of a.
        sums -= zero_a * other.sum(axis=1, dtype=np.int32)
