"""Run candidates and broken jobs on a compiled core, and compare as `gossamer verify` does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from mutants import Change, with_mutants
from quantized_layers import IN, convolution, requantization

from gossamer.arch.config import fingerprint, load_config
from gossamer.arch.spec import SparseAccelerator
from gossamer.dataflow.network import Network, Tensor
from gossamer.dataflow.sparsity import NmPattern
from gossamer.mapper.compile import compile_network
from gossamer.rtl_run import RtlJob, RtlResult, accelerator_modules, build_core, run_jobs
from gossamer.sim.cores import simulate_program
from gossamer.sim.golden.executor import execute_memory, initial_memory
from gossamer.sim.results import Simulation
from gossamer.verification import Candidate, ProgramCheck, check_program
from gossamer.verify_candidates import random_values


def core_spec(*settings: str) -> SparseAccelerator:
    """Return ecp5-tiny with settings."""
    spec = load_config("ecp5-tiny", settings)
    assert isinstance(spec, SparseAccelerator)
    return spec


@dataclass(frozen=True)
class BuiltCore:
    """A config and its compiled core."""

    spec: SparseAccelerator
    target: Path

    def run(self, jobs: Sequence[RtlJob], folder: Path) -> dict[str, RtlResult]:
        assert len({job.name for job in jobs}) == len(jobs) > 0
        return run_jobs(self.target, self.spec, jobs, folder=folder)

    def verify(
        self, candidates: Sequence[Candidate], folder: Path, *, drive: Mapping[str, int] | None = None
    ) -> tuple[list[ProgramCheck], dict[str, RtlResult]]:
        """Run candidates and return how each compares, and what the core left."""
        prepared = [Prepared.of(each, self.spec) for each in candidates]
        results = self.run([replace(each.job(), drive=drive or {}) for each in prepared], folder)
        return [each.check(results.get(each.candidate.name)) for each in prepared], results


@dataclass(frozen=True)
class Prepared:
    """A candidate and what must come out."""

    candidate: Candidate
    expected: np.ndarray
    simulated: Simulation

    @classmethod
    def of(cls, candidate: Candidate, spec: SparseAccelerator) -> "Prepared":
        program = candidate.program
        expected = execute_memory(program, spec, candidate.inputs)
        return cls(candidate, expected, simulate_program(program, spec, trace=True))

    def job(self, name: str = "") -> RtlJob:
        program = self.candidate.program
        return RtlJob(
            name=name or self.candidate.name, program=program, memory=initial_memory(program, self.candidate.inputs),
            expected_cycles=self.simulated.total_cycles,
        )  # fmt: skip

    def check(self, result: RtlResult | None) -> ProgramCheck:
        return check_program(self.candidate, self.expected, self.simulated, result)


def build(spec: SparseAccelerator) -> BuiltCore:
    return BuiltCore(spec, build_core(accelerator_modules(spec)))


def build_mutants(spec: SparseAccelerator, changes: Sequence[Change]) -> BuiltCore:
    """Return a core with all changes built in, see `with_mutants`."""
    return BuiltCore(spec, build_core(with_mutants(accelerator_modules(spec), changes)))


def pattern_network(
    patterns: Sequence[NmPattern | None], *, seed: int = 1, shape: tuple[int, int, int, int] = (1, 6, 7, 24),
    outputs: int = 24, kernel: tuple[int, int] = (3, 3),
) -> Network:  # fmt: skip
    """Return convolutions one after another, one per pattern (None: dense), all of one number format."""
    rng = np.random.default_rng(seed)
    tensors = {"t0": Tensor(name="t0", shape=shape, quant=IN)}
    layers = []
    for number, pattern in enumerate(patterns):
        pads = (kernel[0] // 2, kernel[1] // 2, kernel[0] // 2, kernel[1] // 2)
        name = f"conv{number}" if pattern is None else f"conv{number} {pattern}"
        case = convolution(rng, name, shape, outputs, kernel, pads=pads, pattern=pattern)
        weight = case.layer.weight
        params, *_ = requantization(rng, weight, IN, IN, int(75 * 75 * np.sqrt(np.count_nonzero(weight[0]))))
        target = f"t{number + 1}"
        layers.append(replace(case.layer, inputs=(f"t{number}",), output=target, params=params))
        shape = case.network.tensors["out"].shape
        tensors[target] = Tensor(name=target, shape=shape, quant=IN)
    last = f"t{len(patterns)}"
    return Network(name="patterns", inputs=("t0",), outputs=(last,), tensors=tensors, layers=tuple(layers))


def candidate_of(network: Network, spec: SparseAccelerator, *, seed: int = 1, name: str = "") -> Candidate:
    """Return a quantized network compiled for a config, with random inputs."""
    random = np.random.default_rng(seed)
    program = compile_network(network, spec, config_fingerprint=fingerprint(spec))
    inputs = {each: random_values(network.tensors[each].shape, random) for each in network.inputs}
    return Candidate(name=name or network.name, program=program, inputs=inputs)


def instruction(memory: np.ndarray, number: int) -> int:
    """Return an instruction word out of a Program in memory at 0."""
    return int.from_bytes(memory[64 * number : 64 * number + 64].tobytes(), "little")


def with_instruction(memory: np.ndarray, number: int, word: int) -> np.ndarray:
    """Return a memory in which one instruction of the Program at 0 is another."""
    changed = memory.copy()
    changed[64 * number : 64 * number + 64] = np.frombuffer(word.to_bytes(64, "little"), dtype=np.uint8)
    return changed
