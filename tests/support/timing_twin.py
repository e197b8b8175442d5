"""Step the engines cycle by cycle: the slow, obvious twin of the timing simulator's event kernel.

Transfers are expanded to single bytes and cut again; every engine is looked at in every cycle. Channel times are exact
fractions of ticks, as the specification of `gossamer.sim.offchip` words them.
"""

from collections import deque
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil

from gossamer.arch.encoding import decode
from gossamer.arch.isa import ENGINE_OF, ENGINES, Engine, Opcode
from gossamer.arch.spec import SparseAccelerator
from gossamer.arch.timing import compute_cycles, vector_cycles
from gossamer.dataflow.program import Program
from gossamer.sim.offchip import OffChipTiming, offchip_timing

LOAD_SETUP, LOAD_MOVE, LOAD_WRITE, STORE_SETUP, FETCH_AHEAD_BYTES, FETCH_LONGEST = 10, 1, 4, 17, 2048, 1024
FETCH_REQUEST, FETCH_ROOM, DECODE, PUSH, COMPLETION, ENDING = 2, 3, 2, 2, 1, 1
"""Repeated here on purpose: a changed constant must be changed twice."""


@dataclass
class Burst:
    """One burst: first address, beats, on-chip pieces, and those of each row."""

    address: int
    beats: int
    pieces: int
    pieces_of: tuple[int, ...]


@dataclass
class Job:
    """One instruction on its way."""

    number: int
    fields: dict[str, int]
    bursts: deque[Burst]
    cycles: int
    dispatched: int = -1
    ready: int = -1
    started: int = -1
    completed: int = -1
    waits: dict[Engine, int] = field(default_factory=lambda: dict.fromkeys(ENGINES, 0))


def bytes_of(fields: dict[str, int], chip: str) -> list[list[tuple[int, int]]]:
    """Return the (off-chip, on-chip) bytes of a transfer, one list per off-chip run after joining."""
    ny, nx, length = fields["ny"], fields["nx"], fields["run_bytes"]
    step = fields.get("dst_e", 1)
    lines = []
    for y in range(ny):
        runs = []
        for x in range(nx):
            dram = fields["dram"] + y * fields["dram_y"] + x * fields["dram_x"]
            here = fields[chip] + y * fields[f"{chip}_y"] + x * fields[f"{chip}_x"]
            runs.append([(dram + e, here + e * step) for e in range(length)])
        if fields["dram_x"] == length:
            runs = [[pair for run in runs for pair in run]]
        lines.append(runs)
    if ny and all(len(runs) == 1 for runs in lines) and fields["dram_y"] == len(lines[0][0]):
        lines = [[[pair for runs in lines for pair in runs[0]]]]
    return [run for runs in lines for run in runs if run]


def bursts_of(fields: dict[str, int], chip: str, memory: OffChipTiming) -> deque[Burst]:
    """Cut a transfer into bursts, byte by byte."""
    result: deque[Burst] = deque()
    for run in bytes_of(fields, chip):
        part: list[tuple[int, int]] = []
        for pair in [*run, None]:
            if part and (pair is None or pair[0] % memory.burst_bytes == 0):
                pieces: dict[int, int] = {}
                previous = None
                for dram, here in part:
                    row = dram // (memory.ports * memory.beat_bytes)
                    if fields.get("dst_e", 1) != 1 or previous != (row, here - 1):
                        pieces[row] = pieces.get(row, 0) + 1
                    previous = (row, here)
                beats = len(pieces) * memory.ports
                result.append(Burst(part[0][0], beats, sum(pieces.values()), tuple(pieces.values())))
                part = []
            if pair is not None:
                part.append(pair)
    return result


class Twin:
    """A Program on a config, one cycle at a time. `windows`: channel windows of LRN instructions by number."""

    def __init__(self, program: Program, spec: SparseAccelerator, windows: dict[int, int] | None = None) -> None:
        self.spec, self.memory = spec, offchip_timing(spec)
        self.windows = windows or {}
        self.jobs = [self._job(number, decode(word)) for number, word in enumerate(program.instructions)]
        self.queues: dict[Engine, deque[Job]] = {engine: deque() for engine in ENGINES}
        self.running: dict[Engine, Job | None] = dict.fromkeys(ENGINES)
        self.semaphores: dict[tuple[Engine, Engine], int] = {}
        self.channel_free = [Fraction(0)] * self.memory.channels
        self.read_free, self.entering = [0] * self.memory.ports, 0
        self.answered, self.taken = 0, 0
        self.sent: list[list[int]] = [[0, 0] for _ in range(self.memory.ports)]
        self.requested = [-1] * self.memory.ports
        self.flying: dict[Engine, list[list[int]]] = {}
        self.served = {Engine.LOAD: 0, Engine.STORE: 0}
        self.filled = 0
        self.now = 0
        self.next_dispatch = 0
        self.fetch_size = min(self.memory.burst_bytes, FETCH_LONGEST)
        self.fetched: list[int] = []
        self.fetch_again = 0
        self.last: dict[Engine, int] = {}
        self.first: dict[Engine, int] = {}

    def _job(self, number: int, fields: dict[str, int]) -> Job:
        array, opcode = self.spec.array, Opcode(fields["opcode"])
        bursts: deque[Burst] = deque()
        cycles = 0
        if opcode in (Opcode.LOAD, Opcode.STORE):
            bursts = bursts_of(fields, "dst" if opcode is Opcode.LOAD else "src", self.memory)
        elif opcode is Opcode.COMPUTE:
            cycles = compute_cycles(
                positions=fields["ny"] * fields["nx"], runs=fields["n_ry"] * fields["n_rx"],
                run_words=fields["run_words"], steps=fields["steps"], chain_length=array.chain_length,
                lanes=array.lanes, weight_rows_per_cycle=array.weight_rows_per_cycle,
            )  # fmt: skip
        elif opcode is not Opcode.END:
            cycles = vector_cycles(
                opcode, ny=fields["ny"], nx=fields["nx"], nc=fields["nc"], kh=fields["kh"], kw=fields["kw"],
                group_size=array.group_size, vector_lanes=self.spec.vector.lanes,
                window=self.windows.get(number, 1),
            )  # fmt: skip
        return Job(number, fields, bursts, cycles)

    def run(self, limit: int = 200_000) -> int:
        """Return the total cycles."""
        while self.jobs[-1].completed < 0:
            assert self.now < limit, "the twin ran into its limit"
            self._complete()
            self._start()
            self._fetch()
            self._transfer(Engine.LOAD)
            self._transfer(Engine.STORE)
            self._dispatch()
            self.now += 1
        return self.jobs[-1].completed

    def _complete(self) -> None:
        for engine, job in self.running.items():
            if job is not None and 0 <= job.completed == self.now - COMPLETION:
                self.running[engine] = None
                for bit, taker in enumerate(ENGINES):
                    if job.fields["release"] >> bit & 1:
                        self.semaphores[engine, taker] = self.semaphores.get((engine, taker), 0) + 1

    def _start(self) -> None:
        for engine, queue in self.queues.items():
            if self.running[engine] is not None or not queue or queue[0].dispatched + PUSH > self.now:
                continue
            job = queue[0]
            if job.ready < 0:
                job.ready = self.now
            needed = [giver for bit, giver in enumerate(ENGINES) if job.fields["wait"] >> bit & 1]
            missing = [giver for giver in needed if not self.semaphores.get((giver, engine), 0)]
            if missing:
                job.waits[missing[0]] += 1
                continue
            for giver in needed:
                self.semaphores[giver, engine] -= 1
            queue.popleft()
            job.started = self.now
            self.running[engine] = job
            if engine in (Engine.LOAD, Engine.STORE):
                self._begin_transfer(engine, job)
            else:
                job.completed = self.now + job.cycles

    def _begin_transfer(self, engine: Engine, job: Job) -> None:
        fields = job.fields
        self.served[engine] = 0
        self.flying[engine] = [[] for _ in range(self.memory.ports)]
        setup, filling = STORE_SETUP, 0
        if engine is Engine.LOAD:
            setup, width = LOAD_SETUP, self.memory.ports * self.memory.beat_bytes
            line = fields["pad_left"] + (fields["nx"] - 1) * fields["dst_x"] + fields["run_bytes"] + fields["pad_right"]
            filling = LOAD_MOVE + (fields["pad_top"] + fields["pad_bottom"]) * ceil(line / width)
            filling += fields["ny"] * (ceil(fields["pad_left"] / width) + ceil(fields["pad_right"] / width))
        self.last[engine] = self.now + setup + filling
        self.first[engine] = self.now + setup
        if engine is Engine.LOAD:
            self.filled = self.now + setup + filling
        if not job.bursts:
            job.completed = self.last[engine] + (LOAD_WRITE if engine is Engine.LOAD else 0)

    def _serve(self, burst: Burst) -> tuple[int, int]:
        """Return when the channel starts and ends with a burst, in whole cycles, rounded up."""
        start, end = self._channel(burst)
        return ceil(start), ceil(end)

    def _channel(self, burst: Burst) -> tuple[Fraction, Fraction]:
        channel = burst.address // self.memory.interleave_bytes % self.memory.channels
        start = max(Fraction(self.now), self.channel_free[channel])
        end = start + Fraction(burst.beats * self.memory.beat_ticks, 65536)
        self.channel_free[channel] = end
        return start, end

    def _read(self, burst: Burst, port: int, accepted: int) -> int:
        self.requested[port] = self.now
        start, end = self._channel(burst)
        beat = (end - start) / burst.beats
        for number, pieces in enumerate(burst.pieces_of, start=1):
            comes = max(ceil(start), ceil(start + number * beat) - 1) + self.memory.latency_cycles
            self.read_free[port] = max(self.read_free[port], comes, accepted) + pieces
        return self.read_free[port]

    def _load(self, burst: Burst, port: int) -> int:
        """Return when LOAD has taken a burst: as it comes through one port, after it has come through several."""
        if self.memory.ports == 1:
            return self._read(burst, port, self.filled)
        arrived = self._read(Burst(burst.address, burst.beats, burst.beats, (1,) * burst.beats), port, 0)
        self.taken = max(self.taken, arrived + 1, self.filled) + burst.pieces
        return self.taken

    def _store(self, burst: Burst, port: int) -> int:
        """Return when STORE has the acknowledgement of a burst."""
        _, last = self._serve(burst)
        done = self.now + burst.pieces
        if self.memory.ports > 1:
            done = max(done, self.sent[port][-1]) + burst.beats
            self.sent[port].append(done)
        done = max(done, last) + self.memory.latency_cycles
        self.answered = max(done, self.answered + 1)
        return self.answered

    def _fetch(self) -> None:
        size, stream = self.fetch_size, 64 * len(self.jobs)
        first = len(self.fetched) * size
        if first >= stream or self.now < self.fetch_again:
            return
        dispatched = self._room_made()
        if first + size > 64 * dispatched + FETCH_AHEAD_BYTES and dispatched < len(self.jobs):
            return
        beats = ceil((min(stream, first + size) - first) / self.memory.beat_bytes)
        self.fetched.append(self._read(Burst(first, beats, beats, (1,) * beats), 0, 0))
        self.fetch_again = self.now + FETCH_REQUEST

    def _room_made(self) -> int:
        """Return of how many instructions FETCH knows that they were dispatched."""
        return sum(0 <= job.dispatched <= self.now - FETCH_ROOM for job in self.jobs)

    def _transfer(self, engine: Engine) -> None:
        job = self.running[engine]
        if job is None or not job.bursts or self.now < self.first[engine]:
            return
        port = self.served[engine] % self.memory.ports
        flying = self.flying[engine][port]
        if len(flying) >= self.memory.max_outstanding and flying[-self.memory.max_outstanding] > self.now:
            return
        if engine is Engine.STORE and max(self.entering, self.sent[port][-2]) > self.now:
            return
        if engine is Engine.LOAD and self.requested[port] == self.now:
            return
        burst = job.bursts.popleft()
        if engine is Engine.LOAD:
            done = self._load(burst, port)
        else:
            self.entering = self.now + burst.pieces
            done = self._store(burst, port)
        flying.append(done)
        self.served[engine] += 1
        self.last[engine] = max(self.last[engine], done)
        if not job.bursts:
            job.completed = self.last[engine] + (LOAD_WRITE if engine is Engine.LOAD else 0)

    def _dispatch(self) -> None:
        if self.next_dispatch == len(self.jobs):
            return
        job = self.jobs[self.next_dispatch]
        burst = (64 * (job.number + 1) - 1) // self.fetch_size
        if burst >= len(self.fetched) or self.fetched[burst] + DECODE > self.now:
            return
        if job.fields["opcode"] == Opcode.END:
            before = self.now - ENDING
            decoded = self.fetched[burst] + DECODE <= before
            in_turn = all(other.dispatched < before for other in self.jobs[:-1])
            if decoded and in_turn and all(0 <= other.completed <= before for other in self.jobs[:-1]):
                job.dispatched = job.started = self.now
                job.completed = self.now + 1
                self.next_dispatch += 1
            return
        queue = self.queues[ENGINE_OF[Opcode(job.fields["opcode"])]]
        waiting_or_just_started = len(queue) + sum(
            other.started == self.now for other in self.running.values() if other is not None and self._same(other, job)
        )
        if waiting_or_just_started < self.spec.dispatch.queue_depth:
            job.dispatched = self.now
            queue.append(job)
            self.next_dispatch += 1

    @staticmethod
    def _same(one: Job, other: Job) -> bool:
        return ENGINE_OF[Opcode(one.fields["opcode"])] is ENGINE_OF[Opcode(other.fields["opcode"])]
