"""Golden kernels against their slow twin, compiled and as plain Python, and their refusals."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from golden_twin import twin_accumulators, twin_layer
from quantized_layers import convolution, layer_cases, matrix_product

from gossamer.arch.errors import ModelError
from gossamer.dataflow.network import Conv2d, ConvTranspose2d, MatMul, Network, Tensor
from gossamer.dataflow.numerics import QuantParams
from gossamer.sim.golden.layers import accumulators, run_layer, run_layers

SEED = int(os.environ.get("GOSSAMER_SEED", "2026"))
CASES = layer_cases(SEED)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_layer_equals_twin(case):
    expected = twin_layer(case.network, case.layer, case.values)
    actual = run_layer(case.network, case.layer, case.values)
    assert actual.dtype == np.int8
    np.testing.assert_array_equal(actual, expected, err_msg=f"seed {SEED}")
    if not case.layer.name.endswith("_one"):  # one channel, normalised, is a constant
        assert np.unique(actual).size > actual.size**0.25, "nearly constant outputs would prove little"


@pytest.mark.parametrize("case", [c for c in CASES if isinstance(c.layer, Conv2d | ConvTranspose2d | MatMul)], ids=str)
def test_accumulators_equal_twin(case):
    actual = accumulators(case.network, case.layer, case.values)
    assert actual.dtype == np.int32
    np.testing.assert_array_equal(actual, twin_accumulators(case.network, case.layer, case.values))


def test_every_kernel_without_compilation():
    """The kernels are also plain Python: the same cases, one process, numba's compiler off."""
    script = (
        "import numpy as np\n"
        "from golden_twin import twin_layer\n"
        "from quantized_layers import layer_cases\n"
        "from gossamer.sim.golden.layers import run_layer\n"
        f"cases = layer_cases({SEED})\n"
        "for case in cases:\n"
        "    expected = twin_layer(case.network, case.layer, case.values)\n"
        "    np.testing.assert_array_equal(run_layer(case.network, case.layer, case.values), expected, str(case))\n"
        "print(len(cases), 'equal')\n"
    )
    support = str(Path(__file__).parent.parent / "support")
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": support}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{len(CASES)} equal\n"


def test_sums_wrap_in_32_bits():
    """140,000 products of -128 * -128 exceed 2**31 and come back negative, as in the accumulator."""
    rng = np.random.default_rng(SEED)
    case = convolution(rng, "wrap", (1, 1, 2, 140_000), 2, (1, 1))
    layer = replace(case.layer, weight=np.full(case.layer.weight.shape, -128, np.int8))
    values = {"a": np.full((1, 1, 2, 140_000), -128, np.int8)}
    acc = accumulators(case.network, layer, values)
    assert (acc == 140_000 * 2**14 - 2**32).all()


def test_run_layers_feeds_each_layer():
    rng = np.random.default_rng(SEED)
    first = convolution(rng, "first", (1, 4, 4, 3), 5, (3, 3), pads=(1, 1, 1, 1))
    second = convolution(rng, "second", (1, 4, 4, 5), 2, (1, 1))
    layers = (replace(first.layer, output="middle"), replace(second.layer, inputs=("middle",)))
    middle = Tensor(name="middle", shape=(1, 4, 4, 5), quant=second.network.tensors["a"].quant)
    tensors = {"a": first.network.tensors["a"], "middle": middle, "out": second.network.tensors["out"]}
    network = Network(name="two", inputs=("a",), outputs=("out",), tensors=tensors, layers=layers)
    values = run_layers(network, first.values)
    assert values.keys() == {"a", "middle", "out"}
    for layer in layers:
        np.testing.assert_array_equal(values[layer.output], twin_layer(network, layer, values))


def test_missing_or_wrong_input_is_refused():
    case = CASES[1]
    with pytest.raises(ModelError, match=r"no values for tensor a; give int8 values of shape \(2, 5, 4, 6\)"):
        run_layers(case.network, {})
    with pytest.raises(ModelError, match=r"tensor a must be int8 of shape \(2, 5, 4, 6\), not float64"):
        run_layers(case.network, {"a": np.zeros((2, 5, 4, 6))})
    with pytest.raises(ModelError, match=r"not int8 of \(2, 5, 4, 7\)"):
        run_layer(case.network, case.layer, {"a": np.zeros((2, 5, 4, 7), np.int8)})


@pytest.mark.parametrize("case", [c for c in CASES if getattr(c.layer, "params", None) is not None], ids=str)
def test_unquantized_layer_is_refused(case):
    with pytest.raises(ModelError, match=f"{case.layer.name}: this .* layer is not quantized"):
        run_layer(case.network, replace(case.layer, params=None), case.values)


def test_float_weight_and_wrong_zero_point_are_refused():
    case = CASES[1]
    with pytest.raises(ModelError, match="weights must be int8, not float32"):
        run_layer(case.network, replace(case.layer, weight=case.layer.weight.astype(np.float32)), case.values)
    product = matrix_product(np.random.default_rng(SEED), "product", 1, 1, 2, 3, 2, transpose_b=True)
    tensors = dict(product.network.tensors)
    tensors["b"] = replace(tensors["b"], quant=QuantParams(scale=0.1, zero_point=3))
    with pytest.raises(ModelError, match="second operand must be quantized with zero point 0"):
        run_layer(replace(product.network, tensors=tensors), product.layer, product.values)


def test_layer_that_breaks_its_pattern_is_refused():
    case = next(c for c in CASES if c.layer.name == "conv_2:4_ragged")
    weight = case.layer.weight.copy()
    weight[1, 1, 2, 4:7] = 1
    with pytest.raises(
        ModelError, match=r"at most 2 nonzeros .* not 3 \(output channel 1, kernel row 1, kernel column 2, group 1\)"
    ):
        run_layer(case.network, replace(case.layer, weight=weight), case.values)
