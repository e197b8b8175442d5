"""Find the single changes of a config that would help most, by compiling and simulating each of them again."""

from collections.abc import Iterator
from dataclasses import dataclass

from gossamer.arch.config import fingerprint, load_config
from gossamer.arch.errors import ConfigError, MappingError
from gossamer.arch.resources import RESOURCE_NAMES, estimate_resources
from gossamer.arch.spec import SparseAccelerator
from gossamer.dataflow.mapping import Objective
from gossamer.report import Hint, SimulationReport
from gossamer.request import Compiled, SimulationRequest

SMALLEST_SHARE = 0.02
"""A change that saves less than this share of the cycles is no advice."""

TRIALS = 3
SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One setting that could help, and the cycles it could save at the very most."""

    setting: str
    change: str
    ceiling_cycles: float


def find_hints(request: SimulationRequest, compiled: Compiled, report: SimulationReport) -> tuple[Hint, ...]:
    """Return up to three re-simulated changes, the largest saving first.

    Changes are tried in the order of the cycles of the class they act on; those that do not fit the device, or save
    less than 2 %, are left out.
    """
    from gossamer.mapper.compile import compile_network
    from gossamer.sim.cores import simulate_program

    hints = []
    tried = 0
    for change in sorted(_changes(compiled.spec, report), key=lambda change: -change.ceiling_cycles):
        if tried == TRIALS or change.ceiling_cycles < SMALLEST_SHARE * report.total_cycles:
            break
        try:
            spec = load_config(request.config, (*request.overrides, change.setting))
        except ConfigError:
            continue  # does not fit the device, or is not legal
        if not isinstance(spec, SparseAccelerator):
            continue
        tried += 1
        try:
            program = compile_network(
                compiled.network, spec, config_fingerprint=fingerprint(spec), objective=Objective(request.objective)
            )
        except MappingError:
            continue
        saved = report.total_cycles - simulate_program(program, spec).total_cycles
        share = saved / report.total_cycles
        if share >= SMALLEST_SHARE:
            hints.append(
                Hint(
                    change=change.change, setting=change.setting, saved_cycles=saved, saved_share=share,
                    cost=_cost(compiled.spec, spec),
                )
            )  # fmt: skip
    return tuple(sorted(hints, key=lambda hint: -hint.saved_cycles)[:SHOWN])


def _changes(spec: SparseAccelerator, report: SimulationReport) -> Iterator[Change]:
    """Yield doublings with the classes they act on; half of a class is the most that doubling its resource can save."""
    classes = report.classes
    array, buffers = spec.array, spec.buffers
    busy = classes["compute"] + classes["edges"]
    # A pass is shorter than the load of its successor's weights only where positions are few.
    few = array.lanes * array.chain_length // array.weight_rows_per_cycle
    waits_for_weights = sum(layer.classes["edges"] for layer in report.layers if layer.positions < few)
    for key, value, acts_on in (
        ("off_chip.channels", spec.off_chip.channels, classes["memory"]),
        ("axi.ports", spec.axi.ports, classes["memory"]),
        ("buffers.activation.capacity_bytes", buffers.activation.capacity_bytes, classes["memory"]),
        ("buffers.weight.capacity_bytes", buffers.weight.capacity_bytes, classes["memory"]),
        ("vector.lanes", spec.vector.lanes, classes["vector"]),
        ("array.chains", array.chains, busy),
        ("array.lanes", array.lanes, busy),
        ("array.chain_length", array.chain_length, busy),
        ("array.weight_rows_per_cycle", array.weight_rows_per_cycle, waits_for_weights),
        ("dispatch.queue_depth", spec.dispatch.queue_depth, classes["control"]),
    ):
        yield Change(
            setting=f"{key}={2 * value}", change=f"{key} {value:,} -> {2 * value:,}", ceiling_cycles=acts_on / 2
        )


def _cost(before: SparseAccelerator, after: SparseAccelerator) -> str:
    """Return what the change adds to the estimated area."""
    old, new = estimate_resources(before).total, estimate_resources(after).total
    added = {name: getattr(new, name) - getattr(old, name) for name in RESOURCE_NAMES}
    parts = [f"{count:,} {name.upper()}" for name, count in added.items() if count > 0]
    if after.off_chip.channels > before.off_chip.channels:
        parts.append(f"{after.off_chip.channels - before.off_chip.channels} more {after.off_chip.kind} channels")
    return ", ".join(parts) or "no estimated area"
