"""Compiled layers and networks: every product once, every byte as the layer kernels say, in any schedule."""

import math

import numpy as np
import pytest
from hand_programs import small_spec
from quantized_layers import Case, layer_cases
from replay import Replay, replay

from gossamer.arch.config import fingerprint
from gossamer.arch.spec import SparseAccelerator
from gossamer.dataflow.network import Concat, Conv2d, ConvTranspose2d, Layer, MatMul, Network, Permute, Pool2d, Slice
from gossamer.dataflow.program import Program
from gossamer.mapper.compile import compile_network
from gossamer.request import SimulationRequest
from gossamer.sim.golden.executor import execute
from gossamer.sim.golden.layers import run_layers
from gossamer.simulation import compile_request

SEED = 5
WIDEST = 8
"""Group size of the config: cases with a wider pattern are left to other tests."""

CASES = [
    case for case in layer_cases(SEED) if getattr(case.layer, "pattern", None) is None or case.layer.pattern.m <= 8
]


def inside_products(network: Network, layer: Layer) -> int:
    """Return by brute force the products of a nonzero weight and an element of the input: padding left out."""
    _, rows, columns, _ = network.tensors[layer.inputs[0]].shape
    batch, out_rows, out_columns, _ = network.tensors[layer.output].shape
    if isinstance(layer, MatMul):
        return (
            batch
            * out_rows
            * out_columns
            * network.tensors[layer.output].shape[3]
            * (network.tensors[layer.inputs[0]].shape[3])
        )
    _, kernel_rows, kernel_columns, _ = layer.weight.shape
    top, left = layer.pads[:2]
    total = 0
    for ky in range(kernel_rows):
        for kx in range(kernel_columns):
            nonzero = int(np.count_nonzero(layer.weight[:, ky, kx]))
            if isinstance(layer, ConvTranspose2d):
                ys = [y * layer.stride[0] + ky - top for y in range(rows)]
                xs = [x * layer.stride[1] + kx - left for x in range(columns)]
                pairs = sum(0 <= y < out_rows for y in ys) * sum(0 <= x < out_columns for x in xs)
            else:
                ys = [y * layer.stride[0] + ky * layer.dilation[0] - top for y in range(out_rows)]
                xs = [x * layer.stride[1] + kx * layer.dilation[1] - left for x in range(out_columns)]
                pairs = sum(0 <= y < rows for y in ys) * sum(0 <= x < columns for x in xs)
            total += batch * pairs * nonzero
    return total


def replayed(network: Network, spec: SparseAccelerator, values: dict[str, np.ndarray]) -> tuple[Program, Replay]:
    """Compile, execute and replay; all outputs must equal the layer kernels' byte for byte."""
    program = compile_network(network, spec, config_fingerprint=fingerprint(spec))
    expected = run_layers(network, values)
    seen = replay(program, spec, values, seed=SEED, schedules=3)
    executed = execute(program, spec, values)
    for name in set(network.outputs) - set(network.inputs):
        np.testing.assert_array_equal(seen.outputs[name], expected[name])
        np.testing.assert_array_equal(executed[name], expected[name])
    return program, seen


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_product_is_made_exactly_once(case: Case) -> None:
    spec = small_spec(group=WIDEST, kib=8)
    program, seen = replayed(case.network, spec, case.values)
    if isinstance(case.layer, Conv2d | ConvTranspose2d | MatMul):
        assert seen.tensor_macs == {0: inside_products(case.network, case.layer)}
    elif isinstance(case.layer, Concat | Slice | Permute):
        # Permutations of channels are products by one: each element of the output once, or no products at all.
        elements = int(np.prod(case.network.tensors[case.layer.output].shape))
        assert sum(seen.macs.values()) in (0, elements)
    elif isinstance(case.layer, Pool2d):
        # The array may sum a large window: each element of the input once, pad channels of words too.
        *pixels, channels = case.network.tensors[case.layer.inputs[0]].shape
        assert sum(seen.macs.values()) in (0, math.prod(pixels) * -(-channels // WIDEST) * WIDEST)
    else:
        assert not seen.macs
    if isinstance(case.layer, Conv2d):
        assert seen.macs == {0: program.layers[0].macs}


@pytest.mark.parametrize(("group", "chains", "chain_length", "lanes"), [(4, 8, 1, 1), (8, 24, 5, 4), (16, 16, 3, 2)])
def test_products_on_other_arrays(group: int, chains: int, chain_length: int, lanes: int) -> None:
    spec = small_spec(group=group, chains=chains, chain_length=chain_length, lanes=lanes, kib=16)
    checked = 0
    for case in layer_cases(SEED + group):
        if isinstance(case.layer, Conv2d) and (case.layer.pattern is None or case.layer.pattern.m <= group):
            program, seen = replayed(case.network, spec, case.values)
            assert seen.macs == {0: program.layers[0].macs}, case
            assert seen.tensor_macs == {0: inside_products(case.network, case.layer)}, case
            checked += 1
    assert checked >= 15


@pytest.mark.parametrize("sparsity", ["dense", "2:4"])
def test_digits(sparsity: str) -> None:
    """The whole digits network on the smallest shipped config: several tiles, residual and depthwise blocks."""
    compiled = compile_request(SimulationRequest(model="digits", config="ecp5-tiny", sparsity=sparsity, shapes={}))
    program, network = compiled.program, compiled.network
    random = np.random.default_rng(SEED)
    values = {name: random.integers(-128, 128, network.tensors[name].shape).astype(np.int8) for name in network.inputs}
    seen = replay(program, compiled.spec, values, seed=SEED, schedules=3)
    expected = run_layers(network, values)
    for name in network.outputs:
        np.testing.assert_array_equal(seen.outputs[name], expected[name])
    assert {at: count for at, count in seen.macs.items() if count} == {
        at: layer.macs for at, layer in enumerate(program.layers) if layer.macs
    }
