"""Replay a Program for several cores independently: follow its BARRIERs as the hardware does, byte by byte.

Each core has a machine of its own (`replay_twin`) on one memory. Within a stage the cores run interleaved at random.
Required: within every segment all that `replay` requires of tokens; in a stage no core reads or writes a byte that
another one writes in it, whatever the interleaving; all cores have as many stages; only the last ends with END.
"""

import random
from collections.abc import Mapping

import numpy as np
from replay import HappensBefore, RaceCheck, initial_machine, read_outputs
from replay_twin import MEMORY, Geometry, Instruction, Machine, ReplayError, decode_word

from gossamer.arch.isa import INSTRUCTION_BYTES, Opcode
from gossamer.arch.spec import SparseAccelerator
from gossamer.dataflow.program import Program


def walk(program: Program) -> list[list[list[Instruction]]]:
    """Return the instructions of every core by stage, found from its first segment along its BARRIERs."""
    assert program.streams is not None
    heads = {segment.core: segment for segment in program.streams.segments if segment.stage == 0}
    streams = []
    for core in range(program.streams.cores):
        at, count, stages = heads[core].first, heads[core].count, []
        while count:
            stage = []
            for index in range(count):
                opcode, fields = decode_word(program.instructions[at + index].tobytes())
                if (opcode in (Opcode.END, Opcode.BARRIER)) != (index == count - 1):
                    raise ReplayError(f"core {core}: {opcode.name} at {index} of {count}")
                stage.append(Instruction(index, opcode, int(program.layer_of[at + index]), fields))
            stages.append(stage)
            at, rest = divmod(stage[-1].f.get("next", 0), INSTRUCTION_BYTES)
            assert rest == 0
            count = stage[-1].f.get("count", 0)
        streams.append(stages)
    if len({len(stages) for stages in streams}) != 1:
        raise ReplayError(f"cores must have as many stages, not {[len(stages) for stages in streams]}")
    return streams


class Meetings:
    """Which core wrote, and which ones touched, every off-chip byte in this stage."""

    def __init__(self, size: int) -> None:
        self.writer = np.full(size, -1, dtype=np.int64)
        self.touched = np.zeros(size, dtype=np.int64)

    def step(self, core: int, instruction: Instruction, touched: object) -> None:
        for space, at in touched.reads:
            if space == MEMORY:
                self._require(core, instruction, at, (self.writer[at] >= 0) & (self.writer[at] != core))
                self.touched[at] |= 1 << core
        for space, at in touched.writes:
            if space == MEMORY:
                self._require(core, instruction, at, (self.touched[at] & ~(1 << core)) != 0)
                self.touched[at] |= 1 << core
                self.writer[at] = core

    def _require(self, core: int, instruction: Instruction, at: np.ndarray, bad: np.ndarray) -> None:
        if bad.any():
            raise ReplayError(f"core {core}, {instruction}: another core meets it at byte {at[bad][0]}, no barrier")


def replay_cores(
    program: Program, spec: SparseAccelerator, inputs: Mapping[str, np.ndarray], seed: int
) -> dict[str, np.ndarray]:
    """Return the outputs; raise ReplayError for the first broken promise."""
    geometry, chance = Geometry.of(spec, program), random.Random(seed)
    streams = walk(program)
    first = initial_machine(program, geometry, inputs)
    machines = [first]
    for _ in streams[1:]:
        pads = ~(first.elements | first.fixed)
        machine = Machine(geometry, first.spaces[MEMORY], first.defined[MEMORY], first.fixed, pads)
        machines.append(machine)
    for stages in zip(*streams, strict=True):
        meetings = Meetings(geometry.sizes[MEMORY])
        orders = [HappensBefore([*stage[:-1], Instruction(len(stage) - 1, Opcode.END, -1, {})]) for stage in stages]
        races = [RaceCheck(geometry, order) for order in orders]
        left = [list(stage[:-1]) for stage in stages]
        while any(left):
            core = chance.choice([core for core, rest in enumerate(left) if rest])
            for _ in range(min(len(left[core]), chance.choice([1, 3, 20]))):
                instruction = left[core].pop(0)
                touched = machines[core].step(instruction)
                races[core].step(instruction, touched)
                meetings.step(core, instruction, touched)
    for machine in machines:
        machine.finish_sums()
    return read_outputs(program, first)
