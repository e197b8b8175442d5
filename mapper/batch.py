"""Process several inputs together: multiply the batch axis of a whole network."""

from dataclasses import replace

from gossamer.arch.errors import ModelError
from gossamer.dataflow.network import Concat, Layer, Network, Permute, Slice


def with_batch(network: Network, batch: int) -> Network:
    """Return the network with `batch` times as many entries along the batch axis of every tensor.

    Raises ModelError when a layer mixes batch entries, so that they could not be computed independently.
    """
    if batch == 1:
        return network
    tensors = {
        name: replace(tensor, shape=(tensor.shape[0] * batch, *tensor.shape[1:]))
        for name, tensor in network.tensors.items()
    }
    return replace(network, tensors=tensors, layers=tuple(_batched(layer, batch) for layer in network.layers))


def _batched(layer: Layer, batch: int) -> Layer:
    match layer:
        case Concat(axis=0) | Slice(axis=0):
            raise ModelError(f"{layer.name}: joins or cuts along the batch axis; use --batch 1")
        case Permute():
            if layer.order[0] != 0:
                raise ModelError(f"{layer.name}: moves the batch axis; use --batch 1")
            return replace(layer, view=(layer.view[0] * batch, *layer.view[1:]))
    return layer
