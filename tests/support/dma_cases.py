"""Random LOADs and STOREs for the DMA, what they do to memory and buffers, and the bench that runs them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hand_programs import small_spec
from numpy.typing import NDArray
from timing_programs import timing_program
from timing_twin import bytes_of

from gossamer.arch.encoding import decode, encode
from gossamer.arch.isa import ENGINES, Engine, Opcode
from gossamer.arch.spec import SparseAccelerator
from gossamer.rtl.dma.parameters import port_prefixes
from gossamer.rtl.testbench.simulate import run
from gossamer.sim import engine
from gossamer.sim.golden import executor_kernels
from gossamer.sim.offchip import offchip_timing
from gossamer.sim.timing import run_program

MEMORY_BYTES, BUFFER_BYTES = 1 << 17, 1 << 14
BENCHES = Path(__file__).parents[1] / "rtl" / "benches"

Line = tuple[Opcode, dict[str, int]]


def dma_spec(
    *, data_bits: int, burst_beats: int, max_outstanding: int, channels: int = 1, interleave_bytes: int = 4096,
    beats_per_cycle: float = 1.0, latency_cycles: int = 20, ports: int = 1,
) -> SparseAccelerator:  # fmt: skip
    """Return a config whose memory gives `beats_per_cycle` per channel after `latency_cycles`."""
    spec = small_spec()
    axi = spec.axi.model_copy(
        update={"ports": ports, "data_bits": data_bits, "burst_beats": burst_beats, "max_outstanding": max_outstanding}
    )
    bandwidth = beats_per_cycle * data_bits / 8 * spec.clock_mhz / 1000.0
    off_chip = spec.off_chip.model_copy(
        update={"channels": channels, "channel_bandwidth_gb_s": bandwidth, "efficiency": 1.0,
                "latency_ns": latency_cycles * 1000.0 / spec.clock_mhz, "interleave_bytes": interleave_bytes}
    )  # fmt: skip
    return spec.model_copy(update={"axi": axi, "off_chip": off_chip})


def _pitch(random: np.random.Generator, contiguous: int, most: int) -> int:
    """Return a distance between things of `contiguous` bytes: exactly that, a bit more, or any."""
    kind = random.integers(0, 4)
    if kind < 2:
        return contiguous
    return contiguous + int(random.integers(1, 9)) if kind == 2 else int(random.integers(1, most))


def transfer(
    random: np.random.Generator, opcode: Opcode, *, most: int = 1500, low: int = 0, high: int = MEMORY_BYTES // 2
) -> Line:
    """Return a random LOAD or STORE of about `most` bytes that fits the buffers and off-chip bytes [low, high)."""
    chip = "dst" if opcode is Opcode.LOAD else "src"
    while True:
        run = int(random.integers(1, int(random.choice([4, 20, 200, most]))))
        nx = int(random.integers(1, 2 + min(6, most // run)))
        ny = int(random.integers(1, 2 + min(5, most // (run * nx))))
        fields = {"ny": ny, "nx": nx, "run_bytes": run}
        dram_x, chip_x = _pitch(random, run, 300), _pitch(random, run, 300)
        if opcode is Opcode.STORE:
            dram_x = max(dram_x, run)  # a STORE writes no byte twice
        extra = {}
        if opcode is Opcode.LOAD:
            extra = {"dst_e": 1, "space": int(random.integers(0, 4)), "fill": int(random.integers(0, 256))}
            if random.random() < 0.2:
                extra["dst_e"] = int(random.choice([2, 3, 8, 16]))
            elif random.random() < 0.5:
                for side in ("top", "bottom", "left", "right"):
                    extra[f"pad_{side}"] = int(random.choice([0, 0, 1, 2, 5, 8, 9, 17, 40]))
                if random.random() < 0.2 and extra["pad_top"] + extra["pad_bottom"]:
                    fields["ny"] = 0
        line = extra.get("pad_left", 0) + (nx - 1) * chip_x + (run - 1) * extra.get("dst_e", 1) + 1
        line += extra.get("pad_right", 0)
        dram_y = _pitch(random, (nx - 1) * dram_x + run, 5000)
        if opcode is Opcode.STORE:
            dram_y = max(dram_y, (nx - 1) * dram_x + run)
        chip_y = line + int(random.choice([0, 0, 1, 7])) if extra.get("pad_left", 0) + extra.get("pad_right", 0) else (
            _pitch(random, line, 500)
        )  # fmt: skip
        lines = fields["ny"] + extra.get("pad_top", 0) + extra.get("pad_bottom", 0)
        on_chip = (lines - 1) * chip_y + line
        off_chip = (ny - 1) * dram_y + (nx - 1) * dram_x + run
        if extra.get("pad_top", 0) + extra.get("pad_bottom", 0) and chip_y < line:
            continue
        if on_chip + 256 < BUFFER_BYTES and off_chip < high - low:
            fields |= {"dram_x": dram_x, "dram_y": dram_y, f"{chip}_x": chip_x, f"{chip}_y": chip_y} | extra
            fields["dram"] = int(random.integers(low, high - off_chip))
            fields[chip] = int(random.integers(0, BUFFER_BYTES - on_chip - 128))
            return opcode, fields


def transfers(random: np.random.Generator, count: int, *, most: int = 1500) -> list[Line]:
    return [transfer(random, Opcode(int(random.choice([Opcode.LOAD, Opcode.STORE]))), most=most) for _ in range(count)]


READ_BYTES = 15 * 4096
"""Off-chip bytes that streams read; they write those behind. So no transfer depends on when another one is done."""


def stream(random: np.random.Generator, count: int, *, most: int = 300) -> list[Line]:
    """Return random LOADs and STOREs that wait for each other's tokens, and do not touch each other's bytes."""
    balance = {Opcode.LOAD: [0, 0], Opcode.STORE: [0, 0]}
    bits = {Opcode.LOAD: 1 << ENGINES.index(Engine.LOAD), Opcode.STORE: 1 << ENGINES.index(Engine.STORE)}
    lines = []
    for _ in range(count):
        opcode = Opcode(int(random.choice([Opcode.LOAD, Opcode.STORE])))
        low, high = (0, READ_BYTES) if opcode is Opcode.LOAD else (READ_BYTES, MEMORY_BYTES - 4096)
        _, fields = transfer(random, opcode, most=most, low=low, high=high)
        if opcode is Opcode.LOAD:
            fields["space"] = int(random.integers(1, 4))
        fields["wait"] = fields["release"] = 0
        for number, other in enumerate(bits):
            if balance[opcode][number] and random.random() < 0.6:
                balance[opcode][number] -= 1
                fields["wait"] |= bits[other]
        for taker in bits:
            if random.random() < 0.4:
                fields["release"] |= bits[taker]
                balance[taker][list(bits).index(opcode)] += 1
        lines.append((opcode, fields))
    return lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What one run of the bench starts from; `base` is where the program's memory begins."""

    words: NDArray[np.uint8]
    memory: NDArray[np.uint8]
    buffers: NDArray[np.uint8]
    settings: dict[str, Any]


def job_of(random: np.random.Generator, lines: Sequence[Line], spec: SparseAccelerator, *, base: int = 0,
           timed: bool = False, **settings: Any) -> Job:  # fmt: skip
    """Return a job with random memory and buffers; `timed`: the memory keeps the config's timing."""
    memory = offchip_timing(spec)
    every = {"base": base, "seed": int(random.integers(1 << 30)), "row_bytes": memory.row_bytes, "stall": 0.0,
             "masters": [prefix.removesuffix("_") for prefix in port_prefixes(memory.ports) if prefix],
             "refuse": 0.0, "broken": [], "queue_depth": spec.dispatch.queue_depth, "limit": 400_000,
             "mutant": 0} | settings  # fmt: skip
    if timed:
        every["schedule"] = {
            name: getattr(memory, name)
            for name in ("beat_bytes", "channels", "interleave_bytes", "beat_ticks", "latency_cycles")
        }
    return Job(
        words=np.stack([encode(opcode, fields) for opcode, fields in lines]),
        memory=random.integers(0, 256, MEMORY_BYTES, dtype=np.uint8),
        buffers=random.integers(0, 256, (4, BUFFER_BYTES), dtype=np.uint8),
        settings=every,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run of the bench left: arrays of the results file, and its counters."""

    arrays: Mapping[str, NDArray[Any]]
    counts: dict[str, int]


def run_job(build: Path, job: Job, folder: Path, test: str) -> Outcome:
    """Run one test of the bench."""
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "job.npz", words=job.words, memory=job.memory, buffers=job.buffers)
    (folder / "settings.json").write_text(json.dumps(job.settings))
    run(
        build, "dma", "dma_bench", folder=folder, environment={"GOSSAMER_JOB": str(folder)}, python_path=[BENCHES],
        test_filter=test,
    )  # fmt: skip
    with np.load(folder / "results.npz") as arrays:
        return Outcome(arrays=dict(arrays), counts=json.loads((folder / "counts.json").read_text()))


def expected_state(job: Job, skip: Sequence[int] = ()) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return memory and buffers after all transfers but those in `skip`, by the golden executor's kernels."""
    memory, buffers = job.memory.copy(), job.buffers.copy()
    window = memory[job.settings["base"] % MEMORY_BYTES :]
    for at, word in enumerate(job.words):
        fields = decode(word)
        row = np.array([fields.get(name, 0) for name in executor_kernels.RUN_FIELDS], dtype=np.int64)
        if at in skip or fields["opcode"] == Opcode.END:
            continue
        if fields["opcode"] == Opcode.LOAD:
            executor_kernels.load(row, window, buffers[fields["space"]])
        else:
            executor_kernels.store(row, window, buffers[0])
    return memory, buffers


def expected_cycles(line: Line, spec: SparseAccelerator) -> tuple[int, int, int]:
    """Return cycles, pieces and bursts of one LOAD or STORE alone, by the timing simulator."""
    result = run_program(timing_program([line]), spec)
    cycles = result.times[0, engine.COMPLETED] - result.times[0, engine.STARTED]
    return int(cycles), int(result.traffic[0, engine.PIECES]), int(result.traffic[0, engine.BURSTS])


def expected_times(
    lines: Sequence[Line], spec: SparseAccelerator, stalls: NDArray[np.bool_] | None = None
) -> NDArray[np.int64]:
    """Return the cycles each instruction of a stream is dispatched, started and completed, END included."""
    result = run_program(timing_program(list(lines)), spec, stalls=stalls)
    return result.times[:, [engine.DISPATCHED, engine.STARTED, engine.COMPLETED]]


def first_broken_burst(line: Line, spec: SparseAccelerator, broken: Sequence[range]) -> int | None:
    """Return the address of the first burst of a transfer that touches a broken range, byte by byte.

    A read touches whole rows, a write the bytes it writes.
    """
    opcode, fields = line
    memory = offchip_timing(spec)
    width = memory.row_bytes if opcode is Opcode.LOAD else 1
    for pairs in bytes_of(fields, "dst" if opcode is Opcode.LOAD else "src"):
        for at, (address, _) in enumerate(pairs):
            place = address // width * width
            if at == 0 or address % memory.burst_bytes == 0:
                burst = place if memory.ports > 1 and opcode is Opcode.LOAD else address
            if any(span.start < place + width and place < span.stop for span in broken):
                return burst
    return None
