"""Compile pooling onto small buffers; execute, replay, compare with the kernels."""

import numpy as np
import pytest
from layer_programs import check_layers, compile_layers, sized_spec
from quantized_layers import pool

from gossamer.arch.encoding import decode_columns
from gossamer.arch.errors import MappingError
from gossamer.arch.isa import Opcode, Space
from gossamer.dataflow.network import PoolKind
from gossamer.mapper.codegen.pool_windows import counted, regions, span
from gossamer.sim.timing import simulate


@pytest.mark.parametrize("seed", range(30))
def test_any_window_on_any_buffer(seed: int) -> None:
    rng = np.random.default_rng(seed)
    kind = PoolKind.MAX if seed % 3 == 0 else PoolKind.AVERAGE
    kernel = tuple(int(v) for v in rng.integers(1, 5, 2))
    stride = tuple(int(v) for v in rng.integers(1, 4, 2))
    pads = tuple(int(rng.integers(0, kernel[i % 2])) for i in range(4))
    shape = (int(rng.integers(1, 3)), *(int(rng.integers(k, 9)) for k in kernel), int(rng.choice([1, 8, 11, 30])))
    extra = tuple(int(rng.integers(0, max(1, min(s, k - p)))) for s, k, p in zip(stride, kernel, pads[2:], strict=True))
    case = pool(rng, f"pool_{seed}", kind, shape, kernel, stride=stride, pads=pads, extra=extra, include=seed % 2 == 0)
    group = int(rng.choice([4, 8]))
    least = group * (kernel[0] * kernel[1] + 1)
    spec = sized_spec(
        group=group, activation=int(least * rng.choice([1, 1.5, 3, 10])), parameter=int(rng.choice([32, 64, 4096]))
    )
    check_layers(spec, case.network, case.values)


def test_global_average_of_a_large_map_is_tiled_over_channels() -> None:
    """Or the array sums it: here it can load a weight per cycle, and is faster if it has room for more than two."""
    case = pool(np.random.default_rng(1), "global", PoolKind.AVERAGE, (1, 28, 28, 40), (28, 28))
    cycles = []
    for weight, averages in ((16, 5), (4096, 0)):
        spec = sized_spec(activation=28 * 28 * 8 + 8, weight=weight)
        program = check_layers(spec, case.network, case.values)
        opcodes = decode_columns(program.instructions)["opcode"]
        assert np.count_nonzero(opcodes == Opcode.AVERAGE) == averages
        cycles.append(simulate(program, spec).total_cycles)
    assert cycles[1] < cycles[0]


def test_a_border_taller_than_one_load_can_fill() -> None:
    rng = np.random.default_rng(2)
    for pads in ((299, 0, 0, 0), (0, 0, 299, 0), (290, 1, 270, 0)):
        case = pool(rng, "tall", PoolKind.MAX, (1, 40, 3, 8), (300, 2), stride=(60, 1), pads=pads)
        check_layers(sized_spec(), case.network, case.values)


def test_a_border_is_one_instruction_per_count() -> None:
    case = pool(np.random.default_rng(3), "border", PoolKind.AVERAGE, (1, 6, 6, 8), (3, 3), pads=(1, 1, 1, 1))
    program = check_layers(sized_spec(), case.network, case.values)
    columns = decode_columns(program.instructions)
    averages = columns["opcode"] == Opcode.AVERAGE
    windows = int((columns["ny"] * columns["nx"] * columns["nc"])[averages].sum())
    assert windows == 36
    assert len(set(columns["par"][averages].tolist())) == 3, "4, 6 and 9 elements"


def test_span_is_what_the_windows_cover() -> None:
    for size, kernel, stride, pad in ((7, 3, 2, 1), (5, 4, 1, 3), (9, 2, 3, 0)):
        total = (size + 2 * pad - kernel) // stride + 1
        for first in range(total):
            for windows in range(1, total - first + 1):
                got = span(first, windows, kernel=kernel, stride=stride, pad=pad, size=size)
                covered = range(first * stride - pad, (first + windows - 1) * stride - pad + kernel)
                real = [i for i in covered if 0 <= i < size]
                assert (got.start, got.real, got.size) == (real[0], len(real), len(covered))
                assert got.before == sum(i < 0 for i in covered)


def test_counts_are_brute_force_counts() -> None:
    rng = np.random.default_rng(4)
    for include in (False, True):
        case = pool(
            rng,
            "p",
            PoolKind.AVERAGE,
            (1, 6, 5, 1),
            (3, 4),
            stride=(2, 3),
            pads=(1, 2, 0, 1),
            extra=(1, 2),
            include=include,
        )
        for axis, size in ((0, 6), (1, 5)):
            before, after = case.layer.pads[axis], case.layer.pads[2 + axis]
            for window in range(2):
                low = window * case.layer.stride[axis] - before
                covered = range(low, low + case.layer.kernel[axis])
                inside = range(-before, size + after) if include else range(size)
                assert counted(case.layer, axis, window, size) == sum(i in inside for i in covered)
    assert regions([2, 3, 3, 3, 2]) == [(0, 1, 2), (1, 3, 3), (4, 1, 2)]


@pytest.mark.parametrize("seed", range(12))
def test_windows_larger_than_the_buffer(seed: int) -> None:
    rng = np.random.default_rng(seed)
    kind = PoolKind.MAX if seed % 2 == 0 else PoolKind.AVERAGE
    kernel = tuple(int(v) for v in rng.integers(5, 11, 2))
    shape = (int(rng.integers(1, 3)), kernel[0] + seed % 3, kernel[1] + 1, int(rng.choice([3, 16, 21])))
    pads = (1, 2, 0, 1) if seed % 4 > 1 else (0, 0, 0, 0)
    case = pool(rng, "large", kind, shape, kernel, stride=(1, 2), pads=pads, include=seed % 3 == 0)
    capacity = int(rng.choice([48, 80, 200, kernel[0] * kernel[1] * 8]))
    weight = int(rng.choice([32, 256, 4096]))
    spec = sized_spec(chains=16, activation=capacity, weight=weight, index=weight)
    program = check_layers(spec, case.network, case.values)
    columns = decode_columns(program.instructions)
    weights = (columns["opcode"] == Opcode.LOAD) & (columns["space"] != Space.ACTIVATION) & (columns["ny"] > 0)
    weights &= columns["space"] != Space.PARAMETER
    assert np.any(weights) == (kind is PoolKind.AVERAGE)
    source = program.inputs[0]
    size = int(np.prod(source.shape[:3])) * source.channel_pitch
    first = columns["dram"][weights]
    assert np.all((first >= source.address) & (first < source.address + size)), "pixels are the weights"
    assert (program.layers[0].weight_bytes, program.layers[0].index_bytes) == (0, 0)


def test_windows_longer_than_their_field() -> None:
    rng = np.random.default_rng(6)
    for kind in PoolKind:
        case = pool(rng, "long", kind, (1, 1, 1100, 3), (1, 1100))
        check_layers(sized_spec(), case.network, case.values, replayed=False)


def test_a_maximum_is_split_where_that_is_cheaper() -> None:
    rng = np.random.default_rng(7)
    case = pool(rng, "stem", PoolKind.MAX, (1, 12, 12, 8), (3, 3), stride=(2, 2), pads=(0, 0, 1, 1))
    program = check_layers(sized_spec(vector_lanes=64), case.network, case.values)
    columns = decode_columns(program.instructions)
    kernels = {
        (int(columns["kh"][i]), int(columns["kw"][i])) for i in np.flatnonzero(columns["opcode"] == Opcode.MAXIMUM)
    }
    assert kernels == {(3, 1), (1, 3)}
    case = pool(rng, "average", PoolKind.AVERAGE, (1, 8, 8, 8), (3, 3))
    program = check_layers(sized_spec(vector_lanes=64), case.network, case.values)
    columns = decode_columns(program.instructions)
    assert set(columns["nx"][columns["opcode"] == Opcode.AVERAGE].tolist()) == {1}, (
        "windows without a stride are one row"
    )


def test_what_cannot_be_compiled_is_refused() -> None:
    rng = np.random.default_rng(5)
    for kind in PoolKind:
        case = pool(rng, "huge", kind, (1, 40, 40, 8), (40, 40))
        with pytest.raises(MappingError, match=r"huge: (one word of a pooling window|a pooling window)"):
            compile_layers(sized_spec(activation=12, weight=64), case.network)
    with pytest.raises(MappingError, match="must touch the input"):
        span(4, 1, kernel=2, stride=2, pad=0, size=8)
