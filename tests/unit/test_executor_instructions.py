"""Every instruction of the executor against the slow machine of tests/support/replay_twin.py, on random programs."""

import numpy as np
import pytest
from hand_programs import small_spec
from random_programs import RandomProgram
from replay import initial_machine
from replay_twin import MEMORY, Geometry, decode_program

from gossamer.arch.isa import VECTOR_OPCODES, Opcode
from gossamer.arch.spec import SparseAccelerator
from gossamer.dataflow.program import Program
from gossamer.sim.golden.executor import POISON, execute_memory

SEED = 7


def twin_memory(program: Program, spec: SparseAccelerator) -> np.ndarray:
    """Return off-chip memory after the slow machine has run the program; what nobody wrote is POISON."""
    machine = initial_machine(program, Geometry.of(spec, program), {})
    for instruction in decode_program(program)[:-1]:
        machine.step(instruction)
    return np.where(machine.defined[MEMORY], machine.spaces[MEMORY], POISON)


def assert_equal_runs(random: RandomProgram) -> None:
    program = random.program()
    np.testing.assert_array_equal(execute_memory(program, random.spec, {}), twin_memory(program, random.spec))


@pytest.mark.parametrize("group", [4, 8, 16])
@pytest.mark.parametrize("opcode", [Opcode.LOAD, *VECTOR_OPCODES])
def test_opcode(opcode: Opcode, group: int) -> None:
    random = RandomProgram(small_spec(group=group, chains=16), SEED + group)
    for _ in range(6):
        random.grow(opcode)
    assert_equal_runs(random)


@pytest.mark.parametrize(
    ("group", "chains", "chain_length", "lanes"),
    [(4, 8, 4, 2), (8, 8, 4, 2), (8, 24, 1, 1), (16, 16, 3, 4), (8, 16, 16, 2), (16, 40, 5, 16)],
)
def test_compute_then_requantize(group: int, chains: int, chain_length: int, lanes: int) -> None:
    spec = small_spec(group=group, chains=chains, chain_length=chain_length, lanes=lanes, kib=8)
    random = RandomProgram(spec, SEED)
    for _ in range(12):
        random.grow(Opcode.COMPUTE)
    for _ in range(12):
        random.grow(Opcode.REQUANTIZE)
    assert_equal_runs(random)


@pytest.mark.parametrize("seed", range(6))
def test_everything_mixed(seed: int) -> None:
    random = RandomProgram(small_spec(group=(4, 8, 16)[seed % 3], chains=16), seed)
    opcodes = [Opcode.LOAD, Opcode.COMPUTE, Opcode.COMPUTE, *VECTOR_OPCODES]
    for number in range(30):
        random.grow(opcodes[int(random.random.integers(0, len(opcodes)))])
        if number % 10 == 9:
            random.copy_down()
    assert_equal_runs(random)
