"""Run the pipeline of one model on one config: load, prune, quantize, compile, simulate, report."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.config import fingerprint, load_config
from gossamer.arch.cores import require_one_core
from gossamer.arch.errors import ConfigError, ModelError, ProgramError
from gossamer.arch.spec import AcceleratorSpec, SparseAccelerator, SystolicAccelerator
from gossamer.dataflow.network import Network
from gossamer.dataflow.program import Program
from gossamer.models import load_model
from gossamer.one_liners import is_one_liner
from gossamer.report import SimulationReport
from gossamer.request import Compiled, SimulationRequest
from gossamer.shipped_models import shipped_models
from gossamer.sim.results import Trace

PROGRAM_SUFFIX = ".gsm"
LARGEST_GROUP = 16
"""Largest M of an N:M pattern that any array takes."""

Stage = Callable[[str], None]
"""Told the name of each stage as it begins, for progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationRun:
    """A report with what it came from; `program` is None for systolic references, which run none.

    trace: times of every instruction, if the request asked for them.
    """

    report: SimulationReport
    spec: AcceleratorSpec
    program: Program | None
    provenance: Mapping[str, Any]
    trace: Trace | None = None


def _silent(stage: str) -> None:
    """Show nothing."""


def pruned_network(request: SimulationRequest, spec: AcceleratorSpec, stage: Stage = _silent) -> Network:
    """Return the float network of a request, batched and pruned for a config. Raises ModelError."""
    from gossamer.mapper.pruning.prune import check_group_size

    if not isinstance(spec, SparseAccelerator):
        return pruned_for_groups(request, LARGEST_GROUP, stage)
    network = pruned_for_groups(request, spec.array.group_size, stage)
    check_group_size(network, spec.array.group_size, spec.name)
    return network


def pruned_for_groups(request: SimulationRequest, group_size: int, stage: Stage) -> Network:
    """Return the float network of a request, batched and pruned, with patterns found in groups of at most that size."""
    from gossamer.mapper.batch import with_batch
    from gossamer.mapper.pruning.prune import load_overrides, pattern_note, prune, weight_layers

    stage(f"reading {request.model}")
    network = with_batch(load_model(request.model, request.shapes), request.batch)
    per_layer = {} if request.sparsity_file is None else load_overrides(request.sparsity_file)
    if is_one_liner(request.model) or request.model.endswith(".csv"):
        # The rule that the first and last layer stay dense is for networks; these layers are independent.
        stated = {layer.name: str(layer.pattern or request.sparsity) for layer in weight_layers(network)}
        per_layer = {**stated, **per_layer}
    stage("pruning")
    network = prune(network, request.sparsity, per_layer, max_group=group_size)
    note = pattern_note(network, request.sparsity.strip(), group_size)
    return network if note is None else replace(network, notes=(*network.notes, note))


def quantized_network(request: SimulationRequest, network: Network, stage: Stage = _silent) -> Network:
    """Return the pruned network of a request quantized, with its calibration data. Raises ModelError."""
    from gossamer.mapper.quantization.quantize import quantize

    stage("quantizing")
    path = calibration_path(request)
    return quantize(network, None if path is None else read_calibration(path, network), request.activation_range)


def read_calibration(path: Path, network: Network) -> dict[str, NDArray[np.float32]]:
    """Return calibration arrays by input name in stored order. Raises ModelError naming file and array."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, KeyError) as error:
        raise ModelError(f"{path}: cannot be read as .npz calibration data: {error}") from error
    stored = {}
    for name in network.inputs:
        if name not in arrays:
            raise ModelError(f"{path}: has no array for input {name!r}; found {', '.join(sorted(arrays)) or 'none'}")
        stored[name] = _stored_batch(path, name, arrays[name], network)
    return stored


def _stored_batch(path: Path, name: str, array: NDArray[Any], network: Network) -> NDArray[np.float32]:
    layout = network.layouts[name]
    _, *stored_shape = network.tensors[name].shape
    if array.dtype.kind not in "fiu" or array.ndim != len(layout.shape) or array.shape[1:] != layout.shape[1:]:
        raise ModelError(
            f"{path}: array {name!r} must be numbers of shape (samples, {', '.join(map(str, layout.shape[1:]))}), "
            f"not {array.dtype} {array.shape}"
        )
    if array.shape[0] == 0 or not np.isfinite(array).all():
        raise ModelError(f"{path}: array {name!r} must hold at least one sample and only finite numbers")
    moved = np.ascontiguousarray(array.astype(np.float32).transpose(layout.order))
    return moved.reshape(-1, *stored_shape)


def calibration_path(request: SimulationRequest) -> Path | None:
    """Return the calibration data named by the request, else what ships with the model, else None."""
    if request.calibration is not None:
        return request.calibration
    shipped = shipped_models().get(request.model)
    return None if shipped is None else shipped.calibration


def compile_request(request: SimulationRequest, stage: Stage = _silent) -> Compiled:
    """Return the compiled Program of a request. Raises GossamerError for anything wrong with it."""
    spec = load_config(request.config, request.overrides)
    if not isinstance(spec, SparseAccelerator):
        raise ConfigError(
            f"{spec.name}: a plain systolic array runs no Program; it is a timing reference for simulate. "
            "Choose a sparse_chain config (gossamer configs)"
        )
    return compile_for(request, spec, stage)


def compile_for(request: SimulationRequest, spec: SparseAccelerator, stage: Stage) -> Compiled:
    """Return the compiled Program of a request on a config that is already loaded."""
    from gossamer.mapper.compile import compile_mapped
    from gossamer.mapper.objective import objective_of

    objective = objective_of(request.objective)
    quantized = quantized_network(request, pruned_network(request, spec, stage), stage)
    stage("mapping")
    compiled = compile_mapped(quantized, spec, config_fingerprint=fingerprint(spec), objective=objective)
    return Compiled(network=quantized, spec=spec, compilation=compiled)


def read_program(path: Path, spec: SparseAccelerator) -> Program:
    """Return a Program file compiled for `spec`. Raises ProgramError if it is damaged or for another config."""
    from gossamer.dataflow.program_file import load_program

    program = load_program(path)
    if program.config_fingerprint != fingerprint(spec):
        raise ProgramError(
            f"{path}: was compiled for {program.config_name} ({program.config_fingerprint[:12]}), not for {spec.name} "
            f"({fingerprint(spec)[:12]}); name that config, with the same --set options, or compile again"
        )
    return program


def program_sparsity(program: Program) -> str:
    """Return the patterns of a Program's layers, `dense` if it has none."""
    patterns = dict.fromkeys(record.pattern for record in program.layers if record.pattern not in ("", "dense"))
    return ", ".join(patterns) or "dense"


def run_simulation(request: SimulationRequest, stage: Stage = _silent) -> SimulationRun:
    """Return the simulated run of a request. Raises GossamerError for anything wrong with it."""
    from gossamer.core_report import core_report, cores_report, mapping_search, with_kept_energy
    from gossamer.mapper.objective import objective_of
    from gossamer.sim.kernels import cache_is_cold

    if cache_is_cold():
        stage("compiling kernels: first run only, about 30 s")
    spec = load_config(request.config, request.overrides)
    provenance = _provenance(request, spec)
    objective_of(request.objective)
    if isinstance(spec, SystolicAccelerator):
        from gossamer.systolic_report import systolic_report

        _check_mapped(request, f"{spec.name} is a plain systolic array, which is not mapped")
        if request.trace:
            raise ModelError(
                f"--trace is about instructions, and {spec.name} is a plain systolic array, which has none"
            )
        network = pruned_network(request, spec, stage)
        report = with_kept_energy(systolic_report(request, spec, network), network)
        return SimulationRun(report=report, spec=spec, program=None, provenance=provenance)
    from gossamer.sim.cores import simulate_program

    if request.explain is not None:
        require_one_core(spec, "--explain shows the mapping of a layer on one core")
    if request.trace:
        require_one_core(spec, "--trace shows the instructions of one core")
    if request.model.endswith(PROGRAM_SUFFIX):
        _check_mapped(request, f"{request.model} is a compiled Program, whose mappings are chosen and not recorded")
        program = read_program(Path(request.model), spec)
        stage("simulating")
        simulation = simulate_program(program, spec, trace=request.trace)
        compiled_as = replace(request, sparsity=program_sparsity(program))
        report = core_report(compiled_as, spec, simulation, ("a compiled Program: simulated as it is",))
        report = replace(report, cores=cores_report(program, simulation))
        return SimulationRun(
            report=report, spec=spec, program=program, provenance=provenance, trace=simulation.trace
        )  # fmt: skip
    compiled = compile_for(request, spec, stage)
    stage("simulating")
    simulation = simulate_program(compiled.program, spec, trace=request.trace)
    report = with_kept_energy(core_report(request, spec, simulation, compiled.network.notes), compiled.network)
    cores = cores_report(compiled.program, simulation)
    report = replace(report, mappings=mapping_search(request, compiled), cores=cores)
    if request.explain is not None:
        from gossamer.explain import explain

        stage(f"explaining {request.explain}")
        report = replace(report, explain=explain(request, compiled, simulation))
    if request.advice:
        from gossamer.advice import find_hints

        stage("trying single changes")
        report = replace(report, hints=find_hints(request, compiled, report))
    return SimulationRun(
        report=report, spec=spec, program=compiled.program, provenance=provenance, trace=simulation.trace
    )  # fmt: skip


def _check_mapped(request: SimulationRequest, what: str) -> None:
    """Raise ModelError if a request asks for mappings where there are none."""
    for option, given in (("--explain", request.explain is not None), ("--objective", request.objective != "latency")):
        if given:
            raise ModelError(f"{option} is about mappings, and {what}: name a network and a sparse_chain config")


def _provenance(request: SimulationRequest, spec: AcceleratorSpec) -> dict[str, Any]:
    """Return what run.json holds: versions, hashes of the inputs and the command; nothing that changes between runs."""
    shipped = shipped_models().get(request.model)
    path = shipped.path if shipped is not None else Path(request.model)
    command = ["gossamer", "simulate", request.model, "--config", request.config, "--sparsity", request.sparsity]
    for option, value in (("--sparsity-file", request.sparsity_file), ("--calibration", request.calibration)):
        command += [option, str(value)] if value is not None else []
    for name, shape in request.shapes.items():
        command += ["--shape", f"{name}={'x'.join(map(str, shape))}"]
    command += ["--range", request.activation_range, "--batch", str(request.batch), "--objective", request.objective]
    command += [] if request.explain is None else ["--explain", request.explain]
    command += ["--trace"] if request.trace else []
    command += [word for override in request.overrides for word in ("--set", override)]
    inputs = {"model": path, "sparsity_file": request.sparsity_file, "calibration": calibration_path(request)}
    return {
        "command": command,
        "versions": {package: version(package) for package in ("gossamer", "numpy", "numba", "onnx")},
        "config_fingerprint": fingerprint(spec),
        "sha256": {
            name: hashlib.sha256(file.read_bytes()).hexdigest()
            for name, file in inputs.items()
            if file is not None and file.is_file()
        },
        "seed": 0,
    }
