"""Report a simulated Program of a sparse chain core."""

from dataclasses import replace

from gossamer.arch.cores import core_spec
from gossamer.arch.resources import estimate_resources
from gossamer.arch.spec import SparseAccelerator
from gossamer.dataflow.mapping import Objective
from gossamer.dataflow.network import Network
from gossamer.dataflow.program import Program, Way
from gossamer.mapper.pruning.prune import weight_layers
from gossamer.mapper.tiling import search_again
from gossamer.render import describe_config
from gossamer.report import (
    CLASSES,
    CoreReport,
    CoresReport,
    LayerReport,
    MappingSearch,
    ResourceUse,
    Roofline,
    SimulationReport,
)
from gossamer.request import Compiled, SimulationRequest
from gossamer.sim.results import LayerTiming, Simulation
from gossamer.trust import simulated_tier


def core_report(
    request: SimulationRequest, spec: SparseAccelerator, simulation: Simulation, notes: tuple[str, ...]
) -> SimulationReport:
    """Return the report of a simulation; sums are the simulation's own, nothing is scaled."""
    layers = tuple(_layer(timing) for timing in simulation.layers)
    engines = {
        str(engine): {
            "busy": cycles.busy,
            **{f"waiting_{other}": waited for other, waited in cycles.waiting_token.items()},
            "waiting_memory": cycles.waiting_memory,
            "idle": cycles.idle,
        }
        for engine, cycles in simulation.engines.items()
    }
    return SimulationReport(
        model=request.model, config=spec.name, config_summary=describe_config(spec), sparsity=request.sparsity,
        batch=request.batch, tier=simulated_tier(), clock_mhz=spec.clock_mhz,
        peak_macs_per_cycle=simulation.peak_macs_per_cycle,
        total_cycles=simulation.total_cycles, latency_s=simulation.latency_s, energy_j=simulation.energy.total_j,
        energy_by_component_j=simulation.energy.by_component_j, dram_bytes=simulation.traffic.total_bytes,
        utilization=simulation.utilization,
        peak_utilization=max((layer.utilization for layer in layers), default=0.0), macs=simulation.macs,
        dense_macs=simulation.dense_macs,
        classes={name: float(simulation.classes[name]) for name in CLASSES},  # type: ignore[index]
        engines=engines, roofline=_roofline(spec, simulation), area=_area(spec), layers=layers,
        notes=notes,
    )  # fmt: skip


def with_kept_energy(report: SimulationReport, network: Network) -> SimulationReport:
    """Return the report with the share of weight energy that pruning kept of every layer of a pruned network."""
    kept = {layer.name: layer.kept_energy for layer in weight_layers(network)}
    return replace(
        report, layers=tuple(replace(layer, kept_energy=kept.get(layer.name)) for layer in report.layers)
    )  # fmt: skip


def mapping_search(request: SimulationRequest, compiled: Compiled) -> MappingSearch | None:
    """Return how the mappings of a network were found, None if it has none; searches are remembered, not repeated."""
    objective = Objective(request.objective)
    chosen = {
        (part.mapping.shape, part.reserved_bytes, part.share, part.searched_for(objective))
        for part in compiled.compilation.mapped
    }
    core = core_spec(compiled.spec)
    searches = [search_again(shape, core, reserved, share, each) for shape, reserved, share, each in chosen]
    if not searches:
        return None
    return MappingSearch(
        objective=request.objective, shapes=len(searches), proved=sum(search.proved for search in searches),
        tilings=sum(search.tilings for search in searches), costed=sum(search.costed for search in searches),
        illegal={why: sum(search.illegal[why] for search in searches) for why in searches[0].illegal},
    )  # fmt: skip


def cores_report(program: Program, simulation: Simulation) -> CoresReport | None:
    """Return what each of several cores did, None for one."""
    streams = program.streams
    if streams is None:
        return None
    cut = {(record.name, way) for record, way in zip(program.layers, streams.ways, strict=True)}
    return CoresReport(
        stages=streams.stages, layers={str(way): sum(each is way for _, each in cut) for way in Way},
        cores=tuple(
            CoreReport(cycles=core.total, working=sum(core.stage_cycles), waiting=core.waiting)
            for core in simulation.cores
        ),
    )  # fmt: skip


def _layer(timing: LayerTiming) -> LayerReport:
    record = timing.record
    return LayerReport(
        name=record.name, op=record.op, pattern=record.pattern, positions=record.positions, channels=record.channels,
        reduction=record.reduction, macs=record.macs, dense_macs=record.dense_macs, cycles=timing.cycles,
        bound=str(timing.bound), utilization=timing.utilization, dram_bytes=timing.traffic.total_bytes,
        classes={name: float(timing.classes[name]) for name in CLASSES},  # type: ignore[index]
    )  # fmt: skip


def memory_bytes_per_s(spec: SparseAccelerator) -> float:
    """Return what can be read: off-chip channels at their efficiency, or the AXI ports if they are slower."""
    return min(_channels_and_ports(spec))


def memory_seconds(spec: SparseAccelerator, read_bytes: int, written_bytes: int) -> float:
    """Return the least time that off-chip traffic takes: over AXI ports reads and writes go side by side."""
    channels, ports = _channels_and_ports(spec)
    return max((read_bytes + written_bytes) / channels, read_bytes / ports, written_bytes / ports)


def _channels_and_ports(spec: SparseAccelerator) -> tuple[float, float]:
    """Return bytes per second of all channels, and one way of all AXI ports."""
    memory = spec.off_chip
    channels = memory.channels * memory.channel_bandwidth_gb_s * 1e9 * memory.efficiency
    return channels, spec.cores * spec.axi.ports * spec.axi.data_bits / 8 * spec.clock_mhz * 1e6


def _roofline(spec: SparseAccelerator, simulation: Simulation) -> Roofline:
    return Roofline(
        peak_macs_per_s=simulation.peak_macs_per_cycle * spec.clock_mhz * 1e6,
        memory_bytes_per_s=memory_bytes_per_s(spec),
        intensity_macs_per_byte=simulation.macs / max(1, simulation.traffic.total_bytes),
    )


def _area(spec: SparseAccelerator) -> tuple[ResourceUse, ...]:
    total = estimate_resources(spec).total
    return tuple(
        ResourceUse(resource=name, used=getattr(total, name), available=getattr(spec.device, name))
        for name in ("lut", "ff", "dsp", "bram36", "uram")
    )
