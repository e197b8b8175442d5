"""The DMA against the golden kernels (bytes) and the timing simulator (cycles), on a memory of cocotbext-axi."""

import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dma_cases import (
    MEMORY_BYTES,
    Job,
    dma_spec,
    expected_cycles,
    expected_state,
    expected_times,
    first_broken_burst,
    job_of,
    run_job,
    stream,
    transfer,
    transfers,
)

from gossamer.arch.isa import Opcode
from gossamer.arch.registers import ErrorCause
from gossamer.arch.spec import SparseAccelerator
from gossamer.arch.target import Target
from gossamer.rtl.dma.dma import Dma
from gossamer.rtl.dma.parameters import MemoryPort, PortSize, memory_port
from gossamer.rtl.testbench.axi_memory import BadSchedule, Schedule
from gossamer.rtl.testbench.simulate import SimulationFailed, build
from gossamer.rtl.verilog import VerilogModule, verilog_modules
from gossamer.rtl_run import cores_folder
from gossamer.sim import timing
from gossamer.sim.timing import fill_beats

SEED = int(os.environ.get("GOSSAMER_SEED", "411"))

PORTS = {
    "wide": {"data_bits": 256, "burst_beats": 32, "max_outstanding": 3},
    "tiny": {"data_bits": 32, "burst_beats": 8, "max_outstanding": 1},
    "long": {"data_bits": 128, "burst_beats": 256, "max_outstanding": 4},
    "four": {"ports": 4, "data_bits": 64, "burst_beats": 8, "max_outstanding": 2},
    "pair": {"ports": 2, "data_bits": 32, "burst_beats": 4, "max_outstanding": 3},
}
QUICK = ["wide", "tiny", "four", "pair"]
ECP5 = ["tiny", "four"]
"""Built for its multipliers, which multiply in two parts; the others for those of UltraScale+."""

LONG = pytest.param("long", marks=pytest.mark.slow)


MUTANTS = {
    "write_port": (r"assign wstrb = (.*);", "piece_strobe", "transfers"),
    "burst_cutter": (r"next_last_next = (_\d+);", "last_of_line", "transfers"),
    "piece_walker": (r"next_closes_next = (_\d+);", "1'h0", "transfers"),
    "fill_walker": (r"\bsides_next = (_\d+);", "1'h0", "transfers"),
    "transfer_setup": (r"chip_x_differs_next = (\{.*\});", "3'h0", "transfers"),
    "load": (r"assign written = (.*);", "take", "transfers"),
    "store": (r"assign control__done = (.*);", "all_sent", "transfers"),
    "fetch": (r"assign valid = (.*);", "1'h0", "program"),
    "read_port": (r"assign load_goes = (.*);", "shown ? shown_load : load_valid", "program"),
    "dma": (r"assign quiet = (.*);", "1'h0", "program"),
    "read_queue": (r"assign wrong = (.*);", "error", "errors"),
    "write_queue": (r"\broom_next = (_\d+);", "1'h1", "errors"),
    "gather": (r"assign ends = (.*);", "moves", "transfers"),
    "spread": (r"assign row_bvalid = (.*);", "|bvalid", "errors"),
}
"""One fault for each module: the expression that is replaced, by what, and the test of the bench that must see it.

Fault n is on while `dma.mutant` is n.
"""

MUTATED = {name: "tiny" for name in MUTANTS} | dict.fromkeys(
    ("read_port", "read_queue", "write_queue", "gather", "spread"), "pair"
)  # fmt: skip
"""Port in whose build each fault is."""


def with_mutants(name: str, modules: tuple[VerilogModule, ...]) -> list[VerilogModule]:
    """Return the modules with the faults of a build in them, switched by a register of the top."""
    changed = []
    for module in modules:
        if MUTATED.get(module.name) != name:
            if module.name == "dma":
                changed.append(replace(module, text=_with_switch(module.text)))
            else:
                changed.append(module)
            continue
        number = 1 + list(MUTANTS).index(module.name)
        pattern, fault, _ = MUTANTS[module.name]
        found = re.findall(pattern, module.text)
        assert len(found) == 1, f"{module.name}: {pattern} must match once, not {found}"
        switched = f"= (dma.mutant == {number}) ? ({fault.format(found[0])}) : ({found[0]});"
        switched = switched[1:] if "<= " + found[0] + ";" in module.text else switched
        text = module.text.replace(f"= {found[0]};", switched if switched[0] == "=" else "=" + switched, 1)
        changed.append(replace(module, text=_with_switch(text) if module.name == "dma" else text))
    return changed


def _with_switch(text: str) -> str:
    """Return the top with the register that switches faults on."""
    switch = "reg [7:0] mutant /*verilator public_flat_rw*/ = 0;"
    text = re.sub(r"(module dma\([^;]*;)", rf"\1\n  {switch}", text, count=1)
    assert " mutant " in text
    return text


def dma_of(name: str) -> Dma:
    """Return the component with the ports of that name."""
    spec = dma_spec(**PORTS[name])
    return Dma(memory_port(spec), spec.axi.ports, Target.ECP5 if name in ECP5 else Target.XCUP)


@pytest.fixture(scope="session")
def builds():
    """Return a function that builds the DMA of a port once."""
    made: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in made:
            modules = verilog_modules(dma_of(name))
            made[name] = build(with_mutants(name, modules) if name in MUTATED.values() else modules, cores_folder())
        return made[name]

    return get


def generator(*numbers: int) -> np.random.Generator:
    print(f"seed {SEED}, case {numbers}")
    return np.random.default_rng((SEED, *numbers))


def check_bytes(job: Job, outcome, skip: tuple[int, ...] = ()) -> None:
    """Check that something moved, nothing is on its way, and every byte."""
    memory, buffers = expected_state(job, skip)
    assert outcome.counts["reads"] > 0
    assert outcome.counts["writes"] > 0
    assert outcome.counts["pieces"] > 0
    assert outcome.counts["pieces_read"] > 0
    assert not outcome.counts["busy"]
    assert outcome.counts["quiet"]
    np.testing.assert_array_equal(outcome.arrays["memory"], memory)
    np.testing.assert_array_equal(outcome.arrays["buffers"], buffers)


@pytest.mark.parametrize("name", [*QUICK, LONG])
def test_transfers_take_the_simulators_cycles(name: str, builds, tmp_path: Path) -> None:
    random = generator(1)
    spec = dma_spec(**PORTS[name], channels=2, interleave_bytes=4096, latency_cycles=17)
    lines = transfers(random, 60)
    job = job_of(random, lines, spec, base=0x7_0000_1000, timed=True)
    outcome = run_job(builds(name), job, tmp_path, "transfers")
    check_bytes(job, outcome)
    expected = np.array([expected_cycles(line, spec) for line in lines])
    assert outcome.arrays["durations"].tolist() == expected[:, 0].tolist()
    assert outcome.counts["reads"] + outcome.counts["writes"] == expected[:, 2].sum()
    assert (outcome.arrays["faults"] == -1).all()
    waits = [moving_cycles(line, pieces, spec) for line, (_, pieces, _) in zip(lines, expected, strict=True)]
    assert (outcome.arrays["durations"] - outcome.arrays["waits"]).tolist() == waits


def moving_cycles(line: tuple[Opcode, dict[str, int]], pieces: int, spec: SparseAccelerator) -> int:
    """Return the cycles of a transfer that are not waiting for memory, as `_engine_cycles` counts them."""
    opcode, fields = line
    if opcode is Opcode.STORE:
        return timing.STORE_SETUP_CYCLES + pieces
    columns = {name: np.array([fields.get(name, 0)]) for name in (
        "pad_left", "pad_right", "pad_top", "pad_bottom", "ny", "nx", "dst_x", "run_bytes")}  # fmt: skip
    fill = fill_beats(columns, np.array([0]), spec.axi.row_bytes)
    setup = timing.LOAD_SETUP_CYCLES + timing.LOAD_MOVE_CYCLES
    return setup + int(fill[0]) + pieces + timing.LOAD_WRITE_CYCLES


@pytest.mark.parametrize(("beats_per_cycle", "latency_cycles"), [(0.4, 9), (0.8, 2), (3.0, 60)])
def test_slow_and_fast_channels(beats_per_cycle: float, latency_cycles: int, builds, tmp_path: Path) -> None:
    """Transfers through one port whose beats are single pieces take the simulator's cycles at any bandwidth."""
    random = generator(2)
    spec = dma_spec(
        **PORTS["wide"], channels=3, interleave_bytes=1024, beats_per_cycle=beats_per_cycle,
        latency_cycles=latency_cycles,
    )  # fmt: skip
    lines = []
    for opcode, fields in transfers(random, 50):
        chip = "dst" if opcode is Opcode.LOAD else "src"
        even = {name: fields[name] // 32 * 32 for name in ("dram", "dram_x", "dram_y", f"{chip}_x", f"{chip}_y")}
        run = even["run_bytes"] = -(-fields["run_bytes"] // 32) * 32
        if opcode is Opcode.STORE:  # writes no byte twice
            even["dram_x"] = max(even["dram_x"], run)
            even["dram_y"] = max(even["dram_y"], (fields["nx"] - 1) * even["dram_x"] + run)
        if fields.get("dst_e", 1) == 1 and not any(f"pad_{side}" in fields for side in ("top", "left")):
            lines.append((opcode, fields | even))
    assert len(lines) > 20
    job = job_of(random, lines, spec, timed=True)
    outcome = run_job(builds("wide"), job, tmp_path, "transfers")
    check_bytes(job, outcome)
    assert outcome.arrays["durations"].tolist() == [expected_cycles(line, spec)[0] for line in lines]


@pytest.mark.parametrize("case", range(20))
def test_random_back_pressure(case: int, builds, tmp_path: Path) -> None:
    random = generator(3, case)
    name = QUICK[case % len(QUICK)]
    lines = [*transfers(random, 10, most=300), transfer(random, Opcode.LOAD), transfer(random, Opcode.STORE)]
    stall, refuse = float(random.choice([0.1, 0.4, 0.7])), float(random.choice([0.0, 0.3, 0.8]))
    job = job_of(random, lines, dma_spec(**PORTS[name]), base=(9 << 40) + 0x3C0, stall=stall, refuse=refuse)
    outcome = run_job(builds(name), job, tmp_path, "transfers")
    check_bytes(job, outcome)


def broken_ranges(random: np.random.Generator, low: int, high: int) -> list[range]:
    """Return short ranges of bytes in [low, high)."""
    starts = random.integers(low, high, 80).tolist()
    return [range(start, start + int(random.integers(1, 30))) for start in starts]


@pytest.mark.parametrize("name", QUICK)
def test_error_responses_raise_faults(name: str, builds, tmp_path: Path) -> None:
    check_errors(name, builds, tmp_path)


def check_errors(name: str, builds, tmp_path: Path, **settings: int) -> None:
    """Check transfers of which those from 64 KiB on meet errors; their buffer and memory are not compared."""
    random = generator(4)
    spec, base = dma_spec(**PORTS[name]), 0x3_0000_0040
    here = base % MEMORY_BYTES
    spans = {Opcode.LOAD: (0x10000, 0x16000), Opcode.STORE: (0x16000, 0x1F000)}
    lines, bad = [], {}
    broken = {opcode: broken_ranges(random, *span) for opcode, span in spans.items()}
    absolute = [range(span.start + here, span.stop + here) for each in broken.values() for span in each]
    for number in range(60):
        opcode = Opcode(int(random.choice([Opcode.LOAD, Opcode.STORE])))
        if number % 3:
            line = transfer(random, opcode, most=600, low=spans[opcode][0], high=spans[opcode][1])
            moved = (opcode, line[1] | {"dram": line[1]["dram"] + here})
            burst = first_broken_burst(moved, spec, absolute)
            if opcode is Opcode.LOAD:
                line[1]["space"] = 3
            if burst is not None and line[1]["ny"]:
                bad[number] = (int(responses[opcode]), burst - here)
        else:
            low, high = (0, 0x8000) if opcode is Opcode.LOAD else (0x8000, 0x10000)
            line = transfer(random, opcode, most=600, low=low, high=high)
            if opcode is Opcode.LOAD:
                line[1]["space"] = int(random.integers(0, 3))
        lines.append(line)
    broken_bytes = [[span.start, span.stop] for span in absolute]
    job = job_of(random, lines, spec, base=base, stall=0.3, broken=broken_bytes, **settings)
    outcome = run_job(builds(name), job, tmp_path, "transfers")
    assert len(bad) > 10
    expected = [bad.get(number, (-1, -1)) for number in range(len(lines))]
    assert [tuple(fault) for fault in outcome.arrays["faults"]] == expected
    memory, buffers = expected_state(job, tuple(bad))
    clear = here + spans[Opcode.STORE][0]
    np.testing.assert_array_equal(outcome.arrays["memory"][:clear], memory[:clear])
    np.testing.assert_array_equal(outcome.arrays["buffers"][:3], buffers[:3])
    assert not outcome.counts["busy"]


responses = {Opcode.LOAD: ErrorCause.READ_RESPONSE, Opcode.STORE: ErrorCause.WRITE_RESPONSE}

WRONG_FIELDS = [
    (Opcode.LOAD, {"nx": 0}), (Opcode.LOAD, {"run_bytes": 0}), (Opcode.LOAD, {"dst_e": 0}), (Opcode.LOAD, {"ny": 0}),
    (Opcode.LOAD, {"ny": 0, "pad_left": 3}), (Opcode.LOAD, {"dst_e": 2, "pad_right": 1}),
    (Opcode.LOAD, {"dst_e": 2, "pad_top": 1}), (Opcode.LOAD, {"nx": 1024, "run_bytes": 65536, "ny": 1}),
    (Opcode.LOAD, {"nx": 1, "run_bytes": 65536, "ny": 1024}), (Opcode.STORE, {"nx": 0}), (Opcode.STORE, {"ny": 0}),
    (Opcode.STORE, {"run_bytes": 0}), (Opcode.STORE, {"nx": 65535, "run_bytes": (1 << 20) - 1, "ny": 65535}),
]  # fmt: skip


def test_fields_that_cannot_be_executed_raise_faults(builds, tmp_path: Path) -> None:
    random = generator(5)
    good = {"ny": 1, "nx": 2, "run_bytes": 9, "dram_x": 16, "dram": 64}
    lines = [
        (opcode, good | ({"dst_e": 1, "dst_x": 9} if opcode is Opcode.LOAD else {"src_x": 9}) | wrong)
        for opcode, changes in WRONG_FIELDS
        for wrong in (changes, {})
    ]
    job = job_of(random, lines, dma_spec(**PORTS["wide"]))
    outcome = run_job(builds("wide"), job, tmp_path, "transfers")
    assert outcome.arrays["faults"][::2].tolist() == [[ErrorCause.FIELD, 0]] * len(WRONG_FIELDS)
    assert outcome.arrays["faults"][1::2].tolist() == [[-1, -1]] * len(WRONG_FIELDS)
    check_bytes(job, outcome, tuple(range(0, len(lines), 2)))


def stream_job(random: np.random.Generator, count: int, spec: SparseAccelerator, **settings):
    """Return lines of a stream without END, and its job with the instructions in memory."""
    lines = stream(random, count)
    job = job_of(random, [*lines, (Opcode.END, {})], spec, **settings)
    start = job.settings["base"] % MEMORY_BYTES
    job.memory[start : start + job.words.size] = job.words.reshape(-1)
    return lines, job


@pytest.mark.parametrize(
    ("name", "count", "memory"),
    [
        ("wide", 100, {"channels": 2, "interleave_bytes": 1024, "beats_per_cycle": 1.0, "latency_cycles": 13}),
        ("wide", 15, {"channels": 1, "beats_per_cycle": 2.5, "latency_cycles": 2}),
        pytest.param("long", 60, {"channels": 1, "beats_per_cycle": 1.0, "latency_cycles": 40}, marks=pytest.mark.slow),
        ("tiny", 40, {"channels": 2, "interleave_bytes": 32, "beats_per_cycle": 1.6, "latency_cycles": 6}),
        ("four", 80, {"channels": 3, "interleave_bytes": 256, "beats_per_cycle": 1.0, "latency_cycles": 11}),
        ("four", 40, {"channels": 2, "interleave_bytes": 64, "beats_per_cycle": 0.3, "latency_cycles": 60}),
        ("pair", 60, {"channels": 1, "beats_per_cycle": 1.4, "latency_cycles": 2}),
    ],
)
def test_streams_take_the_simulators_cycles(name: str, count: int, memory, builds, tmp_path: Path) -> None:
    random = generator(6, count)
    spec = dma_spec(**PORTS[name], **memory)
    lines, job = stream_job(random, count, spec, base=4096, timed=True)
    outcome = run_job(builds(name), job, tmp_path, "program")
    check_bytes(job, outcome)
    assert outcome.arrays["stream"].tolist() == job.words.reshape(-1).tolist()
    assert outcome.arrays["times"].tolist() == expected_times(lines, spec).tolist()
    assert outcome.arrays["faults"].size == 0


@pytest.mark.parametrize("case", range(len(QUICK)))
def test_streams_under_back_pressure(case: int, builds, tmp_path: Path) -> None:
    random = generator(7, case)
    name = QUICK[case]
    spec = dma_spec(**PORTS[name])
    _, job = stream_job(random, 50, spec, base=0x880, stall=0.4, refuse=0.3)
    outcome = run_job(builds(name), job, tmp_path, "program")
    check_bytes(job, outcome)
    assert outcome.arrays["stream"].tolist() == job.words.reshape(-1).tolist()


@pytest.mark.parametrize(
    ("name", "count", "stall", "memory"),
    [
        ("wide", 5, 0.3, {"latency_cycles": 7}),
        ("wide", 60, 0.25, {"channels": 2, "interleave_bytes": 1024, "beats_per_cycle": 1.6, "latency_cycles": 13}),
        ("wide", 40, 0.7, {"channels": 1, "beats_per_cycle": 0.3, "latency_cycles": 2}),
        ("tiny", 40, 0.25, {"channels": 2, "interleave_bytes": 32, "beats_per_cycle": 1.6, "latency_cycles": 6}),
        ("four", 60, 0.25, {"channels": 2, "interleave_bytes": 1024, "beats_per_cycle": 1.6, "latency_cycles": 13}),
        ("pair", 40, 0.6, {"channels": 1, "beats_per_cycle": 0.4, "latency_cycles": 2}),
        pytest.param("long", 60, 0.5, {"channels": 1, "latency_cycles": 40}, marks=pytest.mark.slow),
    ],
)
def test_stalled_streams_take_the_simulators_cycles(name, count, stall, memory, builds, tmp_path: Path) -> None:
    """Every instruction's times are equal to the cycle if both see the same pauses of the port's channels."""
    random = generator(10, count)
    spec = dma_spec(**PORTS[name], **memory)
    lines, job = stream_job(random, count, spec, base=4096, timed=True, stall=stall)
    outcome = run_job(builds(name), job, tmp_path, "program")
    check_bytes(job, outcome)
    pauses = outcome.arrays["pauses"].T.astype(bool)
    assert outcome.arrays["times"].tolist() == expected_times(lines, spec, pauses).tolist()
    if pauses.shape[1] > 1000:
        assert pauses.mean(axis=1) == pytest.approx([stall] * 5, abs=0.08)
    assert outcome.arrays["times"].tolist() != expected_times(lines, spec).tolist(), "the pauses did nothing"


def test_error_in_the_stream_raises_a_fault(builds, tmp_path: Path) -> None:
    random = generator(8)
    spec = dma_spec(**PORTS["wide"])
    _, job = stream_job(random, 50, spec, base=4096, stall=0.2, broken=[[4096 + 33 * 64 + 5, 4096 + 33 * 64 + 6]])
    outcome = run_job(builds("wide"), job, tmp_path, "program")
    burst = 33 * 64 // 1024 * 1024
    assert outcome.arrays["faults"].tolist() == [[ErrorCause.READ_RESPONSE, burst]]
    seen = outcome.arrays["stream"]
    assert 0 < seen.size <= burst
    assert seen.tolist() == job.words.reshape(-1)[: seen.size].tolist()
    assert outcome.counts["quiet"]


def check_mutant(builds, tmp_path: Path, name: str, mutant: int, test: str) -> None:
    """Run a job with a fault switched on and check it as above."""
    random = generator(9)
    spec = dma_spec(**PORTS[name])
    if test == "errors":
        check_errors(name, builds, tmp_path, mutant=mutant, limit=50_000)
        return
    if test == "program":  # far longer than what FETCH holds, so that LOAD and FETCH request in the same cycle
        lines, job = stream_job(random, 80, spec, base=4096, timed=True, limit=30_000, mutant=mutant)
        outcome = run_job(builds(name), job, tmp_path, test)
        assert outcome.arrays["times"].tolist() == expected_times(lines, spec).tolist()
    else:
        lines = transfers(random, 30)
        job = job_of(random, lines, spec, timed=True, limit=40_000, mutant=mutant)
        outcome = run_job(builds(name), job, tmp_path, test)
        assert outcome.arrays["durations"].tolist() == [expected_cycles(line, spec)[0] for line in lines]
    check_bytes(job, outcome)


@pytest.mark.parametrize("name", sorted(set(MUTATED.values())))
@pytest.mark.parametrize("test", ["transfers", "program", "errors"])
def test_no_fault_is_found_without_one(test: str, name: str, builds, tmp_path: Path) -> None:
    check_mutant(builds, tmp_path, name, 0, test)


@pytest.mark.parametrize("module", MUTANTS)
def test_mutants_are_found(module: str, builds, tmp_path: Path) -> None:
    with pytest.raises((AssertionError, SimulationFailed)):
        check_mutant(builds, tmp_path, MUTATED[module], list(MUTANTS).index(module) + 1, MUTANTS[module][2])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"beat_bytes": 3}, "`beat_bytes` of the memory port must be a power of two, not 3"),
        ({"beat_bytes": 2}, "`beat_bytes` of the memory port must be 4 to 256, not 2"),
        ({"burst_bytes": 4}, r"`burst_bytes` of the memory port must be 8 \(a beat\) to 2048, not 4"),
        ({"max_outstanding": 0}, "`max_outstanding` of the memory port must be at least 1, not 0"),
    ],
)
def test_bad_ports_are_refused(changes: dict[str, int], message: str) -> None:
    with pytest.raises(PortSize, match=message):
        MemoryPort(**({"beat_bytes": 8, "burst_bytes": 128, "max_outstanding": 4} | changes))


def test_schedules_the_model_cannot_keep_are_refused() -> None:
    with pytest.raises(BadSchedule, match="`latency_cycles` must be at least 2 for this model, not 1"):
        Schedule(beat_bytes=8, channels=1, interleave_bytes=4096, beat_ticks=65536, latency_cycles=1)


def test_verilog_does_not_grow_with_the_port() -> None:
    lines = [sum(module.text.count("\n") for module in verilog_modules(dma_of(name))) for name in ("wide", "long")]
    assert max(lines) < 1.02 * min(lines)
