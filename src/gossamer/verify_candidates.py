"""Choose what `verify` runs: a model's Program on several inputs, a slice of its layers, or random networks."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.config import fingerprint
from gossamer.arch.errors import MappingError
from gossamer.arch.rules import minimum_capacities
from gossamer.arch.spec import SparseAccelerator
from gossamer.dataflow.network import Network
from gossamer.dataflow.program import Program
from gossamer.request import SimulationRequest
from gossamer.simulation import PROGRAM_SUFFIX, calibration_path, compile_for, read_calibration, read_program
from gossamer.verification import Candidate

Stage = Callable[[str], None]

SPREAD = 40.0
"""Standard deviation of random int8 inputs: most lie where calibrated activations do, some saturate."""

RANDOM_LAYERS = (1, 2, 3, 5, 8)
BUFFER_DIVISORS = (1, 1, 2, 4, 8)
"""Random programs are compiled for weight, index and parameter buffers this many times smaller than the core's, so that
more layers are tiled. The other two are cut into halves that are the core's."""

SHRUNK = ("weight", "index", "parameter")


def random_values(shape: tuple[int, ...], random: np.random.Generator) -> NDArray[np.int8]:
    """Return int8 values of a shape, mostly in the middle of the range and sometimes at its ends."""
    return np.clip(np.rint(random.normal(0, SPREAD, shape)), -128, 127).astype(np.int8)


def model_candidates(
    request: SimulationRequest, spec: SparseAccelerator, *, images: int, layers: str | None, seed: int, stage: Stage
) -> list[Candidate]:
    """Return one candidate per input of a model, or of a slice of its layers.

    Inputs are samples of the calibration data that ship with the model or are given, random values otherwise. Raises
    GossamerError for a bad model, config or slice.
    """
    random = np.random.default_rng(seed)
    if request.model.endswith(PROGRAM_SUFFIX):
        program = read_program(Path(request.model), spec)
        return [Candidate(name=f"{program.name} {n}", program=program, inputs=_random_inputs(program, random))
                for n in range(images)]  # fmt: skip
    from gossamer.mapper.compile import compile_network
    from gossamer.mapper.slicing import slice_layers

    compiled = compile_for(request, spec, stage)
    samples = [_sample(request, compiled.network, number, random) for number in range(images)]
    network, program = compiled.network, compiled.program
    if layers is not None:
        from gossamer.sim.golden.layers import run_layers

        stage("computing what the slice reads")
        network = slice_layers(compiled.network, layers)
        program = compile_network(network, spec, config_fingerprint=fingerprint(spec))
        values = [run_layers(compiled.network, sample) for sample in samples]
        samples = [{name: each[name] for name in network.inputs} for each in values]
    return [Candidate(name=f"{network.name} {n}", program=program, inputs=each) for n, each in enumerate(samples)]


def _random_inputs(program: Program, random: np.random.Generator) -> dict[str, NDArray[np.int8]]:
    return {binding.name: random_values(binding.shape, random) for binding in program.inputs}


def _sample(
    request: SimulationRequest, network: Network, number: int, random: np.random.Generator
) -> dict[str, NDArray[np.int8]]:
    """Return the int8 inputs of sample `number`."""
    from gossamer.mapper.quantization.tables import quantized

    path = calibration_path(request)
    if path is None:
        return {name: random_values(network.tensors[name].shape, random) for name in network.inputs}
    inputs = {}
    for name, array in read_calibration(path, network).items():
        tensor = network.tensors[name]
        assert tensor.quant is not None
        start = number * tensor.shape[0] % len(array)
        taken = np.take(array, range(start, start + tensor.shape[0]), axis=0, mode="wrap")
        inputs[name] = quantized(taken.astype(np.float64), tensor.quant)
    return inputs


def random_candidates(spec: SparseAccelerator, *, count: int, seed: int, stage: Stage) -> list[Candidate]:
    """Return `count` random networks compiled for the core, with random inputs; equal seeds give equal candidates.

    They are drawn over layer kinds and shapes, N:M patterns, strides, pads, tile edges and buffer sizes.
    """
    candidates = []
    for number in range(count):
        stage(f"compiling random program {number + 1} of {count}")
        candidates.append(random_candidate(spec, seed + number))
    return candidates


def random_candidate(spec: SparseAccelerator, seed: int) -> Candidate:
    """Return the random candidate of one seed."""
    from gossamer.mapper.compile import compile_network
    from gossamer.mapper.quantization.quantize import quantize
    from gossamer.mapper.random_networks import random_network

    random = np.random.default_rng(seed)
    layers = int(random.choice(RANDOM_LAYERS))
    network = quantize(random_network(seed, most_m=spec.array.group_size, layers=layers))
    small = shrunk(spec, int(random.choice(BUFFER_DIVISORS)))
    try:
        program = compile_network(network, small, config_fingerprint=fingerprint(spec))
    except MappingError:  # a tile does not fit the smaller buffers
        program = compile_network(network, spec, config_fingerprint=fingerprint(spec))
    inputs = {name: random_values(network.tensors[name].shape, random) for name in network.inputs}
    return Candidate(name=network.name, program=replace(program, config_name=spec.name), inputs=inputs)


def shrunk(spec: SparseAccelerator, divisor: int) -> SparseAccelerator:
    """Return the config with smaller buffers, none below two minimal tiles; its Programs run on the original too."""
    array = spec.array
    least = minimum_capacities(
        chains=array.chains, chain_length=array.chain_length, lanes=array.lanes, group_size=array.group_size
    )
    sizes = {}
    for name in SHRUNK:
        buffer = getattr(spec.buffers, name)
        smaller = max(least[name][0], buffer.capacity_bytes // divisor)
        sizes[name] = buffer.model_copy(update={"capacity_bytes": smaller})
    return spec.model_copy(update={"buffers": spec.buffers.model_copy(update=sizes)})
