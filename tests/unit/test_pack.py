"""Packed weight planes against a slow unpacking that walks the rows in the order COMPUTE consumes them."""

import time

import numpy as np
import pytest
from layer_programs import sized_spec

from gossamer.arch.errors import MappingError
from gossamer.dataflow.mapping import ConvMapping, LoopOrder
from gossamer.dataflow.numerics import QuantParams
from gossamer.dataflow.sparsity import NmPattern
from gossamer.mapper.allocate import place_tensor
from gossamer.mapper.codegen.convolution_shape import conv_shape
from gossamer.mapper.codegen.packing import pack_weights, row_chains

QUANT = QuantParams(0.1, 0)


def mapping_of(spec, weight, channels, *, groups=1, pattern=None, dilation=(1, 1), split=(9, 9, 99)) -> ConvMapping:
    """Return a mapping of a 1-position layer with the given reduction split."""
    out, rows, columns, _ = weight.shape
    group = spec.array.group_size
    source = place_tensor("a", (1, rows * 3, columns * 3, channels), QUANT, group, 0)
    target = place_tensor("b", (1, 1, 1, out), QUANT, group, 0)
    shape = conv_shape(
        spec, source, target, who="layer", kernel=(rows, columns), dilation=dilation, groups=groups, pattern=pattern
    )
    return ConvMapping(
        shape=shape, order=LoopOrder.WEIGHTS_OUTER, tile_rows=1, tile_columns=1, group_blocks=1,
        split_rows=min(rows, split[0]), split_columns=min(columns, split[1]),
        split_words=min(shape.block_words, split[2]), resident_parameters=True,
    )  # fmt: skip


def unpack(planes, mapping, spec, weight, channels, groups):
    """Return the dense weights (out, kernel rows, kernel columns, all channels) that the rows hold."""
    shape, group = mapping.shape, spec.array.group_size
    out, rows, columns, _ = weight.shape
    dense = np.zeros((out, rows, columns, -(-channels // group) * group), np.int64)
    times = np.zeros(dense.shape, np.int64)
    for number, block in enumerate(shape.blocks):
        per_row = row_chains(block, group)
        for part, split in enumerate(mapping.splits(number)):
            joined = split.columns == 1 or shape.dilation[1] == 1
            at, index_at = planes.value_offsets[number, part], planes.index_offsets[number, part] * 8
            runs = [
                [(ky, kx, word) for kx in range(split.columns) for word in range(split.words)]
                for ky in range(split.rows)
            ]
            if not joined:
                runs = [run[i : i + split.words] for run in runs for i in range(0, len(run), split.words)]
            for run in runs:
                for fold in range(0, len(run), spec.array.chain_length):
                    stages = run[fold : fold + spec.array.chain_length]
                    for step in range(shape.steps):
                        for ky, kx, word in stages:
                            for c in range(block.channels):
                                value = int(planes.values[at + c].astype(np.int8))
                                element = step
                                if shape.index_bits:
                                    bit = index_at + c * shape.index_bits
                                    bits = [planes.indices[(bit + k) // 8] >> ((bit + k) % 8) & 1
                                            for k in range(shape.index_bits)]  # fmt: skip
                                    index = sum(int(b) << k for k, b in enumerate(bits))
                                    element = (step // shape.slots << shape.index_bits) | index
                                channel = (block.word + split.word + word) * group + element
                                place = (block.first + c, split.row + ky, split.column + kx, channel)
                                if value:
                                    dense[place] += value
                                    times[place] += 1
                            at += per_row
                            index_at += per_row * shape.index_bits
    assert times.max() <= 1, "a weight was packed twice"
    return dense


def spread(weight, channels, groups, group):
    """Return grouped weights over all channels, channels padded to words."""
    out, rows, columns, per_group = weight.shape
    dense = np.zeros((out, rows, columns, -(-channels // group) * group), np.int64)
    for o in range(out):
        first = o // (out // groups) * per_group
        dense[o, :, :, first : first + per_group] = weight[o]
    return dense


def random_weight(rng, out, kernel, per_group, pattern):
    weight = rng.integers(-127, 128, (out, *kernel, per_group)).astype(np.int8)
    if pattern is not None:
        for start in range(0, per_group, pattern.m):
            part = weight[..., start : start + pattern.m]
            keep = rng.permuted(np.broadcast_to(np.arange(part.shape[-1]), part.shape), axis=-1) < pattern.n
            part[~keep] = 0
    return weight


@pytest.mark.parametrize("group", [4, 8, 16])
@pytest.mark.parametrize("seed", range(6))
def test_every_weight_is_packed_once_where_compute_reads_it(group: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    spec = sized_spec(group=group, chains=16)
    for _ in range(6):
        groups = int(rng.choice([1, 1, 2, 5]))
        per_group, out = int(rng.integers(1, 24)), int(rng.integers(1, 12)) * groups
        if rng.random() < 0.3:
            groups, per_group, out = out, 1, out
        m = int(rng.choice([m for m in (2, 4, 8, 16) if m <= group]))
        pattern = None if rng.random() < 0.3 else NmPattern(int(rng.integers(1, m + 1)), m)
        weight = random_weight(rng, out, tuple(rng.integers(1, 4, 2)), per_group, pattern)
        dilation = (1, int(rng.integers(1, 3)))
        split = tuple(int(v) for v in (rng.integers(1, 4), rng.integers(1, 4), rng.integers(1, 6)))
        channels = per_group * groups
        mapping = mapping_of(spec, weight, channels, groups=groups, pattern=pattern, dilation=dilation, split=split)
        planes = pack_weights(
            weight, mapping, groups=groups, chain_length=spec.array.chain_length, group_size=group, who="layer"
        )
        np.testing.assert_array_equal(
            unpack(planes, mapping, spec, weight, channels, groups), spread(weight, channels, groups, group)
        )


@pytest.mark.parametrize("words", [7, 8, 9, 16, 17])
@pytest.mark.parametrize("pattern", [None, NmPattern(1, 4), NmPattern(2, 4), NmPattern(3, 8)])
def test_more_words_than_are_gathered_at_once(words: int, pattern: NmPattern | None) -> None:
    """Lengths around multiples of GATHERED_WORDS; the last word has one channel, the last chains have no weights."""
    rng = np.random.default_rng(words)
    spec = sized_spec(group=8, chains=16)
    channels = 8 * words - 7
    weight = random_weight(rng, 19, (2, 2), channels, pattern)
    for dilation in ((1, 1), (1, 2)):
        mapping = mapping_of(spec, weight, channels, pattern=pattern, dilation=dilation)
        planes = pack_weights(
            weight, mapping, groups=1, chain_length=spec.array.chain_length, group_size=8, who="layer"
        )
        np.testing.assert_array_equal(
            unpack(planes, mapping, spec, weight, channels, 1), spread(weight, channels, 1, 8)
        )


def test_a_weight_too_many_is_an_error() -> None:
    spec = sized_spec(group=8, chains=16)
    weight = np.zeros((3, 1, 1, 8), np.int8)
    weight[2, 0, 0, 4:7] = 1
    mapping = mapping_of(spec, weight, 8, pattern=NmPattern(2, 4))
    with pytest.raises(
        MappingError, match="layer: output channel 2 must have at most 2 nonzero weights per group of 4"
    ):
        pack_weights(weight, mapping, groups=1, chain_length=4, group_size=8, who="layer")


def test_a_million_weights_take_milliseconds() -> None:
    """A quarter of ResNet-50's 25 million weights; the bound is generous for a loaded machine."""
    rng = np.random.default_rng(0)
    spec = sized_spec(group=8, chains=32)
    weight = random_weight(rng, 1024, (3, 3), 704, NmPattern(2, 4))
    mapping = mapping_of(spec, weight, 704, pattern=NmPattern(2, 4))
    pack_weights(weight[:32], mapping_of(spec, weight[:32], 704, pattern=NmPattern(2, 4)), groups=1, chain_length=4,
                 group_size=8, who="layer")  # fmt: skip
    start = time.process_time()
    pack_weights(weight, mapping, groups=1, chain_length=4, group_size=8, who="layer")
    seconds = time.process_time() - start
    assert seconds < 0.5, f"{seconds:.2f} s for {weight.size} weights"
