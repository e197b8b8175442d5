"""Step the engines cycle by cycle while channels of the memory port pause: the slow twin of the stalled event kernel.

Every beat is an object that waits for its cycle; nothing is searched for, nothing is known before it happens.
"""

from collections import deque
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil

import numpy as np
from numpy.typing import NDArray
from timing_twin import FETCH_REQUEST, LOAD_WRITE, Burst, Job, Twin

from gossamer.arch.isa import Engine
from gossamer.arch.spec import SparseAccelerator
from gossamer.dataflow.program import Program

NEVER = 1 << 60


@dataclass
class Flight:
    """A burst on its way; `done` is the first cycle in which all of it has happened."""

    burst: Burst
    job: Job | None
    done: int = NEVER


@dataclass
class Beat:
    """A read beat: first cycle it can appear in, first cycle its pieces can move in, pieces left."""

    flight: Flight
    due: int
    accepted: int
    pieces: int
    last: bool
    shown: bool = False


@dataclass
class Writing:
    """A write burst that is being sent: pieces left of its beats, and when the memory has served it."""

    opened: int
    flight: Flight
    beats: deque[int]
    served: int | None = None
    sent: int = 0
    entering: int = 0
    entered: int = NEVER


@dataclass
class Port:
    """One port of the memory. `queue`: of several ports, the bursts it holds, the last of which may still be coming."""

    beats: deque[Beat] = field(default_factory=deque)
    writing: Writing | None = None
    answers: deque[tuple[int, Flight]] = field(default_factory=deque)
    queue: deque[Writing] = field(default_factory=deque)
    sent: deque[Writing] = field(default_factory=deque)
    shown: Flight | None = None


class StalledTwin(Twin):
    """A Program on a config, one cycle at a time. stalls bool [5, cycles]: pauses of AR, R, AW, W and B."""

    def __init__(self, program: Program, spec: SparseAccelerator, stalls: NDArray[np.bool_]) -> None:
        super().__init__(program, spec)
        self.stalls = dict(zip(("ar", "r", "aw", "w", "b"), stalls.tolist(), strict=True))
        self.port = [Port() for _ in range(self.memory.ports)]
        self.asking: dict[str, int] = {}
        self.flights: dict[Engine, list[list[Flight]]] = {}
        self.fetches: list[Flight] = []
        self.gathered: deque[tuple[Flight, list[int]]] = deque()
        self.answering: deque[Flight] = deque()
        self.writings: list[Writing] = []

    def _goes(self, channel: str) -> bool:
        row = self.stalls[channel]
        return self.now >= len(row) or not row[self.now]

    def _begin_transfer(self, engine: Engine, job: Job) -> None:
        super()._begin_transfer(engine, job)
        self.flights[engine] = [[] for _ in self.port]

    def _fetch(self) -> None:
        """Do nothing: FETCH asks together with LOAD."""

    def _transfer(self, engine: Engine) -> None:
        if engine is Engine.LOAD:
            self._ask()
            for port in self.port:
                self._read_beat(port)
            self._gather()
        else:
            self._open()
            self._take_addresses()
            for port in self.port:
                if len(self.port) == 1:
                    self._write_beat(port)
                else:
                    self._spread(port)
                self._answer(port)
            self._take_answer()
            for job in self.running.values():
                if job is not None and job.completed < 0 and not job.bursts:
                    self._finish(job)

    def _finish(self, job: Job) -> None:
        """Complete a transfer when all its bursts are done."""
        flights = [flight for port in self.flights[self._engine_of(job)] for flight in port]
        last = max(flight.done for flight in flights)
        if last < NEVER:
            job.completed = last + (LOAD_WRITE if self._engine_of(job) is Engine.LOAD else 0)

    def _engine_of(self, job: Job) -> Engine:
        return next(engine for engine, running in self.running.items() if running is job)

    def _next_port(self, engine: Engine) -> int | None:
        """Return the port of an engine's next burst if it can begin as far as the engine is concerned."""
        job = self.running[engine]
        if job is None or not job.bursts or self.now < self.first[engine]:
            return None
        port = self.served[engine] % self.memory.ports
        flights = self.flights[engine][port]
        if sum(flight.done > self.now for flight in flights) >= self.memory.max_outstanding:
            return None
        return port

    def _fetch_wants(self) -> bool:
        first = len(self.fetches) * self.fetch_size
        dispatched = self._room_made()
        ahead = first + self.fetch_size > 64 * dispatched + 2048
        ready = self.now >= self.fetch_again
        return ready and first < 64 * len(self.jobs) and not (ahead and dispatched < len(self.jobs))

    def _ask(self) -> None:
        """Show the read requests, and take one per port; a request that was shown before another goes first."""
        wants = {"fetch": 0 if self._fetch_wants() else None, "load": self._next_port(Engine.LOAD)}
        for name, port in wants.items():
            if port is not None:
                self.asking.setdefault(name, self.now)
        if not self._goes("ar"):
            return
        taken = set()
        for name in sorted(self.asking, key=lambda name: (self.asking[name], name != "fetch")):
            port = wants[name]
            assert port is not None, "a request was withdrawn"
            if port in taken:
                self.asking[name] = self.now + 1
                continue
            taken.add(port)
            del self.asking[name]
            if name == "fetch":
                self._take_fetch()
            else:
                job = self.running[Engine.LOAD]
                assert job is not None
                flight = Flight(job.bursts.popleft(), job)
                self.served[Engine.LOAD] += 1
                self.flights[Engine.LOAD][port].append(flight)
                self._request(flight, port, self.filled)

    def _take_fetch(self) -> None:
        first = len(self.fetches) * self.fetch_size
        beats = ceil((min(64 * len(self.jobs), first + self.fetch_size) - first) / self.memory.beat_bytes)
        flight = Flight(Burst(first, beats, beats, (1,) * beats), None)
        self.fetches.append(flight)
        self.fetched.append(NEVER)
        self.fetch_again = self.now + FETCH_REQUEST
        self._request(flight, 0, 0)

    def _channel(self, burst: Burst) -> Fraction:
        """Return when the channel starts with a burst whose address was taken in this cycle."""
        channel = burst.address // self.memory.interleave_bytes % self.memory.channels
        start = max(Fraction(self.now), self.channel_free[channel])
        self.channel_free[channel] = start + Fraction(burst.beats * self.memory.beat_ticks, 65536)
        return start

    def _request(self, flight: Flight, port: int, accepted: int) -> None:
        start, latency = self._channel(flight.burst), self.memory.latency_cycles
        pieces_of = flight.burst.pieces_of
        if len(self.port) > 1:
            pieces_of = (1,) * flight.burst.beats
            if flight.job is not None:
                self.gathered.append((flight, [flight.burst.pieces, accepted, NEVER]))
                accepted = 0
        for number, pieces in enumerate(pieces_of, 1):
            over = ceil(start + Fraction(number * self.memory.beat_ticks, 65536))
            due = max(ceil(start) + latency, over - 1 + latency)
            self.port[port].beats.append(Beat(flight, due, accepted, pieces, number == flight.burst.beats))

    def _read_beat(self, port: Port) -> None:
        """Let a beat appear, and one of its pieces move."""
        if not port.beats:
            return
        beat = port.beats[0]
        beat.shown = beat.shown or (beat.due <= self.now and self._goes("r"))
        if not beat.shown or self.now < beat.accepted:
            return
        beat.pieces -= 1
        if beat.pieces:
            return
        port.beats.popleft()
        if beat.last:
            if beat.flight.job is None:
                self.fetched[self.fetches.index(beat.flight)] = self.now + 1
            elif len(self.port) > 1:
                next(state for flight, state in self.gathered if flight is beat.flight)[2] = self.now + 2
                return
            beat.flight.done = self.now + 1

    def _gather(self) -> None:
        """Move a piece of the oldest burst of LOAD, if that has come."""
        if not self.gathered:
            return
        flight, state = self.gathered[0]
        if self.now < max(state[1], state[2]):
            return
        state[0] -= 1
        if state[0] == 0:
            flight.done = self.now + 1
            self.gathered.popleft()

    def _open(self) -> None:
        """Begin the next burst of STORE if its port is free."""
        at = self._next_port(Engine.STORE)
        if at is None:
            return
        if len(self.port) == 1 and self.port[at].writing is not None:
            return
        if self.writings and (self.writings[-1].entering or self.writings[-1].served is None):
            return
        if len(self.port[at].queue) == 2:
            return
        job = self.running[Engine.STORE]
        assert job is not None
        flight = Flight(job.bursts.popleft(), job)
        self.served[Engine.STORE] += 1
        self.flights[Engine.STORE][at].append(flight)
        writing = Writing(self.now, flight, deque(flight.burst.pieces_of))
        if len(self.port) == 1:
            self.port[at].writing = writing
            return
        writing.entering = flight.burst.pieces
        writing.beats = deque((1,) * flight.burst.beats)
        self.port[at].queue.append(writing)
        self.writings.append(writing)
        self.answering.append(flight)

    def _take_addresses(self) -> None:
        """Take the write addresses that are shown, in the order they have been."""
        writings = [*(port.writing for port in self.port), *self.writings]
        waiting = [writing for writing in writings if writing is not None and writing.served is None]
        for writing in sorted(waiting, key=lambda writing: writing.opened) if self._goes("aw") else []:
            start = self._channel(writing.flight.burst)
            writing.served = ceil(start + Fraction(writing.flight.burst.beats * self.memory.beat_ticks, 65536))

    def _write_beat(self, port: Port) -> None:
        """Let a piece of the burst that is being sent move."""
        writing = port.writing
        if writing is None:
            return
        if writing.beats and writing.beats[0] > 1:
            writing.beats[0] -= 1
        elif writing.beats and self._goes("w"):
            writing.beats.popleft()
            writing.sent = self.now + 1
        if not writing.beats and writing.served is not None:
            due = max(writing.sent, writing.served) + self.memory.latency_cycles - 1
            port.answers.append((due, writing.flight))
            port.writing = None

    def _spread(self, port: Port) -> None:
        """Let a piece of the burst that is coming move, and a beat of one that has come."""
        for writing in port.queue:
            if writing.entering:
                writing.entering -= 1
                writing.entered = self.now + 1 if not writing.entering else NEVER
        if port.queue and port.queue[0].entered <= self.now and self._goes("w"):
            head = port.queue[0]
            head.beats.popleft()
            if not head.beats:
                head.sent = self.now + 1
                port.sent.append(port.queue.popleft())
        if port.sent and port.sent[0].served is not None:
            head = port.sent.popleft()
            port.answers.append((max(head.sent, head.served) + self.memory.latency_cycles - 1, head.flight))

    def _answer(self, port: Port) -> None:
        if len(self.port) == 1:
            if port.answers and port.answers[0][0] <= self.now and self._goes("b"):
                port.answers.popleft()[1].done = self.now + 1
        elif port.answers and port.shown is None and port.answers[0][0] <= self.now and self._goes("b"):
            port.shown = port.answers.popleft()[1]

    def _take_answer(self) -> None:
        """Take the answer to the oldest burst of STORE, if its port shows it."""
        for port in self.port:
            if self.answering and port.shown is self.answering[0]:
                port.shown = None
                self.answering.popleft().done = self.now + 1
                return
