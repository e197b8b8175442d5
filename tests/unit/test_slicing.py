"""Check that slices of a network have the right layers, inputs and outputs, and give the values of the whole."""

import numpy as np
import pytest

from gossamer.arch.errors import ModelError
from gossamer.dataflow.network import Network
from gossamer.mapper.quantization.quantize import quantize
from gossamer.mapper.random_networks import random_network
from gossamer.mapper.slicing import slice_layers
from gossamer.sim.golden.layers import run_layers
from gossamer.verify_candidates import random_values


@pytest.fixture(scope="module")
def network() -> Network:
    return quantize(random_network(15, most_m=8, layers=9))


def test_every_range_gives_the_values_of_the_whole(network: Network) -> None:
    random = np.random.default_rng(1)
    whole = run_layers(network, {name: random_values(network.tensors[name].shape, random) for name in network.inputs})
    count = len(network.layers)
    assert count >= 9
    for first in range(count):
        for last in range(first + 1, count + 1):
            part = slice_layers(network, f"{first}:{last}")
            assert part.layers == network.layers[first:last]
            values = run_layers(part, {name: whole[name] for name in part.inputs})
            made = {layer.output for layer in part.layers}
            read = {name for layer in part.layers for name in layer.inputs}
            assert set(part.inputs) == read - made
            assert set(part.outputs) == {name for name in made if name not in read or name in network.outputs}
            assert set(part.tensors) == made | read
            for name in part.outputs:
                np.testing.assert_array_equal(values[name], whole[name])


def test_ends_may_be_missing_or_beyond(network: Network) -> None:
    count = len(network.layers)
    assert slice_layers(network, ":").layers == network.layers
    assert slice_layers(network, ":2").layers == network.layers[:2]
    assert slice_layers(network, f"{count - 1}:").layers == network.layers[-1:]
    assert slice_layers(network, f"1:{count + 5}").layers == network.layers[1:]


def test_a_name_means_one_layer(network: Network) -> None:
    for layer in network.layers:
        part = slice_layers(network, layer.name)
        assert part.layers == (layer,)
        assert part.outputs == (layer.output,)
        assert part.name == f"{network.name}[{layer.name}]"


@pytest.mark.parametrize("text", ["", "3:3", "5:2", "99:", "-1:2", "nope", "1:2:3", "0"])
def test_slices_without_layers_are_refused(network: Network, text: str) -> None:
    count = len(network.layers)
    with pytest.raises(ModelError, match=rf"layers must be FIRST:LAST within 0:{count} or the name of a layer, not `"):
        slice_layers(network, text)
