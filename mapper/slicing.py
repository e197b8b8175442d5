"""Take consecutive layers out of a network, so that a part of a large model can be run on its own."""

import re
from collections.abc import Sequence
from dataclasses import replace

from gossamer.arch.errors import ModelError
from gossamer.dataflow.network import Layer, Network

_RANGE = re.compile(r"(\d*):(\d*)")


def slice_layers(network: Network, text: str) -> Network:
    """Return the layers `FIRST:LAST` of a network, counted from 0, LAST left out; either may be missing.

    Inputs are the tensors that the slice reads and does not make, outputs those that nobody in it reads or that the
    network gives out. A layer's name instead of a range means that layer alone. Raises ModelError if nothing is left.
    """
    match = _RANGE.fullmatch(text)
    names = [layer.name for layer in network.layers]
    if match is not None:
        first, last = int(match[1] or 0), int(match[2] or len(names))
        chosen = network.layers[first:last]
    else:
        chosen = tuple(layer for layer in network.layers if layer.name == text)
    if not chosen:
        raise ModelError(
            f"{network.name}: layers must be FIRST:LAST within 0:{len(names)} or the name of a layer, not `{text}`; "
            f"the first names are {', '.join(names[:4])}"
        )
    return replace(subnetwork(network, chosen), name=f"{network.name}[{text}]")


def subnetwork(network: Network, layers: Sequence[Layer]) -> Network:
    """Return some layers as a network that reads what they do not make and gives out what nobody else of them reads."""
    made = {layer.output for layer in layers}
    read = dict.fromkeys(name for layer in layers for name in layer.inputs)
    inputs = tuple(name for name in read if name not in made)
    outputs = tuple(layer.output for layer in layers if layer.output not in read or layer.output in network.outputs)
    tensors = {name: tensor for name, tensor in network.tensors.items() if name in made or name in inputs}
    return Network(
        name=network.name, inputs=inputs, outputs=outputs, tensors=tensors, layers=tuple(layers), notes=network.notes
    )  # fmt: skip
