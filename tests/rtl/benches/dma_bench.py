"""Run LOADs, STOREs and instruction streams on the DMA; what they should do is computed outside."""

import json
import os
import random
from collections import deque
from pathlib import Path

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, RisingEdge

from gossamer.arch.encoding import decode
from gossamer.arch.isa import ENGINE_OF, ENGINES, Engine, Opcode
from gossamer.arch.timing import START_CYCLES
from gossamer.rtl.engine import INSTRUCTION_PARTS
from gossamer.rtl.testbench.axi_memory import AxiMemory, Schedule, Stalls

READ_CYCLES = 4
EVERY_PART = (1 << INSTRUCTION_PARTS) - 1


class Bench:
    """The DMA with a memory, on-chip buffers of bytes, and ports that may refuse."""

    def __init__(self, dut, job: Path) -> None:
        self.dut, self.settings = dut, json.loads((job / "settings.json").read_text())
        arrays = np.load(job / "job.npz")
        self.words = arrays["words"]
        self.buffers = [bytearray(row.tobytes()) for row in arrays["buffers"]]
        self.content = bytearray(arrays["memory"].tobytes())
        self.width = self.settings["row_bytes"]
        self.random = random.Random(self.settings["seed"])
        self.now = -1
        self.reads: deque[tuple[int, int]] = deque()
        self.pieces = self.pieces_read = 0
        self.driven: dict[str, int] = {}

    async def start(self) -> None:
        """Reset the DMA and connect the memory."""
        dut = self.dut
        if self.settings["mutant"]:
            dut.mutant.value = self.settings["mutant"]
        for name in ("rst", "start", "stop", "fetch_ready", "fetch_dispatched", "load__start", "store__start",
                     "write_ready", "write_held", "read_ready"):  # fmt: skip
            self.drive(name, 0)
        self.drive("base", self.settings["base"])
        self.drive("instructions", len(self.words))
        Clock(dut.clk, 10, "ns").start()
        timing = Schedule(**self.settings["schedule"]) if "schedule" in self.settings else None
        stalls = None
        if self.settings["stall"]:
            stalls = Stalls(seed=self.settings["seed"], probability=self.settings["stall"])
        self.memory = AxiMemory(
            dut, dut.clk, self.content, prefixes=self.settings["masters"], timing=timing, stalls=stalls
        )
        self.memory.broken.extend(range(*span) for span in self.settings["broken"])
        await self.reset()

    async def reset(self) -> None:
        for level in (1, 1, 1, 0, 0, 0, 0):
            self.drive("rst", level)
            await self.cycle()

    def drive(self, name: str, value: int) -> None:
        if self.driven.get(name) != value:
            self.driven[name] = value
            getattr(self.dut, name).value = value

    def see(self, name: str) -> int:
        return int(getattr(self.dut, name).value)

    def agrees(self) -> int:
        return int(self.random.random() >= self.settings["refuse"])

    async def cycle(self, **inputs: int) -> None:
        """Run one cycle with these inputs up to its middle, where everything can be seen."""
        await RisingEdge(self.dut.clk)
        self.now += 1
        assert self.now < self.settings["limit"], "the bench ran into its limit"
        for name, value in inputs.items():
            self.drive(name, value)
        self.drive("write_ready", self.agrees())
        self.drive("read_ready", self.agrees())
        if self.reads and self.reads[0][0] == self.now:
            self.drive("read_data", self.reads.popleft()[1])
        else:
            self.drive("read_data", self.random.getrandbits(8 * self.width))
        await FallingEdge(self.dut.clk)
        if self.see("write_valid") and self.see("write_ready"):
            self.write()
        if self.see("read_valid") and self.see("read_ready"):
            first = self.see("read_address")
            data = bytes(self.buffers[0][first : first + self.width])
            self.reads.append((self.now + READ_CYCLES, int.from_bytes(data, "little")))
            self.pieces_read += 1

    def write(self) -> None:
        buffer = self.buffers[self.see("write_space")]
        first, count = self.see("write_address"), self.see("write_length")
        assert 1 <= count <= self.width
        assert first + count <= len(buffer)
        data = self.see("write_data") & ((1 << 8 * count) - 1)
        buffer[first : first + count] = data.to_bytes(count, "little")
        self.pieces += 1

    def save(self, job: Path, **results: object) -> None:
        np.savez(
            job / "results.npz",
            memory=np.frombuffer(bytes(self.content), np.uint8),
            buffers=np.stack([np.frombuffer(bytes(buffer), np.uint8) for buffer in self.buffers]),
            **{name: np.array(values, dtype=np.int64) for name, values in results.items()},
        )
        (job / "counts.json").write_text(json.dumps({
            "pieces": self.pieces, "pieces_read": self.pieces_read, "busy": self.memory.busy, "cycles": self.now,
            **{name: self.memory.count(name) for name in ("reads", "writes", "read_beats", "write_beats")},
            "quiet": self.see("quiet"),
        }))  # fmt: skip


@cocotb.test()
async def transfers(dut) -> None:
    """Run each LOAD and STORE alone, one after the other; tell cycles, cycles waiting, and faults."""
    job = Path(os.environ["GOSSAMER_JOB"])
    bench = Bench(dut, job)
    await bench.start()
    durations, waits, faults = [], [], []
    for word in bench.words:
        name = "load" if ENGINE_OF[Opcode(decode(word)["opcode"])] is Engine.LOAD else "store"
        inputs = {f"{name}__start": 1, f"{name}__instruction": int.from_bytes(word.tobytes(), "little")}
        begin, waiting, fault = bench.now + 1, 0, None
        while True:
            await bench.cycle(**inputs)
            inputs = {f"{name}__start": 0, f"{name}__instruction": bench.random.getrandbits(512)}
            waiting += bench.see(f"{name}__waiting")
            if bench.see(f"{name}__fault"):
                assert fault is None, "the same instruction failed twice"
                fault = (bench.see(f"{name}__cause"), bench.see(f"{name}__address"))
            if bench.see(f"{name}__done"):
                assert fault is None, "an instruction that failed is done"
                break
            if fault is not None and bench.see("quiet") and bench.now > begin + 8:
                break
        durations.append(bench.now + 1 - begin)
        await bench.cycle(**inputs)  # whether it waited in its last cycle is told in the next one
        waits.append(waiting + bench.see(f"{name}__waiting"))
        faults.append((-1, -1) if fault is None else fault)
        if fault is not None:
            for _ in range(3):
                await bench.cycle(load__start=0, store__start=0)
            assert not bench.memory.busy, "beats or answers are outstanding after a fault"
            await bench.reset()
        for _ in range(bench.random.randrange(3)):
            await bench.cycle(load__start=0, store__start=0)
    await bench.cycle(load__start=0, store__start=0)
    bench.save(job, durations=durations, waits=waits, faults=faults)


@cocotb.test()
async def program(dut) -> None:
    """Run a whole stream of LOADs, STOREs and END, with the rules of dispatch and tokens in Python."""
    job = Path(os.environ["GOSSAMER_JOB"])
    bench = Bench(dut, job)
    await bench.start()
    depth = bench.settings["queue_depth"]
    queues: dict[Engine, deque] = {Engine.LOAD: deque(), Engine.STORE: deque()}
    running: dict[Engine, int | None] = dict.fromkeys(queues)
    tokens = {(giver, taker): 0 for giver in ENGINES for taker in ENGINES}
    times = np.full((len(bench.words), 3), -1, dtype=np.int64)
    fields = [decode(word) for word in bench.words]
    taken, seen, faults = 0, [], []
    held, quiet, ended = False, False, []
    """Whether an instruction can be dispatched; nothing was left to do before END; who has done in the cycle before."""
    bench.memory.record()
    await bench.cycle(start=1)
    zero = bench.now + 1
    while taken < len(bench.words) and not faults:
        now = bench.now + 1 - zero
        inputs = {"start": 0, "load__start": 0, "store__start": 0}
        room = {engine: len(queue) < depth for engine, queue in queues.items()}
        for engine, queue in queues.items():
            if running[engine] is not None or not queue or times[queue[0], 0] + START_CYCLES > now:
                continue
            needed = [giver for bit, giver in enumerate(ENGINES) if fields[queue[0]]["wait"] >> bit & 1]
            if all(tokens[giver, engine] for giver in needed):
                for giver in needed:
                    tokens[giver, engine] -= 1
                running[engine] = at = queue.popleft()
                times[at, 1] = now
                word = int.from_bytes(bench.words[at].tobytes(), "little")
                inputs |= {f"{engine.value}__start": 1, f"{engine.value}__instruction": word}
        for engine in ended:
            at, running[engine] = running[engine], None
            for bit, taker in enumerate(ENGINES):
                tokens[engine, taker] += fields[at]["release"] >> bit & 1
        opcode = Opcode(fields[taken]["opcode"])
        idle = all(at is None for at in running.values()) and not any(queues.values())
        leaves = held and (quiet if opcode is Opcode.END else room[ENGINE_OF[opcode]])
        quiet = idle and held and opcode is Opcode.END
        await bench.cycle(**inputs, fetch_ready=EVERY_PART * (leaves or not held), fetch_dispatched=int(leaves))
        if bench.see("fetch_fault"):
            faults.append((bench.see("fetch_cause"), bench.see("fetch_address")))
        if leaves or not held:
            held = bool(bench.see("fetch_valid"))
            if held:
                seen.append(bench.see("fetch_instruction").to_bytes(64, "little"))
        if leaves:
            times[taken, 0] = now
            if opcode is Opcode.END:
                times[taken] = (now, now, now + 1)
            else:
                queues[ENGINE_OF[opcode]].append(taken)
            taken += 1
        ended = [engine for engine, at in running.items() if at is not None and bench.see(f"{engine.value}__done")]
        for engine in ended:
            times[running[engine], 2] = now + 1
    await bench.cycle(fetch_ready=0, fetch_dispatched=0, load__start=0, store__start=0)
    while faults and not bench.see("quiet"):
        await bench.cycle()
        assert not bench.see("fetch_valid")
    stream = np.frombuffer(b"".join(seen), np.uint8)
    bench.save(job, times=times, stream=stream, faults=faults, pauses=bench.memory.recorded)
