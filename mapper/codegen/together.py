"""Emit two layers together, their steps in turn, so that each uses the engine the other leaves idle.

Every engine runs its instructions in the order they are emitted in. A layer that is bound by COMPUTE and one that is
bound by VECTOR take as long as both, one after the other; if their steps alternate, little longer than the busier
engine. A layer that reads what the other makes stays behind it: its LOADs are emitted once what they read has been
stored, and a strip later, so that LOAD does not wait for STORE. What is emitted is right in that order, as always;
tokens are derived from it.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

from gossamer.arch.isa import Opcode
from gossamer.mapper.allocate import TensorPlace
from gossamer.mapper.codegen.convolution_loads import Row
from gossamer.mapper.emit import Emitter
from gossamer.mapper.tiling import LAG_STRIPS

Range = tuple[int, int]
"""Off-chip bytes: the first, and the one behind the last."""


class Part(Protocol):
    """What can be emitted step by step.

    `target`: the place of its result. `strips`: parts that it is made in.
    """

    @property
    def target(self) -> TensorPlace: ...

    @property
    def strips(self) -> int: ...

    @property
    def stored(self) -> int:
        """Off-chip address below which all of the target has been stored by what is emitted."""

    @property
    def progress(self) -> float:
        """Part of the steps that is emitted."""

    @property
    def keeps_up(self) -> bool:
        """Whether its next step waits for nothing but what it needs."""

    def run(self) -> Iterator[list[Row]]:
        """Emit it bit by bit: yield the LOADs that come next before they are emitted."""


class Interleaved:
    """Parts that make one result together, each with buffers of its own: they are emitted at one pace."""

    keeps_up = True

    def __init__(self, parts: Sequence[Part], target: TensorPlace) -> None:
        self.parts, self.target = parts, target

    @property
    def strips(self) -> int:
        """Those of the part that has fewest."""
        return min(part.strips for part in self.parts)

    @property
    def stored(self) -> int:
        """What all have stored."""
        return min(part.stored for part in self.parts)

    @property
    def progress(self) -> float:
        """Their mean: the other layer has its turn between two of their steps."""
        return sum(part.progress for part in self.parts) / len(self.parts)

    def run(self) -> Iterator[list[Row]]:
        """Emit what comes next of the part that has come least far."""
        running = [(part, part.run()) for part in self.parts]
        while running:
            part, steps = min(running, key=lambda each: each[0].progress)
            loads = next(steps, None)
            if loads is None:
                running.remove((part, steps))
            else:
                yield loads


class Recorded:
    """A layer that was emitted already, by a recorder (`Emitter.recorder`), and does not use the accumulator."""

    keeps_up = True

    def __init__(self, emitter: Emitter, recorder: Emitter, target: TensorPlace) -> None:
        self.target, self.stored, self.progress = target, target.address, 0.0
        self._emitter = emitter
        self._work = list(recorder.instructions())
        opcodes = [opcode for opcode, *_ in self._work]
        self.fits = Opcode.COMPUTE not in opcodes
        self.strips = max(1, opcodes.count(Opcode.STORE))

    def run(self) -> Iterator[list[Row]]:
        """Emit it LOADs by LOADs, each with what follows."""
        at = 0
        while at < len(self._work):
            end = at
            while end < len(self._work) and self._work[end][0] == Opcode.LOAD:
                end += 1
            yield [row for _, row, _ in self._work[at:end]]
            while end < len(self._work) and self._work[end][0] != Opcode.LOAD:
                end += 1
            for opcode, row, layer in self._work[at:end]:
                self._emitter.append(opcode, row, joined=layer > 0)
            at = end
            self.progress = at / len(self._work)


class Member:
    """A layer while it is emitted. `loads`: the LOADs it emits next, None when it is done."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self.loads: list[Row] | None = []
        self._steps = part.run()
        self._end = part.target.at(part.target.shape[0])
        self._settled = self._stored = part.target.address
        self._lag: float | None = None
        self._waited = False
        self.step = 0.0
        self.advance()

    def advance(self) -> None:
        """Emit what comes next, up to the LOADs after it."""
        before = self.part.progress
        self.loads = next(self._steps, None)
        self.step = self.part.progress - before or self.step
        if self.part.stored != self._stored:
            self._settled, self._stored = self._stored, self.part.stored

    @property
    def missing(self) -> Range:
        """Return the part of the result that must not be read yet: all but the strips before the latest."""
        return (self._settled if self.loads is not None else self._end), self._end

    def may_read(self, first: "Member") -> bool:
        """Return whether what comes next reads nothing that is missing of the layer before it."""
        low, high = first.missing
        return low == high or not any(start < high and low < end for start, end in read_ranges(self.loads or ()))

    def is_due(self, first: "Member") -> bool:
        """Return whether the layer before it is far enough ahead for both to go on at one pace.

        If it had to wait for what it reads, it stays as far behind as it was then: it does not hurry to catch up.
        """
        if first.loads is None:
            return True
        ahead = first.part.progress - self.part.progress
        if self._lag is None:
            self._lag = 1 / self.part.strips + LAG_STRIPS / first.part.strips
        if ahead < self._lag and first.part.progress < 1:
            return False
        if not self.may_read(first):
            self._waited = True
            return False
        if not self.part.keeps_up:
            return False
        if self._waited:
            self._lag, self._waited = max(self._lag, ahead - first.step), False
        return True


def read_ranges(loads: Sequence[Row]) -> Iterator[Range]:
    """Yield the off-chip bytes that LOADs read."""
    for _, dram, dram_y, dram_x, ny, nx, run_bytes, *_ in loads:
        if ny:
            yield dram, dram + (ny - 1) * dram_y + (nx - 1) * dram_x + run_bytes


def emit_together(parts: Sequence[Part]) -> None:
    """Emit two layers that have begun; the second may read what the first makes."""
    first, second = map(Member, parts)
    while first.loads is not None or second.loads is not None:
        if second.loads is not None and second.is_due(first):
            second.advance()
        else:
            (second if first.loads is None else first).advance()
