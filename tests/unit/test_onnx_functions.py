"""Unary functions against Python's math, simplification against evaluation, the float model's errors, layouts."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from gossamer.arch.errors import ModelError
from gossamer.dataflow.functions import apply_steps, simplify
from gossamer.dataflow.network import Conv2d, Function, Layout, Lrn, Network, Step, Tensor, Unary
from gossamer.sim.reference import run_float

X = [-100.0, -7.5, -3.0, -1.0, -0.25, 0.0, 0.25, 1.0, 2.9, 3.0, 6.5, 100.0]
POSITIVE = [0.01, 0.5, 1.0, 7.0]

ORACLES: dict[Function, tuple[tuple[float, ...], list[float], Callable[[float], float]]] = {
    Function.RELU: ((), X, lambda x: max(x, 0.0)),
    Function.CLIP: ((-0.5, 2.0), X, lambda x: min(max(x, -0.5), 2.0)),
    Function.SIGMOID: ((), X, lambda x: 1 / (1 + math.exp(-x))),
    Function.HARD_SIGMOID: ((0.3, 0.4), X, lambda x: max(0.0, min(1.0, 0.3 * x + 0.4))),
    Function.HARD_SWISH: ((), X, lambda x: x * min(max(x + 3, 0), 6) / 6),
    Function.SILU: ((), X, lambda x: x / (1 + math.exp(-x))),
    Function.GELU: ((), X, lambda x: x * 0.5 * math.erfc(-x / math.sqrt(2))),
    Function.TANH: ((), X, math.tanh),
    Function.ERF: ((), X, math.erf),
    Function.EXP: ((), X[:-1], math.exp),
    Function.SQRT: ((), POSITIVE, math.sqrt),
    Function.LEAKY_RELU: ((0.1,), X, lambda x: x if x > 0 else 0.1 * x),
    Function.AFFINE: ((-2.0, 0.5), X, lambda x: 0.5 - 2 * x),
    Function.POWER: ((1.5,), POSITIVE, lambda x: x**1.5),
    Function.RECIPROCAL: ((), POSITIVE, lambda x: 1 / x),
    Function.ABS: ((), X, abs),
}


def test_every_function_has_an_oracle() -> None:
    assert set(ORACLES) == set(Function)


@pytest.mark.parametrize("function", list(Function))
def test_function(function: Function) -> None:
    arguments, points, oracle = ORACLES[function]
    result = apply_steps((Step(function, arguments),), np.array(points))
    assert result == pytest.approx([oracle(x) for x in points], rel=1e-12, abs=1e-12)


def test_dtype_is_kept_and_overflow_is_silent() -> None:
    result = apply_steps((Step(Function.EXP), Step(Function.RECIPROCAL)), np.array([1000.0, -1000.0], np.float32))
    assert result.dtype == np.float32
    assert result.tolist() == [0.0, math.inf]


def test_simplify_keeps_the_function_and_shortens_it() -> None:
    affine = Step(Function.AFFINE, (2.0, 1.0))
    chain = (affine, Step(Function.AFFINE, (0.5, -0.5)), Step(Function.CLIP, (0.0, math.inf)), affine, affine)
    assert simplify(chain) == (Step(Function.RELU), Step(Function.AFFINE, (4.0, 3.0)))
    random = np.random.default_rng(3)
    choices = [affine, Step(Function.AFFINE, (-1.0, 0.0)), Step(Function.RELU), Step(Function.TANH),
               Step(Function.POWER, (1.0,)), Step(Function.CLIP, (-math.inf, math.inf))]  # fmt: skip
    x = np.linspace(-3, 3, 41)
    for _ in range(100):
        steps = tuple(choices[int(i)] for i in random.integers(len(choices), size=6))
        assert len(simplify(steps)) <= len(steps)
        assert apply_steps(simplify(steps), x) == pytest.approx(apply_steps(steps, x), abs=1e-12)


def test_layout_there_and_back() -> None:
    layout = Layout(shape=(2, 3, 4, 5), order=(0, 2, 3, 1))
    array = np.arange(120.0).reshape(2, 3, 4, 5)
    stored = layout.to_stored(array, (2, 4, 5, 3))
    assert stored[1, 2, 3, 0] == array[1, 0, 2, 3]
    assert np.array_equal(layout.to_model(stored), array)
    with pytest.raises(ModelError, match=r"must have the model's shape \(2, 3, 4, 5\), not \(2, 4, 5, 3\)"):
        layout.to_stored(stored, (2, 4, 5, 3))


def one_layer(layer: Conv2d | Lrn | Unary, shape: tuple[int, int, int, int]) -> Network:
    tensors = {"x": Tensor(name="x", shape=shape), "y": Tensor(name="y", shape=shape)}
    return Network(name="one", inputs=("x",), outputs=("y",), tensors=tensors, layers=(layer,))


@pytest.mark.parametrize("window", [1, 2, 3, 4, 9])
def test_lrn_of_any_window_against_loops(window: int) -> None:
    """Even windows too, which onnxruntime refuses: ONNX says (window - 1) // 2 below and window // 2 above."""
    layer = Lrn(name="l", inputs=("x",), output="y", op="lrn", window=window, alpha=0.7, beta=0.6, bias=1.3)
    x = np.random.default_rng(4).standard_normal((1, 1, 2, 6)).astype(np.float32)
    y = run_float(one_layer(layer, (1, 1, 2, 6)), {"x": x})["y"]
    for column in range(2):
        for channel in range(6):
            near = range(max(0, channel - (window - 1) // 2), min(6, channel + window // 2 + 1))
            total = sum(float(x[0, 0, column, c]) ** 2 for c in near)
            expected = x[0, 0, column, channel] / (1.3 + 0.7 / window * total) ** 0.6
            assert y[0, 0, column, channel] == pytest.approx(expected, rel=1e-5)


def test_run_float_refuses_wrong_inputs() -> None:
    network = one_layer(
        Unary(name="u", inputs=("x",), output="y", op="relu", steps=(Step(Function.RELU),)), (1, 2, 2, 3)
    )
    with pytest.raises(ModelError, match=r"one: input x must have shape \(1, 2, 2, 3\), not nothing"):
        run_float(network, {})
    with pytest.raises(ModelError, match=r"must have shape \(1, 2, 2, 3\), not \(1, 3, 2, 2\)"):
        run_float(network, {"x": np.zeros((1, 3, 2, 2), np.float32)})
    wrong = replace(network, tensors=network.tensors | {"y": Tensor(name="y", shape=(1, 2, 2, 4))})
    with pytest.raises(ModelError, match=r"layer u: computed shape \(1, 2, 2, 3\), the network says \(1, 2, 2, 4\)"):
        run_float(wrong, {"x": np.zeros((1, 2, 2, 3), np.float32)})


def test_run_float_refuses_quantized_weights() -> None:
    layer = Conv2d(name="c", inputs=("x",), output="y", op="conv", weight=np.ones((3, 1, 1, 3), np.int8))
    with pytest.raises(ModelError, match="layer c is quantized"):
        run_float(one_layer(layer, (1, 2, 2, 3)), {"x": np.zeros((1, 2, 2, 3), np.float32)})
