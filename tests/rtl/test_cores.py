"""Two cores under Verilator: bytes, cycles and counters of every core, errors at barriers, and mutants."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from core_runs import BuiltCore, Prepared, build, build_mutants, core_spec, instruction, with_instruction
from mutants import Change

from gossamer.arch.config import fingerprint
from gossamer.arch.isa import FIELDS, Opcode
from gossamer.arch.registers import ErrorCause
from gossamer.dataflow.program import Segment, Way
from gossamer.mapper.batch import with_batch
from gossamer.mapper.compile import compile_network
from gossamer.mapper.onnx_import.reader import load_onnx
from gossamer.mapper.pruning.prune import prune
from gossamer.mapper.quantization.quantize import quantize
from gossamer.rtl_run import RtlJob
from gossamer.shipped_models import shipped_models
from gossamer.verification import Candidate, ProgramCheck, why_stopped
from gossamer.verify_candidates import random_candidate, random_values

SEED = int(os.environ.get("GOSSAMER_SEED", "20261126"))
SETTINGS = ("device.dsp=300", "device.bram36=300", "device.lut=100000", "cores=2")
"""Two cores of ecp5-tiny, each with half of its memory's bandwidth, less than its port has, on a device with room."""


@pytest.fixture(scope="module")
def cores() -> BuiltCore:
    return build(core_spec(*SETTINGS))


def digits(core: BuiltCore, batch: int) -> Candidate:
    network = prune(with_batch(load_onnx(shipped_models()["digits-2x4"].path), batch), "keep", max_group=8)
    network = quantize(network)
    random = np.random.default_rng(SEED)
    inputs = {name: random_values(network.tensors[name].shape, random) for name in network.inputs}
    program = compile_network(network, core.spec, config_fingerprint=fingerprint(core.spec))
    return Candidate(name=f"digits {batch}", program=program, inputs=inputs)


@pytest.fixture(scope="module")
def good(cores: BuiltCore) -> Prepared:
    """Return a program of several stages, and what it must do."""
    prepared = Prepared.of(digits(cores, 1), cores.spec)
    streams = prepared.candidate.program.streams
    assert streams is not None
    assert streams.stages > 3
    return prepared


def assert_equal(check: ProgramCheck) -> None:
    assert check.bit_exact, check.failure or str(check.mismatch)
    assert check.outputs_checked > 0
    assert check.rtl_cycles == check.sim_cycles
    assert {counter.core for counter in check.counters} == {0, 1}
    assert [counter for counter in check.counters if counter.rtl != counter.sim] == []


def test_networks(cores: BuiltCore, good: Prepared, tmp_path: Path) -> None:
    """One image by layers, two by images; random networks, some of which are cut in every way."""
    candidates = [good.candidate, digits(cores, 2), *(random_candidate(cores.spec, SEED % 1000 + n) for n in range(20))]
    ways = {way for each in candidates for way in each.program.streams.ways}
    assert ways >= {Way.WHOLE, Way.IMAGES, Way.POSITIONS, Way.CHANNELS}
    checks, results = cores.verify(candidates, tmp_path)
    assert len(results) == len(candidates)
    for check in checks:
        assert_equal(check)
    for each in candidates:
        totals = [core.total for core in Prepared.of(each, cores.spec).simulated.cores]
        assert [registers["CYCLES"] for registers in results[each.name].cores] == totals


def segment_of(good: Prepared, core: int, stage: int) -> Segment:
    streams = good.candidate.program.streams
    assert streams is not None
    return next(each for each in streams.segments if (each.core, each.stage) == (core, stage))


def broken_jobs(good: Prepared) -> list[tuple[RtlJob, ErrorCause, int]]:
    """Return jobs of which core 1 must stop, why, and the instructions dispatched since its latest BARRIER."""
    memory, segment = good.job().memory, segment_of(good, 1, 2)
    last = segment.first + segment.count - 1
    barrier = instruction(memory, last)
    used = sum(field.bits for field in FIELDS[Opcode.BARRIER])
    before = segment_of(good, 1, 1)
    leads = before.first + before.count - 1
    shorter = instruction(memory, leads) - (1 << (used - 32))
    return [
        (replace(good.job(), memory=with_instruction(memory, segment.first, 31)), ErrorCause.OPCODE, 0),
        (
            replace(good.job(), memory=with_instruction(memory, last, barrier | 1 << used)), ErrorCause.RESERVED_BITS,
            segment.count - 1,
        ),
        (replace(good.job(), memory=with_instruction(memory, leads, shorter)), ErrorCause.NO_END, segment.count - 1),
    ]  # fmt: skip


def test_an_error_of_one_core(cores: BuiltCore, good: Prepared, tmp_path: Path) -> None:
    """The interrupt comes, the cause is there, the other core says that it waits, and all run again after a reset."""
    broken = broken_jobs(good)
    jobs = []
    for number, (job, _, _) in enumerate(broken):
        jobs += [replace(job, name=f"bad {number}"), good.job(f"good {number}")]
    results = cores.run(jobs, tmp_path)
    for number, (_, cause, dispatched) in enumerate(broken):
        bad = results[f"bad {number}"]
        assert not bad.finished
        assert bad.cores[1]["ERROR_CAUSE"] == cause
        assert bad.cores[1]["ERROR_INSTRUCTION"] == dispatched
        assert bad.cores[0]["ERROR_CAUSE"] == ErrorCause.NONE
        why = why_stopped(bad)
        assert f"core 1: stopped with error {cause.name}" in why
        assert why.startswith("core 0: not done after ")
        assert_equal(good.check(results[f"good {number}"]))


MUTANTS: dict[str, Change] = {
    "no core waits": ("gossamer_cores", r"assign \w+ = (?P<value>& arrived);", "(| arrived)"),
    "the first to be done interrupts": ("gossamer_cores", r"assign \w+ = (?P<value>& interrupt_\w+);", "1'h1"),
    "counters start over": ("control", r"counters counters \([^;]*\.clear\((?P<value>\w+)\)", "reset"),
    "the stream of the first core": ("control", r"stream <= (?P<value>[^;]*);", "base"),
}


@pytest.fixture(scope="module")
def mutants() -> BuiltCore:
    return build_mutants(core_spec(*SETTINGS), list(MUTANTS.values()))


@pytest.mark.slow
def test_mutants_are_found(mutants: BuiltCore, good: Prepared, tmp_path: Path) -> None:
    for number, name in enumerate(["none", *MUTANTS]):
        (check,), _ = mutants.verify([good.candidate], tmp_path, drive={"mutant": number})
        if name == "none":
            assert_equal(check)
        else:
            with pytest.raises(AssertionError):
                assert_equal(check)
