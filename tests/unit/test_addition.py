"""Additions through the array: the bytes of ADD, in fewer cycles where VECTOR would read two operands in turn."""

import numpy as np
import pytest
from layer_programs import sized_spec
from network_programs import compiled
from quantized_layers import binary
from replay import replay

from gossamer.arch.config import load_config
from gossamer.arch.encoding import decode_columns
from gossamer.arch.isa import Opcode
from gossamer.dataflow.network import BinaryKind
from gossamer.mapper import compile as compiler
from gossamer.sim.golden.executor import execute
from gossamer.sim.golden.layers import run_layers
from gossamer.sim.timing import simulate


def check(case, spec, *, replayed: bool = False):
    """Return the program of a layer whose output, executed (and replayed), is the layer kernel's."""
    program = compiled(case.network, spec)
    expected = run_layers(case.network, case.values)["out"]
    np.testing.assert_array_equal(execute(program, spec, case.values)["out"], expected)
    if replayed:
        np.testing.assert_array_equal(replay(program, spec, case.values, seed=0, schedules=1).outputs["out"], expected)
    return program


def opcodes(program) -> set[int]:
    return set(decode_columns(program.instructions)["opcode"].tolist())


@pytest.mark.parametrize("kind", [BinaryKind.ADD, BinaryKind.SUBTRACT])
@pytest.mark.parametrize("group", [4, 8])
def test_bytes_of_add(monkeypatch, kind: BinaryKind, group: int) -> None:
    monkeypatch.setattr(compiler, "adds_on_array", lambda network, layer, spec: True)
    rng = np.random.default_rng(group)
    for number, shape in enumerate(((1, 1, 5, 3), (2, 4, 6, 8), (1, 7, 9, 24), (1, 3, 5, 70))):
        case = binary(rng, "sum", kind, shape, shape, low=int(rng.choice([-128, 0])))
        program = check(case, sized_spec(group=group, chains=64), replayed=number == 2)
        assert Opcode.REQUANTIZE_ADD in opcodes(program)
        assert Opcode.ADD not in opcodes(program)
        assert [record.name for record in program.layers] == ["sum"]
        assert program.layers[0].macs == 0
        check(case, sized_spec(group=group, chains=16, activation=512), replayed=number == 2)


def test_what_the_array_cannot_add_is_left_to_vector(monkeypatch) -> None:
    monkeypatch.setattr(compiler, "adds_on_array", lambda network, layer, spec: True)
    rng = np.random.default_rng(0)
    for kind, b_shape in ((BinaryKind.ADD, (1, 1, 1, 8)), (BinaryKind.MULTIPLY, (1, 5, 6, 8))):
        case = binary(rng, "other", kind, (1, 5, 6, 8), b_shape)
        assert Opcode.REQUANTIZE_ADD not in opcodes(check(case, sized_spec(chains=16)))


def test_the_faster_way_is_taken(monkeypatch) -> None:
    """Where VECTOR is the bottleneck the array saves most of a third; ecp5-tiny is bound by its memory anyway."""
    case = binary(np.random.default_rng(1), "sum", BinaryKind.ADD, (1, 40, 40, 96), (1, 40, 40, 96))
    edge, tiny = load_config("kv260-edge"), load_config("ecp5-tiny")
    fast = check(case, edge)
    assert Opcode.REQUANTIZE_ADD in opcodes(fast)
    assert Opcode.ADD in opcodes(check(case, tiny))
    monkeypatch.setattr(compiler, "adds_on_array", lambda network, layer, spec: False)
    assert simulate(fast, edge).total_cycles < 0.75 * simulate(check(case, edge), edge).total_cycles
