"""Random traffic on the on-chip buffers against plain byte arrays."""

import os
import random
from collections import deque
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge

CYCLES = int(os.environ.get("CYCLES", "1500"))
POISON = None


async def start(dut: Any) -> random.Random:
    """Reset with every input at 0 and return the random source."""
    seed = int(os.environ["SEED"])
    print(f"seed {seed}")
    for handle in dut:
        if handle._name not in ("clk", "rst") and handle._name in os.environ["INPUTS"].split(","):
            handle.value = 0
    dut.rst.value = 1
    Clock(dut.clk, 10, "ns").start()
    for _ in range(3):
        await RisingEdge(dut.clk)
    dut.rst.value = 0
    return random.Random(seed)


class Memory:
    """A byte array whose bytes are unknown before they are written and for some cycles after."""

    def __init__(self, capacity: int, settle: int) -> None:
        self.bytes: list[int | None] = [POISON] * capacity
        self.written = [-100] * capacity
        self.settle = settle

    def write(self, cycle: int, address: int, data: bytes) -> None:
        for at, value in enumerate(data, address):
            self.bytes[at], self.written[at] = value, cycle

    def read(self, cycle: int, address: int, count: int) -> list[int | None]:
        """Return what a read presented in `cycle` must give; None where it may be anything."""
        return [
            self.bytes[at] if at < len(self.bytes) and self.written[at] + self.settle <= cycle else None
            for at in range(address, address + count)
        ]


class Checks:
    """Expected read results by the cycle they are due."""

    def __init__(self) -> None:
        self.due: deque[tuple[int, str, int, list[int | None]]] = deque()
        self.compared = 0

    def expect(self, cycle: int, port: str, low_byte: int, expected: list[int | None]) -> None:
        self.due.append((cycle, port, low_byte, expected))

    def compare(self, dut: Any, cycle: int) -> None:
        for item in [item for item in self.due if item[0] == cycle]:
            self.due.remove(item)
            _, port, low, expected = item
            value = int(getattr(dut, port).value) >> (8 * low)
            for at, byte in enumerate(expected):
                if byte is not None:
                    found = (value >> (8 * at)) & 255
                    assert found == byte, f"cycle {cycle}: {port} byte {low + at} must be {byte}, not {found}"
                    self.compared += 1


@cocotb.test()
async def window_buffer(dut: Any) -> None:
    """Pieces at any byte address, windows at multiples of the read unit."""
    rng = await start(dut)
    capacity, read_bytes, unit, piece = (int(os.environ[name]) for name in ("CAPACITY", "READ", "UNIT", "PIECE"))
    memory, checks, pieces = Memory(capacity, 4), Checks(), 0
    for cycle in range(CYCLES):
        valid = rng.random() < 0.7
        length = rng.choice([piece, rng.randint(1, piece)])
        address = rng.randrange(0, capacity - length + 1)
        data = rng.randbytes(length)
        dut.write_valid.value, dut.write_address.value = int(valid), address
        dut.write_length.value, dut.write_data.value = length, int.from_bytes(data, "little")
        at = rng.randrange(0, (capacity - read_bytes) // unit + 1) * unit
        dut.read_address.value = at
        await ReadOnly()
        checks.compare(dut, cycle)
        checks.expect(cycle + 3, "read_data", 0, memory.read(cycle, at, read_bytes))
        if valid:
            memory.write(cycle, address, data)
            pieces += 1
        await RisingEdge(dut.clk)
    assert pieces > CYCLES // 2
    assert checks.compared > CYCLES


@cocotb.test()
async def activation_buffer(dut: Any) -> None:
    """All clients at once: nobody who reads, and VECTOR never, is refused; two pieces of LOAD wait, a third is refused.

    The first of them is written unless VECTOR's result of the cycle before goes to the same half of the same bank.
    """
    rng = await start(dut)
    names = ("CAPACITY", "GROUP", "LENGTH", "LANES", "VECTOR", "BEAT", "BANKS")
    capacity, group, length, lanes, vector, beat, banks = (int(os.environ[name]) for name in names)
    memory, checks = Memory(capacity, 3), Checks()
    piece = None
    taken: deque[tuple[int, bytes]] = deque()
    loaded = refused = delayed = written = 0
    blocked: set[tuple[int, bool]] = set()
    rows = -(-capacity // (banks * group))
    half_rows = 1 << max(0, (rows - 1).bit_length() - 1)

    def halves(first: int, size: int) -> set[tuple[int, bool]]:
        """Return the banks that bytes lie in, and in which half of each."""
        places = (divmod(word, banks) for word in range(first // group, (first + size - 1) // group + 1))
        return {(bank, row >= half_rows) for row, bank in places}

    def aligned(size: int) -> int:
        return rng.randrange(0, (capacity - size) // group + 1) * group

    for cycle in range(CYCLES):
        lane_at = [aligned(group * length) for _ in range(lanes)]
        dut.act_address.value = sum(at << (26 * lane) for lane, at in enumerate(lane_at))
        source, store = aligned(vector), rng.randrange(0, capacity - beat + 1)
        whole = banks * group - store % group  # bytes in as many words as there are banks
        dut.vector_address.value, dut.store_address.value = source, store
        result, d, words = rng.random() < 0.7, aligned(vector), rng.randint(1, vector // group)
        values = rng.randbytes(vector)
        dut.d_valid.value, dut.d_address.value = int(result), d
        dut.d_words.value, dut.d_data.value = words, int.from_bytes(values, "little")
        if piece is None and rng.random() < 0.8:
            size = rng.choice([beat, rng.randint(1, beat)])
            first = rng.randrange(0, capacity - size + 1)
            piece = (first, rng.randbytes(min(size, banks * group - first % group)))
        dut.load_valid.value = int(piece is not None)
        if piece is not None:
            dut.load_address.value, dut.load_last.value = piece[0], piece[0] + len(piece[1]) - 1
            dut.load_data.value = int.from_bytes(piece[1], "little")
        await ReadOnly()
        checks.compare(dut, cycle)
        for lane, at in enumerate(lane_at):
            checks.expect(cycle + 3, "act_data", lane * group * length, memory.read(cycle, at, group * length))
        checks.expect(cycle + 3, "vector_data", 0, memory.read(cycle, source, vector))
        checks.expect(cycle + 4, "store_data", 0, memory.read(cycle, store, min(beat, whole)))
        assert int(dut.load_held.value) == bool(taken)
        assert int(dut.load_ready.value) == (len(taken) < 2)
        if taken and not halves(taken[0][0], len(taken[0][1])) & blocked:
            memory.write(cycle - 1, *taken.popleft())
        delayed += len(taken)
        blocked = halves(d, words * group) if result else set()
        if result:
            memory.write(cycle, d, values[: words * group])
            written += 1
        if piece is not None and int(dut.load_ready.value):
            taken.append(piece)
            piece, loaded = None, loaded + 1
        elif piece is not None:
            refused += 1
        await RisingEdge(dut.clk)
    assert min(loaded, written) > CYCLES // 8
    assert refused > 0
    assert delayed > CYCLES // 20
    assert checks.compared > CYCLES
