"""Lower ONNX operators that slide a window over rows and columns: convolutions, pooling, local normalisation.

One-dimensional forms (N, C, L) are maps of one row.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gossamer.dataflow.network import Conv2d, ConvTranspose2d, Lrn, Pool2d, PoolKind
from gossamer.mapper.onnx_import.constants import axes_of, normal_axis
from gossamer.mapper.onnx_import.graph import Node
from gossamer.mapper.onnx_import.layout import CHANNELS, Axes, Unsupported, Value
from gossamer.mapper.onnx_import.lowering import Lowering

MAX_WINDOW = 4096


@dataclass(frozen=True, slots=True)
class Window:
    """Geometry over (rows, columns); pads (top, left, bottom, right)."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    pads: tuple[int, int, int, int]

    def outputs(self, size: int, axis: int) -> int:
        """Return the output length of an input length along rows (0) or columns (1), rounded down."""
        reach = (self.kernel[axis] - 1) * self.dilation[axis] + 1
        return (size + self.pads[axis] + self.pads[axis + 2] - reach) // self.stride[axis] + 1


def _map_groups(rank: int) -> Axes:
    if rank not in (3, 4):
        raise Unsupported(f"only 1- and 2-dimensional windows, not an input of {rank} axes")
    return ((0,), (2,), (3,), (1,)) if rank == 4 else ((0,), (), (2,), (1,))


def feature_map(state: Lowering, node: Node) -> tuple[Value, int, int, int]:
    """Return the first input stored as (batch, rows, columns, channels), and rows, columns, channels."""
    value = state.value(node, 0)
    groups = _map_groups(len(value.axes))
    value = state.build.move(value, state.build.groups(value.axes, groups), node.name)
    _, rows, columns, channels = state.build.stored_shape(value.stored)
    return value, rows, columns, channels


def _pair(node: Node, key: str, spatial: int, default: int) -> tuple[int, int]:
    given = node.integers(key)
    values = (default,) * spatial if given is None else given
    if len(values) != spatial or any(not 1 <= entry <= MAX_WINDOW for entry in values):
        raise node.error(f"attribute {key} must be {spatial} numbers from 1 to {MAX_WINDOW}, not {list(values)}")
    return (values[0], values[1]) if spatial == 2 else (1, values[0])


def _window(node: Node, kernel: tuple[int, int], spatial: int, sizes: tuple[int, int]) -> Window:
    """Return the geometry with auto_pad resolved for input lengths `sizes`."""
    stated = _pair(node, "kernel_shape", spatial, 1)
    if "kernel_shape" in node.attributes and stated != kernel:
        raise node.error(f"attribute kernel_shape says {stated}, the weights {kernel}")
    stride, dilation = _pair(node, "strides", spatial, 1), _pair(node, "dilations", spatial, 1)
    mode = node.text("auto_pad", "NOTSET")
    given = node.integers("pads")
    pads = (0,) * (2 * spatial) if given is None or mode == "VALID" else given
    if len(pads) != 2 * spatial or any(not 0 <= pad <= MAX_WINDOW for pad in pads):
        raise node.error(f"attribute pads must be {2 * spatial} numbers from 0 to {MAX_WINDOW}, not {list(pads)}")
    top, left, bottom, right = pads if spatial == 2 else (0, pads[0], 0, pads[1])
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        (top, bottom), (left, right) = (
            _same_pads(mode, sizes[axis], kernel[axis], stride[axis], dilation[axis]) for axis in (0, 1)
        )
    elif mode not in ("NOTSET", "VALID"):
        raise node.error(f"attribute auto_pad must be NOTSET, VALID, SAME_UPPER or SAME_LOWER, not {mode}")
    window = Window(kernel, stride, dilation, (top, left, bottom, right))
    if any(window.outputs(sizes[axis], axis) < 1 for axis in (0, 1)):
        raise node.error(f"its window {kernel}, dilation {dilation}, does not fit a map of {sizes[0]}x{sizes[1]}")
    return window


def _same_pads(mode: str, size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    total = max(0, (-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size)
    small, large = total // 2, total - total // 2
    return (small, large) if mode == "SAME_UPPER" else (large, small)


def _as_map(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (a, b, k) weights as (a, b, 1, k)."""
    return weight[:, :, None, :] if weight.ndim == 3 else weight


def lower_conv(state: Lowering, node: Node) -> None:
    """Conv with groups, stride, dilation and any padding."""
    value, rows, columns, channels = feature_map(state, node)
    spatial = len(value.axes) - 2
    weight = _as_map(state.weights(node, 1, spatial + 2))
    groups = node.integer("group", 1)
    outputs, group_channels, *kernel = weight.shape
    if groups < 1 or group_channels * groups != channels or outputs % groups or 0 in weight.shape:
        raise node.error(
            f"weights {list(weight.shape)} with {groups} groups need {group_channels * groups} input channels, "
            f"found {channels}"
        )
    window = _window(node, (kernel[0], kernel[1]), spatial, (rows, columns))
    layer = Conv2d(
        name=node.name,
        inputs=(value.tensor,),
        output=node.outputs[0],
        op="depthwise" if groups == channels and groups > 1 else "conv",
        weight=weight.transpose(0, 2, 3, 1),
        weight_scale=state.weight_scale(node, 1, 0),
        bias=state.optional_vector(node, 2, outputs),
        stride=window.stride,
        dilation=window.dilation,
        pads=window.pads,
        groups=groups,
    )
    sizes = window.outputs(rows, 0), window.outputs(columns, 1)
    state.values[node.outputs[0]] = state.add(layer, *_new_map(state, value, sizes, outputs))


def _new_map(state: Lowering, value: Value, sizes: tuple[int, int], channels: int) -> tuple[Axes, Axes]:
    """Return (axes, stored) of a map with the input's batch and new rows, columns and channels."""
    out_channels, rows, columns = (state.build.factor(size) for size in (channels, *sizes))
    axes = (
        (value.axes[0], out_channels, rows, columns) if len(value.axes) == 4 else (value.axes[0], out_channels, columns)
    )
    return axes, (value.stored[0], rows, columns, out_channels)


def lower_conv_transpose(state: Lowering, node: Node) -> None:
    """ConvTranspose; groups become one dense convolution with zero blocks."""
    value, rows, columns, channels = feature_map(state, node)
    spatial = len(value.axes) - 2
    weight = _as_map(state.weights(node, 1, spatial + 2))
    groups = node.integer("group", 1)
    if weight.shape[0] != channels or groups < 1 or channels % groups or 0 in weight.shape:
        raise node.error(f"weights {list(weight.shape)} with {groups} groups need {weight.shape[0]} input channels")
    kernel = (weight.shape[2], weight.shape[3])
    if _pair(node, "dilations", spatial, 1) != (1, 1):
        raise Unsupported(f"dilations {node.integers('dilations')}: transposed convolutions only without")
    stated = _pair(node, "kernel_shape", spatial, 1)
    if "kernel_shape" in node.attributes and stated != kernel:
        raise node.error(f"attribute kernel_shape says {stated}, the weights {kernel}")
    stride = _pair(node, "strides", spatial, 1)
    extra = node.integers("output_padding") or (0,) * spatial
    if len(extra) != spatial or any(not 0 <= entry < MAX_WINDOW for entry in extra):
        raise node.error(f"attribute output_padding must be {spatial} numbers, not {list(extra)}")
    output_padding = (extra[0], extra[1]) if spatial == 2 else (0, extra[0])
    pads = _transposed_pads(node, spatial, (rows, columns), kernel, stride, output_padding)
    sizes = tuple(
        (size - 1) * stride[axis] + kernel[axis] - pads[axis] - pads[axis + 2] + output_padding[axis]
        for axis, size in enumerate((rows, columns))
    )
    if min(sizes) < 1:
        raise node.error(f"its output would have no elements: {sizes}")
    dense = _dense_groups(weight, groups)
    layer = ConvTranspose2d(
        name=node.name,
        inputs=(value.tensor,),
        output=node.outputs[0],
        op="conv_transpose",
        weight=dense.transpose(1, 2, 3, 0),
        weight_scale=state.weight_scale(node, 1, 1) if groups == 1 else None,
        bias=state.optional_vector(node, 2, dense.shape[1]),
        stride=stride,
        pads=pads,
        output_padding=output_padding,
    )
    state.values[node.outputs[0]] = state.add(layer, *_new_map(state, value, (sizes[0], sizes[1]), dense.shape[1]))


def _dense_groups(weight: NDArray[np.float32], groups: int) -> NDArray[np.float32]:
    """Return (in, out / groups, rows, columns) as (in, out, rows, columns) with zeros between groups."""
    if groups == 1:
        return weight
    inputs, outputs = weight.shape[0] // groups, weight.shape[1]
    dense = np.zeros((weight.shape[0], outputs * groups, *weight.shape[2:]), np.float32)
    for group in range(groups):
        rows = slice(group * inputs, (group + 1) * inputs)
        dense[rows, group * outputs : (group + 1) * outputs] = weight[rows]
    return dense


def _transposed_pads(
    node: Node, spatial: int, sizes: tuple[int, int], kernel: tuple[int, int], stride: tuple[int, int],
    output_padding: tuple[int, int],
) -> tuple[int, int, int, int]:  # fmt: skip
    """Return pads (top, left, bottom, right) from pads, auto_pad or output_shape."""
    mode = node.text("auto_pad", "NOTSET")
    wanted = node.integers("output_shape")
    if wanted is None and mode in ("NOTSET", "VALID"):
        given = node.integers("pads")
        pads = (0,) * (2 * spatial) if given is None or mode == "VALID" else given
        if len(pads) != 2 * spatial or any(not 0 <= pad <= MAX_WINDOW for pad in pads):
            raise node.error(f"attribute pads must be {2 * spatial} numbers from 0 to {MAX_WINDOW}, not {list(pads)}")
        return (pads[0], pads[1], pads[2], pads[3]) if spatial == 2 else (0, pads[0], 0, pads[1])
    if wanted is not None and len(wanted) not in (spatial, spatial + 2):
        raise node.error(f"attribute output_shape must be {spatial} numbers, not {list(wanted)}")
    target = [sizes[axis] * stride[axis] for axis in (0, 1)]
    if wanted is not None:
        target = list(wanted[-2:]) if spatial == 2 else [1, wanted[-1]]
    begin, end = [0, 0], [0, 0]
    for axis in (0, 1):
        total = (sizes[axis] - 1) * stride[axis] + kernel[axis] + output_padding[axis] - target[axis]
        if total < 0:
            raise Unsupported(f"output_shape {target} is larger than the window reaches")
        small, large = total // 2, total - total // 2
        begin[axis], end[axis] = (small, large) if mode == "SAME_UPPER" else (large, small)
    return begin[0], begin[1], end[0], end[1]


def lower_pool(state: Lowering, node: Node) -> None:
    """MaxPool and AveragePool; ceil_mode becomes extra pads that are never counted."""
    value, rows, columns, _ = feature_map(state, node)
    spatial = len(value.axes) - 2
    if "kernel_shape" not in node.attributes:
        raise node.error("attribute kernel_shape is missing")
    if node.integer("storage_order", 0):
        raise Unsupported("storage_order 1")
    ceil = bool(node.integer("ceil_mode", 0))
    sizes = (rows, columns)
    window = _pool_window(node, spatial, sizes)
    extra, outputs = [0, 0], [0, 0]
    for axis in (0, 1):
        outputs[axis] = window.outputs(sizes[axis], axis)
        padded = sizes[axis] + window.pads[axis] + window.pads[axis + 2]
        more = outputs[axis] * window.stride[axis]  # where one more window would start
        if (
            ceil
            and padded - (more - window.stride[axis]) > window.kernel[axis]
            and more < sizes[axis] + window.pads[axis]
        ):
            extra[axis] = more + window.kernel[axis] - padded
            outputs[axis] += 1
    _append_pool(state, node, value, window, (extra[0], extra[1]), (outputs[0], outputs[1]))


def _pool_window(node: Node, spatial: int, sizes: tuple[int, int]) -> Window:
    kernel = _pair(node, "kernel_shape", spatial, 1)
    window = _window(node, kernel, spatial, sizes)
    if window.dilation != (1, 1):
        raise Unsupported(f"dilations {node.integers('dilations')}: pooling only without")
    if any(window.pads[axis] >= kernel[axis % 2] for axis in range(4)):
        raise node.error(f"pads {window.pads} must be smaller than the window {kernel}")
    return window


def _append_pool(
    state: Lowering, node: Node, value: Value, window: Window, extra: tuple[int, int], outputs: tuple[int, int],
) -> None:  # fmt: skip
    average = node.op == "AveragePool"
    layer = Pool2d(
        name=node.name,
        inputs=(value.tensor,),
        output=node.outputs[0],
        op="average_pool" if average else "max_pool",
        kind=PoolKind.AVERAGE if average else PoolKind.MAX,
        kernel=window.kernel,
        stride=window.stride,
        pads=window.pads,
        extra_pads=extra,
        count_include_pad=average and bool(node.integer("count_include_pad", 0)),
    )
    axes, stored = _new_map(state, value, outputs, 1)
    axes = (axes[0], value.axes[1], *axes[2:])
    state.values[node.outputs[0]] = state.add(layer, axes, (*stored[:CHANNELS], value.stored[CHANNELS]))


def lower_global_pool(state: Lowering, node: Node) -> None:
    """GlobalAveragePool and GlobalMaxPool: one window of the whole map."""
    value, _, _, _ = feature_map(state, node)
    kind = PoolKind.AVERAGE if node.op == "GlobalAveragePool" else PoolKind.MAX
    _reduce(state, node, value, tuple(range(2, len(value.axes))), kind, keep=True)


def lower_reduce_mean(state: Lowering, node: Node) -> None:
    """ReduceMean and ReduceMax: the reduced axes become the rows and columns of one window."""
    value = state.value(node, 0)
    rank = len(value.axes)
    given = axes_of(node, state.graph, 1)
    if given is None and node.integer("noop_with_empty_axes", 0):
        state.values[node.outputs[0]] = value
        return
    axes = tuple(range(rank)) if given is None else tuple(sorted({normal_axis(node, axis, rank) for axis in given}))
    kind = PoolKind.AVERAGE if node.op == "ReduceMean" else PoolKind.MAX
    _reduce(state, node, value, axes, kind, keep=bool(node.integer("keepdims", 1)))


def _reduce(state: Lowering, node: Node, value: Value, axes: tuple[int, ...], kind: PoolKind, keep: bool) -> None:
    build = state.build
    reduced = tuple(index for axis in axes for index in value.axes[axis])
    kept = [tuple(index for index in stored if index not in reduced) for stored in value.stored]
    window = _reduction_order(value, reduced)
    target: Axes = ((*kept[0], *kept[1], *kept[2]), *window, kept[CHANNELS])
    if not kept[CHANNELS] and target[0]:  # something must be channels: take the innermost axis that stays
        target = (target[0][:-1], *window, target[0][-1:])
    value = build.move(value, target, node.name)
    shape = build.stored_shape(value.stored)
    name = ("global_" if len(axes) == len(value.axes) - 2 else "") + ("average" if kind is PoolKind.AVERAGE else "max")
    layer = Pool2d(
        name=node.name,
        inputs=(value.tensor,),
        output=node.outputs[0],
        op=f"{name}_pool",
        kind=kind,
        kernel=(shape[1], shape[2]),
    )
    if math.prod(shape[1:3]) > MAX_WINDOW * MAX_WINDOW:
        raise Unsupported(f"it reduces {math.prod(shape[1:3])} elements")
    reduced_axes = tuple(() if axis in axes else factors for axis, factors in enumerate(value.axes))
    result = state.add(layer, reduced_axes, (value.stored[0], (), (), value.stored[CHANNELS]))
    if not keep:
        shape_left = tuple(size for axis, size in enumerate(build.shape(result)) if axis not in axes)
        result = build.reshape(result, shape_left, node.name)
    state.values[node.outputs[0]] = result


def _reduction_order(value: Value, reduced: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the reduced factors as (rows, columns), in stored order so that bytes stay where they can."""
    rows = tuple(index for index in value.stored[1] if index in reduced)
    before = tuple(index for index in value.stored[0] if index in reduced)
    after = tuple(index for place in (2, CHANNELS) for index in value.stored[place] if index in reduced)
    return (*before, *rows), after


def lower_lrn(state: Lowering, node: Node) -> None:
    """LRN across channels."""
    value = state.build.channels_last(state.value(node, 0), (1,), node.name)
    window = node.integer("size", 0)
    if not 1 <= window <= MAX_WINDOW:
        raise node.error(f"attribute size must be 1 to {MAX_WINDOW}, not {window}")
    layer = Lrn(
        name=node.name,
        inputs=(value.tensor,),
        output=node.outputs[0],
        op="lrn",
        window=window,
        alpha=node.real("alpha", 1e-4),
        beta=node.real("beta", 0.75),
        bias=node.real("bias", 1.0),
    )
    state.values[node.outputs[0]] = state.add(layer, value.axes, value.stored)
