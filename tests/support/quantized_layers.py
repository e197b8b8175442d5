"""Make small random quantized layers of every kind, each as a network of that one layer with its input values."""

import math
from dataclasses import dataclass, replace

import numpy as np

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
    Slice,
    Softmax,
    Step,
    Tensor,
    Unary,
    View,
)
from gossamer.dataflow.numerics import QuantParams, Requantization, VectorParams, quantize_multiplier
from gossamer.dataflow.sparsity import NmPattern


@dataclass(frozen=True)
class Case:
    """One layer to try: its network, itself and int8 values for its inputs."""

    network: Network
    layer: Layer
    values: dict[str, np.ndarray]

    def __str__(self) -> str:
        return self.layer.name


def random_int8(rng, shape):
    """Return int8 values over the whole range, with both ends sure to occur in all but tiny arrays."""
    values = rng.integers(-128, 128, size=shape).astype(np.int8)
    if values.size >= 2:
        values.reshape(-1)[:2] = (-128, 127)
    return values


def one_layer(rng, layer, in_shapes, out_shape, in_quants, out_quant) -> Case:
    """Return a case for a layer whose inputs are called a, b, ... and whose output is called out."""
    tensors = {
        name: Tensor(name=name, shape=shape, quant=quant)
        for name, shape, quant in zip(layer.inputs, in_shapes, in_quants, strict=True)
    }
    tensors["out"] = Tensor(name="out", shape=out_shape, quant=out_quant)
    network = Network(name=layer.name, inputs=layer.inputs, outputs=("out",), tensors=tensors, layers=(layer,))
    values = {name: random_int8(rng, shape) for name, shape in zip(layer.inputs, in_shapes, strict=True)}
    return Case(network, layer, values)


def prune(weight, pattern: NmPattern):
    """Return weights with the smallest of every group of M channels zeroed (channels padded to M)."""
    outputs, rows, columns, channels = weight.shape
    groups = -(-channels // pattern.m)
    padded = np.zeros((outputs, rows, columns, groups * pattern.m), weight.dtype)
    padded[..., :channels] = weight
    grouped = padded.reshape(outputs, rows, columns, groups, pattern.m)
    order = np.argsort(-np.abs(grouped.astype(np.int64)), axis=4, kind="stable")
    np.put_along_axis(grouped, order[..., pattern.n :], 0, axis=4)
    return grouped.reshape(outputs, rows, columns, -1)[..., :channels]


def requantization(rng, weight, in_quant, out_quant, spread) -> tuple[Requantization, np.ndarray, np.ndarray]:
    """Return constants that map accumulators of about +-spread onto int8, the weight scales and the int32 bias."""
    outputs = weight.shape[0]
    real = out_quant.scale * 90 / spread * rng.uniform(0.5, 1.5, outputs)
    weight_scale = real / in_quant.scale
    bias = rng.integers(-spread // 2, spread // 2 + 1, outputs)
    pairs = [quantize_multiplier(float(r / out_quant.scale)) for r in real]
    total = weight.reshape(outputs, -1).astype(np.int64).sum(axis=1)
    params = Requantization(
        bias=(bias - in_quant.zero_point * total).astype(np.int32),
        multiplier=np.array([m for m, _ in pairs], np.int32),
        shift=np.array([s for _, s in pairs], np.uint8),
        zero_out=out_quant.zero_point,
    )
    return params, weight_scale, bias.astype(np.int32)


IN, OUT = QuantParams(scale=0.043, zero_point=-7), QuantParams(scale=0.061, zero_point=11)


def _output(length, kernel, stride, dilation, before, after):
    return (length + before + after - (kernel - 1) * dilation - 1) // stride + 1


def convolution(
    rng, name, shape, outputs, kernel, *, stride=(1, 1), dilation=(1, 1), pads=(0, 0, 0, 0), groups=1, pattern=None,
    low=-128, high=127, table=None,
) -> Case:  # fmt: skip
    """Return a convolution case with weights in [-127, 127]."""
    batch, rows, columns, channels = shape
    weight = rng.integers(-127, 128, (outputs, *kernel, channels // groups)).astype(np.int8)
    if pattern is not None:
        weight = prune(weight, pattern)
    spread = int(90 * 90 * math.sqrt(weight[0].size))
    params, _, _ = requantization(rng, weight, IN, OUT, spread)
    params = replace(params, low=low, high=high, table=table)
    layer = Conv2d(
        name=name, inputs=("a",), output="out", op="conv", weight=weight, stride=stride, dilation=dilation, pads=pads,
        groups=groups, pattern=pattern, params=params,
    )  # fmt: skip
    out_shape = (
        batch,
        _output(rows, kernel[0], stride[0], dilation[0], pads[0], pads[2]),
        _output(columns, kernel[1], stride[1], dilation[1], pads[1], pads[3]),
        outputs,
    )
    return one_layer(rng, layer, [shape], out_shape, [IN], OUT)


def transposed(rng, name, shape, outputs, kernel, *, stride, pads=(0, 0, 0, 0), output_padding=(0, 0)) -> Case:
    """Return a transposed convolution case."""
    batch, rows, columns, channels = shape
    weight = rng.integers(-127, 128, (outputs, *kernel, channels)).astype(np.int8)
    params, _, _ = requantization(rng, weight, IN, OUT, int(90 * 90 * math.sqrt(weight[0].size)))
    layer = ConvTranspose2d(
        name=name, inputs=("a",), output="out", op="conv_transpose", weight=weight, stride=stride, pads=pads,
        output_padding=output_padding, params=params,
    )  # fmt: skip
    out_shape = (
        batch,
        (rows - 1) * stride[0] + kernel[0] - pads[0] - pads[2] + output_padding[0],
        (columns - 1) * stride[1] + kernel[1] - pads[1] - pads[3] + output_padding[1],
        outputs,
    )
    return one_layer(rng, layer, [shape], out_shape, [IN], OUT)


def matrix_product(rng, name, batch, rows, positions, reduction, channels, *, transpose_b) -> Case:
    """Return a product of two activations."""
    b_shape = (batch, rows, channels, reduction) if transpose_b else (batch, rows, reduction, channels)
    multiplier, shift = quantize_multiplier(90 / (75 * 75 * math.sqrt(reduction)))
    params = Requantization(
        bias=np.zeros(channels, np.int32), multiplier=np.full(channels, multiplier, np.int32),
        shift=np.full(channels, shift, np.uint8), zero_out=OUT.zero_point,
    )  # fmt: skip
    layer = MatMul(name=name, inputs=("a", "b"), output="out", op="matmul", transpose_b=transpose_b, params=params)
    shapes = [(batch, rows, positions, reduction), b_shape]
    quants = [IN, QuantParams(scale=0.02, zero_point=0)]
    return one_layer(rng, layer, shapes, (batch, rows, positions, channels), quants, OUT)


def pool(rng, name, kind, shape, kernel, *, stride=(1, 1), pads=(0, 0, 0, 0), extra=(0, 0), include=False) -> Case:
    """Return a pooling case; an average has a multiplier for every count of elements."""
    batch, rows, columns, channels = shape
    area = kernel[0] * kernel[1]
    ratio = IN.scale / OUT.scale
    full = quantize_multiplier(ratio / area)
    average = kind is PoolKind.AVERAGE
    params = VectorParams(zero_a=IN.zero_point, zero_out=OUT.zero_point, mult_a=full[0], shift=full[1])
    layer = Pool2d(
        name=name, inputs=("a",), output="out", op=f"{kind}_pool", kind=kind, kernel=kernel, stride=stride, pads=pads,
        extra_pads=extra, count_include_pad=include,
        params=params if average else None,
        count_multipliers=tuple((n, *quantize_multiplier(ratio / n)) for n in range(1, area + 1)) if average else (),
    )  # fmt: skip
    out_shape = (
        batch,
        _output(rows, kernel[0], stride[0], 1, pads[0], pads[2] + extra[0]),
        _output(columns, kernel[1], stride[1], 1, pads[1], pads[3] + extra[1]),
        channels,
    )
    return one_layer(rng, layer, [shape], out_shape, [IN], OUT if average else IN)


def binary(rng, name, kind, a_shape, b_shape, *, low=-128, high=127) -> Case:
    """Return an elementwise case with three different number formats."""
    other = QuantParams(scale=0.027, zero_point=33)
    if kind is BinaryKind.MULTIPLY:
        out = QuantParams(scale=0.11, zero_point=-3)
        mult_a, shift = quantize_multiplier(IN.scale * other.scale / out.scale)
        params = VectorParams(
            zero_a=IN.zero_point, zero_b=other.zero_point, zero_out=out.zero_point, mult_a=mult_a, shift=shift,
            low=low, high=high,
        )  # fmt: skip
    else:
        out, shift = OUT, 17
        sign = -1 if kind is BinaryKind.SUBTRACT else 1
        params = VectorParams(
            zero_a=IN.zero_point, zero_b=other.zero_point, zero_out=out.zero_point,
            mult_a=round(IN.scale / out.scale * 2**shift), mult_b=sign * round(other.scale / out.scale * 2**shift),
            shift=shift, low=low, high=high,
        )  # fmt: skip
    layer = Binary(name=name, inputs=("a", "b"), output="out", op=str(kind), kind=kind, params=params)
    return one_layer(rng, layer, [a_shape, b_shape], a_shape, [IN, other], out)


def joined(rng, case: Case, kind: BinaryKind, *, first: bool = True) -> Case:
    """Return a convolution with an elementwise layer behind it; `first`: its first input is the convolution's."""
    shape = case.network.tensors["out"].shape
    layer = binary(rng, "joined", kind, shape, shape).layer
    layer = replace(layer, inputs=("out", "b") if first else ("b", "out"), output="joined")
    tensors = {
        **case.network.tensors, "b": Tensor(name="b", shape=shape, quant=OUT),
        "joined": Tensor(name="joined", shape=shape, quant=OUT),
    }  # fmt: skip
    network = Network(
        name="joined", inputs=("a", "b"), outputs=("joined",), tensors=tensors, layers=(case.layer, layer)
    )  # fmt: skip
    return Case(network, layer, {**case.values, "b": random_int8(rng, shape)})


def resized_sum(rng, shape, factors, *, kind=BinaryKind.ADD, first=True, low=-128) -> Case:
    """Return a tensor `small`, enlarged, and its sum with `large`; `first`: the enlarged one is the first operand."""
    batch, rows, columns, channels = shape
    wide = (batch, rows * factors[0], columns * factors[1], channels)
    case = binary(rng, "sum", kind, wide, wide, low=low)
    quants = [case.network.tensors[name].quant for name in ("a", "b")]
    resize = Resize(name="resize", inputs=("small",), output="resized", op="resize", factors=factors)
    layer = replace(case.layer, inputs=("resized", "large") if first else ("large", "resized"))
    tensors = {
        "small": Tensor(name="small", shape=shape, quant=quants[0 if first else 1]),
        "resized": Tensor(name="resized", shape=wide, quant=quants[0 if first else 1]),
        "large": Tensor(name="large", shape=wide, quant=quants[1 if first else 0]),
        "out": Tensor(name="out", shape=wide, quant=OUT),
    }
    network = Network(
        name="resized_sum", inputs=("small", "large"), outputs=("out",), tensors=tensors, layers=(resize, layer)
    )  # fmt: skip
    return Case(network, layer, {"small": random_int8(rng, shape), "large": random_int8(rng, wide)})


def unary(rng, name, shape) -> Case:
    """Return the table of a sigmoid."""
    out = QuantParams(scale=1 / 256, zero_point=-128)
    real = IN.scale * (np.arange(-128, 128) - IN.zero_point)
    table = np.clip(np.round(1 / (1 + np.exp(-real)) / out.scale) + out.zero_point, -128, 127).astype(np.int8)
    layer = Unary(
        name=name, inputs=("a",), output="out", op="sigmoid", steps=(Step(Function.SIGMOID),),
        params=VectorParams(table=table),
    )  # fmt: skip
    return one_layer(rng, layer, [shape], shape, [IN], out)


def softmax(rng, name, shape) -> Case:
    """Return a softmax over channels, output scale 1/256 and zero point -128."""
    wide = np.round(np.exp(-IN.scale * np.arange(256)) * 2**24).astype(np.int64)
    layer = Softmax(
        name=name, inputs=("a",), output="out", op="softmax", params=VectorParams(zero_out=-128, wide_table=wide)
    )
    return one_layer(rng, layer, [shape], shape, [IN], QuantParams(scale=1 / 256, zero_point=-128))


def layer_norm(rng, name, shape) -> Case:
    """Return a layer normalisation; the integer result of the root has LAYER_NORM_FRACTION_BITS - 8 = 15 bits."""
    channels = shape[3]
    out = QuantParams(scale=0.03, zero_point=5)
    gamma, beta = rng.normal(1, 0.3, channels).astype(np.float32), rng.normal(0, 0.3, channels).astype(np.float32)
    shift, epsilon = 30, 1e-5
    params = VectorParams(
        gamma=np.round(gamma / out.scale * 2.0 ** (shift - 15)).astype(np.int64),
        beta=np.round(beta / out.scale * 2.0**shift).astype(np.int64),
        epsilon=round(epsilon * channels**2 / IN.scale**2), shift=shift, zero_out=out.zero_point,
    )  # fmt: skip
    layer = LayerNorm(
        name=name, inputs=("a",), output="out", op="layer_norm", gamma=gamma, beta=beta, epsilon=epsilon, params=params
    )
    return one_layer(rng, layer, [shape], shape, [IN], out)


def lrn(rng, name, shape, window) -> Case:
    """Return a local response normalisation whose table takes the middle of each interval of the sum of squares."""
    alpha, beta, bias, shift, out = 0.1, 0.75, 1.0, 20, QuantParams(scale=0.03, zero_point=2)
    index_shift = max(0, math.ceil(math.log2(window * 200**2 / 256)))
    squares = (np.arange(256) + 0.5) * 2**index_shift * IN.scale**2
    factors = (bias + alpha / window * squares) ** -beta * IN.scale / out.scale
    params = VectorParams(
        zero_a=IN.zero_point, zero_out=out.zero_point, shift=shift, window=window, index_shift=index_shift,
        wide_table=np.round(factors * 2**shift).astype(np.int64),
    )  # fmt: skip
    layer = Lrn(
        name=name,
        inputs=("a",),
        output="out",
        op="lrn",
        window=window,
        alpha=alpha,
        beta=beta,
        bias=bias,
        params=params,
    )
    return one_layer(rng, layer, [shape], shape, [IN], out)


def movements(rng) -> list[Case]:
    """Return one or two cases of each layer that only moves bytes."""
    shape, one, two = (2, 3, 4, 5), {"inputs": ("a",)}, {"inputs": ("a", "b")}
    fields = {"output": "out", "op": "move"}
    cases = [
        (Concat(name="concat_channels", axis=3, **two, **fields), [shape, (2, 3, 4, 2)], (2, 3, 4, 7)),
        (Concat(name="concat_rows", axis=1, **two, **fields), [shape, (2, 1, 4, 5)], (2, 4, 4, 5)),
        (Slice(name="slice_step", axis=2, start=1, stop=4, step=2, **one, **fields), [shape], (2, 3, 2, 5)),
        (Slice(name="slice_channels", axis=3, start=2, stop=5, **one, **fields), [shape], (2, 3, 4, 3)),
        (Resize(name="resize", factors=(2, 3), **one, **fields), [shape], (2, 6, 12, 5)),
        (Permute(name="shuffle", view=(24, 3, 2), order=(0, 2, 1), **one, **fields), [(2, 3, 4, 6)], (2, 3, 4, 6)),
        (Permute(name="transpose", view=(2, 12, 5), order=(0, 2, 1), **one, **fields), [shape], (2, 1, 5, 12)),
        (View(name="view", **one, **fields), [shape], (1, 6, 4, 5)),
    ]
    return [one_layer(rng, layer, shapes, out, [IN] * len(shapes), IN) for layer, shapes, out in cases]


def layer_cases(seed: int) -> list[Case]:
    """Return small cases of every kind of layer, edge sizes included."""
    rng = np.random.default_rng(seed)
    table = rng.permutation(np.arange(-128, 128)).astype(np.int8)
    return [
        convolution(rng, "conv_one", (1, 1, 1, 1), 1, (1, 1)),
        convolution(rng, "conv_3x3", (2, 5, 4, 6), 5, (3, 3), pads=(1, 1, 1, 1)),
        convolution(rng, "conv_table", (1, 3, 4, 5), 3, (1, 1), table=table),
        convolution(rng, "conv_relu", (1, 3, 4, 5), 3, (1, 1), low=11, high=100),
        convolution(rng, "conv_asymmetric", (1, 6, 7, 3), 4, (3, 2), stride=(2, 3), dilation=(1, 2), pads=(0, 1, 2, 3)),
        convolution(rng, "conv_groups", (1, 5, 5, 6), 4, (3, 3), groups=2, pads=(1, 1, 1, 1)),
        convolution(rng, "conv_depthwise", (1, 6, 5, 7), 7, (3, 3), groups=7, stride=(2, 2), pads=(1, 1, 1, 1)),
        convolution(rng, "conv_multiplier", (1, 4, 4, 3), 6, (3, 3), groups=3),
        convolution(rng, "conv_phases", (2, 9, 11, 3), 7, (3, 5), stride=(2, 3), pads=(1, 2, 0, 1)),
        convolution(rng, "conv_dilated", (1, 9, 8, 5), 3, (2, 3), stride=(2, 1), dilation=(3, 2), pads=(2, 2, 1, 3)),
        convolution(rng, "conv_long_kernel", (1, 2, 40, 2), 3, (1, 20)),
        convolution(rng, "conv_chunks", (1, 5, 5, 50), 7, (3, 3), pads=(1, 1, 1, 1), groups=1),
        convolution(rng, "conv_wide_groups", (1, 5, 6, 24), 14, (3, 3), groups=2, pads=(1, 1, 1, 1)),
        convolution(rng, "conv_2:4_chunks", (1, 5, 5, 50), 5, (3, 3), pads=(1, 1, 1, 1), pattern=NmPattern(2, 4)),
        convolution(rng, "conv_3:4", (1, 5, 5, 12), 5, (3, 3), pads=(1, 1, 1, 1), pattern=NmPattern(3, 4)),
        convolution(rng, "conv_wide", (1, 3, 19, 33), 17, (1, 1)),
        convolution(rng, "gemm", (3, 1, 1, 65), 9, (1, 1)),
        convolution(rng, "conv_2:4", (1, 4, 5, 8), 5, (3, 3), pads=(1, 1, 1, 1), pattern=NmPattern(2, 4)),
        convolution(rng, "conv_2:4_ragged", (2, 4, 3, 7), 3, (2, 3), stride=(2, 1), pattern=NmPattern(2, 4)),
        convolution(rng, "conv_1:8", (1, 3, 3, 9), 4, (1, 1), pattern=NmPattern(1, 8)),
        convolution(rng, "conv_4:16", (1, 1, 7, 33), 4, (1, 1), pattern=NmPattern(4, 16)),
        convolution(rng, "conv_2:8_groups", (1, 3, 3, 32), 4, (3, 3), groups=2, pattern=NmPattern(2, 8)),
        transposed(rng, "transposed_2x2", (1, 3, 4, 5), 3, (2, 2), stride=(2, 2)),
        transposed(rng, "transposed_3x3", (2, 3, 3, 2), 3, (3, 3), stride=(2, 1), pads=(1, 0, 0, 1),
                   output_padding=(1, 0)),
        transposed(rng, "transposed_gap", (1, 2, 3, 2), 2, (1, 2), stride=(2, 3)),
        matrix_product(rng, "matmul", 2, 3, 4, 9, 5, transpose_b=False),
        matrix_product(rng, "matmul_transposed", 1, 2, 3, 33, 4, transpose_b=True),
        matrix_product(rng, "matmul_tiles", 2, 1, 17, 9, 5, transpose_b=False),
        pool(rng, "max_pool", PoolKind.MAX, (1, 5, 6, 3), (3, 2), stride=(2, 2), pads=(1, 0, 1, 1)),
        pool(rng, "max_ceil", PoolKind.MAX, (2, 4, 4, 2), (3, 3), stride=(2, 2), extra=(1, 1)),
        pool(rng, "average_pool", PoolKind.AVERAGE, (1, 5, 6, 3), (3, 2), stride=(2, 2), pads=(1, 0, 1, 1)),
        pool(rng, "average_pads", PoolKind.AVERAGE, (1, 4, 5, 3), (3, 3), stride=(2, 2), pads=(1, 1, 1, 1),
             extra=(1, 0), include=True),
        pool(rng, "average_global", PoolKind.AVERAGE, (2, 4, 5, 3), (4, 5)),
        binary(rng, "add", BinaryKind.ADD, (2, 3, 4, 5), (2, 3, 4, 5)),
        binary(rng, "add_relu", BinaryKind.ADD, (1, 3, 4, 5), (1, 1, 4, 1), low=11),
        binary(rng, "subtract", BinaryKind.SUBTRACT, (2, 3, 4, 5), (1, 3, 1, 5)),
        binary(rng, "multiply", BinaryKind.MULTIPLY, (1, 3, 4, 5), (1, 3, 4, 5)),
        binary(rng, "multiply_channel", BinaryKind.MULTIPLY, (2, 3, 4, 5), (2, 1, 1, 5), high=90),
        unary(rng, "sigmoid", (1, 8, 8, 4)),
        softmax(rng, "softmax", (1, 2, 3, 37)),
        softmax(rng, "softmax_one", (1, 2, 3, 1)),
        layer_norm(rng, "layer_norm", (1, 2, 3, 48)),
        layer_norm(rng, "layer_norm_one", (1, 1, 3, 1)),
        lrn(rng, "lrn", (1, 2, 3, 9), 5),
        lrn(rng, "lrn_even", (1, 2, 2, 6), 4),
        *movements(rng),
    ]  # fmt: skip
