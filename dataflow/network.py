"""Hold a neural network as a typed graph in the order the hardware stores it.

Every tensor has four stored axes (batch, rows, columns, channels), channels innermost: an ONNX (N, C, H, W) feature map
is (N, H, W, C), a sequence (N, T, C) is (N, 1, T, C), a vector (N, C) is (N, 1, 1, C). The importer inserts a Permute
only where bytes really move. Off chip a tensor is [batch][row][column][channels padded to a multiple of group_size].

Before quantization weights are float32 and `params` is None; after it weights are int8, bias is folded into `params`,
and every tensor has QuantParams. One class per kind of layer; `inputs` are tensor names, `output` one tensor name.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.errors import ModelError
from gossamer.dataflow.numerics import QuantParams, Requantization, VectorParams
from gossamer.dataflow.sparsity import NmPattern

if TYPE_CHECKING:
    import networkx as nx

Shape = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """One activation tensor: stored shape (batch, rows, columns, channels), and its number format once quantized.

    Before quantization `quant` is a format that the model itself states, which quantization keeps.
    """

    name: str
    shape: Shape
    quant: QuantParams | None = None


class Function(StrEnum):
    """Unary functions of a real number; `Step` gives their parameters."""

    RELU = "relu"
    CLIP = "clip"  # low, high
    SIGMOID = "sigmoid"
    HARD_SIGMOID = "hard_sigmoid"  # alpha, beta: max(0, min(1, alpha x + beta))
    HARD_SWISH = "hard_swish"
    SILU = "silu"
    GELU = "gelu"
    TANH = "tanh"
    ERF = "erf"
    EXP = "exp"
    SQRT = "sqrt"
    LEAKY_RELU = "leaky_relu"  # alpha
    AFFINE = "affine"  # a, b: a x + b
    POWER = "power"  # p
    RECIPROCAL = "reciprocal"
    ABS = "abs"


@dataclass(frozen=True, slots=True)
class Step:
    """One unary function with its parameters; a chain of steps is composed into one 256-entry table."""

    function: Function
    arguments: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """Base of all layers. `op` is the operator's name in reports (conv, gemm, add, ...)."""

    name: str
    inputs: tuple[str, ...]
    output: str
    op: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Conv2d(Layer):
    """Convolution, depthwise and grouped convolution, fully connected layer (1x1 on its input's columns).

    weight (out_channels, kernel rows, kernel columns, in_channels / groups), float32 or int8; bias float32
    (out_channels) or None. pads (top, left, bottom, right). `activation` is applied to the result. weight_scale
    (out_channels), once quantized; before, of weights that the model itself states as int8, which quantization keeps.
    inner: format between the sums and an activation that is more than a clamp, likewise. kept_energy: share of the
    squares of the weights that pruning kept; None of pruned placeholders.
    """

    weight: NDArray[Any]
    weight_scale: NDArray[np.float64] | None = None
    bias: NDArray[np.float32] | None = None
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    groups: int = 1
    activation: tuple[Step, ...] = ()
    inner: QuantParams | None = None
    pattern: NmPattern | None = None
    kept_energy: float | None = 1.0
    params: Requantization | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvTranspose2d(Layer):
    """Transposed convolution, groups 1. weight (out_channels, kernel rows, kernel columns, in_channels).

    Output rows are (rows - 1) * stride + kernel - top - bottom + output_padding; element (y, x) of the input adds
    weight[:, ky, kx, :] to output (y * stride + ky - top, x * stride + kx - left). Other fields are those of Conv2d.
    """

    weight: NDArray[Any]
    weight_scale: NDArray[np.float64] | None = None
    bias: NDArray[np.float32] | None = None
    stride: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    output_padding: tuple[int, int] = (0, 0)
    activation: tuple[Step, ...] = ()
    inner: QuantParams | None = None
    pattern: NmPattern | None = None
    kept_energy: float | None = 1.0
    params: Requantization | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MatMul(Layer):
    """Product of two activations, per (batch, row): (columns, K) x (K, channels), or x (channels, K) if transpose_b.

    inputs (a, b). b is quantized symmetrically (zero point 0). `factor` scales the product (attention's 1/sqrt(d)).
    """

    transpose_b: bool = False
    factor: float = 1.0
    params: Requantization | None = None


class PoolKind(StrEnum):
    """How a window is reduced."""

    MAX = "max"
    AVERAGE = "average"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool2d(Layer):
    """Max or average over windows; global pooling and means over rows and columns are windows of the whole map.

    Average divides by the window's real elements unless count_include_pad; ceil-mode is already turned into pads that
    are never counted (`extra_pads`, bottom and right, on top of `pads`).
    """

    kind: PoolKind
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    extra_pads: tuple[int, int] = (0, 0)
    count_include_pad: bool = False
    params: VectorParams | None = None
    """Of an average over a full window; a window of `count` elements uses mult_a for that count (see quantize)."""
    count_multipliers: tuple[tuple[int, int, int], ...] = ()
    """(count, mult_a, shift) for every element count that occurs, filled by quantization of an average."""


class BinaryKind(StrEnum):
    """Elementwise operation of two activations."""

    ADD = "add"
    SUBTRACT = "subtract"
    MULTIPLY = "multiply"


@dataclass(frozen=True, slots=True, kw_only=True)
class Binary(Layer):
    """Elementwise operation; an axis of length 1 of the second input is broadcast. Then `activation` (relu or clip)."""

    kind: BinaryKind
    activation: tuple[Step, ...] = ()
    params: VectorParams | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unary(Layer):
    """A chain of unary functions, one 256-entry table after quantization."""

    steps: tuple[Step, ...]
    params: VectorParams | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Softmax(Layer):
    """Softmax over channels."""

    params: VectorParams | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerNorm(Layer):
    """Normalise over channels, then gamma, beta float32 (channels)."""

    gamma: NDArray[np.float32]
    beta: NDArray[np.float32]
    epsilon: float
    params: VectorParams | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lrn(Layer):
    """Local response normalisation over channels: x / (bias + alpha / window * sum of squares) ** beta."""

    window: int
    alpha: float
    beta: float
    bias: float
    params: VectorParams | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Concat(Layer):
    """Join along one stored axis. After quantization all inputs have the output's QuantParams."""

    axis: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice(Layer):
    """Take start, start + step, ... < stop along one stored axis."""

    axis: int
    start: int
    stop: int
    step: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Resize(Layer):
    """Nearest-neighbour enlargement by integer factors: output (y, x) is input (y // rows, x // columns)."""

    factors: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Permute(Layer):
    """Move data: read the input as `view`, transpose by `order`, read the result as the output's shape.

    `view` is any factorisation of the input's (batch, rows, columns, channels) elements in stored order (unpadded).
    Covers channel shuffle, transposes that move bytes, and reshapes that cross the channel axis.
    """

    view: tuple[int, ...]
    order: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class View(Layer):
    """Read the same bytes as another (batch, rows, columns) with the same channels: costs nothing.

    The compiler aliases the tensor: off chip input and output are one range, since pixel order and channel pitch agree.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How a model's tensor maps to the stored one: `shape` as the model says it, `order` its axes in stored order."""

    shape: tuple[int, ...]
    order: tuple[int, ...]

    def to_stored(self, array: NDArray[Any], stored: Shape) -> NDArray[Any]:
        """Return an array of the model's shape as (batch, rows, columns, channels). Raises ModelError otherwise."""
        if array.shape != self.shape:
            raise ModelError(f"array must have the model's shape {self.shape}, not {array.shape}")
        return np.ascontiguousarray(array.transpose(self.order).reshape(stored))

    def to_model(self, stored: NDArray[Any]) -> NDArray[Any]:
        """Return a stored array (batch, rows, columns, channels) in the model's own shape."""
        moved = stored.reshape(tuple(self.shape[axis] for axis in self.order))
        return np.ascontiguousarray(moved.transpose(np.argsort(self.order)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A directed acyclic graph of layers in topological order. Immutable: passes return a new Network."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    tensors: dict[str, Tensor]
    layers: tuple[Layer, ...]
    notes: tuple[str, ...] = field(default=())
    """What a user must know about this model (placeholder weights, bound shapes), one sentence each."""
    layouts: dict[str, Layout] = field(default_factory=dict)
    """For inputs and outputs: the model's own shape and axis order. An absent one is stored as the model says it."""

    def graph(self) -> "nx.DiGraph[str]":
        """Return layers as nodes and tensors as edges (attribute `tensor`). Raises ModelError for a cycle."""
        import networkx as nx  # a quarter of a second that most commands do not need

        graph: nx.DiGraph[str] = nx.DiGraph()
        producer = {layer.output: layer.name for layer in self.layers}
        graph.add_nodes_from(layer.name for layer in self.layers)
        for layer in self.layers:
            for tensor in layer.inputs:
                if tensor in producer:
                    graph.add_edge(producer[tensor], layer.name, tensor=tensor)
        if not nx.is_directed_acyclic_graph(graph):
            raise ModelError(f"{self.name}: the graph has a cycle through {nx.find_cycle(graph)[0][0]}")
        return graph

    def consumers(self, tensor: str) -> Iterator[Layer]:
        """Yield the layers that read a tensor."""
        return (layer for layer in self.layers if tensor in layer.inputs)

    def with_layers(self, layers: tuple[Layer, ...]) -> "Network":
        """Return the same network with other layers (same tensors)."""
        return replace(self, layers=layers)


def _tap_positions(outputs: int, taps: int, stride: int, before: int) -> NDArray[np.int64]:
    """Return int64 [taps]: along one axis, the output positions that meet an input (or padding) through each tap."""
    reached = (np.arange(outputs)[:, None] + before - np.arange(taps)) % stride == 0
    counts: NDArray[np.int64] = np.count_nonzero(reached, axis=0)
    return counts


def effective_macs(network: Network, layer: Layer) -> tuple[int, int]:
    """Return (effective, dense-equivalent) multiply-accumulates of a layer, read from the actual weights.

    Effective counts nonzero weights times output positions (padding positions included: the hardware multiplies them;
    of a transposed convolution the positions a tap reaches, not those where it meets a gap between inputs). Layers
    without multiply-accumulates give (0, 0).
    """
    batch, rows, columns, channels = network.tensors[layer.output].shape
    match layer:
        case Conv2d():
            positions = batch * rows * columns
            return positions * int(np.count_nonzero(layer.weight)), positions * layer.weight.size
        case ConvTranspose2d():
            taps_y, taps_x = (
                _tap_positions(length, layer.weight.shape[axis + 1], layer.stride[axis], layer.pads[axis])
                for axis, length in enumerate((rows, columns))
            )
            per_tap = np.count_nonzero(layer.weight, axis=(0, 3))
            dense = batch * int(taps_y.sum() * taps_x.sum()) * channels * layer.weight.shape[3]
            return batch * int(taps_y @ per_tap @ taps_x), dense
        case MatMul():
            reduction = network.tensors[layer.inputs[0]].shape[3]
            macs = batch * rows * columns * channels * reduction
            return macs, macs
    return 0, 0
