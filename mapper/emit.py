"""Collect instructions in a sequentially correct order; ranges, tokens and encoding are derived for all at once.

A layer's code generator calls `begin_layer`, requests buffer ranges from the rings (`emitter.activation` and so on),
places constants with `emitter.memory.constant`, and then calls `load`, `compute`, `vector` and `store` in an order that
would be right if each instruction finished before the next began. To let LOAD run ahead of COMPUTE, loads of the next
tile are called before the compute of this one, into the other half of a ping-pong range.
"""

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.errors import MappingError
from gossamer.arch.isa import FIELDS, Opcode, Space
from gossamer.arch.spec import SparseAccelerator
from gossamer.dataflow.mapping import ConvMapping, Objective
from gossamer.dataflow.program import LayerRecord
from gossamer.mapper.allocate import AccumulatorHalves, ActivationHalves, OffChip, RingBuffer
from gossamer.mapper.shares import PARTS, WHOLE, Share

HEADER_FIELDS = ("opcode", "wait", "release")

OPERANDS: dict[Opcode, tuple[str, ...]] = {
    op: tuple(field.name for field in fields if field.name not in HEADER_FIELDS) for op, fields in FIELDS.items()
}
"""Fields of an opcode that code generation sets, in table order."""

BUFFERS = ("activation", "weight", "index", "parameter", "accumulator")
"""Names of the buffers in a config, and of what hands them out."""

PARAMETER_BYTES = "par_bytes"
"""Extra column of VECTOR instructions: bytes of the parameter block read. Not encoded; tokens need it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapped:
    """A mapping that was emitted for (a part of) a layer of the Program.

    `reserved_bytes`: of activations, that the search left free. `share`: what it has of the buffers.
    `held_bytes`: what it takes of each buffer.
    """

    layer: int
    mapping: ConvMapping
    reserved_bytes: int
    share: Share
    held_bytes: tuple[tuple[str, int], ...]

    def searched_for(self, objective: Objective) -> Objective:
        """Return what it is the best mapping for, given the objective of the Program: in turns that is latency."""
        return objective if self.share == WHOLE else Objective.LATENCY


class Emitter:
    """Instructions of one program under construction, with the allocators code generation draws from.

    Members: `activation` (ActivationHalves), `weight`, `index`, `parameter` (RingBuffer, bytes), `accumulator`
    (AccumulatorHalves), `memory` (OffChip), `group_size`, `objective` of mappings, `mapped` (those emitted so far).
    """

    def __init__(
        self, spec: SparseAccelerator, objective: Objective = Objective.LATENCY, memory: OffChip | None = None
    ) -> None:  # fmt: skip
        """`memory`: off-chip memory that other cores use too; absent: its own."""
        self.spec, self.objective = spec, objective
        self.mapped: list[Mapped] = []
        self.group_size = spec.array.group_size
        buffers = spec.buffers
        self.activation = ActivationHalves(spec)
        self.weight = RingBuffer("weight", buffers.weight.capacity_bytes)
        self.index = RingBuffer("index", buffers.index.capacity_bytes)
        self.parameter = RingBuffer("parameter", buffers.parameter.capacity_bytes)
        self.accumulator = AccumulatorHalves(spec)
        self.memory = OffChip(self.group_size) if memory is None else memory
        self.layers: list[LayerRecord] = []
        self._layer = self._joined = -1
        self._opcodes: list[int] = []
        self._layer_of: list[int] = []
        self._rows: dict[int, list[tuple[int, ...]]] = {int(op): [] for op in Opcode}

    def __len__(self) -> int:
        return len(self._opcodes)

    def begin_layer(self, record: LayerRecord, joined: LayerRecord | None = None) -> None:
        """Attribute the instructions that follow to a layer and free the scratch memory of the one before.

        `joined`: a layer whose instructions come among those of this one.
        """
        self._layer = self._joined = len(self.layers)
        self.layers.append(record)
        if joined is not None:
            self._joined = len(self.layers)
            self.layers.append(joined)
        self.memory.release_scratch()

    def note_mapping(
        self, mapping: ConvMapping, reserved_bytes: int, share: Share, held_bytes: Mapping[str, int]
    ) -> None:
        """Remember the mapping of (a part of) the layer that began last."""
        self.mapped.append(
            Mapped(
                layer=self._layer, mapping=mapping, reserved_bytes=reserved_bytes, share=share,
                held_bytes=tuple(held_bytes.items()),
            )
        )  # fmt: skip

    def share(self, share: Share, *, at_end: bool) -> "Emitter":
        """Return one for other layers of the same program, with a part of all buffers, also in its `spec`.

        `at_end`: the last part of every buffer, else the first.
        """
        parts = {name: share.of(name) for name in BUFFERS}
        return self._with({name: (PARTS - count if at_end else 0, count, PARTS) for name, count in parts.items()})

    def split(self, number: int, of: int) -> "Emitter":
        """Return one for a part of a layer, with the `number`th of some equal parts of all buffers."""
        return self._with(dict.fromkeys(BUFFERS, (number, 1, of)))

    def _with(self, parts: Mapping[str, tuple[int, int, int]]) -> "Emitter":
        """Return one with parts of the buffers: the first, how many, and of how many."""
        part, sizes = copy(self), {}
        for name, (first, count, of) in parts.items():
            setattr(part, name, getattr(self, name).part(first, count, of))
            buffer = getattr(self.spec.buffers, name)
            sizes[name] = buffer.model_copy(update={"capacity_bytes": buffer.capacity_bytes * count // of})
        part.spec = self.spec.model_copy(update={"buffers": self.spec.buffers.model_copy(update=sizes)})
        return part

    def resume_layer(self, number: int) -> None:
        """Attribute the instructions that follow to a layer that was begun before, by its number in `layers`."""
        self._layer, self._joined = number, number + 1

    def take_weights(self, whole: "Emitter", others: Sequence["Emitter"]) -> None:
        """Have all of the weight buffer of `whole` that lies behind what others of it have taken."""
        self.weight = whole.weight.beyond(max(other.weight.end for other in others))
        buffers = self.spec.buffers
        weight = buffers.weight.model_copy(update={"capacity_bytes": self.weight.capacity})
        self.spec = self.spec.model_copy(update={"buffers": buffers.model_copy(update={"weight": weight})})

    def recorder(self) -> "Emitter":
        """Return one with these buffers and a program of its own, to be appended later."""
        part = copy(self)
        part.mapped, part.layers, part._opcodes, part._layer_of = [], [], [], []
        part._rows = {int(op): [] for op in Opcode}
        return part

    def instructions(self) -> Iterator[tuple[int, tuple[int, ...], int]]:
        """Yield opcode, operands and layer of what was appended, in order."""
        rows = {opcode: iter(found) for opcode, found in self._rows.items()}
        for opcode, layer in zip(self._opcodes, self._layer_of, strict=True):
            yield opcode, next(rows[opcode]), layer

    def append(self, opcode: int, row: tuple[int, ...], *, joined: bool = False) -> None:
        """Append an instruction whose operands are already in the order of `OPERANDS[opcode]` (VECTOR: + par_bytes)."""
        self._opcodes.append(opcode)
        self._layer_of.append(self._joined if joined else self._layer)
        self._rows[opcode].append(row)

    def load(self, space: Space, *, dram: int, dst: int, run_bytes: int, ny: int = 1, nx: int = 1, dram_y: int = 0,
             dram_x: int = 0, dst_y: int = 0, dst_x: int = 0, dst_e: int = 1, pad_top: int = 0, pad_bottom: int = 0,
             pad_left: int = 0, pad_right: int = 0, fill: int = 0) -> None:  # fmt: skip
        """Append a LOAD; fields as in `gossamer.arch.isa`. `fill` may be a negative int8."""
        self.append(
            Opcode.LOAD,
            (space, dram, dram_y, dram_x, ny, nx, run_bytes, dst, dst_y, dst_x, dst_e, pad_top, pad_bottom, pad_left,
             pad_right, fill & 0xFF),
        )  # fmt: skip

    def store(self, *, dram: int, src: int, run_bytes: int, ny: int = 1, nx: int = 1, dram_y: int = 0, dram_x: int = 0,
              src_y: int = 0, src_x: int = 0) -> None:  # fmt: skip
        """Append a STORE."""
        self.append(Opcode.STORE, (dram, dram_y, dram_x, ny, nx, run_bytes, src, src_y, src_x))

    def compute(self, *, a: int, a_y: int, a_x: int, ny: int, nx: int, n_ry: int, n_rx: int, r_y: int, r_x: int,
                run_words: int, w: int, i: int, steps: int, slots: int, index_bits: int, acc: int, clear: int,
                chains_active: int) -> None:  # fmt: skip
        """Append a COMPUTE."""
        self.append(
            Opcode.COMPUTE,
            (a, a_y, a_x, ny, nx, n_ry, n_rx, r_y, r_x, run_words, w, i, steps, slots, index_bits, acc, clear,
             chains_active),
        )  # fmt: skip

    def vector(self, opcode: Opcode, *, a: int, d: int, ny: int, nx: int, nc: int, a_y: int = 0, a_x: int = 0,
               a_ky: int = 0, a_kx: int = 0, kh: int = 1, kw: int = 1, b: int = 0, b_y: int = 0, b_x: int = 0,
               b_c: int = 0, d_y: int = 0, d_x: int = 0, par: int = 0, par_bytes: int = 0) -> None:  # fmt: skip
        """Append a VECTOR instruction; `par_bytes` is the size of the parameter block it reads at `par`."""
        self.append(
            opcode,
            (a, a_y, a_x, a_ky, a_kx, kh, kw, b, b_y, b_x, b_c, d, d_y, d_x, ny, nx, nc, par, par_bytes),
        )

    def end(self) -> None:
        """Append END."""
        self._layer = -1
        self.append(Opcode.END, ())

    def opcodes(self) -> NDArray[np.int64]:
        """Return the opcode of every instruction, int64 [n]."""
        return np.array(self._opcodes, dtype=np.int64)

    def layer_of(self) -> NDArray[np.int32]:
        """Return the layer of every instruction, int32 [n], -1 for none."""
        return np.array(self._layer_of, dtype=np.int32)

    def columns(self) -> dict[str, NDArray[np.int64]]:
        """Return one int64 [n] column per operand field (0 where an opcode lacks it) and `PARAMETER_BYTES`.

        Raises MappingError naming layer and field for a value that does not fit its field.
        """
        opcodes = self.opcodes()
        columns: dict[str, NDArray[np.int64]] = {PARAMETER_BYTES: np.zeros(len(opcodes), np.int64)}
        for opcode in Opcode:
            rows = self._rows[opcode]
            names = OPERANDS[opcode]
            if not rows or not names:
                continue
            where = np.flatnonzero(opcodes == opcode)
            table: NDArray[Any] = np.array(rows, dtype=np.int64)
            if opcode >= Opcode.REQUANTIZE:
                names = (*names, PARAMETER_BYTES)
            self._check_widths(opcode, table, where)
            for position, name in enumerate(names):
                columns.setdefault(name, np.zeros(len(opcodes), np.int64))[where] = table[:, position]
        return columns

    def _check_widths(self, opcode: Opcode, table: NDArray[np.int64], where: NDArray[np.int64]) -> None:
        for position, field in enumerate(field for field in FIELDS[opcode] if field.name not in HEADER_FIELDS):
            values = table[:, position]
            bad = np.flatnonzero((values < 0) | (values >> field.bits != 0))
            if bad.size:
                layer = self._layer_of[int(where[bad[0]])]
                name = self.layers[layer].name if layer >= 0 else "no layer"
                raise MappingError(
                    f"{name}: field `{field.name}` ({field.meaning}) of {opcode.name} must be below 2**{field.bits}, "
                    f"not {values[bad[0]]}; use smaller tiles or buffers"
                )
