"""The N:M form of weights: what it keeps, where, and what it refuses."""

import numpy as np
import pytest
from quantized_layers import prune

from gossamer.arch.errors import ModelError
from gossamer.dataflow.sparsity import NmPattern
from gossamer.sim.golden.compressed import compress, decompress


def test_slots_by_hand():
    weight = np.array([[[[0, 5, 0, -3, 0, 0, 7]]]], np.int8)
    kept = compress(weight, NmPattern(2, 4), "hand")
    assert kept.values.tolist() == [[[[[5, -3], [7, 0]]]]]
    assert kept.indices.tolist() == [[[[[1, 3], [2, 0]]]]]
    assert decompress(kept).tolist() == weight.tolist()


@pytest.mark.parametrize("text", ["1:2", "2:4", "1:4", "2:8", "4:8", "4:16", "16:16"])
@pytest.mark.parametrize("channels", [1, 3, 4, 15, 16, 17, 32])
def test_round_trip(text, channels):
    pattern = NmPattern.parse(text)
    weight = prune(np.random.default_rng(channels).integers(-128, 128, (3, 2, 3, channels)).astype(np.int8), pattern)
    kept = compress(weight, pattern, "layer")
    assert kept.values.shape == kept.indices.shape == (3, 2, 3, -(-channels // pattern.m), pattern.n)
    assert np.count_nonzero(kept.values) == np.count_nonzero(weight)
    assert (kept.indices[kept.values == 0] == 0).all()
    np.testing.assert_array_equal(decompress(kept), weight)


def test_too_many_nonzeros():
    weight = np.zeros((2, 1, 1, 8), np.int8)
    weight[1, 0, 0, 4:7] = 1
    with pytest.raises(ModelError, match=r"fc1: .*for 2:4, not 3 \(output channel 1, .*group 1\)"):
        compress(weight, NmPattern(2, 4), "fc1")
