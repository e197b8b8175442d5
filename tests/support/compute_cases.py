"""Random COMPUTE instructions with what they leave in the accumulator, by the golden kernels, for the RTL bench."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.encoding import encode
from gossamer.arch.isa import Opcode, index_pitch_bytes
from gossamer.arch.timing import ceil_div, compute_cycles
from gossamer.rtl.array.shape import ArrayShape
from gossamer.sim.golden.executor_kernels import RUN_FIELDS, compute, panel_sizes

BUFFER_BYTES = 1 << 14
"""Of each modelled buffer."""

MOST_CYCLES = 700
"""Of one random instruction."""

Fields = dict[str, int]


def instruction_cycles(fields: Fields, shape: ArrayShape) -> int:
    """Return the closed form of one instruction."""
    return compute_cycles(
        positions=fields["ny"] * fields["nx"], runs=fields["n_ry"] * fields["n_rx"], run_words=fields["run_words"],
        steps=fields["steps"], chain_length=shape.chain_length, lanes=shape.lanes,
        weight_rows_per_cycle=shape.weight_rows_per_cycle,
    )  # fmt: skip


@dataclass
class ComputeCase:
    """Instructions, the buffers they read, and the accumulator after each group of instructions."""

    shape: ArrayShape
    random: np.random.Generator
    words: list[NDArray[np.uint8]] = field(default_factory=list)
    cycles: list[int] = field(default_factory=list)
    reads: list[tuple[int, int]] = field(default_factory=list)
    """(number of the instruction after which it is read, entry)."""
    expected: list[NDArray[np.int32]] = field(default_factory=list)
    known: list[NDArray[np.bool_]] = field(default_factory=list)

    def __post_init__(self) -> None:
        entries, chains = self.shape.accumulator_entries, self.shape.chains
        self.buffers = [self.random.integers(0, 256, BUFFER_BYTES, dtype=np.uint8) for _ in range(3)]
        for buffer in self.buffers[:2]:  # extremes are common
            at = self.random.random(buffer.size)
            buffer[at < 0.2], buffer[at > 0.9] = 0x80, 0x7F
        self.sums = np.zeros((entries, chains), dtype=np.int32)
        self.is_known = np.zeros((entries, chains), dtype=bool)
        self.touched: set[int] = set()
        scratch = [np.zeros(size, dtype=np.float32) for size in panel_sizes(chains)]
        self.scratch = scratch[0], scratch[1], scratch[2]

    def add(self, fields: Fields) -> None:
        """Run one instruction in the golden kernel and append it."""
        shape = self.shape
        f = np.array([fields.get(name, 0) for name in RUN_FIELDS], dtype=np.int64)
        pitch = index_pitch_bytes(shape.chains, fields["index_bits"])
        with np.errstate(over="ignore"):
            compute(
                f, self.buffers[0].view(np.int8), self.buffers[1].view(np.int8), self.buffers[2], self.sums,
                shape.chain_length, shape.group_size, pitch, *self.scratch,
            )  # fmt: skip
        rows = slice(fields["acc"], fields["acc"] + fields["ny"] * fields["nx"])
        active = fields["chains_active"]
        if fields["clear"]:
            self.is_known[rows, :active] = True
        self.is_known[rows, active:] = False
        self.touched.update(range(rows.start, rows.stop))
        self.words.append(encode(Opcode.COMPUTE, fields))
        self.cycles.append(instruction_cycles(fields, shape))

    def fill(self, value: int) -> None:
        """Make every activation and every weight one value."""
        for buffer in self.buffers[:2]:
            buffer[:] = value

    def read_back(self) -> None:
        """Let the bench read every entry written since the last time, the newest first."""
        last = len(self.words) - 1
        for entry in sorted(self.touched, reverse=True):
            self.reads.append((last, entry))
            self.expected.append(self.sums[entry].copy())
            self.known.append(self.is_known[entry].copy())
        self.touched.clear()

    def save(self, path: str) -> None:
        """Write everything the bench needs to an npz file."""
        np.savez(
            path, words=np.array(self.words), cycles=np.array(self.cycles), reads=np.array(self.reads),
            expected=np.array(self.expected), known=np.array(self.known), activation=self.buffers[0],
            weight=self.buffers[1], index=self.buffers[2],
            shape=np.array([
                self.shape.group_size, self.shape.chains, self.shape.chain_length, self.shape.lanes,
                self.shape.weight_rows_per_cycle, self.shape.vector_lanes,
            ]),
        )  # fmt: skip


def random_fields(case: ComputeCase, pattern: tuple[int, int] | None, positions: tuple[int, int]) -> Fields:
    """Return a random instruction of an N:M pattern (None: dense) over (ny, nx) positions that fits the buffers."""
    random, shape = case.random, case.shape
    group, length = shape.group_size, shape.chain_length
    ny, nx = positions

    def pick(*values: int) -> int:
        return int(random.choice(values))

    fields: Fields = {"ny": ny, "nx": nx, "n_ry": pick(1, 1, 2, 3), "n_rx": pick(1, 1, 2)}
    fields["run_words"] = pick(1, 2, length - 1 or 1, length, length + 1, 2 * length, 2 * length + 1)
    if pattern is None:
        fields |= {"slots": 0, "index_bits": 0, "steps": pick(1, 3, group)}
    else:
        n, m = pattern
        most = n * group // m
        fields |= {"slots": n, "index_bits": m.bit_length() - 1, "steps": pick(most, most, max(1, most - 1))}
    while instruction_cycles({**fields}, shape) > MOST_CYCLES or _rows(fields) * shape.chains > BUFFER_BYTES // 2:
        name = max(("n_ry", "n_rx", "run_words", "steps"), key=lambda name: fields[name])
        fields[name] = max(1, fields[name] // 2)
    room = BUFFER_BYTES // group - fields["run_words"]
    for name, count in (("a_y", ny), ("a_x", nx), ("r_y", fields["n_ry"]), ("r_x", fields["n_rx"])):
        stride = int(random.integers(0, max(1, min(room // count, 40)) + 1))
        room -= stride * (count - 1)
        fields[name] = stride * group
    fields["a"] = int(random.integers(0, room + 1)) * group
    weight_rows, pitch = BUFFER_BYTES // shape.chains, index_pitch_bytes(shape.chains, fields["index_bits"])
    fields["w"] = int(random.integers(0, weight_rows - _rows(fields) + 1)) * shape.chains
    fields["i"] = int(random.integers(0, BUFFER_BYTES // pitch - _rows(fields) + 1)) * pitch if pitch else 0
    lowest = ceil_div(shape.accumulator_entries - ny * nx + 1, shape.lanes)
    fields["acc"] = int(random.integers(0, lowest)) * shape.lanes
    fields["chains_active"] = pick(shape.chains, shape.chains, 1, shape.chains - 1)
    rows = case.is_known[fields["acc"] : fields["acc"] + ny * nx, : fields["chains_active"]]
    fields["clear"] = 0 if rows.all() and random.random() < 0.8 else 1
    return fields


def _rows(fields: Fields) -> int:
    """Return the weight rows an instruction reads."""
    return fields["n_ry"] * fields["n_rx"] * fields["run_words"] * fields["steps"]
