"""Run Programs on the control of the core, with engines that only take their time; what happens goes to a file.

GOSSAMER_CASES names a JSON file of runs (see test_control.py), GOSSAMER_SEEN the file written.
"""

import json
import os
from pathlib import Path
from random import Random
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ReadOnly, RisingEdge
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiResp

ENGINES = ("load", "compute", "vector", "store")
LIMIT = 5000
START_LIMIT = 100
"""Cycles after which a run must have ended, and in which it must have begun."""


class Stubs:
    """FETCH and the engines of one run: what they drive in a cycle, and what they saw."""

    def __init__(self, dut: Any, case: dict[str, Any]) -> None:
        self.dut, self.case = dut, case
        self.words = [int(word, 16) for word in case["words"]]
        self.passed = 0
        self.taken: list[int] = []
        self.given: dict[str, list[str]] = {engine: [] for engine in ENGINES}
        self.started: dict[str, list[int]] = {engine: [] for engine in ENGINES}
        self.last = dict.fromkeys(ENGINES, -1)
        self.waits: dict[str, set[int]] = {engine: set() for engine in ENGINES}
        self.problems: list[str] = []
        self.inputs: dict[str, int] = {}

    def set(self, name: str, value: int) -> None:
        """Set an input if it changes: each write costs as much as a quiet cycle."""
        if self.inputs.get(name) != value:
            self.inputs[name] = value
            getattr(self.dut, name).value = value

    def drive(self, cycle: int) -> None:
        """Set the inputs of a cycle."""
        at = self.passed
        valid = at < len(self.words) and 0 <= self.case["offered"][at] <= cycle
        self.set("fetch_valid", int(valid))
        self.set("fetch_instruction", self.words[at] if valid else 2**512 - 1)
        fault = self.case.get("fetch_fault") or (None, 0)
        self.set("fetch_fault", int(fault[0] == cycle))
        self.set("fetch_address", fault[1])
        for engine in ENGINES:
            self.set(f"{engine}__done", int(self.last[engine] == cycle >= 0))
            self.set(f"{engine}__waiting", int(cycle - 1 in self.waits[engine]))
            fault = self.case.get("faults", {}).get(engine) or (None, 0, 0)
            for port, value in zip(("fault", "cause", "address"), (int(fault[0] == cycle), *fault[1:]), strict=True):
                self.set(f"{engine}__{port}", value)

    def sample(self, cycle: int) -> None:
        """Look at the outputs of a cycle."""
        dut = self.dut
        self.passed += int(dut.fetch_valid.value) and int(dut.fetch_ready.value) & 1
        if int(dut.fetch_dispatched.value):
            self.taken.append(cycle)
        for engine in ENGINES:
            if not int(getattr(dut, f"{engine}__start").value):
                continue
            if self.last[engine] >= cycle:
                self.problems.append(f"{engine} was started in cycle {cycle} while busy")
            number = len(self.started[engine])
            self.started[engine].append(cycle)
            self.given[engine].append(f"{int(getattr(dut, f'{engine}__instruction').value):0128x}")
            durations = self.case["durations"][engine]
            duration, waits = durations[number] if number < len(durations) else (LIMIT, [])
            self.last[engine] = cycle + duration - 1
            self.waits[engine] = {cycle + wait for wait in waits}


async def write(master: AxiLiteMaster, registers: dict[str, int], name: str, value: int) -> None:
    await master.write(registers[name], value.to_bytes(4, "little"))


async def setup(dut: Any) -> AxiLiteMaster:
    """Start the clock, reset, and return the host."""
    Clock(dut.clk, 10, "ns").start()
    dut.rst.value = 1
    dut.memory_quiet.value = 1
    if "GOSSAMER_MUTANT" in os.environ:
        dut.mutant.value = int(os.environ["GOSSAMER_MUTANT"])
    stubs = Stubs(dut, {"words": [], "offered": [], "durations": {}})
    stubs.drive(-1)
    master = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi"), dut.clk, dut.rst)
    for _ in range(3):
        await RisingEdge(dut.clk)
    dut.rst.value = 0
    await RisingEdge(dut.clk)
    return master


async def step(dut: Any, stubs: Stubs, cycle: int) -> tuple[bool, bool]:
    """Go through one cycle; return whether a run starts in the next one, and whether one is running."""
    await RisingEdge(dut.clk)
    stubs.drive(cycle)
    await ReadOnly()
    stubs.sample(cycle)
    return bool(int(dut.start.value)), bool(int(dut.running.value))


async def perform(dut: Any, master: AxiLiteMaster, case: dict[str, Any], registers: dict[str, int]) -> dict[str, Any]:
    """Do one run and return what was seen."""
    for name, value in case["settings"].items():
        await write(master, registers, name, value)
    stubs = Stubs(dut, case)
    command = cocotb.start_soon(write(master, registers, "CONTROL", 1))
    cycle, cycles, late = -1, 0, 0
    while cycle < case.get("stop", LIMIT) and late < START_LIMIT:
        begins, running = await step(dut, stubs, cycle)
        cycles += running
        late += cycle < 0
        if cycle >= 0 and not running:
            break
        if cycle >= 0 or begins:
            cycle += 1
    await RisingEdge(dut.clk)
    stubs.case = {**case, "faults": {}, "fetch_fault": None, "offered": [-1] * len(stubs.words)}
    stubs.drive(LIMIT)
    await command
    status = 1
    for _ in range(LIMIT if "stop" not in case else 1):
        status = int.from_bytes((await master.read(registers["STATUS"], 4)).data, "little")
        if not status & 1:
            break
    interrupt = int(dut.interrupt.value)
    values = {}
    moving = ["CYCLES", *(f"{engine.upper()}_IDLE" for engine in ENGINES)]
    for name in [*moving, *registers]:  # first those that count to the end: they must be exact at once
        reply = await master.read(registers[name], 4)
        assert int(reply.resp) == 0, f"register {name} is answered with {reply.resp}"
        values.setdefault(name, int.from_bytes(reply.data, "little"))
    await write(master, registers, "INTERRUPT_CLEAR", 1)
    return {
        "taken": stubs.taken, "started": stubs.started, "given": stubs.given, "cycles": cycles, "status": status,
        "interrupt": interrupt, "after_clear": int(dut.interrupt.value), "registers": values,
        "base": int(dut.base.value), "length": int(dut.length.value), "problems": stubs.problems,
    }  # fmt: skip


@cocotb.test()
async def runs(dut: Any) -> None:
    """Do every run of the file, one after the other."""
    plan = json.loads(Path(os.environ["GOSSAMER_CASES"]).read_text())
    master = await setup(dut)
    seen = [await perform(dut, master, case, plan["registers"]) for case in plan["runs"]]
    Path(os.environ["GOSSAMER_SEEN"]).write_text(json.dumps(seen))
    assert seen


async def read(master: AxiLiteMaster, registers: dict[str, int], name: str) -> int:
    return int.from_bytes((await master.read(registers[name], 4)).data, "little")


async def pause(driver: Any, seed: int) -> None:
    """Make a channel of the host hesitate at random."""
    random = Random(seed)
    driver.set_pause_generator(iter(lambda: random.random() < 0.5, None))


@cocotb.test()
async def host(dut: Any) -> None:
    """Read and write every register, legally and not, with a host that hesitates."""
    plan = json.loads(Path(os.environ["GOSSAMER_CASES"]).read_text())
    registers: dict[str, int] = plan["registers"]
    master = await setup(dut)
    for seed, channel in enumerate((
        master.write_if.aw_channel, master.write_if.w_channel, master.write_if.b_channel, master.read_if.ar_channel,
        master.read_if.r_channel,
    )):  # fmt: skip
        await pause(channel, seed)
    checks = 0
    for name, value in plan["reset_values"].items():
        assert await read(master, registers, name) == value, name
        checks += 1
    assert checks == len(registers) > 0
    for name in plan["read_only"]:
        reply = await master.write(registers[name], b"\xff\xff\xff\xff")
        assert reply.resp == AxiResp.SLVERR, name
        assert await read(master, registers, name) == plan["reset_values"][name], name
    for address in plan["beyond"]:
        reply = await master.read(address, 4)
        assert (reply.resp, reply.data) == (AxiResp.SLVERR, bytes(4)), address
        assert (await master.write(address, b"\xff\xff\xff\xff")).resp == AxiResp.SLVERR
    expected = dict.fromkeys(plan["stored"], 0)
    for name, offset, data in plan["writes"]:
        reply = await master.write(registers[name] + offset, bytes(data))
        assert reply.resp == AxiResp.OKAY
        for at, byte in enumerate(data):
            low = 8 * (offset + at)
            expected[name] = (expected[name] & ~(0xFF << low) | byte << low) & plan["stored"][name]
        for other, value in expected.items():
            assert await read(master, registers, other) == value, (name, offset, other)
    assert plan["writes"]
    assert not int(dut.interrupt.value)


@cocotb.test()
async def reset(dut: Any) -> None:
    """Stop a run that waits for a token for ever, and run again."""
    plan = json.loads(Path(os.environ["GOSSAMER_CASES"]).read_text())
    registers = plan["registers"]
    master = await setup(dut)
    stuck, good = plan["runs"]
    for name, value in stuck["settings"].items():
        await write(master, registers, name, value)
    stubs = Stubs(dut, stuck)
    command = cocotb.start_soon(write(master, registers, "CONTROL", 1))
    cycle = -1
    while cycle < 60:
        begins, _ = await step(dut, stubs, cycle)
        cycle += cycle >= 0 or begins
    await command
    await RisingEdge(dut.clk)
    assert stubs.started == stuck["expected"]["started"]
    assert await read(master, registers, "STATUS") == stuck["expected"]["status"]
    assert await read(master, registers, "WAITING_TOKENS") == stuck["expected"]["waiting"]
    await write(master, registers, "CONTROL", 1)
    assert await read(master, registers, "STATUS") == stuck["expected"]["status"], "a start while running is ignored"
    dut.memory_quiet.value = 0
    await write(master, registers, "CONTROL", 2)
    assert await read(master, registers, "STATUS") & 15 == 8, "the reset waits for the memory"
    assert not int(dut.running.value)
    dut.memory_quiet.value = 1
    await write(master, registers, "INTERRUPT_CLEAR", 0)
    assert [await read(master, registers, name) for name in ("STATUS", "WAITING_TOKENS", "CYCLES")] == [0, 0, 0]
    assert not int(dut.interrupt.value)
    seen = await perform(dut, master, good, registers)
    Path(os.environ["GOSSAMER_SEEN"]).write_text(json.dumps([seen]))
