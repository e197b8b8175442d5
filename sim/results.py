"""Hold what the timing simulator found: frozen, exact integers, every breakdown summing to its whole."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.isa import Engine
from gossamer.dataflow.program import LayerRecord


class CycleClass(StrEnum):
    """Exclusive classes of cycles. A cycle belongs to the first that applies, top to bottom, but fill before compute.

    While COMPUTE is busy: `fill` (first weight load, chain, pipeline), `compute` (effective MACs at full array),
    `edges` (the rest: unused chains, stages and lanes, zeros, waits for weights). Else while VECTOR is busy: `vector`.
    Else while a LOAD or STORE runs: `memory`. Else `control`: fetch, dispatch, tokens.
    """

    COMPUTE = "compute"
    EDGES = "edges"
    FILL = "fill"
    MEMORY = "memory"
    VECTOR = "vector"
    CONTROL = "control"


class Bound(StrEnum):
    """What a layer is limited by."""

    COMPUTE = "compute"
    MEMORY = "memory"
    VECTOR = "vector"
    OVERHEAD = "overhead"


class TrafficKind(StrEnum):
    """What off-chip bytes are for."""

    WEIGHTS = "weights"
    INDEX = "index"
    PARAMETERS = "parameters"
    ACTIVATIONS = "activations"
    INSTRUCTIONS = "instructions"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineCycles:
    """Where an engine's cycles went; `total` is the Program's.

    LOAD and STORE are busy for setup, fill and the pieces they move, and wait for memory in the rest of their
    instructions. `waiting_token` names the engine whose token was missing. Idle: nothing in the queue.
    """

    instructions: int
    busy: int
    waiting_token: Mapping[Engine, int]
    waiting_memory: int
    idle: int

    @property
    def total(self) -> int:
        """Return the sum, the Program's cycles."""
        return self.busy + sum(self.waiting_token.values()) + self.waiting_memory + self.idle


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Off-chip bytes of payload by kind."""

    read_bytes: Mapping[TrafficKind, int]
    write_bytes: int

    @property
    def total_bytes(self) -> int:
        """Return reads and writes together."""
        return sum(self.read_bytes.values()) + self.write_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerTiming:
    """One layer. `cycles`: those whose class its instructions decide (`gossamer.sim.attribution`), in sum the total.

    `start`, `end`: its first instruction starts, its last completes; layers overlap. Busy cycles are of its own
    instructions wherever they fall; `classes` sum to `cycles`. `compute_cycles` includes fill. `ideal_compute_cycles`:
    effective MACs at peak.
    """

    record: LayerRecord
    cycles: int
    start: int
    end: int
    compute_cycles: int
    fill_cycles: int
    vector_cycles: int
    load_cycles: int
    store_cycles: int
    ideal_compute_cycles: float
    traffic: Traffic
    classes: Mapping[CycleClass, int]
    bound: Bound
    utilization: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """Events of a run that cost energy. Buffer bytes are (read, written) by buffer name."""

    mac_slots: int
    forwarded_bytes: int
    vector_operations: int
    instructions: int
    off_chip_bytes: int
    buffer_bytes: dict[str, tuple[int, int]]


def sum_events(parts: Sequence[Activity]) -> Activity:
    """Return the events of all parts of a run."""
    return Activity(
        mac_slots=sum(part.mac_slots for part in parts), forwarded_bytes=sum(part.forwarded_bytes for part in parts),
        vector_operations=sum(part.vector_operations for part in parts),
        instructions=sum(part.instructions for part in parts),
        off_chip_bytes=sum(part.off_chip_bytes for part in parts),
        buffer_bytes={
            name: (sum(part.buffer_bytes[name][0] for part in parts), sum(part.buffer_bytes[name][1] for part in parts))
            for name in parts[0].buffer_bytes
        },
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """Joules by component; `static` is power without activity times the run time."""

    by_component_j: Mapping[str, float]

    @property
    def total_j(self) -> float:
        """Return the sum."""
        return sum(self.by_component_j.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Per instruction, int64 [count]: cycle of dispatch, head of queue, start, completion."""

    dispatched: NDArray[np.int64]
    ready: NDArray[np.int64]
    started: NDArray[np.int64]
    completed: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreCycles:
    """One of several cores. `stage_cycles`: of its segments, from the first instruction fetched to BARRIER or END.

    `waiting`: for slower cores at barriers, and for the barriers themselves. `engines`: up to its END.
    """

    stage_cycles: tuple[int, ...]
    waiting: int
    engines: Mapping[Engine, EngineCycles]

    @property
    def total(self) -> int:
        """Return the cycles from the start of all cores to the end of this one."""
        return sum(self.stage_cycles) + self.waiting


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """A simulated Program. `trace` only on request. `cores`: each of several; `engines` are then summed over them."""

    program_name: str
    config_name: str
    clock_mhz: float
    total_cycles: int
    peak_macs_per_cycle: int
    macs: int
    dense_macs: int
    utilization: float
    engines: Mapping[Engine, EngineCycles]
    classes: Mapping[CycleClass, int]
    layers: tuple[LayerTiming, ...]
    traffic: Traffic
    events: Activity
    energy: Energy
    trace: Trace | None = None
    cores: tuple[CoreCycles, ...] = ()

    @property
    def latency_s(self) -> float:
        """Return the run time in seconds."""
        return self.total_cycles / (self.clock_mhz * 1e6)
