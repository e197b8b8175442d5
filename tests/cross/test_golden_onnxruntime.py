"""Golden layer kernels against onnxruntime's integer operators: sums exact, int8 outputs within 1.

The two round differently (ours half up in fixed point, onnxruntime half to even in float32), so results that lie on a
rounding boundary may differ by 1; the share that does is printed and bounded.
"""

import os

import numpy as np
import pytest
from onnx_integer import run_accumulators, run_layer_onnx, without_table
from quantized_layers import convolution, layer_cases, matrix_product

from gossamer.dataflow.network import (
    Concat,
    Conv2d,
    ConvTranspose2d,
    Lrn,
    MatMul,
    Permute,
    Pool2d,
    PoolKind,
    Resize,
    Slice,
    View,
)
from gossamer.dataflow.sparsity import NmPattern
from gossamer.sim.golden.layers import accumulators, run_layer

SEED = int(os.environ.get("GOSSAMER_SEED", "77"))
RNG = np.random.default_rng(SEED)
LARGE = [
    convolution(RNG, "large_conv", (1, 28, 28, 64), 48, (3, 3), pads=(1, 1, 1, 1)),
    convolution(RNG, "large_2:4", (1, 28, 28, 64), 48, (3, 3), pads=(1, 1, 1, 1), pattern=NmPattern(2, 4)),
    convolution(
        RNG, "large_2:8", (2, 27, 29, 40), 33, (5, 3), stride=(2, 2), pads=(2, 1, 2, 1), pattern=NmPattern(2, 8)
    ),
    convolution(RNG, "large_first", (1, 64, 64, 3), 32, (7, 7), stride=(2, 2), pads=(3, 3, 3, 3)),
    convolution(RNG, "large_gemm_4:16", (1, 130, 1, 700), 60, (1, 1), pattern=NmPattern(4, 16)),
    convolution(RNG, "large_classifier", (3, 1, 1, 2048), 100, (1, 1)),
    convolution(RNG, "large_groups", (1, 20, 20, 48), 64, (3, 3), groups=4, pads=(1, 1, 1, 1)),
    convolution(RNG, "large_depthwise", (1, 30, 30, 96), 96, (5, 5), groups=96, pads=(2, 2, 2, 2)),
    matrix_product(RNG, "large_matmul", 1, 8, 40, 64, 40, transpose_b=True),
]
# onnxruntime has no local response normalisation over an even window.
CASES = [case for case in layer_cases(SEED) if case.layer.name != "lrn_even"] + LARGE
EXACT = (Concat, Slice, Resize, Permute, View)


@pytest.mark.parametrize("case", [c for c in CASES if isinstance(c.layer, Conv2d | ConvTranspose2d | MatMul)], ids=str)
def test_sums_are_exact(case):
    network, layer = case.network, case.layer
    actual = accumulators(network, layer, case.values).astype(np.int64)
    if not isinstance(layer, MatMul):
        # Ours sums stored values; onnxruntime subtracts the zero point first.
        total = layer.weight.reshape(layer.weight.shape[0], -1).sum(axis=1, dtype=np.int64)
        actual -= network.tensors["a"].quant.zero_point * total
    expected = run_accumulators(network, layer, case.values)
    assert np.count_nonzero(expected) > 0
    np.testing.assert_array_equal(actual, expected, err_msg=f"seed {SEED}")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_outputs_are_within_one(case):
    layer = without_table(case.layer)
    actual = run_layer(case.network, layer, case.values).astype(np.int16)
    expected = run_layer_onnx(case.network, layer, case.values)
    assert expected.dtype == np.int8
    assert expected.shape == actual.shape
    differing = np.count_nonzero(actual != expected)
    print(f"{layer.name}: {differing} of {actual.size} outputs differ, by at most {np.abs(actual - expected).max()}")
    if isinstance(layer, EXACT) or (isinstance(layer, Pool2d) and layer.kind is PoolKind.MAX):
        assert differing == 0
    assert np.abs(actual - expected).max() <= 1, f"seed {SEED}"
    # The 256 entries of the LRN table are a coarser approximation than a different rounding.
    assert differing <= max(1, actual.size * (0.25 if isinstance(layer, Lrn) else 0.02))
    if not layer.name.endswith("_one"):
        assert np.unique(expected).size > 3
