"""Make random float networks of every kind of layer, as graphs with several inputs, branches, joins and outputs.

They are what `gossamer verify --random` runs on the RTL, and what the tests run on everything else.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from gossamer.dataflow.network import (
    Binary,
    BinaryKind,
    Concat,
    Conv2d,
    ConvTranspose2d,
    Function,
    Layer,
    LayerNorm,
    Lrn,
    MatMul,
    Network,
    Permute,
    Pool2d,
    PoolKind,
    Resize,
    Shape,
    Slice,
    Softmax,
    Step,
    Tensor,
    Unary,
    View,
)
from gossamer.dataflow.sparsity import NmPattern
from gossamer.mapper.pruning.prune import magnitude_mask

CHANNELS = (1, 2, 3, 4, 5, 7, 8, 9, 12, 16, 17, 20, 24, 33)
MOST_ELEMENTS = 6000
ACTIVATIONS = (
    (), (), (Step(Function.RELU),), (Step(Function.CLIP, (0.0, 6.0)),), (Step(Function.HARD_SWISH),),
    (Step(Function.SIGMOID),),
)  # fmt: skip


T = TypeVar("T")


@dataclass
class Builder:
    """A network under construction. `most_m`: largest M of an N:M pattern."""

    random: np.random.Generator
    most_m: int
    products: bool = True
    tensors: dict[str, Tensor] = field(default_factory=dict)
    layers: list[Layer] = field(default_factory=list)

    def pick(self, options: Sequence[T]) -> T:
        return options[int(self.random.integers(len(options)))]

    def chance(self, probability: float) -> bool:
        return bool(self.random.random() < probability)

    def any_tensor(self) -> str:
        """Return a tensor, later ones more often."""
        names = list(self.tensors)
        return names[-1 - min(len(names) - 1, int(self.random.exponential(2.0)))]

    def shape(self, name: str) -> Shape:
        return self.tensors[name].shape

    def add(self, layer: type[Any], inputs: tuple[str, ...], shape: tuple[int, ...], **fields: Any) -> str:
        """Append a layer and return its output's name; shapes come from the caller."""
        batch, rows, columns, channels = shape
        shape = (batch, rows, columns, channels)
        output = f"t{len(self.tensors)}"
        assert min(shape) >= 1
        self.tensors[output] = Tensor(name=output, shape=shape)
        name = f"{layer.__name__.lower()}{len(self.layers)}"
        self.layers.append(layer(name=name, inputs=inputs, output=output, op=layer.__name__.lower(), **fields))
        return output

    def weights(self, shape: tuple[int, ...], groups: int = 1) -> tuple[NDArray[np.float32], NmPattern | None]:
        """Return float32 weights of unit gain, some with an N:M pattern, and that pattern."""
        weight = (self.random.standard_normal(shape) * np.sqrt(2 / prod(shape[1:]))).astype(np.float32)
        if groups > 1 or self.chance(0.4):
            return weight, None
        m = self.pick([m for m in (2, 4, 8, 16) if m <= self.most_m])
        n = int(self.random.integers(1, m))
        if n >= min(m, shape[-1]):
            return weight, None
        pattern = NmPattern(n, m)
        return weight * magnitude_mask(weight, pattern), pattern

    def bias(self, count: int) -> NDArray[np.float32] | None:
        return None if self.chance(0.2) else (self.random.standard_normal(count) * 0.3).astype(np.float32)


def window(b: Builder, length: int, kernel: int, dilation: int = 1) -> tuple[int, int, int, int]:
    """Return stride, pads and output length along one axis for a kernel that fits."""
    before, after = (int(b.random.integers(0, kernel)) for _ in range(2))
    extent = (kernel - 1) * dilation + 1
    after += max(0, extent - length - before - after)
    stride = int(b.random.integers(1, 4))
    return stride, before, after, (length + before + after - extent) // stride + 1


def conv(b: Builder) -> str:
    """Append any convolution: pointwise, dense, grouped, depthwise, dilated, sparse."""
    source = b.any_tensor()
    batch, rows, columns, channels = b.shape(source)
    kernel = (1, 1) if b.chance(0.3) else tuple(int(v) for v in b.random.integers(1, 5, 2))
    dilation = tuple(int(v) for v in b.random.integers(1, 3, 2)) if b.chance(0.2) else (1, 1)
    groups, outputs = 1, b.pick(CHANNELS)
    divisors = [g for g in range(2, channels + 1) if channels % g == 0]
    if divisors and b.chance(0.35):
        groups = channels if b.chance(0.5) else b.pick(divisors)
        outputs = groups * int(b.random.integers(1, 4))
    stride_y, top, bottom, out_rows = window(b, rows, kernel[0], dilation[0])
    stride_x, left, right, out_columns = window(b, columns, kernel[1], dilation[1])
    if kernel == (1, 1) and b.chance(0.7):
        stride_y = stride_x = 1
        out_rows, out_columns = rows, columns
    weight, pattern = b.weights((outputs, *kernel, channels // groups), groups)
    return b.add(
        Conv2d, (source,), (batch, out_rows, out_columns, outputs), weight=weight, bias=b.bias(outputs),
        stride=(stride_y, stride_x), dilation=dilation, pads=(top, left, bottom, right), groups=groups,
        pattern=pattern, activation=b.pick(ACTIVATIONS),
    )  # fmt: skip


def transposed_conv(b: Builder) -> str:
    source = b.any_tensor()
    batch, rows, columns, channels = b.shape(source)
    kernel, stride = (tuple(int(v) for v in b.random.integers(1, 4, 2)) for _ in range(2))
    pads = tuple(int(b.random.integers(0, k)) for k in (*kernel, *kernel))
    extra = tuple(int(b.random.integers(0, s)) for s in stride)
    lengths = [
        (n - 1) * s + k - low - high + e
        for n, s, k, low, high, e in zip((rows, columns), stride, kernel, pads[:2], pads[2:], extra, strict=True)
    ]
    if min(lengths) < 1:
        pads, lengths = (
            (0, 0, 0, 0),
            [(n - 1) * s + k + e for n, s, k, e in zip((rows, columns), stride, kernel, extra, strict=True)],
        )
    outputs = b.pick(CHANNELS)
    weight, pattern = b.weights((outputs, *kernel, channels))
    return b.add(
        ConvTranspose2d, (source,), (batch, *lengths, outputs), weight=weight, bias=b.bias(outputs), stride=stride,
        pads=pads, output_padding=extra, pattern=pattern, activation=b.pick(ACTIVATIONS),
    )  # fmt: skip


def pool(b: Builder) -> str:
    source = b.any_tensor()
    batch, rows, columns, channels = b.shape(source)
    kind = b.pick(list(PoolKind))
    if b.chance(0.3):
        return b.add(Pool2d, (source,), (batch, 1, 1, channels), kind=kind, kernel=(rows, columns))
    kernel = tuple(int(v) for v in b.random.integers(1, 4, 2))
    stride_y, top, bottom, out_rows = window(b, rows, kernel[0])
    stride_x, left, right, out_columns = window(b, columns, kernel[1])
    return b.add(
        Pool2d, (source,), (batch, out_rows, out_columns, channels), kind=kind, kernel=kernel,
        stride=(stride_y, stride_x), pads=(top, left, bottom, right), count_include_pad=b.chance(0.3),
    )  # fmt: skip


def binary(b: Builder) -> str:
    """Append an elementwise operation of two equal shapes, or of one and its mean over some axes."""
    source = b.any_tensor()
    batch, rows, columns, channels = shape = b.shape(source)
    same = [name for name in b.tensors if b.shape(name) == shape]
    if b.chance(0.6):
        other = b.pick(same)
        if other == source and b.chance(0.7):
            other = pointwise(b, source, channels)
    elif b.chance(0.6):
        mean = b.add(Pool2d, (source,), (batch, 1, 1, channels), kind=PoolKind.AVERAGE, kernel=(rows, columns))
        other = pointwise(b, mean, channels)
    else:
        other = pointwise(b, source, 1)
    kind = b.pick(list(BinaryKind))
    activation = () if b.chance(0.6) else (Step(Function.RELU),)
    return b.add(Binary, (source, other), shape, kind=kind, activation=activation)


def pointwise(b: Builder, source: str, outputs: int) -> str:
    """Append a 1x1 convolution."""
    *pixels, channels = b.shape(source)
    weight, pattern = b.weights((outputs, 1, 1, channels))
    return b.add(
        Conv2d, (source,), (*pixels, outputs), weight=weight, bias=b.bias(outputs), pattern=pattern,
        activation=b.pick(ACTIVATIONS),
    )  # fmt: skip


def rowwise(b: Builder) -> str:
    """Append a table or a normalisation."""
    source = b.any_tensor()
    shape = b.shape(source)
    match b.pick(("unary", "unary", "softmax", "layer_norm", "lrn")):
        case "softmax":
            return b.add(Softmax, (source,), shape)
        case "layer_norm":
            gamma, beta = b.random.uniform(0.5, 1.5, shape[3]), b.random.normal(0, 0.2, shape[3])
            return b.add(
                LayerNorm, (source,), shape, gamma=gamma.astype(np.float32), beta=beta.astype(np.float32), epsilon=1e-5
            )
        case "lrn":
            size = int(b.random.integers(1, 6))
            return b.add(Lrn, (source,), shape, window=size, alpha=1e-2, beta=0.75, bias=1.0)
    step = b.pick((Step(Function.HARD_SWISH), Step(Function.TANH), Step(Function.RELU), Step(Function.GELU)))
    return b.add(Unary, (source,), shape, steps=(step,))


def concat(b: Builder) -> str:
    """Append a join along rows, columns or channels of a tensor with others made to fit, or with itself."""
    source = b.any_tensor()
    shape = b.shape(source)
    axis = b.pick((1, 2, 3, 3, 3, 3))
    parts = [source]
    for _ in range(int(b.random.integers(1, 4))):
        fitting = [n for n in b.tensors if all(b.shape(n)[a] == shape[a] for a in range(4) if a != axis)]
        made = pointwise(b, source, b.pick(CHANNELS) if axis == 3 else shape[3]) if b.chance(0.6) else b.pick(fitting)
        parts.insert(int(b.random.integers(0, len(parts) + 1)), made)
    length = sum(b.shape(name)[axis] for name in parts)
    return b.add(Concat, tuple(parts), (*shape[:axis], length, *shape[axis + 1 :]), axis=axis)


def cut(b: Builder) -> str:
    """Append a slice along any axis, or two that split a tensor's channels."""
    source = b.any_tensor()
    shape = b.shape(source)
    axis = b.pick((0, 1, 2, 3, 3, 3))
    start = int(b.random.integers(0, shape[axis]))
    if axis == 3 and b.chance(0.5):
        start = start // 8 * 8
    stop = int(b.random.integers(start + 1, shape[axis] + 1))
    step = 1 if b.chance(0.6) else int(b.random.integers(1, 4))
    length = -(-(stop - start) // step)
    return b.add(
        Slice, (source,), (*shape[:axis], length, *shape[axis + 1 :]), axis=axis, start=start, stop=stop, step=step
    )


def move(b: Builder) -> str:
    """Append an enlargement, a channel shuffle, a transpose or a reshape."""
    source = b.any_tensor()
    batch, rows, columns, channels = shape = b.shape(source)
    match b.pick(("resize", "shuffle", "swap", "reshape", "view", "view")):
        case "resize":
            y, x = (int(v) for v in b.random.integers(1, 4, 2))
            return b.add(Resize, (source,), (batch, rows * y, columns * x, channels), factors=(y, x))
        case "shuffle":
            groups = b.pick([g for g in range(1, channels + 1) if channels % g == 0])
            view = (batch * rows * columns, groups, channels // groups)
            return b.add(Permute, (source,), shape, view=view, order=(0, 2, 1))
        case "swap":
            order = tuple(int(axis) for axis in b.random.permutation(4))
            moved = tuple(shape[axis] for axis in order)
            return b.add(Permute, (source,), moved, view=shape, order=order)
        case "reshape":
            return b.add(
                Permute, (source,), (batch, 1, channels, rows * columns), view=(batch, 1, rows * columns, channels),
                order=(0, 1, 3, 2),
            )  # fmt: skip
    return b.add(View, (source,), b.pick(((batch, 1, rows * columns, channels), (1, batch * rows, columns, channels))))


def product(b: Builder) -> str:
    """Append a product of two activations: a tensor with a projection of itself."""
    source = b.any_tensor()
    batch, rows, columns, channels = b.shape(source)
    if not b.products:
        return conv(b)
    other = pointwise(b, source, channels)
    scores = b.add(
        MatMul, (source, other), (batch, rows, columns, columns), transpose_b=True, factor=float(channels) ** -0.5
    )
    if b.chance(0.5):
        return scores
    weights = b.add(Softmax, (scores,), b.shape(scores))
    values = pointwise(b, source, b.pick(CHANNELS))
    return b.add(MatMul, (weights, values), (batch, rows, columns, b.shape(values)[3]), transpose_b=False)


KINDS = (conv, conv, conv, conv, transposed_conv, pool, binary, binary, rowwise, concat, concat, cut, cut, move, move)


def random_network(seed: int, *, most_m: int, layers: int = 10, products: bool = True) -> Network:
    """Return a float network of about `layers` layers; every tensor nobody reads is an output, and some others."""
    b = Builder(np.random.default_rng(seed), most_m, products)
    inputs = tuple(f"in{number}" for number in range(int(b.random.integers(1, 3))))
    for name in inputs:
        batch = b.pick((1, 1, 2))
        rows, columns = (int(v) for v in b.random.integers(1, 9, 2))
        shape = (batch, rows, columns, b.pick(CHANNELS))
        b.tensors[name] = Tensor(name=name, shape=shape)
    for name in inputs:
        pointwise(b, name, b.pick(CHANNELS))
    while len(b.layers) < layers:
        kind = product if b.chance(0.07) else b.pick(KINDS)
        before = dict(b.tensors), list(b.layers)
        kind(b)
        if any(prod(tensor.shape) > MOST_ELEMENTS for tensor in b.tensors.values()):
            b.tensors, b.layers = before
    read = {name for layer in b.layers for name in layer.inputs}
    outputs = tuple(layer.output for layer in b.layers if layer.output not in read or b.chance(0.08))
    return Network(name=f"random{seed}", inputs=inputs, outputs=outputs, tensors=b.tensors, layers=tuple(b.layers))
