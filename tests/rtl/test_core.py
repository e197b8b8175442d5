"""The whole core against golden executor and timing simulator: random programs, N:M patterns, trained networks."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import pywellen
from core_runs import BuiltCore, build, candidate_of, core_spec, pattern_network
from perfetto_reader import read_trace
from quantized_layers import resized_sum
from turn_pairs import MIXED, engines_alternate, random_pair, take_turns

import gossamer
from gossamer.arch.config import fingerprint
from gossamer.arch.isa import Engine
from gossamer.arch.timing import compute_fill_cycles
from gossamer.dataflow.sparsity import NmPattern
from gossamer.mapper import compile as compiler
from gossamer.mapper.compile import compile_network
from gossamer.mapper.quantization.tables import quantized
from gossamer.request import SimulationRequest
from gossamer.rtl.testbench.signal_lists import signal_groups
from gossamer.shipped_models import shipped_models
from gossamer.sim.golden.executor import read_tensor
from gossamer.sim.golden.layers import run_layers
from gossamer.simulation import compile_for
from gossamer.verification import Candidate, ProgramCheck, VerificationReport
from gossamer.verify_candidates import model_candidates, random_candidate

FIRST_SEED = int(os.environ.get("GOSSAMER_SEED", "1"))
COUNT = 200
CYCLE_ERROR_PCT = 0.1
"""Contract of the timing simulator, with a memory of fixed latency."""

PATTERNS = (None, NmPattern(1, 2), NmPattern(1, 4), NmPattern(2, 4), NmPattern(1, 8), NmPattern(2, 8), NmPattern(4, 8))
FOUR_PORTS = ("axi.ports=4",)
"""A row is as long as the words of all banks of activations."""
COUNT_OF_FOUR_PORTS = 30
WIDE = ("device.dsp=400", "array.group_size=16", "array.chains=16", "array.chain_length=2", "vector.lanes=16")
DIGITS = ("digits", "digits-2x4", "digits-1x4", "digits-2x8")
IMAGES = 4


@pytest.fixture(scope="module")
def core() -> BuiltCore:
    return build(core_spec())


@pytest.fixture(scope="module")
def wide_core() -> BuiltCore:
    return build(core_spec(*WIDE))


def assert_agrees(checks: list[ProgramCheck], expected_count: int) -> None:
    """Require that all programs ran, with equal bytes, equal busy cycles and equal total cycles, within the bound."""
    assert len(checks) == expected_count > 0
    report = VerificationReport(config_name="core", stalls="none", seed=FIRST_SEED, programs=tuple(checks))
    for check in checks:
        assert check.bit_exact, f"{check.name}: {check.mismatch or check.failure}"
        assert check.outputs_checked > 0
        assert {counter.engine for counter in check.counters} == set(Engine)
        assert check.instructions_off == 0, f"{check.name}: dispatched, started or completed at other times"
        assert check.busy_exact, f"{check.name}: {[c for c in check.counters if c.rtl != c.sim]}"
        assert all(c.rtl == c.sim for c in check.counters if c.name == "instructions")
    over = {check.name: round(check.cycle_error_pct, 3) for check in checks
            if abs(check.cycle_error_pct) > CYCLE_ERROR_PCT}  # fmt: skip
    assert not over, f"cycle errors above {CYCLE_ERROR_PCT} %: {over}"
    assert report.bit_exact
    assert report.max_cycle_error_pct <= CYCLE_ERROR_PCT


def test_random_programs(core: BuiltCore, tmp_path: Path) -> None:
    print(f"GOSSAMER_SEED={FIRST_SEED}")
    candidates = [random_candidate(core.spec, FIRST_SEED + number) for number in range(COUNT)]
    checks, _ = core.verify(candidates, tmp_path)
    exact = sum(check.rtl_cycles == check.sim_cycles for check in checks)
    print(f"{len(checks)} programs, {exact} with exactly the simulator's cycles")
    assert_agrees(checks, COUNT)


def test_random_programs_through_four_ports(tmp_path: Path) -> None:
    built = build(core_spec(*FOUR_PORTS))
    candidates = [random_candidate(built.spec, FIRST_SEED + number) for number in range(COUNT_OF_FOUR_PORTS)]
    checks, _ = built.verify(candidates, tmp_path)
    assert_agrees(checks, COUNT_OF_FOUR_PORTS)


def test_one_core_runs_every_pattern_back_to_back(core: BuiltCore, tmp_path: Path) -> None:
    network = pattern_network(PATTERNS)
    candidate = candidate_of(network, core.spec)
    assert [record.pattern for record in candidate.program.layers] == [str(each or "dense") for each in PATTERNS]
    (check,), results = core.verify([candidate], tmp_path)
    assert_agrees([check], 1)
    assert_layer_values(network, candidate, results[candidate.name].memory)


def test_additions_in_the_tiles_of_a_resize(
    core: BuiltCore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """Rows that fill the lanes and rows that do not, one tile and many, either operand enlarged."""
    monkeypatch.setattr(compiler, "_adds_resized", lambda *_: True)
    random, candidates = np.random.default_rng(FIRST_SEED), []
    shapes = ((1, 6, 8, 24), (2, 5, 3, 16), (1, 4, 7, 33), (1, 3, 5, 8))
    factors = ((2, 2), (1, 3), (3, 1), (4, 4))
    for number, (shape, by) in enumerate(zip(shapes, factors, strict=True)):
        case = resized_sum(random, shape, by, first=number % 2 == 0)
        compilation = compiler.compile_mapped(case.network, core.spec, config_fingerprint=fingerprint(core.spec))
        assert compilation.joined == {"sum": "resize"}
        candidates.append(Candidate(name=f"pair {number}", program=compilation.program, inputs=case.values))
    checks, _ = core.verify(candidates, tmp_path)
    assert_agrees(checks, len(candidates))
    assert all(check.rtl_cycles == check.sim_cycles for check in checks)


@pytest.mark.slow
def test_a_core_of_groups_of_16_runs_every_pattern(wide_core: BuiltCore, tmp_path: Path) -> None:
    network = pattern_network((NmPattern(4, 16), *PATTERNS, NmPattern(1, 16), NmPattern(8, 16)), outputs=40)
    candidates = [
        candidate_of(network, wide_core.spec),
        *(random_candidate(wide_core.spec, seed) for seed in range(10)),
    ]
    checks, results = wide_core.verify(candidates, tmp_path)
    assert_agrees(checks, len(candidates))
    assert_layer_values(network, candidates[0], results[candidates[0].name].memory)


def assert_layer_values(network, candidate, memory: np.ndarray) -> None:
    """Require the outputs to be those of the golden layer kernels, which know nothing of programs."""
    values = run_layers(network, candidate.inputs)
    assert candidate.program.outputs
    for binding in candidate.program.outputs:
        np.testing.assert_array_equal(read_tensor(memory, binding), values[binding.name])
        assert len(np.unique(values[binding.name])) > 10, "the values must not be constant"


def assert_steady_state(
    built: BuiltCore, patterns: Sequence[NmPattern | None], folder: Path, rows: int, columns: int
) -> None:
    """Require chains x chain_length x lanes kept MACs per busy cycle beyond the fills, by the counters of the RTL."""
    array = built.spec.array
    channels = 2 * array.chain_length * array.group_size
    networks = [
        pattern_network([each], shape=(1, rows, columns, channels), outputs=array.chains, kernel=(1, 1))
        for each in patterns
    ]
    candidates = [
        candidate_of(network, built.spec, name=str(each or "dense"))
        for network, each in zip(networks, patterns, strict=True)
    ]
    checks, results = built.verify(candidates, folder)
    assert_agrees(checks, len(patterns))
    fill = compute_fill_cycles(array.chain_length, array.weight_rows_per_cycle)
    for candidate, pattern in zip(candidates, patterns, strict=True):
        registers = results[candidate.name].registers
        (layer,) = candidate.program.layers
        assert layer.dense_macs == rows * columns * channels * array.chains
        kept_macs = layer.dense_macs if pattern is None else layer.dense_macs * pattern.n // pattern.m
        assert layer.macs <= kept_macs  # a kept weight can be 0
        steady = registers["COMPUTE_BUSY"] - registers["COMPUTE_INSTRUCTIONS"] * fill
        assert kept_macs == steady * array.chains * array.chain_length * array.lanes, candidate.name
    assert any(results[each.name].registers["COMPUTE_INSTRUCTIONS"] == 1 for each in candidates)


def test_every_multiplier_works_in_every_cycle_but_the_fill(core: BuiltCore, tmp_path: Path) -> None:
    assert_steady_state(core, PATTERNS, tmp_path, 6, 8)


@pytest.mark.slow
def test_so_it_does_with_groups_of_16(wide_core: BuiltCore, tmp_path: Path) -> None:
    assert_steady_state(wide_core, (None, NmPattern(2, 16), NmPattern(4, 16), NmPattern(8, 16)), tmp_path, 4, 8)


def request(model: str, sparsity: str) -> SimulationRequest:
    return SimulationRequest(model=model, config="ecp5-tiny", sparsity=sparsity, shapes={}, advice=False)


@pytest.mark.parametrize("model", DIGITS)
def test_trained_digits_have_the_golden_class(model: str, core: BuiltCore, tmp_path: Path) -> None:
    compiled = compile_for(request(model, "dense" if model == "digits" else "keep"), core.spec, lambda stage: None)
    with np.load(Path(shipped_models()[model].path).parent / "digits-test.npz") as archive:
        images, labels = archive["image"][:IMAGES].astype(np.float64), archive["label"][:IMAGES].tolist()
    (name,) = compiled.network.inputs
    tensor = compiled.network.tensors[name]
    pixels = quantized(images.transpose(0, 2, 3, 1), tensor.quant)
    candidates = [
        Candidate(name=f"{model} {number}", program=compiled.program, inputs={name: each.reshape(tensor.shape)})
        for number, each in enumerate(pixels)
    ]
    checks, results = core.verify(candidates, tmp_path)
    assert_agrees(checks, IMAGES)
    classes, golden = [], []
    for candidate in candidates:
        (binding,) = candidate.program.outputs
        scores = read_tensor(results[candidate.name].memory, binding)
        values = run_layers(compiled.network, candidate.inputs)[binding.name]
        np.testing.assert_array_equal(scores, values)
        classes.append(int(scores.argmax()))
        golden.append(int(values.argmax()))
    right = sum(found == label for found, label in zip(classes, labels, strict=True))
    print(f"{model}: classes {classes}, golden {golden}, labels {labels}: {right} of {IMAGES} right")
    assert classes == golden
    assert right >= IMAGES - 1
    assert len(set(classes)) > 1


KINDS_OF_CLASSIFIER = {"conv", "depthwise", "global_average_pool", "mul", "add", "max_pool", "gemm", "softmax"}


def classifier_slices(core: BuiltCore, *slices: str | None) -> tuple[list[Candidate], set[str]]:
    """Return slices of PP-OCRv4's angle classifier, fed by the layers before them, and the kinds of their layers."""
    candidates = [
        candidate
        for each in slices
        for candidate in model_candidates(
            request("ppocr-cls", "dense"), core.spec, images=1, layers=each, seed=1, stage=lambda stage: None
        )
    ]
    return candidates, {layer.op for candidate in candidates for layer in candidate.program.layers}


def test_the_angle_classifier(core: BuiltCore, tmp_path: Path) -> None:
    """Its first layers and its last: a slice from the front that holds all kinds would be the whole network."""
    candidates, kinds = classifier_slices(core, "0:21", "78:")
    assert kinds == KINDS_OF_CLASSIFIER
    checks, _ = core.verify(candidates, tmp_path)
    assert_agrees(checks, 2)


def test_layers_that_take_turns(core: BuiltCore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take_turns(monkeypatch)
    candidates = []
    for kinds in MIXED:
        network, values = random_pair(kinds, seed=1)
        program = compile_network(network, core.spec, config_fingerprint=fingerprint(core.spec))
        candidates.append(Candidate(name=" and ".join(kinds), program=program, inputs=values))
    assert sum(engines_alternate(each.program) for each in candidates) >= 6
    checks, _ = core.verify(candidates, tmp_path)
    assert_agrees(checks, len(MIXED))


@pytest.mark.slow
def test_the_whole_angle_classifier(core: BuiltCore, tmp_path: Path) -> None:
    candidates, kinds = classifier_slices(core, None)
    assert kinds == KINDS_OF_CLASSIFIER
    checks, _ = core.verify(candidates, tmp_path)
    assert_agrees(checks, 1)


@pytest.mark.slow
def test_trained_digits_on_the_edge_core(tmp_path: Path) -> None:
    """The core of kv260-edge as shipped: 1,024 multipliers, two ports, UltraRAM."""
    report = gossamer.verify("digits-2x4", "kv260-edge", sparsity="keep", images=2)
    assert_agrees(list(report.programs), 2)


@pytest.mark.slow
def test_waveforms_and_traces_are_written(tmp_path: Path) -> None:
    report = gossamer.verify("gemm:4x8x8", "ecp5-tiny", waves=tmp_path / "waves", trace=tmp_path / "traces")
    assert_agrees(list(report.programs), 1)
    (trace,) = (tmp_path / "traces").iterdir()
    tracks = read_trace(trace)
    assert len(tracks) == 14
    for (process, name), track in tracks.items():
        other = tracks[process.replace("simulator", "RTL"), name]
        assert track.slices or track.counts
        assert (track.slices, track.counts) == (
            [replace(each, flows_out=mine.flows_out, flows_in=mine.flows_in)
             for each, mine in zip(other.slices, track.slices, strict=True)],
            other.counts,
        )  # fmt: skip
    assert report.waves is not None
    content = report.waves.read_bytes()
    assert len(content) > 10_000
    if report.waves.suffix == ".vcd":
        assert b"$enddefinitions" in content
        assert b"$scope module compute " in content
    waves = pywellen.Waveform(str(report.waves))
    widths = {variable.full_name: variable.length or 1 for variable in waves.all_vars()}
    listed = {signal.path: signal.bits for signals in signal_groups(core_spec()).values() for signal in signals}
    assert {path: widths.get(path) for path in listed} == listed
