"""Take note of when a running core dispatches, starts and completes instructions.

Watches the ports of the module `control`, which are the same for every config: `running`, `fetch_dispatched`, and
`start` and `done` of every engine. It sleeps until one of them rises, so the bench pays per instruction and not per
cycle. That these ports can be seen is asked for in `gossamer.rtl.testbench.simulate.OBSERVED`.
"""

from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, RisingEdge
from cocotb.utils import get_sim_time

from gossamer.arch.isa import ENGINES


class InstructionEvents:
    """Cycles of one core's events, counted from the first in which `running` is high.

    control: handle of a `control` instance. period_ns: of its clock. What happens outside runs is forgotten by `clear`.
    """

    def __init__(self, control: Any, clock: Any, period_ns: int) -> None:
        self._clock, self._period_ns = clock, period_ns
        self._running: list[int] = []
        self._dispatches: list[tuple[int, int]] = []
        self._pulses: dict[str, list[int]] = {}
        cocotb.start_soon(self._watch(control.running, self._running))
        cocotb.start_soon(self._watch_dispatch(control.fetch_dispatched))
        for engine in ENGINES:
            for event, signal in (("started", "start"), ("completed", "done")):
                seen = self._pulses[f"{engine.value}_{event}"] = []
                cocotb.start_soon(self._watch(getattr(control, f"{engine.value}__{signal}"), seen))

    def clear(self) -> None:
        """Forget everything before a run."""
        self._dispatches.clear()
        for seen in (self._running, *self._pulses.values()):
            seen.clear()

    def save(self, path: Path) -> None:
        """Write the cycles of the last run's events, in order, as arrays int64 [events] of an .npz file.

        `dispatched`: of all instructions. `load_started` and so on: first cycles of an engine's instructions;
        `load_completed`: the cycles after their last. All are empty if no run began.
        """
        zero = self._running[-1] if self._running else None
        dispatched = [cycle for first, end in self._dispatches for cycle in range(first, end)]
        cycles = {"dispatched": dispatched, **self._pulses}
        later = {name: int(name.endswith("_completed")) for name in cycles}
        arrays: dict[str, Any] = {
            name: np.array([at - zero + later[name] for at in seen if zero is not None and at >= zero], dtype=np.int64)
            for name, seen in cycles.items()
        }
        np.savez(path, **arrays)

    def _cycle(self) -> int:
        """Return the cycle that the simulation is in."""
        return int(get_sim_time("ns")) // self._period_ns

    async def _watch(self, signal: Any, seen: list[int]) -> None:
        """Take note of every cycle in which a signal rises to stay until its middle; it is low before each."""
        while True:
            await RisingEdge(signal)
            await FallingEdge(self._clock)
            if int(signal.value):
                seen.append(self._cycle())

    async def _watch_dispatch(self, signal: Any) -> None:
        """Take note of spans of cycles in which an instruction is dispatched in each."""
        while True:
            await RisingEdge(signal)
            first = self._cycle()
            await FallingEdge(signal)
            self._dispatches.append((first, self._cycle()))
