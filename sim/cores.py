"""Simulate a Program on several cores: what each does between barriers is simulated as a Program of one core.

Cores have their own share of off-chip memory and wait for each other at barriers only, where nothing is under way. So a
stage takes as long as its slowest core, a Program the sum of its stages and of the barriers between them, exactly.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from gossamer.arch.cores import core_spec
from gossamer.arch.encoding import decode_columns
from gossamer.arch.energy import energy_table
from gossamer.arch.errors import ProgramError
from gossamer.arch.isa import ENGINES, Engine
from gossamer.arch.spec import SparseAccelerator
from gossamer.arch.timing import BARRIER_CYCLES
from gossamer.dataflow.program import LayerRecord, Program, Streams, Way
from gossamer.dataflow.streams import part_of, segments_of
from gossamer.sim.results import (
    Bound,
    CoreCycles,
    CycleClass,
    Energy,
    EngineCycles,
    LayerTiming,
    Simulation,
    Traffic,
    TrafficKind,
    sum_events,
)
from gossamer.sim.timing import check_records, simulate

Stage = tuple[Simulation, ...]
"""One simulation for every core."""


def simulate_program(program: Program, spec: SparseAccelerator, *, trace: bool = False) -> Simulation:
    """Simulate a Program on all cores of a config. Raises ProgramError if it is for another number, and as `simulate`.

    `trace` adds the times of every instruction if there is one core. A layer's cycles are those in the slowest core of
    its stage; events, traffic and MACs are of all cores.
    """
    streams = program.streams
    if (1 if streams is None else streams.cores) != spec.cores:
        raise ProgramError(
            f"{program.name}: must be for the {spec.cores} cores of {spec.name}, not for "
            f"{1 if streams is None else streams.cores}: compile the model again"
        )
    if streams is None:
        return simulate(program, spec, trace=trace)
    core, segments = core_spec(spec), segments_of(program)
    check_records(program, core, decode_columns(program.instructions))
    parts = [simulate(part_of(program, segment), core, whole=False) for segment in segments]
    stages = [tuple(parts[at : at + streams.cores]) for at in range(0, len(parts), streams.cores)]
    return _whole(program, streams, spec, stages)


def _whole(program: Program, streams: Streams, spec: SparseAccelerator, stages: Sequence[Stage]) -> Simulation:
    """Return the simulation of all stages on all cores."""
    starts = stage_starts([[part.total_cycles for part in stage] for stage in stages])
    total = starts[-1] + max(part.total_cycles for part in stages[-1])
    peak = stages[0][0].peak_macs_per_cycle * streams.cores
    every = [part for stage in stages for part in stage]
    cores = tuple(_core([stage[number] for stage in stages], starts) for number in range(streams.cores))
    layers = _layers(program, streams, peak, stages, starts, total)
    classes = dict.fromkeys(CycleClass, 0)
    for stage in stages:
        for cls, cycles in _slowest(stage).classes.items():
            classes[cls] += cycles
    classes[CycleClass.CONTROL] += BARRIER_CYCLES * (len(stages) - 1)
    macs = sum(record.macs for record in program.layers)
    return Simulation(
        program_name=program.name, config_name=spec.name, clock_mhz=spec.clock_mhz, total_cycles=total,
        peak_macs_per_cycle=peak, macs=macs, dense_macs=sum(record.dense_macs for record in program.layers),
        utilization=macs / (peak * total),
        engines={engine: _engine([core.engines[engine] for core in cores], total * len(cores)) for engine in ENGINES},
        classes=classes, layers=layers, traffic=_traffic(part.traffic for part in every),
        events=sum_events([part.events for part in every]), energy=_energy(every, spec, total), cores=cores,
    )  # fmt: skip


def stage_starts(cycles: Sequence[Sequence[int]]) -> list[int]:
    """Return the cycle in which every stage starts, of the cycles of each stage on each core."""
    starts = [0]
    for stage in cycles[:-1]:
        starts.append(starts[-1] + max(stage) + BARRIER_CYCLES)
    return starts


def _slowest(stage: Stage) -> Simulation:
    return max(stage, key=lambda part: part.total_cycles)


def _core(parts: Sequence[Simulation], starts: Sequence[int]) -> CoreCycles:
    stage_cycles = tuple(part.total_cycles for part in parts)
    total = starts[-1] + stage_cycles[-1]
    return CoreCycles(
        stage_cycles=stage_cycles, waiting=total - sum(stage_cycles),
        engines={engine: _engine([part.engines[engine] for part in parts], total) for engine in ENGINES},
    )  # fmt: skip


def _engine(parts: Sequence[EngineCycles], total: int) -> EngineCycles:
    """Return the sum of an engine's cycles, idle in the rest of `total`."""
    counted = EngineCycles(
        instructions=sum(part.instructions for part in parts), busy=sum(part.busy for part in parts),
        waiting_token={giver: sum(part.waiting_token[giver] for part in parts) for giver in Engine},
        waiting_memory=sum(part.waiting_memory for part in parts), idle=0,
    )  # fmt: skip
    return replace(counted, idle=total - counted.total)


def _traffic(parts: Iterable[Traffic]) -> Traffic:
    parts = list(parts)
    return Traffic(
        read_bytes={kind: sum(part.read_bytes[kind] for part in parts) for kind in TrafficKind},
        write_bytes=sum(part.write_bytes for part in parts),
    )


def _energy(parts: Sequence[Simulation], spec: SparseAccelerator, total: int) -> Energy:
    """Return the energy of all parts; the chip draws its static power once, for all the time."""
    by_component: dict[str, float] = {}
    for part in parts:
        for name, joules in part.energy.by_component_j.items():
            by_component[name] = by_component.get(name, 0.0) + joules
    by_component["static"] = energy_table().static_w(spec) * total / (spec.clock_mhz * 1e6)
    return Energy(by_component_j=by_component)


def _layers(
    program: Program, streams: Streams, peak: int, stages: Sequence[Stage], starts: Sequence[int], total: int
) -> tuple[LayerTiming, ...]:  # fmt: skip
    """Return every layer, its parts put together; cycles of none, barriers too, are control of the one before."""
    found: dict[str, list[LayerTiming]] = {record.name: [] for record in program.layers}
    cycles = {name: dict.fromkeys(CycleClass, 0) for name in found}
    latest = next(iter(found), None)
    for stage, start in zip(stages, starts, strict=True):
        for part in stage:
            for timing in part.layers:
                moved = replace(timing, start=start + timing.start, end=start + timing.end)
                found[timing.record.name].append(moved)
                if part is _slowest(stage):
                    latest = timing.record.name
                    for cls, count in timing.classes.items():
                        cycles[latest][cls] += count
        if latest is not None:
            done = sum(sum(each.values()) for each in cycles.values())
            end = starts[starts.index(start) + 1] if start < starts[-1] else total
            cycles[latest][CycleClass.CONTROL] += end - done
    records: dict[str, list[tuple[LayerRecord, Way]]] = {name: [] for name in found}
    for record, way in zip(program.layers, streams.ways, strict=True):
        records[record.name].append((record, way))
    return tuple(
        _layer(_record(records[name]), parts, cycles[name], peak) if parts else _nothing(records[name][0][0])
        for name, parts in found.items()
    )


def _nothing(record: LayerRecord) -> LayerTiming:
    """Return a layer that has no instructions."""
    return LayerTiming(
        record=record, cycles=0, start=0, end=0, compute_cycles=0, fill_cycles=0, vector_cycles=0, load_cycles=0,
        store_cycles=0, ideal_compute_cycles=0.0, traffic=_traffic(()), classes=dict.fromkeys(CycleClass, 0),
        bound=Bound.COMPUTE, utilization=0.0,
    )  # fmt: skip


def _layer(
    record: LayerRecord, parts: Sequence[LayerTiming], classes: dict[CycleClass, int], peak: int
) -> LayerTiming:  # fmt: skip
    """Return a layer of what cores did of it in some stage; busy cycles are sums over cores."""
    first, cycles = parts[0], sum(classes.values())
    bounds = {bound: sum(part.cycles for part in parts if part.bound is bound) for bound in Bound}
    longest = max(cycles, *(part.compute_cycles for part in parts))
    return replace(
        first, record=record, cycles=cycles, start=min(part.start for part in parts),
        end=max(part.end for part in parts), compute_cycles=sum(part.compute_cycles for part in parts),
        fill_cycles=sum(part.fill_cycles for part in parts), vector_cycles=sum(part.vector_cycles for part in parts),
        load_cycles=sum(part.load_cycles for part in parts), store_cycles=sum(part.store_cycles for part in parts),
        ideal_compute_cycles=record.macs / peak, traffic=_traffic(part.traffic for part in parts), classes=classes,
        bound=max(bounds, key=lambda bound: bounds[bound]), utilization=record.macs / (peak * max(1, longest)),
    )  # fmt: skip


def _record(parts: Sequence[tuple[LayerRecord, Way]]) -> LayerRecord:
    """Return the record of a whole layer; constant bytes are those of every part, though equal ones are stored once."""
    records = [record for record, _ in parts]
    by_channels = [record for record, way in parts if way is Way.CHANNELS]
    positions = sum(record.positions for record, way in parts if way is not Way.CHANNELS)
    return replace(
        records[0],
        positions=positions + (by_channels[0].positions if by_channels else 0),
        channels=sum(record.channels for record in by_channels) or records[0].channels,
        **{
            name: sum(getattr(record, name) for record in records)
            for name in ("macs", "dense_macs", "weight_bytes", "index_bytes")
        },
    )
