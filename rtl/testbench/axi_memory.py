"""Give a core a memory: the AXI model of cocotbext-axi, with a schedule for when its beats and answers come.

The model and its bytes are cocotbext-axi's; this file only pauses its channels. `Schedule` is a memory of fixed latency
and bandwidth: channels are first-in first-out servers, a beat takes `beat_ticks` / 65536 cycles of its channel, and
comes `latency_cycles` after that. Reads and writes share the channels, and are served in the order of their requests;
in one cycle, the read first. `Stalls` pauses every channel at random, on top of a schedule or of the model at its
fastest: in a cycle in which a channel pauses it takes no request and no write beat, and no read beat or answer appears.
What has appeared stays. Which channels paused can be recorded.
"""

import random
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import cocotb
from cocotb.triggers import FallingEdge, NullTrigger
from cocotbext.axi import AxiBus, AxiSlave

from gossamer.arch.errors import GossamerError

TICK_BITS = 16
"""Fraction bits of channel time."""

MINIMAL_LATENCY_CYCLES = 2
"""From a request to its first beat, in the model."""

CHANNELS = ("ar", "r", "aw", "w", "b")
"""Of an AXI4 port, in the order in which their pauses are recorded."""

SINKS = ("ar", "aw", "w")
"""Channels the memory takes from."""

_INCREMENT = 1


class BadSchedule(GossamerError):
    """The AXI model cannot keep a schedule."""


class ProtocolError(AssertionError):
    """The core broke a rule of AXI4."""


@dataclass(kw_only=True)
class Schedule:
    """A memory of fixed latency and bandwidth, in cycles of the core's clock; all plain integers.

    `beat_ticks`: channel time of one beat in 1/65536 cycles. `interleave_bytes`: consecutive bytes of one channel.
    """

    beat_bytes: int
    channels: int
    interleave_bytes: int
    beat_ticks: int
    latency_cycles: int
    free: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.latency_cycles < MINIMAL_LATENCY_CYCLES:
            raise BadSchedule(
                f"`latency_cycles` must be at least {MINIMAL_LATENCY_CYCLES} for this model, not {self.latency_cycles}"
            )
        self.free = [0] * self.channels

    def serve(self, cycle: int, address: int, beats: int) -> int:
        """Serve a burst requested in `cycle` on its channel; return the tick at which that starts."""
        channel = address // self.interleave_bytes % self.channels
        start = max(cycle << TICK_BITS, self.free[channel])
        self.free[channel] = start + beats * self.beat_ticks
        return start

    def beat_cycles(self, start: int, beats: int) -> Iterator[int]:
        """Yield the first cycle each beat of a read burst can be on the port, if it is served from tick `start` on."""
        first = _whole(start) + self.latency_cycles
        for beat in range(1, beats + 1):
            yield max(first, _whole(start + beat * self.beat_ticks) + self.latency_cycles - 1)

    def answer_cycle(self, start: int, beats: int, last_beat: int) -> int:
        """Return the cycle of the acknowledgement of a write burst whose last beat came in cycle `last_beat`."""
        return max(last_beat + 1, _whole(start + beats * self.beat_ticks)) + self.latency_cycles - 1


@dataclass(frozen=True, kw_only=True)
class Stalls:
    """Pause each channel at random: a cycle of it with this probability, in [0, 1)."""

    seed: int
    probability: float

    def generator(self, channel: str) -> Iterator[bool]:
        """Yield whether a channel is paused, cycle by cycle."""
        source = random.Random(f"{self.seed}-{channel}")
        while True:
            yield source.random() < self.probability


def _whole(ticks: int) -> int:
    """Return ticks as whole cycles, rounded up."""
    return -(-ticks >> TICK_BITS)


class _Bytes:
    """Bytes behind the AXI model; ranges in `broken` answer with an error. Addresses wrap at the size."""

    def __init__(self, content: bytearray) -> None:
        self.content = content
        self.broken: list[range] = []

    def _check(self, address: int, length: int) -> int:
        address %= len(self.content)
        if any(span.start < address + length and address < span.stop for span in self.broken):
            raise ValueError("this address answers with an error")
        return address

    async def read(self, address: int, length: int, **_: Any) -> bytes:
        """Return bytes, for the AXI model."""
        address = self._check(address, length)
        return bytes(self.content[address : address + length])

    async def write(self, address: int, data: bytes, **_: Any) -> None:
        """Write bytes, for the AXI model."""
        address = self._check(address, len(data))
        self.content[address : address + len(data)] = data


class _Port:
    """One AXI port of a memory: the model of cocotbext-axi, and what is due on it. Counts as `AxiMemory`."""

    def __init__(self, bus: AxiBus, clock: Any, target: _Bytes) -> None:
        with warnings.catch_warnings():  # cocotbext-axi 0.1.28 sets first values the way of cocotb 2.0
            warnings.filterwarnings("ignore", message=r"Use `handle\.set\(Immediate", category=DeprecationWarning)
            model = AxiSlave(bus, clock, target=target)
        read, write = model.read_if, model.write_if
        self.channels = {
            "ar": read.ar_channel, "r": read.r_channel, "aw": write.aw_channel, "w": write.w_channel,
            "b": write.b_channel,
        }  # fmt: skip
        for channel in self.channels.values():
            channel.queue_occupancy_limit = -1
        self.reads = self.writes = self.read_beats = self.write_beats = 0
        self.due_beats: deque[int] = deque()
        self.due_answers: deque[int] = deque()
        self.started: deque[tuple[int, int]] = deque()
        self.data_ends: deque[int] = deque()
        self.shown: dict[str, int] = {}
        self._held: dict[str, tuple[int, ...]] = {}
        self._wires = {name: self._wire(name) for name in self.channels}

    def _wire(self, name: str) -> tuple[Any, Any, tuple[Any, ...]]:
        """Return a channel's valid, ready, and what must not change while it waits."""
        channel = self.channels[name]
        names = {"ar": ("araddr", "arlen"), "aw": ("awaddr", "awlen"), "w": ("wdata", "wstrb", "wlast")}
        return channel.valid, channel.ready, tuple(getattr(channel.bus, each) for each in names.get(name, ()))

    def transfers(self, name: str, cycle: int) -> bool:
        """Return whether a channel moves in this cycle; check that the core withdraws nothing."""
        valid, ready, payload = self._wires[name]
        if not int(valid.value):
            if name in self._held:
                raise ProtocolError(f"cycle {cycle}: {name}valid was withdrawn")
            return False
        taken = bool(int(ready.value))
        self.shown.setdefault(name, cycle)
        if payload:
            now = tuple(int(wire.value) for wire in payload)
            if self._held.get(name, now) != now:
                raise ProtocolError(f"cycle {cycle}: {name} changed before it was taken")
            self._held.pop(name, None)
            if not taken:
                self._held[name] = now
        return taken

    def data(self, cycle: int) -> None:
        """Take note of data and answers that move in this cycle."""
        if self.transfers("w", cycle):
            self.write_beats += 1
            if int(self.channels["w"].bus.wlast.value):
                self.data_ends.append(cycle)
        if self.transfers("r", cycle):
            self.read_beats += 1
            self.due_beats.popleft()
        if self.transfers("b", cycle):
            self.due_answers.popleft()

    def request(self, name: str, cycle: int, timing: Schedule | None) -> None:
        """Take note of a burst."""
        self.shown.pop(name)
        bus = self.channels[name].bus
        address, beats = int(getattr(bus, f"{name}addr").value), int(getattr(bus, f"{name}len").value) + 1
        size = 1 << int(getattr(bus, f"{name}size").value)
        first = address // size * size
        if first // 4096 != (first + beats * size - 1) // 4096:
            raise ProtocolError(f"cycle {cycle}: burst of {beats} beats at {address:#x} crosses 4 KiB")
        if int(getattr(bus, f"{name}burst").value) != _INCREMENT:
            raise ProtocolError(f"cycle {cycle}: {name}burst must be {_INCREMENT}")
        start = 0 if timing is None else timing.serve(cycle, address, beats)
        if name == "ar":
            self.reads += 1
            self.due_beats.extend([0] * beats if timing is None else timing.beat_cycles(start, beats))
        else:
            self.writes += 1
            self.started.append((start, beats))

    def answer(self, timing: Schedule | None) -> None:
        """Give every write burst whose address and data are complete the cycle of its acknowledgement."""
        while self.started and self.data_ends:
            (start, beats), last_beat = self.started.popleft(), self.data_ends.popleft()
            self.due_answers.append(0 if timing is None else timing.answer_cycle(start, beats, last_beat))


class AxiMemory:
    """A memory on the AXI4 ports of a core.

    entity: the core, with the signals of each port under their AXI names behind one of `prefixes`; without these there
    is one port, whose names nothing precedes. content: the memory, whose size is a power of two; higher address bits
    are ignored. broken: ranges of it whose beats get an error response. timing: how fast it is; without one it is as
    fast as the model can be. stalls: pauses on top of that, of all ports in the same cycles.

    Watches the ports meanwhile and raises ProtocolError if a request or a beat is withdrawn or changed before it was
    taken, or a burst crosses 4 KiB. Counters: reads, writes, read_beats, write_beats, in bursts and beats.
    """

    def __init__(self, entity: Any, clock: Any, content: bytearray, *, prefixes: Sequence[str] = (),
                 timing: Schedule | None = None, stalls: Stalls | None = None) -> None:  # fmt: skip
        if len(content) & (len(content) - 1):
            raise BadSchedule(f"the size of the memory must be a power of two, not {len(content)}")
        self.target = _Bytes(content)
        self.timing = timing
        self.clock = clock
        self.cycle = 0
        buses = [AxiBus.from_prefix(entity, prefix) for prefix in prefixes] or [AxiBus.from_entity(entity)]
        self.ports = [_Port(bus, clock, self.target) for bus in buses]
        self._pauses = {} if stalls is None else {name: stalls.generator(name) for name in CHANNELS}
        self._paused = dict.fromkeys(CHANNELS, False)
        self._recorded: list[list[bool]] | None = None
        cocotb.start_soon(self._watch())

    @property
    def broken(self) -> list[range]:
        """Ranges of addresses that answer with an error."""
        return self.target.broken

    @property
    def busy(self) -> bool:
        """Whether a beat or an acknowledgement is still to come."""
        return any(port.due_beats or port.started or port.due_answers for port in self.ports)

    def count(self, name: str) -> int:
        """Return a counter of all ports together."""
        return sum(getattr(port, name) for port in self.ports)

    async def _watch(self) -> None:
        """Look at every cycle in its middle: what moves in it, and what may move in the next."""
        while True:
            await FallingEdge(self.clock)
            for name in ("ar", "aw"):
                taken = [port for port in self.ports if port.transfers(name, self.cycle)]
                for port in sorted(taken, key=lambda port: port.shown[name]):
                    port.request(name, self.cycle, self.timing)
            for port in self.ports:
                port.data(self.cycle)
                port.answer(self.timing)
            self._record()
            if self._pauses:
                await self._draw()
            for port in self.ports:
                for name, due in (("r", port.due_beats), ("b", port.due_answers)):
                    late = self.timing is not None and (not due or due[0] > self.cycle + 1)
                    port.channels[name].pause = late or self._paused[name]
            self.cycle += 1

    def record(self) -> None:
        """Forget the recorded pauses; record again from the next read request on, the cycle it is first shown in."""
        self._recorded = []

    @property
    def recorded(self) -> list[list[bool]]:
        """Whether each of CHANNELS paused, a row per cycle."""
        return [] if self._recorded is None else self._recorded

    def _record(self) -> None:
        """Take note of this cycle's pauses: of channels that take by what the core sees, of the others as drawn.

        The first request of a run is that of FETCH, through the first port.
        """
        channels = self.ports[0].channels
        if self._recorded is None or not (self._recorded or int(channels["ar"].valid.value)):
            return
        ready = {name: bool(int(channels[name].ready.value)) for name in SINKS}
        self._recorded.append([not ready[name] if name in SINKS else self._paused[name] for name in CHANNELS])

    async def _draw(self) -> None:
        """Draw the next cycle's pauses.

        A sink of the model samples its pause one or two cycles before it acts, depending on whether it sleeps. All are
        woken here before they are told, so that it is always two, and every draw counts for one cycle.
        """
        for port in self.ports:
            for name in SINKS:
                port.channels[name].wake_event.set()
        await NullTrigger()
        for name, source in self._pauses.items():
            self._paused[name] = next(source)
            for port in self.ports if name in SINKS else ():
                port.channels[name].pause = self._paused[name]
