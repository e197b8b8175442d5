"""Price mappings: what one costs under an objective, and a bound that no mapping of a choice costs less than.

Energy is charged by `gossamer.sim.accounting` from the table in `gossamer.arch.energy`, as the simulator charges it: it
is a sum over events, so that one event of each kind, priced alone, prices all. Dynamic energy follows from the mapping
(`gossamer.mapper.mapping_counts`), but for off-chip beats that carry less than they could; static energy from cycles.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.errors import GossamerError
from gossamer.arch.isa import INSTRUCTION_BYTES
from gossamer.arch.spec import SparseAccelerator
from gossamer.dataflow.mapping import ConvMapping, Objective
from gossamer.dataflow.program import Program
from gossamer.mapper.mapping_counts import BUFFERS, COUNTS, INSTRUCTIONS, OFF_CHIP, READ
from gossamer.sim import engine
from gossamer.sim.accounting import energy
from gossamer.sim.analytic import LayerModel
from gossamer.sim.cores import simulate_program
from gossamer.sim.results import Activity, Simulation

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_ROUNDING = 1 - 1e-9
"""Sums of floats in another order may differ in their last digits: bounds of energies are lowered by as much."""

UNITS = {Objective.LATENCY: "cycles", Objective.ENERGY: "J", Objective.EDP: "J s", Objective.BYTES: "bytes"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a mapping costs alone: `value` in UNITS of the objective, `cycles`, and `jobs`, its instructions."""

    value: float
    cycles: int
    jobs: int

    @property
    def rank(self) -> tuple[float, int]:
        """What mappings, also of different shapes, are compared by: the value, then cycles."""
        return self.value, self.cycles


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Prices of an objective on a config. `event_j` float64 [COUNTS]: J of one event; `cycle_j`: static J per cycle."""

    objective: Objective
    event_j: Floats
    cycle_j: float
    cycle_s: float

    @property
    def integral(self) -> bool:
        """Whether costs are whole numbers."""
        return self.objective in (Objective.LATENCY, Objective.BYTES)

    def bound(self, cycles: Floats, counts: Ints) -> Floats:
        """Return what choices cost at least, float64 [n], given their least cycles [n] and their counts [n, COUNTS]."""
        match self.objective:
            case Objective.LATENCY:
                return cycles
            case Objective.BYTES:
                return counts[:, OFF_CHIP].astype(np.float64)
        joules = _ROUNDING * (counts @ self.event_j + self.cycle_j * cycles)
        return joules if self.objective is Objective.ENERGY else joules * (cycles * self.cycle_s)

    def cost(self, model: LayerModel, mapping: ConvMapping, counts: Ints) -> Cost:
        """Return what a mapping costs exactly; counts int64 [COUNTS] are its own."""
        jobs = model.jobs(mapping)
        cycles, _, traffic = model.run_traffic(jobs)
        match self.objective:
            case Objective.LATENCY:
                value = float(cycles)
            case Objective.BYTES:
                value = float(int(traffic[:, engine.BYTES].sum()) + len(jobs) * INSTRUCTION_BYTES)
            case _:
                exact = counts.copy()
                exact[INSTRUCTIONS] = len(jobs)
                exact[OFF_CHIP] = traffic[:, engine.BEATS].sum() * model.memory.beat_bytes
                exact[OFF_CHIP] += len(jobs) * INSTRUCTION_BYTES
                value = float(exact @ self.event_j) + self.cycle_j * cycles
                if self.objective is Objective.EDP:
                    value *= cycles * self.cycle_s
        return Cost(value=value, cycles=cycles, jobs=len(jobs))


def prices(objective: Objective, spec: SparseAccelerator) -> Prices:
    """Return the prices of an objective on a config."""
    cycle_s = 1 / (spec.clock_mhz * 1e6)
    events = np.eye(COUNTS, dtype=np.int64)
    return Prices(
        objective=objective, cycle_s=cycle_s,
        event_j=np.array([energy(activity_of(row), spec, 0.0).total_j for row in events]),
        cycle_j=energy(activity_of(0 * events[0]), spec, cycle_s).total_j,
    )  # fmt: skip


def activity_of(counts: Ints) -> Activity:
    """Return counts int64 [COUNTS] as the events the simulator charges for."""
    mac_slots, forwarded, operations, instructions, off_chip, *buffers = counts.tolist()
    assert len(buffers) == 2 * len(BUFFERS) == COUNTS - READ
    return Activity(
        mac_slots=mac_slots, forwarded_bytes=forwarded, vector_operations=operations, instructions=instructions,
        off_chip_bytes=off_chip,
        buffer_bytes=dict(zip(BUFFERS, zip(buffers[::2], buffers[1::2], strict=True), strict=True)),
    )  # fmt: skip


def counts_of(events: Activity) -> Ints:
    """Return events as counts int64 [COUNTS]."""
    buffers = [count for name in BUFFERS for count in events.buffer_bytes[name]]
    first = events.mac_slots, events.forwarded_bytes, events.vector_operations, events.instructions
    return np.array([*first, events.off_chip_bytes, *buffers], dtype=np.int64)


def program_cost(program: Program, spec: SparseAccelerator, objective: Objective) -> float:
    """Return what a Program costs under an objective."""
    return simulation_cost(simulate_program(program, spec), objective)


def simulation_cost(result: Simulation, objective: Objective) -> float:
    """Return what a Program that was simulated costs under an objective."""
    energy, cycles = result.energy.total_j, result.total_cycles
    match objective:
        case Objective.LATENCY:
            return cycles
        case Objective.ENERGY:
            return energy
        case Objective.EDP:
            return energy * cycles
        case Objective.BYTES:
            return result.traffic.total_bytes


def objective_of(text: str) -> Objective:
    """Return the objective of that name. Raises GossamerError naming all of them."""
    try:
        return Objective(text)
    except ValueError:
        raise GossamerError(f"--objective must be one of {', '.join(Objective)}, not `{text}`") from None
