"""Count what a Program does, hold the counts against its records, and charge energy.

Everything here is read from the instruction words and from what the engines report having moved; a difference to the
Program's layer records is a SelfCheckError. Energies per event are in `gossamer.arch.energy`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.accumulator import SUM_BYTES
from gossamer.arch.energy import energy_table
from gossamer.arch.errors import SelfCheckError
from gossamer.arch.isa import INSTRUCTION_BYTES, REQUANTIZING, TWO_SOURCES, Opcode, Space
from gossamer.arch.spec import BufferSpec, SparseAccelerator
from gossamer.dataflow.numerics import HEADER_DTYPE, LAYER_NORM_DTYPE, REQUANTIZE_DTYPE
from gossamer.dataflow.program import Program, RegionKind
from gossamer.sim.results import Activity, Energy, Traffic, TrafficKind

Columns = dict[str, NDArray[np.int64]]

_WIDE_TABLE_ENTRY_BYTES = 4
_IMAGE_ALIGN_BYTES = 64
"""Packed weights of a block start at multiples of this; records count the padding."""

_VECTOR_PASSES = {Opcode.SOFTMAX: 3, Opcode.LAYER_NORM: 3, Opcode.REQUANTIZE_ADD: 2}
"""Times an operation walks over its row, or works on an element; windows walk kh * kw times."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayWork:
    """Per COMPUTE instruction, int64 [n]: weight rows, passes, MAC slots issued, dense-equivalent."""

    positions: NDArray[np.int64]
    rows: NDArray[np.int64]
    passes: NDArray[np.int64]
    slots: NDArray[np.int64]
    dense_slots: NDArray[np.int64]


def array_work(columns: Columns, at: NDArray[np.int64], spec: SparseAccelerator) -> ArrayWork:
    """Return the work of the COMPUTE instructions at positions `at` of the Program."""
    positions = columns["ny"][at] * columns["nx"][at]
    runs = columns["n_ry"][at] * columns["n_rx"][at]
    words, steps, chains = columns["run_words"][at], columns["steps"][at], columns["chains_active"][at]
    slots = positions * chains * runs * words
    return ArrayWork(
        positions=positions,
        rows=runs * words * steps,
        passes=runs * steps * -(-words // spec.array.chain_length),
        slots=slots * steps,
        dense_slots=slots * spec.array.group_size,
    )


def transfer_kinds(program: Program, columns: Columns, loads: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each LOAD the position of its kind in TrafficKind: constants by their buffer, the rest activations."""
    kind_of_space = {Space.WEIGHT: TrafficKind.WEIGHTS, Space.INDEX: TrafficKind.INDEX,
                     Space.PARAMETER: TrafficKind.PARAMETERS, Space.ACTIVATION: TrafficKind.ACTIVATIONS}  # fmt: skip
    kinds = list(TrafficKind)
    by_space = np.array([kinds.index(kind_of_space[space]) for space in Space], dtype=np.int64)
    constant = np.zeros(loads.size, dtype=bool)
    for region in program.regions:
        if region.kind is RegionKind.CONSTANTS:
            address = columns["dram"][loads]
            constant |= (address >= region.address) & (address < region.address + region.size_bytes)
    return np.where(constant, by_space[columns["space"][loads]], kinds.index(TrafficKind.ACTIVATIONS))


def layer_traffic(
    program: Program,
    columns: Columns,
    loads: NDArray[np.int64],
    stores: NDArray[np.int64],
    moved_bytes: NDArray[np.int64],
) -> tuple[tuple[Traffic, ...], Traffic]:
    """Return off-chip traffic of each layer and of the Program (which has instructions of no layer too)."""
    kinds, layers = list(TrafficKind), len(program.layers)
    read = np.zeros((layers + 1, len(kinds)), dtype=np.int64)  # row 0: no layer
    write = np.zeros(layers + 1, dtype=np.int64)
    row = program.layer_of.astype(np.int64) + 1
    np.add.at(read, (row[loads], transfer_kinds(program, columns, loads)), moved_bytes[loads])
    np.add.at(write, row[stores], moved_bytes[stores])
    np.add.at(read[:, kinds.index(TrafficKind.INSTRUCTIONS)], row, INSTRUCTION_BYTES)
    each = tuple(
        Traffic(read_bytes={kind: int(read[at, index]) for index, kind in enumerate(kinds)}, write_bytes=int(write[at]))
        for at in range(1, layers + 1)
    )
    whole = Traffic(
        read_bytes={kind: int(read[:, index].sum()) for index, kind in enumerate(kinds)}, write_bytes=int(write.sum())
    )
    return each, whole


def check_moved_bytes(columns: Columns, transfers: NDArray[np.int64], moved_bytes: NDArray[np.int64]) -> None:
    """Raise SelfCheckError unless the bursts of every LOAD and STORE moved exactly what it asks for."""
    asked = columns["ny"][transfers] * columns["nx"][transfers] * columns["run_bytes"][transfers]
    wrong = np.flatnonzero(asked != moved_bytes[transfers])
    if wrong.size:
        at = transfers[wrong[0]]
        raise SelfCheckError(
            f"instruction {at}: its bursts must move the {asked[wrong[0]]} bytes it asks for, not {moved_bytes[at]}"
        )


def check_macs(program: Program, layer_of: NDArray[np.int32], work: ArrayWork) -> None:
    """Raise SelfCheckError unless the COMPUTEs of every layer issue at least its effective and dense MACs."""
    layers = len(program.layers)
    slots, dense = np.zeros(layers + 1, dtype=np.int64), np.zeros(layers + 1, dtype=np.int64)
    np.add.at(slots, layer_of.astype(np.int64) + 1, work.slots)
    np.add.at(dense, layer_of.astype(np.int64) + 1, work.dense_slots)
    for at, record in enumerate(program.layers, start=1):
        for seen, need, name in ((slots[at], record.macs, "effective"), (dense[at], record.dense_macs, "dense")):
            if seen < need:
                raise SelfCheckError(
                    f"layer {record.name}: its COMPUTE instructions must issue at least its {need} {name} "
                    f"multiply-accumulates, not {seen}"
                )


def check_constants(program: Program, columns: Columns, loads: NDArray[np.int64]) -> None:
    """Raise SelfCheckError unless the distinct weight and index bytes each layer loads are exactly those it records."""
    kinds = transfer_kinds(program, columns, loads)
    layer_of = program.layer_of[loads]
    for kind, field in ((TrafficKind.WEIGHTS, "weight_bytes"), (TrafficKind.INDEX, "index_bytes")):
        chosen = np.flatnonzero(kinds == list(TrafficKind).index(kind))
        chosen = chosen[np.argsort(layer_of[chosen], kind="stable")]
        indices, first = np.unique(layer_of[chosen], return_index=True)
        loaded = dict(zip(indices.tolist(), np.split(loads[chosen], first[1:]), strict=True)) if chosen.size else {}
        for index, record in enumerate(program.layers):
            seen = _distinct_bytes(columns, loaded[index]) if index in loaded else 0
            if seen != getattr(record, field):
                raise SelfCheckError(
                    f"layer {record.name}: must load its {getattr(record, field)} distinct {kind} bytes, not {seen}"
                )


def _distinct_bytes(columns: Columns, loads: NDArray[np.int64]) -> int:
    """Return the size of the union of the off-chip runs of LOADs, ends rounded up to the image alignment."""
    lines, runs = columns["ny"][loads], columns["nx"][loads]
    count = lines * runs
    owner = np.repeat(np.arange(loads.size), count)
    number = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    start = columns["dram"][loads][owner] + number // runs[owner] * columns["dram_y"][loads][owner]
    start += number % runs[owner] * columns["dram_x"][loads][owner]
    end = -(-(start + columns["run_bytes"][loads][owner]) // _IMAGE_ALIGN_BYTES) * _IMAGE_ALIGN_BYTES
    order = np.argsort(start, kind="stable")
    start, end = start[order], end[order]
    covered = np.maximum.accumulate(np.concatenate([[0], end[:-1]]))
    return int(np.maximum(end - np.maximum(start, covered), 0).sum())


def lrn_windows(program: Program, columns: Columns, at: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the channel window of every LRN among the instructions `at`, 1 for the others.

    The window is in the parameter block, which an earlier LOAD brought to `par`: the latest one that covers it.
    """
    windows = np.ones(at.size, dtype=np.int64)
    constants = next(region for region in program.regions if region.kind is RegionKind.CONSTANTS)
    is_load = (columns["opcode"] == Opcode.LOAD) & (columns["space"] == Space.PARAMETER)
    loads = np.flatnonzero(is_load)
    size = columns["ny"][loads] * columns["nx"][loads] * columns["run_bytes"][loads]
    for place in np.flatnonzero(columns["opcode"][at] == Opcode.LRN):
        block = columns["par"][at[place]]
        covers = (loads < at[place]) & (columns["dst"][loads] <= block) & (columns["dst"][loads] + size > block)
        if not covers.any():
            raise SelfCheckError(f"instruction {at[place]}: LRN reads parameter block {block}, which no LOAD brought")
        load = loads[np.flatnonzero(covers)[-1]]
        offset = int(columns["dram"][load] + block - columns["dst"][load] - constants.address)
        header = program.image[offset : offset + HEADER_DTYPE.itemsize].view(HEADER_DTYPE)[0]
        windows[place] = int(header["extra"]) & 0xFF
    return windows


def vector_counts(
    columns: Columns, at: NDArray[np.int64], windows: NDArray[np.int64], group_size: int
) -> dict[str, int]:
    """Return operations and buffer bytes of the VECTOR instructions `at`."""
    opcode = columns["opcode"][at]
    positions = columns["ny"][at] * columns["nx"][at]
    channels = columns["nc"][at] * group_size
    elements = positions * channels
    walks = columns["kh"][at] * columns["kw"][at] * windows
    for op, passes in _VECTOR_PASSES.items():
        walks = np.where(opcode == op, passes, walks)
    requantize, binary = np.isin(opcode, REQUANTIZING), np.isin(opcode, TWO_SOURCES)
    table = np.select(
        [opcode == Opcode.TABLE, (opcode == Opcode.SOFTMAX) | (opcode == Opcode.LRN)],
        [elements, elements * _WIDE_TABLE_ENTRY_BYTES],
        0,
    )
    entries = np.select(
        [requantize, opcode == Opcode.LAYER_NORM],
        [channels * REQUANTIZE_DTYPE.itemsize, channels * LAYER_NORM_DTYPE.itemsize],
        0,
    )
    return {
        "operations": int((elements * walks).sum()),
        "activation_read": int(np.where(requantize, 0, elements * walks).sum() + elements[binary].sum()),
        "activation_write": int(elements.sum()),
        "accumulator_read": int(elements[requantize].sum()) * SUM_BYTES,
        "parameter_read": int((table + entries).sum()) + at.size * HEADER_DTYPE.itemsize,
    }


def activity(
    columns: Columns,
    spec: SparseAccelerator,
    computes: NDArray[np.int64],
    work: ArrayWork,
    vectors: NDArray[np.int64],
    windows: NDArray[np.int64],
    off_chip_bytes: int,
) -> Activity:
    """Count the events of a run. `off_chip_bytes` are those the beats carried, padding of beats included."""
    array = spec.array
    vector = vector_counts(columns, vectors, windows, array.group_size)
    loads = columns["opcode"] == Opcode.LOAD
    stores = columns["opcode"] == Opcode.STORE
    moved = columns["ny"] * columns["nx"] * columns["run_bytes"]
    written = {space: int(moved[loads & (columns["space"] == space)].sum()) for space in Space}
    words = int((work.positions * work.rows).sum()) * array.group_size
    sums = work.positions * array.chains * SUM_BYTES
    first = np.where(columns["clear"][computes] == 1, 1, 0)
    index_bits = int((work.rows * columns["index_bits"][computes]).sum()) * array.chains
    return Activity(
        mac_slots=int(work.slots.sum()),
        forwarded_bytes=words * array.chains,
        vector_operations=vector["operations"],
        instructions=columns["opcode"].size,
        off_chip_bytes=off_chip_bytes,
        buffer_bytes={
            "activation": (
                words + vector["activation_read"] + int(moved[stores].sum()),
                vector["activation_write"] + written[Space.ACTIVATION],
            ),
            "weight": (int(work.rows.sum()) * array.chains, written[Space.WEIGHT]),
            "index": (index_bits // 8, written[Space.INDEX]),
            "accumulator": (
                int((sums * (work.passes - first)).sum()) + vector["accumulator_read"],
                int((sums * work.passes).sum()),
            ),
            "parameter": (vector["parameter_read"], written[Space.PARAMETER]),
        },
    )


def energy(events: Activity, spec: SparseAccelerator, seconds: float) -> Energy:
    """Return the energy of a run by component."""
    table = energy_table()
    scale = table.family[spec.device.family].process_scale
    array_pj = events.mac_slots * (table.mac_int8.pj + table.select_byte.pj)
    on_chip_pj = {
        "array": array_pj + events.forwarded_bytes * table.chain_hop.pj,
        "vector": events.vector_operations * table.vector_element.pj,
        "control": events.instructions * table.instruction.pj,
    }
    for name, (read, written) in events.buffer_bytes.items():
        buffer: BufferSpec = getattr(spec.buffers, name)
        read_pj, write_pj = table.buffer_read[buffer.memory].pj, table.buffer_write[buffer.memory].pj
        on_chip_pj[f"{name}_buffer"] = read * read_pj + written * write_pj
    by_component = {name: scale * pj * 1e-12 for name, pj in on_chip_pj.items()}
    by_component["off_chip"] = table.off_chip_pj(spec.off_chip, events.off_chip_bytes) * 1e-12
    by_component["static"] = table.static_w(spec) * seconds
    return Energy(by_component_j=by_component)
