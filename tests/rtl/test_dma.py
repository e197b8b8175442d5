"""The DMA against the golden kernels (bytes) and the timing simulator (cycles), on a memory of cocotbext-axi."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
from dma_cases import (
    Job,
    dma_spec,
    expected_cycles,
    expected_state,
    job_of,
    run_job,
    transfer,
    transfers,
)

from gossamer.arch.isa import Opcode
from gossamer.arch.registers import ErrorCause
from gossamer.arch.spec import SparseAccelerator
from gossamer.rtl.dma.dma import Dma
from gossamer.rtl.dma.parameters import memory_port
from gossamer.rtl.testbench.simulate import SimulationFailed, build
from gossamer.rtl.verilog import VerilogModule, verilog_modules
from gossamer.sim import timing
from gossamer.sim.timing import fill_beats

SEED = int(os.environ.get("GOSSAMER_SEED", "411"))

PORTS = {
    "narrow": {"data_bits": 64, "burst_beats": 16, "max_outstanding": 4},
    "wide": {"data_bits": 256, "burst_beats": 128, "max_outstanding": 3},
    "tiny": {"data_bits": 32, "burst_beats": 8, "max_outstanding": 1},
}


@pytest.fixture(scope="session")
def builds(tmp_path_factory: pytest.TempPathFactory):
    """Return a function that builds the DMA of a port once."""
    folder = tmp_path_factory.mktemp("dma")
    made: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in made:
            made[name] = build(verilog_modules(Dma(memory_port(dma_spec(**PORTS[name])))), folder)
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


@pytest.mark.parametrize("name", PORTS)
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
    fill = fill_beats(columns, np.array([0]), spec.axi.data_bits // 8)
    return timing.LOAD_SETUP_CYCLES + int(fill[0]) + pieces


@pytest.mark.parametrize(("beats_per_cycle", "latency_cycles"), [(0.4, 9), (0.8, 2), (3.0, 60)])
def test_slow_and_fast_channels(beats_per_cycle: float, latency_cycles: int, builds, tmp_path: Path) -> None:
    """Transfers whose beats are single pieces take the simulator's cycles at any bandwidth."""
    random = generator(2)
    spec = dma_spec(
        **PORTS["narrow"], channels=3, interleave_bytes=256, beats_per_cycle=beats_per_cycle,
        latency_cycles=latency_cycles,
    )  # fmt: skip
    lines = []
    for opcode, fields in transfers(random, 50):
        chip = "dst" if opcode is Opcode.LOAD else "src"
        even = {name: fields[name] // 8 * 8 for name in ("dram", "dram_x", "dram_y", f"{chip}_x", f"{chip}_y")}
        even["run_bytes"] = -(-fields["run_bytes"] // 8) * 8
        if fields.get("dst_e", 1) == 1 and not any(f"pad_{side}" in fields for side in ("top", "left")):
            lines.append((opcode, fields | even))
    assert len(lines) > 20
    job = job_of(random, lines, spec, timed=True)
    outcome = run_job(builds("narrow"), job, tmp_path, "transfers")
    check_bytes(job, outcome)
    assert outcome.arrays["durations"].tolist() == [expected_cycles(line, spec)[0] for line in lines]


@pytest.mark.parametrize("case", range(20))
def test_random_back_pressure(case: int, builds, tmp_path: Path) -> None:
    random = generator(3, case)
    name = list(PORTS)[case % len(PORTS)]
    lines = [*transfers(random, 12, most=400), transfer(random, Opcode.LOAD), transfer(random, Opcode.STORE)]
    stall, refuse = float(random.choice([0.1, 0.5, 0.9])), float(random.choice([0.0, 0.3, 0.8]))
    job = job_of(random, lines, dma_spec(**PORTS[name]), base=(9 << 40) + 0x3C0, stall=stall, refuse=refuse)
    outcome = run_job(builds(name), job, tmp_path, "transfers")
    check_bytes(job, outcome)
