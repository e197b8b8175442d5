"""Two layers of any kinds that take turns, whatever that costs."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from quantized_layers import IN, OUT, Case, binary, convolution, one_layer, pool, transposed, unary

from gossamer.dataflow.network import Binary, BinaryKind, Layer, Network, PoolKind, Resize, Tensor
from gossamer.dataflow.program import Program
from gossamer.dataflow.sparsity import NmPattern
from gossamer.mapper import compile as compiler
from gossamer.mapper.codegen import members
from gossamer.mapper.holding import NOTHING_HELD

MIXED = [
    ("conv", "global"), ("conv", "average"), ("transposed", "conv"), ("transposed", "global"), ("resize", "global"),
    ("transposed", "transposed"), ("conv", "transposed"), ("conv", "resize"), ("resize", "conv"), ("conv", "maximum"),
    ("conv", "unary"), ("unary", "maximum"), ("global", "conv"), ("global", "resize"), ("conv", "scaling"),
    ("scaling", "resize"), ("scaling", "conv"), ("scaling", "global"),
]  # fmt: skip
"""Kinds of layers; those of the first five always have more than one step."""


def take_turns(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Layer, ...]]:
    """Let the first two layers take turns, whatever it costs, averages on the array; return the list of the pairs."""
    found: list[tuple[Layer, ...]] = []

    def schedule(network: Network, *options: Any) -> tuple[Network, Any, list[tuple[Layer, ...]], Any]:
        network, choices = compiler.choose(network, *options)
        found.append(network.layers[:2])
        return network, choices, [network.layers[:2]], NOTHING_HELD

    monkeypatch.setattr(compiler, "schedule", schedule)
    monkeypatch.setattr(compiler, "scales_on_array", lambda _, layer, __: isinstance(layer, Binary))
    monkeypatch.setattr(members, "is_summed", lambda _, layer, *__: layer.kind is PoolKind.AVERAGE)
    return found


def in_turn(first: Case, second: Case, *, chained: bool) -> Network:
    """Return a network of two layers, the second of the first's result or of the same input."""
    shapes = {"a": first.network.tensors["a"].shape, "middle": first.network.tensors["out"].shape}
    shapes["last"] = second.network.tensors["out"].shape
    quants = {"a": IN, "middle": IN if chained else OUT, "last": OUT}
    layers = (
        replace(first.layer, output="middle"),
        replace(second.layer, inputs=("middle" if chained else "a", *second.layer.inputs[1:]), output="last"),
    )
    tensors = {name: Tensor(name=name, shape=shape, quant=quants[name]) for name, shape in shapes.items()}
    others = {name: tensor for case in (first, second) for name, tensor in case.network.tensors.items() if name == "b"}
    outputs = ("last",) if chained else ("middle", "last")
    tensors |= others
    return Network(name="two", inputs=("a", *others), outputs=outputs, tensors=tensors, layers=layers)


def any_layer(rng, kind: str, name: str, shape) -> Case:
    """Return a layer of a kind with random sizes."""
    size = int(rng.choice([1, 2, 3]))
    outputs = int(rng.choice([3, 8, 17, 40]))
    match kind:
        case "conv":
            stride = int(rng.choice([1, 1, 2]))
            return convolution(
                rng, name, shape, outputs, (size, size), stride=(stride, stride), pads=(size // 2,) * 4,
                pattern=NmPattern(2, 4) if rng.integers(2) else None,
            )  # fmt: skip
        case "transposed":
            kernel, pad = int(rng.choice([2, 3])), int(rng.integers(2))
            return transposed(rng, name, shape, outputs, (kernel, kernel), stride=(2, 2), pads=(pad,) * 4)
        case "global":
            return pool(rng, name, PoolKind.AVERAGE, shape, shape[1:3])
        case "average":
            kernel = (shape[1] - 1, shape[2] // 2)
            return pool(rng, name, PoolKind.AVERAGE, shape, kernel, stride=(1, 2))
        case "maximum":
            return pool(rng, name, PoolKind.MAX, shape, (2, 2), stride=(2, 2))
        case "scaling":
            return binary(rng, name, BinaryKind.MULTIPLY, shape, (1, 1, 1, shape[3]))
        case "resize":
            layer = Resize(name=name, inputs=("a",), output="out", op="resize", factors=(2, size))
            return one_layer(rng, layer, [shape], (shape[0], 2 * shape[1], size * shape[2], shape[3]), [IN], IN)
    return unary(rng, name, shape)


def random_pair(kinds: tuple[str, str], seed: int) -> tuple[Network, dict[str, np.ndarray]]:
    """Return two layers of some kinds, and an input. In one of three cases the second does not read the first."""
    rng = np.random.default_rng([seed, *map(ord, kinds[0] + kinds[1])])
    rows, columns, channels = int(rng.integers(6, 17)), int(rng.integers(4, 15)), int(rng.choice([3, 8, 24, 40]))
    shape = (int(rng.integers(1, 3)), rows, columns, channels)
    first, chained = any_layer(rng, kinds[0], "first", shape), bool(seed % 3)
    second = any_layer(rng, kinds[1], "second", first.network.tensors["out"].shape if chained else shape)
    return in_turn(first, second, chained=chained), {**second.values, **first.values}


def engines_alternate(program: Program) -> bool:
    """Return whether instructions of the second layer are emitted before the last of the first."""
    layers = program.layer_of[program.layer_of >= 0]
    return bool(np.flatnonzero(layers == 1)[0] < np.flatnonzero(layers == 0)[-1])
