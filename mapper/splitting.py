"""Cut a layer, with what is joined to it, into parts that several cores compute at the same time.

A part is a network of its own between places that are slices of the layer's: no code generator knows of it. Three ways,
all by contiguous and nearly equal spans:

    IMAGES     along the batch axis, every layer that does not mix it
    POSITIONS  along rows; of layers that look at single pixels, along all pixels. Windows read the rows they reach
    CHANNELS   along output channels, in whole blocks of chains if there are enough: convolutions of one group

Weights are constants that parts share, if they need the same ones in the same order. Outputs of parts never overlap.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

from gossamer.arch.spec import SparseAccelerator
from gossamer.dataflow.network import (
    Binary,
    Conv2d,
    ConvTranspose2d,
    Layer,
    LayerNorm,
    Lrn,
    MatMul,
    Network,
    Pool2d,
    Resize,
    Shape,
    Softmax,
    Tensor,
    Unary,
)
from gossamer.dataflow.program import Way
from gossamer.mapper.allocate import TensorPlace
from gossamer.mapper.codegen.convolution_shape import block_channels, flatten

Span = tuple[int, int]

_PIXELWISE = (Binary, Unary, Softmax, LayerNorm, Lrn)
_INDEPENDENT = (*_PIXELWISE, Conv2d, ConvTranspose2d, MatMul, Pool2d, Resize)
"""Layers whose batch entries are computed independently."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one core computes of some layers: a network, and the off-chip places of its tensors."""

    network: Network
    places: Mapping[str, TensorPlace]


def spans(total: int, cores: int, unit: int = 1) -> list[Span] | None:
    """Return `cores` contiguous spans of `total`, all but the last in whole units; None if one would be empty."""
    units = -(-total // unit)
    if units < cores:
        return None
    edges = [units * core // cores * unit for core in range(cores)] + [total]
    return list(pairwise(edges))


def split_layers(
    network: Network, layers: tuple[Layer, ...], places: Mapping[str, TensorPlace], way: Way, spec: SparseAccelerator,
    cores: int,
) -> list[Part] | None:  # fmt: skip
    """Return the parts of a layer, and of a second one that is joined to it, None if they cannot be cut that way.

    `places` has all tensors but the one between the two.
    """
    match way:
        case Way.WHOLE:
            return [Part(network=_sub(network, layers, {}), places=places)]
        case Way.IMAGES:
            return _images(network, layers, places, cores)
        case Way.POSITIONS:
            return _pixels(network, layers, places, cores) or _rows(network, layers, places, cores)
        case Way.CHANNELS:
            return _channels(network, layers, places, spec, cores)


def _names(layers: tuple[Layer, ...]) -> Iterable[str]:
    return dict.fromkeys(name for layer in layers for name in (*layer.inputs, layer.output))


def _sub(network: Network, layers: tuple[Layer, ...], shapes: Mapping[str, Shape]) -> Network:
    """Return layers as a network, its tensors with other shapes where they are given."""
    tensors: dict[str, Tensor] = {
        name: replace(network.tensors[name], shape=shapes.get(name, network.tensors[name].shape))
        for name in _names(layers)
    }
    return Network(name=network.name, inputs=(), outputs=(), tensors=tensors, layers=layers)


def _part(
    network: Network, layers: tuple[Layer, ...], places: Mapping[str, TensorPlace], cut: Mapping[str, TensorPlace]
) -> Part:  # fmt: skip
    """Return the part whose tensors lie at `cut`; what has no place, between two layers, is as large as the result."""
    shapes = {name: place.shape for name, place in cut.items()}
    shapes |= {name: cut[layers[-1].output].shape for name in _names(layers) if name not in places}
    return Part(network=_sub(network, layers, shapes), places={**places, **cut})


def _images(
    network: Network, layers: tuple[Layer, ...], places: Mapping[str, TensorPlace], cores: int
) -> list[Part] | None:  # fmt: skip
    batch = network.tensors[layers[-1].output].shape[0]
    cuts = spans(batch, cores)
    names = list(_names(layers))
    even = all(network.tensors[name].shape[0] in (1, batch) for name in names)
    if cuts is None or not even or not all(isinstance(layer, _INDEPENDENT) for layer in layers):
        return None
    parts = []
    for first, stop in cuts:
        cut = {
            name: place.slice(name, (stop - first, *place.shape[1:]), place.quant, batch=first)
            for name, place in ((name, places[name]) for name in names if name in places)
            if place.shape[0] == batch
        }
        parts.append(_part(network, layers, places, cut))
    return parts


def _pixels(
    network: Network, layers: tuple[Layer, ...], places: Mapping[str, TensorPlace], cores: int
) -> list[Part] | None:  # fmt: skip
    """Return parts of layers that look at single pixels, between tensors whose pixels follow each other."""
    shape = network.tensors[layers[-1].output].shape
    names = list(_names(layers))
    cuts = spans(shape[0] * shape[1] * shape[2], cores)
    if cuts is None or not all(isinstance(layer, _PIXELWISE) or _is_pointwise(layer) for layer in layers):
        return None
    whole = [name for name in names if network.tensors[name].shape[:3] == shape[:3]]
    single = [name for name in names if network.tensors[name].shape[:3] == (1, 1, 1)]
    placed = [name for name in whole if name in places]
    if len({*whole, *single}) < len(names) or not all(places[name].is_contiguous for name in placed):
        return None
    parts = []
    for first, stop in cuts:
        cut = {}
        for name in placed:
            flat = flatten(places[name])
            cut[name] = flat.slice(name, (1, 1, stop - first, flat.shape[3]), flat.quant, column=first)
        parts.append(_part(network, layers, places, cut))
    return parts


def _is_pointwise(layer: Layer) -> bool:
    return (
        isinstance(layer, Conv2d)
        and layer.weight.shape[1:3] == (1, 1)
        and layer.stride == (1, 1)
        and not any(layer.pads)
    )


def _rows(
    network: Network, layers: tuple[Layer, ...], places: Mapping[str, TensorPlace], cores: int
) -> list[Part] | None:  # fmt: skip
    """Return parts by output rows; each reads the input rows that its windows reach."""
    head, result = layers[0], network.tensors[layers[-1].output].shape
    unit = head.factors[0] if isinstance(head, Resize) else 1
    cuts = spans(result[1], cores, unit)
    others = [name for name in _names(layers) if name != head.inputs[0]]
    fixed = [name for name in others if network.tensors[name].shape[1] == 1 and result[1] > 1]
    sliced = [name for name in others if name not in fixed]
    if cuts is None or any(network.tensors[name].shape[1] != result[1] for name in sliced):
        return None
    if not isinstance(head, Conv2d | Pool2d | Resize | MatMul | Binary | Unary | Softmax | LayerNorm | Lrn):
        return None
    parts = []
    for first, stop in cuts:
        reached = _reached(head, network.tensors[head.inputs[0]].shape[1], first, stop)
        if reached is None:
            return None
        (low, high), cut_head = reached
        cut = {
            name: _row_slice(places[name], name, first, stop) for name in sliced if name in places
        }  # fmt: skip
        cut[head.inputs[0]] = _row_slice(places[head.inputs[0]], head.inputs[0], low, high)
        parts.append(_part(network, (cut_head, *layers[1:]), places, cut))
    return parts


def _row_slice(place: TensorPlace, name: str, first: int, stop: int) -> TensorPlace:
    batch, _, columns, channels = place.shape
    return place.slice(name, (batch, stop - first, columns, channels), place.quant, row=first)


def _reached(layer: Layer, rows: int, first: int, stop: int) -> tuple[Span, Layer] | None:
    """Return the input rows that output rows [first, stop) need, and the layer with the padding that is left of them.

    None if they need padding alone.
    """
    match layer:
        case Conv2d() | Pool2d():
            dilation = layer.dilation[0] if isinstance(layer, Conv2d) else 1
            kernel = layer.weight.shape[1] if isinstance(layer, Conv2d) else layer.kernel[0]
            top, left, bottom, right = layer.pads
            low = first * layer.stride[0] - top
            high = (stop - 1) * layer.stride[0] - top + (kernel - 1) * dilation + 1
            above, below = max(0, -low), max(0, high - rows)
            if max(0, low) >= min(rows, high):
                return None
            span = (max(0, low), min(rows, high))
            if isinstance(layer, Conv2d):
                return span, replace(layer, pads=(above, left, below, right))
            extra = max(0, below - bottom)
            pads = (above, left, below - extra, right)
            return span, replace(layer, pads=pads, extra_pads=(extra, layer.extra_pads[1]))
        case Resize():
            return (first // layer.factors[0], stop // layer.factors[0]), layer
    return ((first, stop), layer) if rows > 1 else None


def _channels(
    network: Network, layers: tuple[Layer, ...], places: Mapping[str, TensorPlace], spec: SparseAccelerator, cores: int
) -> list[Part] | None:  # fmt: skip
    head, shape = layers[0], network.tensors[layers[-1].output].shape
    if not isinstance(head, Conv2d) or head.groups > 1 or head.params is None:
        return None
    full = block_channels(spec)
    cuts = spans(shape[3], cores, full if -(-shape[3] // full) >= cores else spec.array.group_size)
    others = [name for name in _names(layers) if name != head.inputs[0]]
    if cuts is None or any(network.tensors[name].shape != shape for name in others):
        return None
    parts = []
    for first, stop in cuts:
        own = slice(first, stop)
        params = replace(
            head.params, bias=head.params.bias[own], multiplier=head.params.multiplier[own],
            shift=head.params.shift[own],
        )  # fmt: skip
        cut = {}
        for name in others:
            if name in places:
                place = places[name]
                cut[name] = place.slice(
                    name, (*place.shape[:3], stop - first), place.quant, word=first // place.group_size
                )  # fmt: skip
        cut_head = replace(head, weight=head.weight[own], params=params)
        parts.append(_part(network, (cut_head, *layers[1:]), places, cut))
    return parts
