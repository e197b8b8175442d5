"""Split convolutions over chains by columns: every width gives the layer kernel's bytes, the fastest is taken."""

from dataclasses import replace

import numpy as np
import pytest
from layer_programs import sized_spec
from quantized_layers import convolution, transposed
from replay import replay

from gossamer.arch.config import fingerprint
from gossamer.arch.encoding import decode_columns
from gossamer.dataflow.network import effective_macs
from gossamer.dataflow.sparsity import NmPattern
from gossamer.mapper.codegen import transposed as transposed_code
from gossamer.mapper.codegen import wide_pixels
from gossamer.mapper.codegen.wide_pixels import dense_weight
from gossamer.mapper.compile import compile_network
from gossamer.mapper.tiling import try_mapping
from gossamer.sim.golden.executor import execute
from gossamer.sim.golden.layers import run_layers
from gossamer.sim.timing import simulate


def check(case, spec):
    """Return the program of a layer whose output, executed, is the layer kernel's."""
    program = compile_network(case.network, spec, config_fingerprint=fingerprint(spec))
    expected = run_layers(case.network, case.values)["out"]
    np.testing.assert_array_equal(execute(program, spec, case.values)["out"], expected, err_msg=case.layer.name)
    return program


def most_chains(program) -> int:
    """Return the most chains a COMPUTE of a program uses."""
    return int(decode_columns(program.instructions)["chains_active"].max())


@pytest.fixture
def prefer(monkeypatch):
    """Return a function that makes a width of every layer look fastest, by its number, the last by default."""

    def choose(wanted: int | None = None) -> list[int]:
        tried: list[int] = []

        def pretend(shape, spec, **options):
            found = try_mapping(shape, spec, **options)
            tried.append(shape.out_channels)
            return found and replace(found, cost=-len(tried) if wanted in (None, len(tried) - 1) else 2**40)

        monkeypatch.setattr(wide_pixels, "try_mapping", pretend)
        return tried

    return choose


@pytest.mark.parametrize("seed", range(24))
def test_every_width_of_random_convolutions(prefer, seed: int) -> None:
    rng = np.random.default_rng(seed)
    group = (4, 8)[seed % 2]
    groups = int(rng.choice([1, 1, 2, 4]))
    channels, outputs = groups * int(rng.integers(1, 7)), groups * int(rng.integers(1, 4))
    kernel, stride = (int(rng.integers(1, 4)), int(rng.integers(1, 5))), tuple(int(v) for v in rng.integers(1, 4, 2))
    pads = tuple(int(v) for v in rng.integers(0, 3, 4))
    columns = int(rng.choice([2, 3, 4, 6, 12]))
    width = max(1, (columns - 1) * stride[1] + kernel[1] - pads[1] - pads[3])
    pattern = NmPattern(int(rng.integers(1, 3)), 4) if seed % 3 == 0 else None
    case = convolution(
        rng, f"c{seed}", (2, 5, width, channels), outputs, kernel, stride=stride, pads=pads, groups=groups,
        pattern=pattern, dilation=(int(rng.integers(1, 3)), 1) if kernel[0] < 3 else (1, 1),
    )  # fmt: skip
    spec = sized_spec(group=group, chains=64)
    tried = prefer()
    check(case, spec)
    for number in range(len(tried)):
        prefer(number)
        program = check(case, spec)
        assert most_chains(program) == -(-tried[number] // group) * group
        if number == 1:
            found = replay(program, spec, case.values, seed=0, schedules=1)
            np.testing.assert_array_equal(found.outputs["out"], run_layers(case.network, case.values)["out"])
            assert found.macs[0] == effective_macs(case.network, case.layer)[0]


def test_rows_and_columns_without_gaps_only() -> None:
    """Nine columns of 24 of 32 chains' channels cannot be split; nor can two columns with holes between the taps."""
    rng = np.random.default_rng(0)
    spec = sized_spec(group=8, chains=32)
    for outputs, dilation in ((24, (1, 1)), (8, (1, 2))):
        case = convolution(rng, "c", (1, 9, 9, 8), outputs, (3, 3), pads=(1, 1, 1, 1), dilation=dilation)
        assert most_chains(check(case, spec)) == outputs


@pytest.mark.parametrize(("kernel", "stride"), [((2, 2), (2, 2)), ((3, 3), (2, 2)), ((4, 4), (2, 2)), ((1, 3), (1, 3))])
def test_columns_of_transposed_convolutions(kernel, stride) -> None:
    """Phases of adjacent columns run together: a program has as many COMPUTEs per tile as rows have phases."""
    rng = np.random.default_rng(1)
    case = transposed(rng, "t", (1, 4, 6, 8), 8, kernel, stride=stride, pads=(0, kernel[1] // 2, 0, kernel[1] // 2))
    if case.network.tensors["out"].shape[2] % stride[1]:
        case = transposed(
            rng, "t", (1, 4, 6, 8), 8, kernel, stride=stride, pads=(0, 1, 0, 1), output_padding=(0, stride[1] - 1)
        )
    spec = sized_spec(group=8, chains=64)
    program = check(case, spec)
    if case.network.tensors["out"].shape[2] % stride[1] == 0:
        assert most_chains(program) >= 8 * stride[1]


@pytest.mark.parametrize("seed", range(8))
def test_rows_of_transposed_convolutions(monkeypatch, seed: int) -> None:
    """Rows of the output run together as columns do: a pixel has parts of several rows, and a STORE for each."""
    taken = []

    def take(first, *_):
        taken.append(True)
        return first

    monkeypatch.setattr(transposed_code, "better", take)
    rng = np.random.default_rng(seed)
    kernel, stride = (tuple(int(v) for v in rng.integers(1, 5, 2)) for _ in range(2))
    pads = tuple(int(rng.integers(0, k)) for k in (*kernel, *kernel))
    rows, columns = (int(v) for v in rng.integers(4, 7, 2))
    extra = [
        -((size - 1) * s + k - low - high) % s
        for size, s, k, low, high in zip((rows, columns), stride, kernel, pads[:2], pads[2:], strict=True)
    ]
    case = transposed(
        rng, "t", (2, rows, columns, 9), 5, kernel, stride=stride, pads=pads, output_padding=tuple(extra)
    )  # fmt: skip
    program = check(case, sized_spec(group=8, chains=64))
    if stride[0] > 1 and taken:
        assert most_chains(program) >= 8 * stride[0]
    expected = run_layers(case.network, case.values)["out"]
    spec = sized_spec(group=8, chains=64)
    np.testing.assert_array_equal(replay(program, spec, case.values, seed=0, schedules=1).outputs["out"], expected)
    check(case, sized_spec(group=8, chains=64, activation=2048))


def test_the_faster_width_is_taken() -> None:
    """Eight channels to eight use 8 of 64 chains and 1 of 4 stages; four columns at once use 32 and all."""
    case = convolution(np.random.default_rng(2), "c", (1, 64, 64, 8), 8, (1, 1))
    spec, alone = sized_spec(group=8, chains=64), sized_spec(group=8, chains=8)
    cycles = simulate(check(case, spec), spec).total_cycles
    assert cycles < 0.4 * simulate(check(case, alone), alone).total_cycles


def test_grouped_weights_become_dense() -> None:
    weight = np.arange(1, 4 * 2 * 3 * 2 + 1).astype(np.int8).reshape(4, 2, 3, 2)
    dense = dense_weight(weight, 2)
    assert dense.shape == (4, 2, 3, 4)
    for channel in range(4):
        first = channel // 2 * 2
        np.testing.assert_array_equal(dense[channel, :, :, first : first + 2], weight[channel])
        assert not np.delete(dense[channel], (first, first + 1), axis=2).any()
