"""Results, attribution and self-checks of the timing simulator on Programs small enough to check by hand."""

from dataclasses import replace

import numpy as np
import pytest
from hand_programs import small_spec
from timing_programs import timing_program

from gossamer.arch.errors import ProgramError, SelfCheckError
from gossamer.arch.isa import Engine, Opcode
from gossamer.arch.timing import COMPLETION_CYCLES, compute_cycles, compute_fill_cycles
from gossamer.dataflow.program import LayerRecord
from gossamer.sim import attribution, timing
from gossamer.sim.results import CycleClass, TrafficKind
from gossamer.sim.timing import peak_macs_per_cycle, simulate

LOAD_BIT, COMPUTE_BIT = 1, 2
WORK = {"ny": 2, "nx": 8, "n_ry": 1, "n_rx": 1, "run_words": 2, "steps": 8, "clear": 1}


def record(name: str = "layer", *, macs: int = 0, weight_bytes: int = 0) -> LayerRecord:
    return LayerRecord(
        name=name, op="conv", positions=16, channels=8, reduction=16, macs=macs, dense_macs=macs,
        weight_bytes=weight_bytes, index_bytes=0, pattern="dense",
    )  # fmt: skip


def one_compute(spec, **changes: int):
    chains = spec.array.chains
    layer = replace(record(macs=16 * chains * 2 * 8), **changes)
    return timing_program([(Opcode.COMPUTE, {**WORK, "chains_active": chains})], layers=(layer,), layer_of=[0])


def test_one_compute_is_divided_into_useful_fill_and_edges() -> None:
    spec = small_spec()
    array = spec.array
    result = simulate(one_compute(spec), spec)
    busy = compute_cycles(
        positions=16, runs=1, run_words=2, steps=8, chain_length=array.chain_length, lanes=array.lanes,
        weight_rows_per_cycle=array.weight_rows_per_cycle,
    )  # fmt: skip
    fill = compute_fill_cycles(array.chain_length, array.weight_rows_per_cycle)
    useful = result.macs // peak_macs_per_cycle(spec)
    assert result.engines[Engine.COMPUTE].busy == busy
    assert result.classes[CycleClass.FILL] == fill
    assert result.classes[CycleClass.COMPUTE] == useful > 0
    assert result.classes[CycleClass.EDGES] == busy - fill - useful
    assert result.classes[CycleClass.CONTROL] == result.total_cycles - busy
    assert sum(result.layers[0].classes.values()) == result.layers[0].cycles == result.total_cycles


def test_instruction_traffic_and_energy_are_counted() -> None:
    spec = small_spec()
    result = simulate(one_compute(spec), spec)
    assert result.traffic.read_bytes[TrafficKind.INSTRUCTIONS] == 2 * 64
    assert result.traffic.total_bytes == 2 * 64
    assert result.energy.total_j == pytest.approx(sum(result.energy.by_component_j.values()))
    assert result.energy.by_component_j["array"] > 0


def test_more_effective_macs_than_the_computes_issue_is_a_defect() -> None:
    spec = small_spec()
    slots = 16 * spec.array.chains * 2 * 8
    with pytest.raises(SelfCheckError, match=f"layer layer: its COMPUTE instructions .* {slots + 1} effective"):
        simulate(one_compute(spec, macs=slots + 1, dense_macs=0), spec)
    with pytest.raises(SelfCheckError, match=f"{slots + 1} dense"):
        simulate(one_compute(spec, macs=0, dense_macs=slots + 1), spec)


def test_weights_that_are_recorded_but_not_loaded_are_a_defect() -> None:
    spec = small_spec()
    with pytest.raises(SelfCheckError, match="must load its 64 distinct weights bytes, not 0"):
        simulate(one_compute(spec, weight_bytes=64), spec)


def test_a_program_without_end_is_refused() -> None:
    spec = small_spec()
    program = one_compute(spec)
    cut = replace(program, instructions=program.instructions[:1], layer_of=program.layer_of[:1])
    with pytest.raises(ProgramError, match=r"must have one END, its last instruction; found END at \[\]"):
        simulate(cut, spec)


def test_a_token_that_never_comes_is_a_deadlock() -> None:
    spec = small_spec()
    lines = [(Opcode.COMPUTE, {**WORK, "chains_active": 8, "wait": LOAD_BIT})]
    with pytest.raises(ProgramError, match=r"deadlock.*compute at instruction 0 \(waits for load\)"):
        simulate(timing_program(lines), spec)


def test_waiting_for_a_token_is_charged_to_its_giver() -> None:
    spec = small_spec()
    lines = [
        (Opcode.LOAD, {"ny": 1, "nx": 1, "dram": 8192, "run_bytes": 512, "release": COMPUTE_BIT}),
        (Opcode.COMPUTE, {**WORK, "chains_active": 8, "wait": LOAD_BIT}),
    ]
    result = simulate(timing_program(lines), spec, trace=True)
    assert result.trace is not None
    waited = int(result.trace.started[1] - result.trace.ready[1])
    assert result.engines[Engine.COMPUTE].waiting_token[Engine.LOAD] == waited > 0
    assert result.trace.started[1] == result.trace.completed[0] + COMPLETION_CYCLES


def test_classes_of_overlapping_spans_go_to_the_first_that_applies() -> None:
    starts = np.array([[10, 0], [5, 0], [0, 30], [12, 0]], dtype=np.int64)
    ends = np.array([[20, 0], [25, 0], [8, 40], [28, 0]], dtype=np.int64)
    counts = np.array([1, 1, 2, 1], dtype=np.int64)
    fill, useful = np.array([2], dtype=np.int64), np.array([6], dtype=np.int64)
    owners = np.array([[1, 0], [0, 0], [0, 1], [0, 0]], dtype=np.int64)
    classes = np.zeros((2, attribution.CLASSES), dtype=np.int64)
    attribution.classify(starts, ends, counts, fill, useful, owners, 45, classes)
    # layer 0: LOAD alone to 5, VECTOR to 10 and from 20 to 25, STORE to 28, nothing to 30
    assert classes[0].tolist() == [0, 0, 0, 5 + 3, 5 + 5, 2]
    # layer 1: COMPUTE from 10 to 20, 2 of fill, 8 cycles with 6/8 useful; LOAD from 30 to 40, nothing to 45
    assert classes[1].tolist() == [6, 2, 2, 10, 0, 5]


def test_more_tokens_than_a_semaphore_holds_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The RTL stops with TOKEN_OVERFLOW; a token less is fine."""
    most = 300
    monkeypatch.setattr(timing, "MOST_TOKENS", most)
    spec = small_spec()
    given = (Opcode.LOAD, {"ny": 0, "nx": 1, "run_bytes": 1, "pad_top": 1, "release": COMPUTE_BIT})
    full = timing_program([given] * most)
    assert simulate(full, spec).engines[Engine.LOAD].instructions == most
    words = np.concatenate([full.instructions[:1], full.instructions])
    program = replace(full, instructions=words, layer_of=np.full(len(words), -1, np.int32))
    message = f"instruction {most} gives compute a token while its semaphore for load holds {most}"
    with pytest.raises(ProgramError, match=message):
        simulate(program, spec)
