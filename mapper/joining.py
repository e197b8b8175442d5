"""Find additions and products that can run in the tiles of the layer on the array whose result they read.

An output tile of the array lies in the activation buffer before it is stored. If its only reader is an elementwise
layer of two operands of that size, the tile of the other operand is loaded as well, the two are joined in place, and
only the result is stored: the first layer's own result never leaves the chip. An addition can also run in the tiles of
a nearest enlargement that nobody else reads (`gossamer.mapper.codegen.resized_addition`).
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import replace

from gossamer.dataflow.network import Binary, BinaryKind, Conv2d, Layer, Network, Resize
from gossamer.dataflow.numerics import fits_addend_factor


def resized_additions(network: Network) -> dict[str, Binary]:
    """Return the additions that can run in the tiles of a Resize, by the output of that Resize."""
    readers, resized = _readers(network), {layer.output for layer in network.layers if isinstance(layer, Resize)}
    return {
        name: layer
        for layer in network.layers
        if isinstance(layer, Binary) and layer.kind is not BinaryKind.MULTIPLY and layer.params is not None
        if _equal_shapes(network, layer) and fits_addend_factor(layer.params.mult_a, layer.params.mult_b)
        for name in layer.inputs
        if name in resized and readers[name] == 1
    }


def join_layers(
    network: Network, scalings: Collection[str], resizes: Collection[str] = ()
) -> tuple[Network, dict[str, Binary]]:  # fmt: skip
    """Return the network with everything that can be joined moved in front of its reader, and the readers.

    What can be joined are convolutions, products on the array (`scalings`, by their outputs), and each Resize with its
    addition (`resizes`, of `resized_additions`), which is joined to nothing else then.

    The readers are given by the name of the tensor that does not leave the chip.
    """
    readers = _readers(network)
    producers = {layer.output: layer for layer in network.layers}
    joinable = {*scalings, *(layer.output for layer in network.layers if isinstance(layer, Conv2d))}
    position = {layer.output: number for number, layer in enumerate(network.layers)}
    joins: dict[str, Binary] = {}
    for layer in network.layers:
        if not isinstance(layer, Binary) or len(set(layer.inputs)) == 1 or not _equal_shapes(network, layer):
            continue
        names = [name for name in layer.inputs if name in resizes] or [
            name for name in layer.inputs if readers[name] == 1 and name in joinable
        ]
        if names:
            joins[max(names, key=position.__getitem__)] = layer
    order: list[Layer] = []
    for layer in network.layers:
        if layer.output in joins:
            continue
        order += [producers[name] for name in layer.inputs if joins.get(name) is layer]
        order.append(layer)
    return replace(network, layers=tuple(order)), joins


def _readers(network: Network) -> Counter[str]:
    """Return how often every tensor is read; once more if the network gives it out."""
    return Counter([*(name for layer in network.layers for name in layer.inputs), *network.outputs])


def _equal_shapes(network: Network, layer: Binary) -> bool:
    """Return whether a layer broadcasts nothing."""
    return len({network.tensors[name].shape for name in (*layer.inputs, layer.output)}) == 1
