"""Report a network on a plain systolic reference config."""

from gossamer.arch.spec import SystolicAccelerator
from gossamer.dataflow.network import Network
from gossamer.render import describe_config
from gossamer.report import CLASSES, LayerReport, SimulationReport
from gossamer.request import SimulationRequest
from gossamer.sim.systolic import SystolicLayer, gemm_shapes, simulate_systolic


def systolic_report(request: SimulationRequest, spec: SystolicAccelerator, network: Network) -> SimulationReport:
    """Return compute cycles of the layers that multiply; the array has no memory system, energy model or area."""
    units = spec.array.rows * spec.array.columns
    results = simulate_systolic(gemm_shapes(network), spec.array)
    layers = tuple(_layer(result, network, units) for result in results)
    total = sum(layer.cycles for layer in layers)
    macs = sum(layer.macs for layer in layers)
    return SimulationReport(
        model=request.model, config=spec.name, config_summary=describe_config(spec), sparsity=request.sparsity,
        batch=request.batch, tier="analytic and event, equal to SCALE-Sim 3.0.0 plus its missing cycle per layer",
        clock_mhz=spec.clock_mhz, peak_macs_per_cycle=units, total_cycles=total,
        latency_s=total / spec.clock_mhz / 1e6, energy_j=None, energy_by_component_j={}, dram_bytes=0,
        utilization=macs / (total * units) if total else 0.0,
        peak_utilization=max((layer.utilization for layer in layers), default=0.0), macs=macs,
        dense_macs=sum(layer.dense_macs for layer in layers),
        classes={name: sum(layer.classes[name] for layer in layers) for name in CLASSES}, engines={}, roofline=None,
        area=(), layers=layers,
        notes=(*network.notes, "compute cycles only: no memory system, vector work or energy on this reference"),
    )  # fmt: skip


def _layer(result: SystolicLayer, network: Network, units: int) -> LayerReport:
    shape = result.shape
    pattern = next(getattr(layer, "pattern", None) for layer in network.layers if layer.name == shape.name)
    classes = dict.fromkeys(CLASSES, 0.0)
    classes |= {"compute": result.compute_cycles, "edges": result.edge_cycles, "fill": float(result.fill_cycles)}
    return LayerReport(
        name=shape.name, op=shape.op, pattern=str(pattern or "dense"), positions=shape.positions,
        channels=shape.channels * shape.count, reduction=shape.reduction, macs=shape.macs, dense_macs=shape.dense_macs,
        cycles=result.cycles, bound="compute" if 2 * result.compute_cycles >= result.cycles else "overhead",
        utilization=shape.macs / (result.cycles * units), dram_bytes=0, classes=classes,
    )  # fmt: skip
