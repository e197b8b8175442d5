"""Run VECTOR instructions on the engine with memories of fixed latency; compare every byte and every cycle.

Reads a .npz file named by GOSSAMER_CASES: activation int8 [n], parameter uint8 [n], sums int32 [entries, chains],
instructions uint8 [count, 64], cycles int64 [count], expected int8 [count, n] (activations after each instruction),
causes int64 [count] (a fault instead of a result, then reset), conflicts (raise acc_conflict), group_size.
"""

import os
from collections import deque

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge

READ_LATENCY = 3
WRITE_DELAY = 3
"""A write is seen by reads that come more than this many cycles later."""

GARBAGE = 0xA5


class Memories:
    """Activation, parameter and accumulator memories behind the engine's ports."""

    def __init__(self, dut, cases) -> None:
        self.dut = dut
        self.read_ports = (dut.read_valid, dut.par_valid, dut.acc_valid)
        self.act = cases["activation"].view(np.uint8).copy()
        self.par, self.sums = cases["parameter"], cases["sums"]
        self.group = int(cases["group_size"])
        self.width = len(dut.read_data) // 8
        self.par_width = len(dut.par_data) // 8
        self.idle = {
            name: int.from_bytes(bytes([GARBAGE]) * (len(getattr(dut, name)) // 8), "little")
            for name in ("read_data", "par_data", "acc_data")
        } | {"acc_conflict": 0}
        self.driven: dict[str, int] = {}
        self.answers = deque([{}] * READ_LATENCY)
        self.writes = deque([None] * WRITE_DELAY)
        self.written = self.writes_seen = 0
        self.reads = 0
        self.conflict = False

    def drive(self) -> None:
        """Set the data of the reads of three cycles ago; garbage where there was none."""
        answer = self.answers.popleft()
        for name, idle in self.idle.items():
            value = answer.get(name, idle)
            if self.driven.get(name) != value:
                getattr(self.dut, name).value = self.driven[name] = value
        write = self.writes.popleft()
        if write is not None:
            at, data = write
            assert at + data.size <= self.act.size, f"write of {data.size} bytes at {at}"
            self.act[at : at + data.size] = data

    def sample(self) -> None:
        """Take the requests of this cycle."""
        dut, answer = self.dut, {}
        if int(dut.read_valid.value):
            at = int(dut.read_address.value)
            assert at % self.group == 0
            answer["read_data"] = self._bytes(self.act, at, self.width)
        if int(dut.par_valid.value):
            at = int(dut.par_address.value)
            assert at % 4 == 0
            answer["par_data"] = self._bytes(self.par, at, self.par_width)
        if int(dut.acc_valid.value):
            at = int(dut.acc_channel.value)
            assert at % self.group == 0
            row = self.sums[int(dut.acc_entry.value)].view(np.uint8)
            answer["acc_data"] = self._bytes(row, 4 * at, 4 * self.width)
            answer["acc_conflict"] = int(self.conflict)
        self.answers.append(answer)
        write = None
        if int(dut.d_valid.value):
            at, words = int(dut.d_address.value), int(dut.d_words.value)
            assert at % self.group == 0
            assert 1 <= words <= self.width // self.group
            data = np.frombuffer(int(dut.d_data.value).to_bytes(self.width, "little"), np.uint8)
            write = (at, data[: words * self.group].copy())
            self.writes_seen += 1
        self.writes.append(write)
        self.reads += sum(int(port.value) for port in self.read_ports)

    @staticmethod
    def _bytes(memory, at: int, count: int) -> int:
        """Return bytes of a memory as one number; garbage beyond its end."""
        data = bytes(memory[at : at + count])
        return int.from_bytes(data + bytes([GARBAGE]) * (count - len(data)), "little")

    def settled(self):
        """Return the activations with all writes on their way done."""
        act = self.act.copy()
        for write in self.writes:
            if write is not None:
                act[write[0] : write[0] + write[1].size] = write[1]
        return act.view(np.int8)


async def reset(dut, memories) -> None:
    """Reset the engine."""
    for level in (1, 1, 0):
        await RisingEdge(dut.clk)
        dut.rst.value = level
        memories.drive()
        await ReadOnly()
        memories.sample()


async def execute(dut, memories, instruction: bytes, limit: int) -> tuple[int, int]:
    """Run one instruction; return its cycles and the cause of its fault, if any."""
    for cycle in range(1, limit + 1):
        await RisingEdge(dut.clk)
        memories.drive()
        if cycle <= 2:
            dut.control__start.value = int(cycle == 1)
            dut.control__instruction.value = int.from_bytes(instruction, "little") if cycle == 1 else 0
        await ReadOnly()
        if cycle <= 4:
            assert not any(int(port.value) for port in memories.read_ports)
        memories.sample()
        if int(dut.control__fault.value):
            return cycle, int(dut.control__cause.value)
        if int(dut.control__done.value):
            return cycle, 0
    raise AssertionError(f"no end within {limit} cycles")


@cocotb.test()
async def instructions(dut) -> None:
    """Run all instructions back to back."""
    cases = dict(np.load(os.environ["GOSSAMER_CASES"]))
    memories = Memories(dut, cases)
    dut.control__start.value = 0
    dut.control__instruction.value = 0
    if "GOSSAMER_MUTANT" in os.environ:
        dut.mutant.value = int(os.environ["GOSSAMER_MUTANT"])
    Clock(dut.clk, 10, "ns").start()
    await reset(dut, memories)
    done = 0
    total = len(cases["instructions"])
    for number in range(total):
        memories.conflict = bool(cases["conflicts"][number])
        expected_cause, cycles = int(cases["causes"][number]), int(cases["cycles"][number])
        opcode = int(cases["instructions"][number][0]) & 31
        where = f"instruction {number}, opcode {opcode}"
        taken, cause = await execute(dut, memories, cases["instructions"][number].tobytes(), 3 * cycles + 1000)
        assert cause == expected_cause, f"{where}: cause {cause}, not {expected_cause}"
        done += 1
        if cause:
            await reset(dut, memories)
            memories.act = cases["expected"][number].view(np.uint8).copy()
            continue
        assert taken == cycles, f"{where}: {taken} cycles, not {cycles}"
        wrong = np.flatnonzero(memories.settled() != cases["expected"][number])
        assert wrong.size == 0, (
            f"{where}: {wrong.size} bytes differ, first at {wrong[0]}: {memories.settled()[wrong[:8]]}, not "
            f"{cases['expected'][number][wrong[:8]]}"
        )
    assert done == total > 0
    assert memories.writes_seen > 0
    assert memories.reads > 0
