"""Run Programs on a whole core: AXI4-Lite host, AXI4 memory, nothing else. Knows no expected values.

cocotb module. The environment variable JOBS names a JSON file: {"slaves": prefix of the AXI4-Lite slave of each core,
"masters": of each the prefixes of its AXI4 masters, "schedule": arguments of `Schedule`, of which every core has one,
"stalls": arguments of `Stalls` or null, "jobs": [{"name", "memory" (.npy, uint8), "base", "starts" [[offset, count] of
each core's instructions], "config" [low, high], "timeout_cycles", "broken" [[start, stop] of bytes that answer with an
error], "drive" {register of the top: value}}]}.
For every job the memory after the run is written beside its input as `<memory>.after.npy`, and what the registers of
every core said to `RESULTS` (JSON). With stalls, `<memory>.stalls.npy`, bool [5, cycles], says which channels paused in
each cycle of the run. Its first cycle is that of the run: FETCH shows its first request in it, whether taken or not.
Of one core, `<memory>.events.npz` says when instructions were dispatched, started and completed, see
`InstructionEvents`.
"""

import json
import os
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import First, RisingEdge, Timer
from cocotbext.axi import AxiLiteBus, AxiLiteMaster

from gossamer.arch.registers import REGISTERS, STREAM_REGISTER
from gossamer.rtl.testbench.axi_memory import AxiMemory, Schedule, Stalls
from gossamer.rtl.testbench.instruction_events import InstructionEvents

RUNNING, DONE, RESETTING = 1, 2, 8
CLOCK_NS = 10
RESET_CYCLES = 10_000
"""How long a core that hangs may take to be reset."""


class Host:
    """The processor's side of a core."""

    def __init__(self, dut: Any, prefix: str) -> None:
        self.dut = dut
        self.bus = AxiLiteMaster(AxiLiteBus.from_prefix(dut, prefix), dut.clk, dut.rst)

    async def write(self, name: str, value: int) -> None:
        register = STREAM_REGISTER if name == STREAM_REGISTER.name else REGISTERS[name]
        await self.bus.write(register.address, value.to_bytes(4, "little"))

    async def read(self, name: str) -> int:
        data = await self.bus.read(REGISTERS[name].address, 4)
        return int.from_bytes(data.data, "little")

    async def start(self, job: dict[str, Any], offset: int, count: int) -> None:
        """Start a core: its instructions are `count` at an offset of the Program."""
        await self.write("CONTROL", 2)
        await self.write("INTERRUPT_ENABLE", 1)
        await self.write("PROGRAM_LOW", job["base"] & 0xFFFFFFFF)
        await self.write("PROGRAM_HIGH", job["base"] >> 32)
        await self.write("PROGRAM_COUNT", count)
        if len(job["starts"]) > 1:
            await self.write(STREAM_REGISTER.name, offset)
        await self.write("PROGRAM_CONFIG_LOW", job["config"][0])
        await self.write("PROGRAM_CONFIG_HIGH", job["config"][1])
        await self.write("CONTROL", 1)

    async def wait(self, job: dict[str, Any]) -> None:
        """Wait for the interrupt or the timeout, asleep: a look at every cycle would be a tenth of the bench's time."""
        if not int(self.dut.interrupt.value):
            await First(RisingEdge(self.dut.interrupt), Timer(job["timeout_cycles"] * CLOCK_NS, "ns"))
        await RisingEdge(self.dut.clk)

    async def reset(self) -> bool:
        """Reset a core that failed or hangs, so that it leaves the memory alone; return whether that ended."""
        await self.write("CONTROL", 2)
        for _ in range(RESET_CYCLES // 100):
            if not await self.read("STATUS") & (RUNNING | RESETTING):
                return True
            for _ in range(100):
                await RisingEdge(self.dut.clk)
        return False

    async def registers(self) -> dict[str, int]:
        """Return every register that can be read."""
        return {name: await self.read(name) for name, register in REGISTERS.items() if register.access == 0}


@cocotb.test()
async def programs(dut: Any) -> None:
    """Run every job of the file, one after another, on one core."""
    jobs = json.loads(Path(os.environ["JOBS"]).read_text(encoding="utf-8"))
    dut.rst.value = 1
    Clock(dut.clk, CLOCK_NS, "ns").start()
    hosts = [Host(dut, prefix) for prefix in jobs["slaves"]]
    stalls = None if jobs["stalls"] is None else Stalls(**jobs["stalls"])
    memories = [
        AxiMemory(dut, dut.clk, bytearray(4096), prefixes=prefixes, timing=Schedule(**jobs["schedule"]), stalls=stalls)
        for prefixes in jobs["masters"]
    ]
    memory = memories[0]
    events = InstructionEvents(dut.control, dut.clk, CLOCK_NS) if len(hosts) == 1 else None
    for _ in range(4):
        await RisingEdge(dut.clk)
    dut.rst.value = 0
    for _ in range(4):
        await RisingEdge(dut.clk)
    results = {}
    for job in jobs["jobs"]:
        path = Path(job["memory"])
        before = np.load(path)
        content = bytearray(1 << max(12, (before.size - 1).bit_length()))
        content[: before.size] = before.tobytes()
        for each in memories:
            each.target.content = content
            each.broken[:] = [range(*span) for span in job["broken"]]
        for name, value in job["drive"].items():
            getattr(dut, name).value = value
        if stalls is not None:
            memory.record()
        if events is not None:
            events.clear()
        for host, (offset, count) in zip(hosts, job["starts"], strict=True):
            await host.start(job, offset, count)
        await hosts[0].wait(job)
        if events is not None:
            events.save(path.with_suffix(".events.npz"))
        if stalls is not None:
            np.save(path.with_suffix(".stalls.npy"), np.array(memory.recorded, dtype=np.bool_).T)
        registers = results[job["name"]] = [await host.registers() for host in hosts]
        np.save(path.with_suffix(".after.npy"), np.frombuffer(content[: before.size], dtype=np.uint8))
        done = all(each["STATUS"] & DONE for each in registers)
        if not done and not all([await host.reset() for host in hosts]):
            break  # no job after this one would start
    Path(os.environ["RESULTS"]).write_text(json.dumps(results), encoding="utf-8")
