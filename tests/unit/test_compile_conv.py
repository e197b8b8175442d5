"""Compile multiply-accumulate layers onto small buffers; execute and replay them, compare with the layer kernels."""

from dataclasses import replace

import numpy as np
import pytest
from layer_programs import sized_spec
from quantized_layers import convolution, joined, layer_cases, matrix_product, transposed
from replay import replay

from gossamer.arch.config import fingerprint
from gossamer.arch.errors import MappingError
from gossamer.dataflow.network import BinaryKind, Conv2d, ConvTranspose2d, MatMul, effective_macs
from gossamer.dataflow.numerics import QuantParams
from gossamer.dataflow.sparsity import NmPattern
from gossamer.mapper.compile import compile_network
from gossamer.sim.golden.executor import execute
from gossamer.sim.golden.layers import run_layers

MULTIPLIES = (Conv2d, ConvTranspose2d, MatMul)
CASES = [case for case in layer_cases(11) if isinstance(case.layer, MULTIPLIES)]

TINY = {"activation": 2048, "weight": 4096, "index": 2048, "accumulator": 1024, "parameter": 1024}


def check(case, spec, *, replayed: bool = False):
    """Compile and execute one layer; its output must equal the golden kernel's byte for byte."""
    program = compile_network(case.network, spec, config_fingerprint=fingerprint(spec))
    expected = run_layers(case.network, case.values)["out"]
    got = execute(program, spec, case.values)["out"]
    np.testing.assert_array_equal(got, expected, err_msg=f"{case.layer.name} on {spec.name}")
    if replayed:
        found = replay(program, spec, case.values, seed=0, schedules=1)
        np.testing.assert_array_equal(found.outputs["out"], expected)
        if not isinstance(case.layer, MatMul | ConvTranspose2d):
            assert found.macs[0] == effective_macs(case.network, case.layer)[0]
    return program


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("group", [4, 8, 16])
def test_every_case(case, group) -> None:
    pattern = getattr(case.layer, "pattern", None)
    spec = sized_spec(group=group, chains=16)
    if pattern is not None and pattern.m > group:
        with pytest.raises(MappingError, match=rf"{case.layer.name}: pattern {pattern} needs `array.group_size`"):
            compile_network(case.network, spec, config_fingerprint="")
        return
    check(case, spec, replayed=group == 8)


def random_convolution(rng: np.random.Generator, number: int, group: int):
    """Return a random convolution with any kernel, stride, dilation, pads, groups and pattern."""
    channels, outputs = (int(rng.choice([1, 3, 7, 8, 9, 16, 20, 33])) for _ in range(2))
    groups = 1
    if rng.random() < 0.3:
        groups = int(rng.choice([2, 3, 4, 8]))
        channels, outputs = channels * groups // 2 * 2, outputs * groups
        channels = max(groups, channels // groups * groups)
    elif rng.random() < 0.2:
        groups, outputs = channels, channels
    kernel = tuple(int(v) for v in rng.integers(1, 8 if number % 4 == 0 else 4, 2))
    dilation = tuple(int(v) for v in rng.integers(1, 4, 2)) if rng.random() < 0.3 else (1, 1)
    pads = tuple(int(v) for v in rng.integers(0, 4, 4))
    stride = tuple(int(v) for v in rng.integers(1, 4, 2))
    least = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    rows, columns = (int(rng.integers(1, 9)) + max(0, need - 2) for need in least)
    rows, columns = max(rows, least[0] - pads[0] - pads[2]), max(columns, least[1] - pads[1] - pads[3])
    pattern = None
    if rng.random() < 0.5:
        m = int(rng.choice([m for m in (2, 4, 8, 16) if m <= group]))
        pattern = NmPattern(int(rng.integers(1, m + 1)), m)
    return convolution(
        rng, f"random{number}", (int(rng.integers(1, 3)), rows, columns, channels), outputs, kernel, stride=stride,
        dilation=dilation, pads=pads, groups=groups, pattern=pattern,
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(12))
def test_random_convolutions_on_all_kinds_of_buffers(seed: int) -> None:
    rng = np.random.default_rng(seed)
    group = (4, 8, 16)[seed % 3]
    for number in range(8):
        case = random_convolution(rng, number, group)
        chains = int(rng.choice([16, 32]))
        check(case, sized_spec(group=group, chains=chains), replayed=False)
        tight = {
            "activation": int(rng.choice([1024, 4096, 16384])),
            "weight": chains * 2 * group * int(rng.choice([1, 3, 40])),
            "index": chains * 2 * group * int(rng.choice([1, 3, 40])),
            "accumulator": 4 * chains * int(rng.choice([8, 32, 256])),
            "parameter": int(rng.choice([1024, 2048])),
        }
        try:
            check(case, sized_spec(group=group, chains=chains, **tight), replayed=False)
        except MappingError as error:
            refused = str(error)
        else:
            continue
        assert "buffer must hold at least" in refused or "no tile fits" in refused
        assert tight["activation"] == 1024 or tight["parameter"] == 1024, refused


@pytest.mark.parametrize("seed", range(4))
def test_tiny_buffers_replayed(seed: int) -> None:
    """Every kind of tiling at once: the replay proves order, addresses and that each product happens once."""
    rng = np.random.default_rng(100 + seed)
    case = random_convolution(rng, seed, 8)
    program = check(case, sized_spec(group=8, chains=16, **TINY), replayed=True)
    assert len(program.instructions) >= 9


@pytest.mark.parametrize("zero", [0, -7, 127, -127, -128])
@pytest.mark.parametrize("transpose_b", [False, True])
def test_matrix_product_with_any_zero_point(zero: int, transpose_b: bool) -> None:
    rng = np.random.default_rng(zero + 128)
    for reduction, channels in ((1, 1), (8, 8), (15, 20), (70, 33)):
        case = matrix_product(rng, "product", 2, 2, 9, reduction, channels, transpose_b=transpose_b)
        tensor = case.network.tensors["a"]
        tensors = {**case.network.tensors, "a": replace(tensor, quant=QuantParams(0.04, zero))}
        case = replace(case, network=replace(case.network, tensors=tensors))
        check(case, sized_spec(group=8, chains=16))
        # The replay takes the two constants that add 128 for one activation byte used twice.
        check(case, sized_spec(group=8, chains=16, **TINY), replayed=reduction == 15 and zero in (-7, 127))


@pytest.mark.parametrize("seed", range(8))
def test_random_transposed_convolutions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for number in range(6):
        kernel, stride = (tuple(int(v) for v in rng.integers(1, 5, 2)) for _ in range(2))
        pads = tuple(int(rng.integers(0, k)) for k in (*kernel, *kernel))
        extra = tuple(int(rng.integers(0, s)) for s in stride)
        shape = (int(rng.integers(1, 3)), *(int(v) for v in rng.integers(3, 7, 2)), int(rng.integers(1, 21)))
        outputs = int(rng.integers(1, 40))
        case = transposed(rng, f"t{number}", shape, outputs, kernel, stride=stride, pads=pads, output_padding=extra)
        if min(case.network.tensors["out"].shape) < 1:
            continue
        check(case, sized_spec(group=8, chains=16))
        check(case, sized_spec(group=8, chains=16, **TINY), replayed=number == 0)


def test_a_convolution_that_fits_but_not_with_its_addition_runs_before_it() -> None:
    """Two input words and two output pixels of 64 channels fit 160 bytes; two pixels of the other operand do not."""
    rng = np.random.default_rng(0)
    case = joined(rng, convolution(rng, "c", (1, 4, 4, 8), 64, (1, 1)), BinaryKind.ADD)
    for activation, stored in ((160, True), (4096, False)):
        spec = sized_spec(group=8, chains=64, activation=activation)
        program = compile_network(case.network, spec, config_fingerprint=fingerprint(spec))
        got = execute(program, spec, case.values)["joined"]
        np.testing.assert_array_equal(got, run_layers(case.network, case.values)["joined"])
        assert ("out" in {binding.name for binding in program.intermediates}) is stored


@pytest.mark.parametrize(
    ("buffer", "capacity"),
    [("activation", 64), ("weight", 64), ("index", 64), ("accumulator", 64), ("parameter", 64)],
)
def test_impossible_buffers_are_named(buffer: str, capacity: int) -> None:
    rng = np.random.default_rng(0)
    case = convolution(rng, "c", (1, 4, 4, 64), 32, (3, 3), pattern=NmPattern(2, 4))
    with pytest.raises(MappingError, match=rf"^c: the {buffer} buffer must hold at least \d+ .*not \d+"):
        compile_network(case.network, sized_spec(group=8, chains=32, **{buffer: capacity}), config_fingerprint="")


def test_sparse_weights_take_fewer_rows() -> None:
    rng = np.random.default_rng(0)
    spec = sized_spec(group=8, chains=32)
    sizes = {}
    for pattern in (None, NmPattern(4, 8), NmPattern(2, 4), NmPattern(2, 8)):
        case = convolution(rng, "c", (1, 4, 4, 64), 32, (3, 3), pattern=pattern)
        record = check(case, spec).layers[0]
        sizes[record.pattern] = (record.weight_bytes, record.index_bytes)
    dense = sizes["dense"][0]
    assert dense >= 9 * 64 * 32
    for name, kept, bits in (("dense", 1.0, 0), ("4:8", 0.5, 3), ("2:4", 0.5, 2), ("2:8", 0.25, 3)):
        # planes of a (block, split) start at multiples of 64 bytes
        assert sizes[name][0] == pytest.approx(dense * kept, abs=512)
        assert sizes[name][1] == pytest.approx(dense * kept * bits / 8, abs=512)
