"""Run COMPUTE instructions back to back on the engine, with buffers of fixed latency; read the accumulator back.

Runs inside the simulator. What to do and what to expect is in the npz file `GOSSAMER_CASE`.
"""

import os
from collections import deque
from random import Random

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge

LATENCY = 3
FIELD_FAULT = 4
"""`gossamer.arch.registers.ErrorCause.FIELD`."""

SETUP_CYCLES = 5
"""From the start of an instruction to the first cycle in which a read of its half conflicts."""

VISIBLE_CYCLES = 4
"""From the end of an instruction to the first request that sees what it wrote."""


class Buffer:
    """A buffer whose data are on its port only in the third cycle after a request; noise at any other time."""

    def __init__(self, port, data: bytes, *, lanes: int, length: int, noise: Random) -> None:
        self.valid, self.address, self.port = (port(name) for name in ("valid", "address", "data"))
        self.data, self.lanes, self.length, self.noise = data * 2, lanes, length, noise
        self.size = len(data)
        self.pending: deque[int | None] = deque([None] * (LATENCY - 1))
        self.requests = 0

    def drive(self) -> None:
        """Answer the request of three cycles ago."""
        value = self.pending.popleft()
        bits = len(self.port)
        self.port.value = (self.noise.getrandbits(bits) if value is None else value) & ((1 << bits) - 1)

    def sample(self) -> None:
        """Take this cycle's request."""
        if not int(self.valid.value):
            self.pending.append(None)
            return
        self.requests += 1
        addresses, row = int(self.address.value), b""
        for lane in range(self.lanes):
            at = (addresses >> (26 * lane) & (1 << 26) - 1) % self.size
            row += self.data[at : at + self.length]
        self.pending.append(int.from_bytes(row, "little"))


class Bench:
    """Steps the clock and keeps the buffers going."""

    def __init__(self, dut, case) -> None:
        self.dut, self.cycle = dut, 0
        group, chains, length, lanes, rows, self.vector_lanes = case["shape"].tolist()
        noise = Random(int(os.environ["GOSSAMER_SEED"]))
        index_bytes = rows * chains * (group.bit_length() - 1) // 8
        self.buffers = [
            Buffer(lambda name, short=short: getattr(dut, f"{short}_{name}"), case[buffer].tobytes(), lanes=ports,
                   length=size, noise=noise)
            for short, buffer, ports, size in (
                ("act", "activation", lanes, length * group), ("weight", "weight", 1, rows * chains),
                ("index", "index", 1, index_bytes),
            )
        ]  # fmt: skip

    async def settle(self) -> None:
        """Let this cycle's outputs settle, once its inputs are set."""
        await ReadOnly()
        for buffer in self.buffers:
            buffer.sample()

    async def next(self) -> None:
        """Begin the next cycle."""
        await RisingEdge(self.dut.clk)
        self.cycle += 1
        for buffer in self.buffers:
            buffer.drive()

    async def reset(self) -> None:
        """Start the clock and reset."""
        Clock(self.dut.clk, 10, "ns").start()
        await self.restart()

    async def restart(self) -> None:
        """Reset; the next cycle may start an instruction."""
        for name in ("control__start", "acc_valid", "acc_entry", "acc_channel"):
            getattr(self.dut, name).value = 0
        self.dut.rst.value = 1
        for _ in range(3):
            await self.settle()
            await self.next()
        self.dut.rst.value = 0

    def begin(self, word: bytes) -> None:
        """Start an instruction in this cycle."""
        self.dut.control__start.value = 1
        self.dut.control__instruction.value = int.from_bytes(word, "little")

    async def execute(self, word: bytes) -> int:
        """Start one instruction now and return its cycles; the next may start in the cycle that has then begun."""
        self.begin(word)
        start = self.cycle
        while True:
            await self.settle()
            assert not int(self.dut.control__fault.value), "fault"
            assert not int(self.dut.control__waiting.value)
            if int(self.dut.control__done.value):
                break
            assert self.cycle - start < 20_000, "no end"
            await self.next()
            self.dut.control__start.value = 0
            self.dut.control__instruction.value = 0
        await self.next()
        self.dut.control__start.value = 0
        return self.cycle - start

    async def read(self, requests: list[tuple[int, int]]) -> list[list[int]]:
        """Read `vector_lanes` sums for each (entry, channel), one request per cycle."""
        answers = []
        for at in range(len(requests) + LATENCY):
            if at < len(requests):
                self.dut.acc_valid.value = 1
                self.dut.acc_entry.value, self.dut.acc_channel.value = requests[at]
            else:
                self.dut.acc_valid.value = 0
            await self.settle()
            if at >= LATENCY:
                assert not int(self.dut.acc_conflict.value)
                raw = int(self.dut.acc_data.value).to_bytes(4 * self.vector_lanes, "little")
                answers.append(np.frombuffer(raw, dtype="<i4"))
            await self.next()
        return answers


@cocotb.test()
async def instructions(dut) -> None:
    """Every instruction takes the cycles of the closed form, and leaves the sums of the golden kernel."""
    case = np.load(os.environ["GOSSAMER_CASE"])
    group, chains = int(case["shape"][0]), int(case["shape"][1])
    bench = Bench(dut, case)
    if "GOSSAMER_MUTANT" in os.environ:
        dut.mutant.value = int(os.environ["GOSSAMER_MUTANT"])
    await bench.reset()
    checked = wrong = 0
    for number, word in enumerate(case["words"]):
        taken = await bench.execute(word.tobytes())
        assert taken == case["cycles"][number], f"instruction {number}: {taken} cycles, not {case['cycles'][number]}"
        reads = np.flatnonzero(case["reads"][:, 0] == number)
        if not reads.size:
            continue
        for _ in range(VISIBLE_CYCLES - 1):
            await bench.settle()
            await bench.next()
        # A stride that is no multiple of the vector lanes, so that every first channel occurs.
        channels = range(0, chains, bench.vector_lanes - group or group)
        requests = [(int(case["reads"][read, 1]), channel) for read in reads for channel in channels]
        answers = await bench.read(requests)
        for at, answer in enumerate(answers):
            read, channel = reads[at // len(channels)], requests[at][1]
            count = min(bench.vector_lanes, chains - channel)
            known = case["known"][read, channel : channel + count]
            expected = case["expected"][read, channel : channel + count]
            checked += int(known.sum())
            wrong += int((known & (answer[:count] != expected)).sum())
    assert checked > 0
    assert wrong == 0, f"{wrong} of {checked} sums are wrong"
    assert all(buffer.requests for buffer in bench.buffers)
    assert not int(dut.control__done.value)


@cocotb.test()
async def halves(dut) -> None:
    """While COMPUTE works in the upper half, VECTOR reads the lower at any time, and a read of the upper conflicts."""
    case = np.load(os.environ["GOSSAMER_CASE"])
    bench = Bench(dut, case)
    await bench.reset()
    lower, upper = case["words"]
    await bench.execute(lower.tobytes())
    for _ in range(VISIBLE_CYCLES - 1):
        await bench.settle()
        await bench.next()
    random = Random(int(os.environ["GOSSAMER_SEED"]))
    reads = case["reads"]
    own = [number for number in range(len(reads)) if reads[number, 0] == 0]
    other = [number for number in range(len(reads)) if reads[number, 0] == 1]
    bench.begin(upper.tobytes())
    asked: list[int | None] = []
    checked = conflicts = 0
    dut.acc_channel.value = 0
    for at in range(int(case["cycles"][1]) + LATENCY):
        # The upper half is COMPUTE's from the fifth cycle after the start, when it knows its entries, to the last.
        busy = SETUP_CYCLES <= at < case["cycles"][1]
        asked.append(random.choice(other if busy and random.random() < 0.3 else own))
        dut.acc_valid.value = 1
        dut.acc_entry.value = int(reads[asked[-1], 1])
        await bench.settle()
        assert int(dut.control__done.value) == int(at == case["cycles"][1] - 1)
        number = asked[at - LATENCY] if at >= LATENCY else None
        assert int(dut.acc_conflict.value) == int(number in other)
        conflicts += number in other
        if number is not None and number in own:
            raw = int(dut.acc_data.value).to_bytes(4 * bench.vector_lanes, "little")
            count = min(bench.vector_lanes, int(case["shape"][1]))
            assert (np.frombuffer(raw, dtype="<i4")[:count] == case["expected"][number, :count]).all()
            checked += 1
        await bench.next()
        dut.control__start.value = 0
    dut.acc_valid.value = 0
    assert checked > 0
    assert conflicts > 0
    for _ in range(VISIBLE_CYCLES):
        await bench.settle()
        await bench.next()
    answers = await bench.read([(int(reads[number, 1]), 0) for number in other])
    for number, answer in zip(other, answers, strict=True):
        count = min(bench.vector_lanes, int(case["shape"][1]))
        assert (answer[:count] == case["expected"][number, :count]).all()


@cocotb.test()
async def faults(dut) -> None:
    """An instruction that cannot be executed raises one FIELD fault, requests nothing and never ends."""
    case = np.load(os.environ["GOSSAMER_CASE"])
    bench = Bench(dut, case)
    raised = 0
    for word in case["words"]:
        await bench.reset() if not raised else await bench.restart()
        bench.begin(word.tobytes())
        seen = 0
        for _ in range(40):
            await bench.settle()
            if int(dut.control__fault.value):
                assert int(dut.control__cause.value) == FIELD_FAULT
                seen += 1
            assert not int(dut.control__done.value)
            await bench.next()
            dut.control__start.value = 0
        assert seen == 1
        raised += 1
    assert raised == len(case["words"]) > 0
    assert not any(buffer.requests for buffer in bench.buffers)
