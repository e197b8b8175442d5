"""Check every address an instruction can form against the buffers of a config, before anything runs.

All addresses are affine in the loop counters of an instruction and all strides are unsigned, so the last byte touched
follows in closed form (ours; tests/unit/test_executor_bounds.py enumerates them). What depends on the contents of a
parameter block is checked by the kernels when the instruction runs.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.accumulator import accumulator_entries
from gossamer.arch.activation import may_shift, shifted_bytes
from gossamer.arch.errors import ProgramError
from gossamer.arch.isa import REQUANTIZING, TRANSFER_BYTES_LIMIT, TWO_SOURCES, VECTOR_OPCODES, Opcode, Space
from gossamer.arch.spec import SparseAccelerator
from gossamer.dataflow.numerics import (
    HEADER_DTYPE,
    LAYER_NORM_DTYPE,
    REQUANTIZE_DTYPE,
    TABLE_BYTES,
    WIDE_TABLE_BYTES,
)
from gossamer.dataflow.program import Program, RegionKind

Columns = Mapping[str, NDArray[np.int64]]

WINDOW_OPCODES = (Opcode.MAXIMUM, Opcode.AVERAGE)


def layer_name(program: Program, instruction: int) -> str:
    """Return the name of the layer an instruction belongs to, for messages."""
    layer = int(program.layer_of[instruction])
    return program.layers[layer].name if layer >= 0 else "no layer"


class BoundsCheck:
    """Checks of the instructions `rows` of one opcode; the first violation raises ProgramError."""

    def __init__(self, program: Program, spec: SparseAccelerator, columns: Columns, rows: NDArray[np.intp]) -> None:
        self.program = program
        self.spec = spec
        self.rows = rows
        self.columns = {name: column[rows] for name, column in columns.items()}

    def __getitem__(self, name: str) -> NDArray[np.int64]:
        return self.columns[name]

    def _where(self, at: int) -> str:
        row = int(self.rows[at])
        opcode = Opcode(int(self.columns["opcode"][at]))
        return f"instruction {row} ({opcode.name}, layer {layer_name(self.program, row)})"

    def within(self, field: str, start: NDArray[np.int64], end: NDArray[np.int64], limit: int, what: str) -> None:
        """Require that bytes or entries [start, end) lie below `limit` of what `what` names."""
        bad = np.flatnonzero(end > limit)
        if bad.size:
            at = int(bad[0])
            raise ProgramError(
                f"{self._where(at)}: field `{field}` must stay within the {limit} {what}, not reach from {start[at]} "
                f"to {end[at]}: the program is damaged or was compiled for another config"
            )

    def require(self, field: str, holds: NDArray[np.bool_], expected: str) -> None:
        """Require a condition on one field."""
        bad = np.flatnonzero(~holds)
        if bad.size:
            at = int(bad[0])
            raise ProgramError(f"{self._where(at)}: field `{field}` must be {expected}, not {self.columns[field][at]}")

    def positive(self, *fields: str) -> None:
        """Require loop counts of at least 1."""
        for field in fields:
            self.require(field, self[field] >= 1, "at least 1")

    def multiple(self, unit: int, *fields: str) -> None:
        """Require addresses or strides in whole words, rows or lanes."""
        for field in fields:
            self.require(field, self[field] % unit == 0, f"a multiple of {unit}")


def _check_banks(check: BoundsCheck, chip: str, moves: NDArray[np.bool_], first: NDArray[np.int64]) -> None:
    """Require that no row touches a bank of activations twice; `first`: on-chip address of the first byte moved."""
    group, most = check.spec.array.group_size, shifted_bytes(check.spec)
    if may_shift(check.spec):
        return
    ny, nx, run = check["ny"], check["nx"], check["run_bytes"]
    across, down = check["dram_x"], check["dram_y"]
    run = np.where((across == run) & (check[f"{chip}_x"] == run), nx * run, run)
    run = np.where((down == run) & (check[f"{chip}_y"] == run), ny * run, run)
    shifts = (check["dram"] - first) % group != 0
    shifts |= (nx > 1) & ((across - check[f"{chip}_x"]) % group != 0)
    shifts |= (ny > 1) & ((down - check[f"{chip}_y"]) % group != 0)
    message = f"at most {most} in contiguous bytes, or at the same byte of a word of {group} as off chip"
    check.require("run_bytes", ~moves | ~shifts | (run <= most), message)


def _check_fill(check: BoundsCheck, line: NDArray[np.int64]) -> None:
    """Require that no filled row touches a bank of activations twice; `line`: bytes of a line."""
    group, most = check.spec.array.group_size, shifted_bytes(check.spec)
    if may_shift(check.spec):
        return
    lines = (check["pad_top"] + check["pad_bottom"] > 0) & (line > most)
    single = check["ny"] + check["pad_top"] + check["pad_bottom"] == 1
    sides = [(check["pad_left"], 0 * line), (check["pad_right"], line - check["pad_right"])]
    here = check["space"] == Space.ACTIVATION
    starts = (check["dst"] % group == 0) & (single | (check["dst_y"] % group == 0))
    fits = ~here | ~lines | starts
    for pad, at in sides:
        fits &= ~here | (check["ny"] == 0) | (pad <= most) | (starts & (at % group == 0))
    check.require("dst", fits, f"such that what is filled begins a word of {group}, or is at most {most} bytes long")


def _check_load(check: BoundsCheck, memory_bytes: int) -> None:
    buffers = check.spec.buffers
    capacities = {
        Space.ACTIVATION: (buffers.activation.capacity_bytes, "bytes of the activation buffer"),
        Space.WEIGHT: (buffers.weight.capacity_bytes, "bytes of the weight buffer"),
        Space.INDEX: (buffers.index.capacity_bytes, "bytes of the index buffer"),
        Space.PARAMETER: (buffers.parameter.capacity_bytes, "bytes of the parameter buffer"),
    }
    check.positive("nx", "run_bytes", "dst_e")
    pads = check["pad_top"] + check["pad_bottom"]
    check.require("ny", check["ny"] + pads >= 1, "at least 1 unless there are lines of padding")
    for field in ("pad_top", "pad_bottom", "pad_left", "pad_right"):
        check.require(field, (check["dst_e"] == 1) | (check[field] == 0), "0 in a scatter")
    ny, nx, run = check["ny"], check["nx"], check["run_bytes"]
    check.require("run_bytes", ny * nx * run < TRANSFER_BYTES_LIMIT, "less, so that less than 64 MiB are moved")
    read_end = check["dram"] + (ny - 1) * check["dram_y"] + (nx - 1) * check["dram_x"] + run
    check.within("dram", check["dram"], np.where(ny == 0, 0, read_end), memory_bytes, "off-chip bytes of the program")
    line = check["pad_left"] + (nx - 1) * check["dst_x"] + (run - 1) * check["dst_e"] + 1 + check["pad_right"]
    end = check["dst"] + (ny + pads - 1) * check["dst_y"] + line
    first = check["dst"] + check["pad_top"] * check["dst_y"] + check["pad_left"]
    _check_banks(check, "dst", (check["space"] == Space.ACTIVATION) & (check["dst_e"] == 1) & (ny > 0), first)
    _check_fill(check, line)
    for space, (capacity, what) in capacities.items():
        check.within("dst", check["dst"], np.where(check["space"] == space, end, 0), capacity, what)


def _check_store(check: BoundsCheck, memory_bytes: int) -> None:
    check.positive("ny", "nx", "run_bytes")
    ny, nx, run = check["ny"], check["nx"], check["run_bytes"]
    check.require("run_bytes", ny * nx * run < TRANSFER_BYTES_LIMIT, "less, so that less than 64 MiB are moved")
    end = check["dram"] + (ny - 1) * check["dram_y"] + (nx - 1) * check["dram_x"] + run
    check.within("dram", check["dram"], end, memory_bytes, "off-chip bytes of the program")
    for region in check.program.regions:
        if region.kind in (RegionKind.INSTRUCTIONS, RegionKind.CONSTANTS):
            clear = (end <= region.address) | (check["dram"] >= region.address + region.size_bytes)
            check.require("dram", clear, f"outside region `{region.name}`, which is never written")
    _check_banks(check, "src", ny > 0, check["src"])
    end = check["src"] + (ny - 1) * check["src_y"] + (nx - 1) * check["src_x"] + run
    capacity = check.spec.buffers.activation.capacity_bytes
    check.within("src", check["src"], end, capacity, "bytes of the activation buffer")


def _check_compute(check: BoundsCheck) -> None:
    array, buffers = check.spec.array, check.spec.buffers
    group = array.group_size
    check.positive("ny", "nx", "n_ry", "n_rx", "run_words", "steps", "chains_active")
    check.multiple(group, "a", "a_y", "a_x", "r_y", "r_x")
    check.multiple(array.chains, "w")
    check.multiple(array.lanes, "acc")
    check.require("chains_active", check["chains_active"] <= array.chains, f"at most {array.chains}")
    sparse = check["index_bits"] > 0
    index_bits = group.bit_length() - 1
    check.require("index_bits", check["index_bits"] <= index_bits, f"at most {index_bits}")
    check.require("slots", ~sparse | (check["slots"] >= 1), "at least 1")
    rounds = np.where(sparse, np.maximum(check["slots"], 1) * (group >> check["index_bits"]), group)
    check.require("steps", check["steps"] <= rounds, "at most slots * sub-groups per word (dense: the group size)")
    end = check["a"] + group * check["run_words"]
    for count, stride in (("ny", "a_y"), ("nx", "a_x"), ("n_ry", "r_y"), ("n_rx", "r_x")):
        end = end + (check[count] - 1) * check[stride]
    capacity = buffers.activation.capacity_bytes
    check.within("a", check["a"], end, capacity, "bytes of the activation buffer")
    rows = check["n_ry"] * check["n_rx"] * check["run_words"] * check["steps"]
    end = check["w"] + rows * array.chains
    check.within("w", check["w"], end, buffers.weight.capacity_bytes, "bytes of the weight buffer")
    pitch = array.chains * check["index_bits"] // 8
    check.require("i", ~sparse | (check["i"] % np.maximum(pitch, 1) == 0), "a multiple of the bytes of an index row")
    end = np.where(sparse, check["i"] + rows * pitch, 0)
    check.within("i", check["i"], end, buffers.index.capacity_bytes, "bytes of the index buffer")
    end = check["acc"] + check["ny"] * check["nx"]
    check.within("acc", check["acc"], end, accumulator_entries(check.spec), "accumulator entries")


def parameter_bytes(opcode: Opcode, channels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the bytes of parameter blocks, int64 like `channels` (nc * group_size); tables of REQUANTIZE left out."""
    extra = np.zeros_like(channels)
    match opcode:
        case Opcode.REQUANTIZE | Opcode.REQUANTIZE_ADD:
            extra = channels * REQUANTIZE_DTYPE.itemsize
        case Opcode.LAYER_NORM:
            extra = channels * LAYER_NORM_DTYPE.itemsize
        case Opcode.TABLE:
            extra += TABLE_BYTES
        case Opcode.SOFTMAX | Opcode.LRN:
            extra += WIDE_TABLE_BYTES
        case Opcode.MAXIMUM | Opcode.COPY:
            return extra
    return extra + HEADER_DTYPE.itemsize


def _check_vector(check: BoundsCheck, opcode: Opcode) -> None:
    group = check.spec.array.group_size
    capacity = check.spec.buffers.activation.capacity_bytes
    check.positive("ny", "nx", "nc", "kh", "kw")
    if opcode not in WINDOW_OPCODES:
        check.require("kh", check["kh"] == 1, "1 without a window")
        check.require("kw", check["kw"] == 1, "1 without a window")
    width = check["nc"] * group
    if opcode in REQUANTIZING:
        end = check["a"] + check["ny"] * check["nx"]
        check.within("a", check["a"], end, accumulator_entries(check.spec), "accumulator entries")
        check.within("nc", check["nc"] * 0, width, check.spec.array.chains, "chains of an accumulator entry")
    else:
        check.multiple(group, "a", "a_y", "a_x", "a_ky", "a_kx")
        end = check["a"] + width
        for count, stride in (("ny", "a_y"), ("nx", "a_x"), ("kh", "a_ky"), ("kw", "a_kx")):
            end = end + (check[count] - 1) * check[stride]
        check.within("a", check["a"], end, capacity, "bytes of the activation buffer")
    if opcode in TWO_SOURCES:
        one = check["b_c"] == 1
        for field in ("b", "b_y", "b_x"):
            check.require(field, one | (check[field] % group == 0), f"a multiple of {group}")
        end = check["b"] + (check["ny"] - 1) * check["b_y"] + (check["nx"] - 1) * check["b_x"] + np.where(one, 1, width)
        check.within("b", check["b"], end, capacity, "bytes of the activation buffer")
    check.multiple(group, "d", "d_y", "d_x")
    end = check["d"] + (check["ny"] - 1) * check["d_y"] + (check["nx"] - 1) * check["d_x"] + width
    check.within("d", check["d"], end, capacity, "bytes of the activation buffer")
    size = parameter_bytes(opcode, width)
    limit = check.spec.buffers.parameter.capacity_bytes
    check.within(
        "par", check["par"], np.where(size > 0, check["par"] + size, 0), limit, "bytes of the parameter buffer"
    )


def check_bounds(program: Program, spec: SparseAccelerator, columns: Columns) -> None:
    """Require that every instruction (decoded into `columns`) stays within the buffers of `spec` and its memory map.

    Raises ProgramError naming instruction, layer, field, addresses and limit; opcodes are checked in order of value.
    """
    memory_bytes = program.memory_bytes
    for opcode in Opcode:
        rows = np.flatnonzero(columns["opcode"] == opcode)
        if not rows.size:
            continue
        check = BoundsCheck(program, spec, columns, rows)
        if opcode is Opcode.LOAD:
            _check_load(check, memory_bytes)
        elif opcode is Opcode.STORE:
            _check_store(check, memory_bytes)
        elif opcode is Opcode.COMPUTE:
            _check_compute(check)
        elif opcode in VECTOR_OPCODES:
            _check_vector(check, opcode)
