"""Say what the instructions of some layers of a Program do: the events that cost energy, and VECTOR's elements."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.encoding import decode_columns
from gossamer.arch.isa import INSTRUCTION_BYTES, VECTOR_OPCODES, Opcode
from gossamer.arch.spec import SparseAccelerator
from gossamer.arch.timing import ROW_PIPELINE_CYCLES, VECTOR_FILL_CYCLES
from gossamer.dataflow.program import Program
from gossamer.sim.accounting import activity, array_work, lrn_windows
from gossamer.sim.durations import parameter_duration, vector_columns
from gossamer.sim.results import Activity

_ROWS = (Opcode.SOFTMAX, Opcode.LAYER_NORM, Opcode.LRN)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerEvents:
    """Events of some layers; off-chip bytes are those asked for, and instructions.

    `streaming_cycles`: of VECTOR while elements go through it, neither reading parameters nor filling its pipeline.
    """

    activity: Activity
    streaming_cycles: int


def layer_events(program: Program, spec: SparseAccelerator, layers: Collection[int]) -> LayerEvents:
    """Return the events of the layers numbered `layers`."""
    every = decode_columns(program.instructions)
    at = np.flatnonzero(np.isin(program.layer_of, list(layers)))
    vector_opcodes = np.array(list(VECTOR_OPCODES))
    windows = lrn_windows(program, every, at[np.isin(every["opcode"][at], vector_opcodes)])
    columns = {name: column[at] for name, column in every.items()}
    opcode = columns["opcode"]
    computes, vectors = np.flatnonzero(opcode == Opcode.COMPUTE), np.flatnonzero(np.isin(opcode, vector_opcodes))
    moves = (opcode == Opcode.LOAD) | (opcode == Opcode.STORE)
    moved = int((columns["ny"] * columns["nx"] * columns["run_bytes"])[moves].sum())
    return LayerEvents(
        activity=activity(
            columns, spec, computes, array_work(columns, computes, spec), vectors, windows,
            moved + at.size * INSTRUCTION_BYTES,
        ),
        streaming_cycles=_streaming_cycles(columns, vectors, windows, spec),
    )  # fmt: skip


def _streaming_cycles(
    columns: dict[str, NDArray[np.int64]], at: NDArray[np.int64], windows: NDArray[np.int64], spec: SparseAccelerator
) -> int:
    """Return the cycles of VECTOR instructions without what comes before their first element."""
    opcodes, words = columns["opcode"][at], columns["nc"][at]
    busy = np.zeros(at.size, dtype=np.int64)
    vector_columns(
        opcodes, (columns["ny"] * columns["nx"])[at], words, (columns["kh"] * columns["kw"])[at],
        spec.array.group_size, spec.vector.lanes, windows, busy,
    )  # fmt: skip
    kinds, counts = np.unique(np.stack([opcodes, words], axis=1), axis=0, return_counts=True)
    before = sum(
        int(count)
        * (parameter_duration(int(opcode), int(nc), spec.array.group_size, spec.vector.lanes) + VECTOR_FILL_CYCLES)
        for (opcode, nc), count in zip(kinds, counts, strict=True)
    )
    rows = int(np.isin(opcodes, np.array(_ROWS)).sum())
    return int(busy.sum()) - before - rows * ROW_PIPELINE_CYCLES
