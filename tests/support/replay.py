"""Replay a Program independently of executor, mapper and encoder, and prove what its schedule promises.

Own decoder (512-bit Python integers), own addressing (every byte enumerated), arithmetic from dataflow/numerics.
`replay` runs the program in order and requires that

- no access leaves a buffer or the memory map, and nothing is read that was not written (byte by byte, all spaces);
- no pair (activation byte off chip, weight byte off chip) is multiplied twice into one sum (`Replay.macs` counts);
- semaphores order every conflict: with vector clocks over queues and tokens, each access happens after the last
  conflicting one before it in program order. This covers every possible schedule at once; no deadlock, tokens fit
  16 bits;
- and, as a check on that argument, random schedules of concurrent engines read exactly the versions of every byte that
  the sequential order reads, never touch what another engine is writing, and end with the same off-chip versions.

Any violation is a ReplayError.
"""

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod

import numpy as np
from replay_twin import ACCUMULATOR, MEMORY, Accesses, Geometry, Instruction, Machine, ReplayError, decode_program

from gossamer.arch.isa import ENGINES, Opcode
from gossamer.arch.spec import SparseAccelerator
from gossamer.dataflow.program import Program, RegionKind

TOKEN_LIMIT = 2**16 - 1
MIX_A, MIX_B = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9)


@dataclass(kw_only=True)
class Replay:
    """What a replay found, per layer index: `macs`, multiply-accumulates with a nonzero weight, padding included,
    corrections of zero points (constant times tensor) not;
    `tensor_macs`, those of elements of tensors (no padding, no constants) by nonzero constants or by such elements."""

    memory: np.ndarray
    outputs: dict[str, np.ndarray]
    macs: Counter[int]
    tensor_macs: Counter[int]
    instructions: int
    max_tokens: int
    conflicts_checked: int
    schedules: int
    spaces_used: dict[int, int] = field(default_factory=dict)


def initial_machine(program: Program, geometry: Geometry, inputs: Mapping[str, np.ndarray]) -> Machine:
    """Return a machine with instructions, constants and inputs in off-chip memory."""
    memory = np.zeros(geometry.sizes[MEMORY], dtype=np.uint8)
    defined = np.zeros(geometry.sizes[MEMORY], dtype=bool)
    for region in program.regions:
        span = slice(region.address, region.address + region.size_bytes)
        if region.kind is RegionKind.INSTRUCTIONS:
            memory[span], defined[span] = program.instructions.reshape(-1), True
        elif region.kind is RegionKind.CONSTANTS:
            memory[span], defined[span] = program.image, True
    fixed = defined.copy()
    for binding in program.inputs:
        values = inputs[binding.name]
        assert values.shape == binding.shape
        for position, row in enumerate(values.reshape(-1, binding.shape[3])):
            start = binding.address + position * binding.channel_pitch
            memory[start : start + binding.channel_pitch] = np.int64(binding.quant.zero_point) & 255
            memory[start : start + len(row)] = row.view(np.uint8)
        span = slice(binding.address, binding.address + prod(binding.shape[:3]) * binding.channel_pitch)
        defined[span] = True
    return Machine(geometry, memory, defined, fixed, pad_bytes(program, geometry))


def pad_bytes(program: Program, geometry: Geometry) -> np.ndarray:
    """Return which off-chip bytes are pad channels of some tensor and elements of none."""
    elements, pads = (np.zeros(geometry.sizes[MEMORY], dtype=bool) for _ in range(2))
    for binding in (*program.inputs, *program.outputs, *program.intermediates):
        positions = prod(binding.shape[:3])
        at = binding.address + np.arange(positions)[:, None] * binding.channel_pitch + np.arange(binding.channel_pitch)
        elements[at[:, : binding.shape[3]]] = True
        pads[at[:, binding.shape[3] :]] = True
    return pads & ~elements


def read_outputs(program: Program, machine: Machine) -> dict[str, np.ndarray]:
    """Return the outputs by name; every byte of theirs, pads included, must have been written."""
    outputs = {}
    for binding in program.outputs:
        positions = prod(binding.shape[:3])
        span = slice(binding.address, binding.address + positions * binding.channel_pitch)
        if not machine.defined[MEMORY][span].all():
            missing = int(np.flatnonzero(~machine.defined[MEMORY][span])[0])
            raise ReplayError(
                f"output {binding.name}: byte {missing} of {positions * binding.channel_pitch} never written"
            )
        block = machine.spaces[MEMORY][span].view(np.int8).reshape(positions, binding.channel_pitch)
        outputs[binding.name] = block[:, : binding.shape[3]].reshape(binding.shape).copy()
    return outputs


class HappensBefore:
    """Vector clocks of queue order and tokens: clock[i][e] instructions of engine e are complete when i starts."""

    def __init__(self, instructions: list[Instruction]) -> None:
        self.clock = np.zeros((len(instructions), len(ENGINES)), dtype=np.int64)
        self.position = np.zeros(len(instructions), dtype=np.int64)
        self.max_tokens = 0
        queues = queues_of(instructions)
        for queue in queues:
            for position, i in enumerate(queue):
                self.position[i] = position
        self._run(instructions, queues)
        self._count_tokens(instructions, queues)

    def complete(self, i: int, engine: int) -> np.ndarray:
        """Return the clock after i has completed."""
        clock = self.clock[i].copy()
        clock[engine] = max(clock[engine], self.position[i] + 1)
        return clock

    def _run(self, instructions: list[Instruction], queues: list[list[int]]) -> None:
        heads = [0] * len(queues)
        given: dict[tuple[int, int], list[int]] = {}
        taken: Counter[tuple[int, int]] = Counter()
        progress = True
        while progress:
            progress = False
            for engine, queue in enumerate(queues):
                while heads[engine] < len(queue):
                    i = queue[heads[engine]]
                    pairs = [(other, engine) for other in instructions[i].waits]
                    if any(taken[pair] >= len(given.get(pair, [])) for pair in pairs):
                        break
                    clock = self.complete(queue[heads[engine] - 1], engine) if heads[engine] else np.zeros(4, np.int64)
                    for pair in pairs:
                        source = given[pair][taken[pair]]
                        clock = np.maximum(clock, self.complete(source, pair[0]))
                        taken[pair] += 1
                    self.clock[i] = clock
                    for other in instructions[i].releases:
                        given.setdefault((engine, other), []).append(i)
                    heads[engine] += 1
                    progress = True
        stuck = [queue[head] for queue, head in zip(queues, heads, strict=True) if head < len(queue)]
        if stuck:
            raise ReplayError(f"deadlock: instructions {stuck} wait for tokens nobody gives")

    def _count_tokens(self, instructions: list[Instruction], queues: list[list[int]]) -> None:
        """Find the most tokens a semaphore can hold in any schedule: the giver runs as far ahead as order permits."""
        for giver, queue in enumerate(queues):
            for taker, taker_queue in enumerate(queues):
                takes = np.cumsum([0] + [giver in instructions[i].waits for i in taker_queue])
                given = 0
                for i in queue:
                    if taker in instructions[i].releases:
                        given += 1
                        self.max_tokens = max(self.max_tokens, given - int(takes[self.clock[i][taker]]))
        if self.max_tokens > TOKEN_LIMIT:
            raise ReplayError(f"a semaphore can reach {self.max_tokens} tokens, more than {TOKEN_LIMIT}")


def queues_of(instructions: list[Instruction]) -> list[list[int]]:
    """Return the instruction numbers of each engine's queue."""
    queues: list[list[int]] = [[] for _ in ENGINES]
    for instruction in instructions:
        if instruction.opcode is not Opcode.END:
            queues[instruction.engine].append(instruction.index)
    return queues


class RaceCheck:
    """Per byte the last writer and each engine's last reader; every conflict must be ordered by the vector clocks."""

    def __init__(self, geometry: Geometry, order: HappensBefore) -> None:
        self.order = order
        self.writer = [np.full(size, -1, dtype=np.int64) for size in geometry.sizes]
        self.writer_engine = [np.zeros(size, dtype=np.int64) for size in geometry.sizes]
        self.reader = [np.full((len(ENGINES), size), -1, dtype=np.int64) for size in geometry.sizes]
        self.checked = 0

    def _require(self, instruction: Instruction, space: int, at: np.ndarray, engines: np.ndarray | int,
                 last: np.ndarray, what: str) -> None:  # fmt: skip
        clock = self.order.clock[instruction.index][engines]
        own = np.asarray(engines) == instruction.engine
        bad = np.flatnonzero(~own & (last >= 0) & (self.order.position[last] >= clock))
        self.checked += int(np.count_nonzero(~own & (last >= 0)))
        if bad.size:
            raise ReplayError(
                f"{instruction}: no token orders it after {what} instruction {last[bad[0]]} at {at[bad[0]]} of "
                f"space {space}"
            )

    def step(self, instruction: Instruction, accesses: Accesses) -> None:
        """Check one instruction, in program order, against everything before it."""
        for space, at in accesses.reads:
            engines = self.writer_engine[space][at]
            self._require(instruction, space, at, engines, self.writer[space][at], "the writing")
            self.reader[space][instruction.engine][at] = instruction.index
        for space, at in accesses.writes:
            engines = self.writer_engine[space][at]
            self._require(instruction, space, at, engines, self.writer[space][at], "the writing")
            for engine in range(len(ENGINES)):
                self._require(instruction, space, at, engine, self.reader[space][engine][at], "the reading")
            self.writer[space][at] = instruction.index
            self.writer_engine[space][at] = instruction.engine


def signature(versions: list[np.ndarray], accesses: Accesses) -> int:
    """Return a 64-bit hash of the versions of all bytes read."""
    total = np.uint64(0)
    for space, at in accesses.reads:
        mixed = (versions[space][at].astype(np.uint64) * MIX_A) ^ (at.astype(np.uint64) * MIX_B)
        total = total ^ np.bitwise_xor.reduce(mixed * (mixed >> np.uint64(29) | np.uint64(1)), initial=np.uint64(space))
    return int(total)


class Schedule:
    """One concurrent run of the engines: any order that queues and tokens permit, chosen by a seeded generator."""

    def __init__(
        self, geometry: Geometry, instructions: list[Instruction], accesses: list[Accesses], seed: int
    ) -> None:
        self.instructions = instructions
        self.accesses = accesses
        self.random = random.Random(seed)
        self.eagerness = [self.random.choice([0.02, 0.3, 1.0, 30.0]) for _ in ENGINES]
        self.slowness = [self.random.choice([0.02, 0.3, 1.0, 30.0]) for _ in ENGINES]
        self.versions = [np.full(size, -1, dtype=np.int64) for size in geometry.sizes]
        self.writing = [np.zeros(size, dtype=bool) for size in geometry.sizes]
        self.reading = [np.zeros(size, dtype=np.int8) for size in geometry.sizes]
        self.tokens: Counter[tuple[int, int]] = Counter()

    def _start(self, i: int, expected: int) -> None:
        accesses = self.accesses[i]
        for space, at in accesses.reads:
            if self.writing[space][at].any():
                raise ReplayError(f"{self.instructions[i]}: reads what is being written in space {space}")
        for space, at in accesses.writes:
            if self.writing[space][at].any() or self.reading[space][at].any():
                raise ReplayError(f"{self.instructions[i]}: writes what is in use in space {space}")
        if signature(self.versions, accesses) != expected:
            raise ReplayError(f"{self.instructions[i]}: reads other bytes than in program order")
        for space, at in accesses.reads:
            self.reading[space][at] += 1
        for space, at in accesses.writes:
            self.writing[space][at] = True

    def _complete(self, i: int) -> None:
        for space, at in self.accesses[i].reads:
            self.reading[space][at] -= 1
        for space, at in self.accesses[i].writes:
            self.writing[space][at] = False
            self.versions[space][at] = i
        for other in self.instructions[i].releases:
            self.tokens[self.instructions[i].engine, other] += 1

    def run(self, signatures: list[int]) -> np.ndarray:
        """Run to the end; return the off-chip versions. Raises ReplayError for a conflict or a deadlock."""
        queues = queues_of(self.instructions)
        heads = [0] * len(queues)
        flying = [-1] * len(queues)
        while True:
            events, weights = [], []
            for engine, queue in enumerate(queues):
                if flying[engine] >= 0:
                    events.append((engine, False))
                    weights.append(self.slowness[engine])
                elif heads[engine] < len(queue):
                    waits = self.instructions[queue[heads[engine]]].waits
                    if all(self.tokens[other, engine] > 0 for other in waits):
                        events.append((engine, True))
                        weights.append(self.eagerness[engine])
            if not events:
                break
            engine, starts = self.random.choices(events, weights)[0]
            if starts:
                i = queues[engine][heads[engine]]
                for other in self.instructions[i].waits:
                    self.tokens[other, engine] -= 1
                self._start(i, signatures[i])
                flying[engine] = i
            else:
                self._complete(flying[engine])
                flying[engine] = -1
                heads[engine] += 1
        if any(head < len(queue) for head, queue in zip(heads, queues, strict=True)):
            raise ReplayError(f"deadlock with {heads} instructions done per engine")
        return self.versions[MEMORY]


def replay(
    program: Program, spec: SparseAccelerator, inputs: Mapping[str, np.ndarray], seed: int, schedules: int = 3
) -> Replay:
    """Replay a program on int8 inputs by name; raise ReplayError for the first broken promise."""
    geometry = Geometry.of(spec, program)
    instructions = decode_program(program)
    machine = initial_machine(program, geometry, inputs)
    order = HappensBefore(instructions)
    races = RaceCheck(geometry, order)
    versions = [np.full(size, -1, dtype=np.int64) for size in geometry.sizes]
    accesses: list[Accesses] = []
    signatures: list[int] = []
    for instruction in instructions:
        if instruction.opcode is Opcode.END:
            break
        touched = machine.step(instruction)
        races.step(instruction, touched)
        signatures.append(signature(versions, touched))
        for space, at in touched.writes:
            versions[space][at] = instruction.index
        accesses.append(touched)
    machine.finish_sums()
    for number in range(schedules):
        final = Schedule(geometry, instructions, accesses, seed + number).run(signatures)
        if not np.array_equal(final, versions[MEMORY]):
            raise ReplayError(f"schedule {seed + number} ends with other off-chip bytes than program order")
    return Replay(
        memory=machine.spaces[MEMORY],
        outputs=read_outputs(program, machine),
        macs=machine.macs,
        tensor_macs=machine.tensor_macs,
        instructions=len(instructions),
        max_tokens=order.max_tokens,
        conflicts_checked=races.checked,
        schedules=schedules,
        spaces_used={space: int(machine.defined[space].sum()) for space in range(ACCUMULATOR + 1)},
    )
