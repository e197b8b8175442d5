"""Emit two layers on the array together, their steps in turn, so that each uses the engine the other leaves idle.

Every engine runs its instructions in the order they are emitted in. A layer that is bound by COMPUTE and one that is
bound by VECTOR take as long as both, one after the other; if their steps alternate, little longer than the busier
engine. A layer that reads what the other makes stays behind it: its LOADs are emitted once what they read has been
stored, and a strip later, so that LOAD does not wait for STORE. What is emitted is right in that order, as always;
tokens are derived from it.
"""

from collections.abc import Iterator, Sequence

from gossamer.mapper.codegen.convolution import ConvEmitter
from gossamer.mapper.codegen.convolution_loads import Row
from gossamer.mapper.emit import Emitter
from gossamer.mapper.tiling import LAG_STRIPS

Range = tuple[int, int]
"""Off-chip bytes: the first, and the one behind the last."""


class Member:
    """A layer while it is emitted. `loads`: the LOADs it emits next, None when it is done."""

    def __init__(self, emitter: Emitter, number: int, part: ConvEmitter) -> None:
        self.part = part
        self.loads: list[Row] | None = []
        self._emitter, self._number = emitter, number
        self._steps: Iterator[list[Row]] = part.run()
        self._end = part.target.at(part.target.shape[0])
        self._settled = self._stored = part.target.address
        self.advance()

    def advance(self) -> None:
        """Emit what comes next, up to the LOADs after it."""
        self._emitter.resume_layer(self._number)
        self.loads = next(self._steps, None)
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
        """Return whether the layer before it is far enough ahead for both to go on at one pace."""
        lag = 1 / self.part.mapping.strip_count + LAG_STRIPS / first.part.mapping.strip_count
        return first.loads is None or first.part.progress >= min(1.0, self.part.progress + lag)


def read_ranges(loads: Sequence[Row]) -> Iterator[Range]:
    """Yield the off-chip bytes that LOADs read."""
    for _, dram, dram_y, dram_x, ny, nx, run_bytes, *_ in loads:
        if ny:
            yield dram, dram + (ny - 1) * dram_y + (nx - 1) * dram_x + run_bytes


def emit_together(emitter: Emitter, numbers: Sequence[int], parts: Sequence[ConvEmitter]) -> None:
    """Emit two layers that were begun as `numbers`; the second may read what the first makes."""
    first, second = (Member(emitter, number, part) for number, part in zip(numbers, parts, strict=True))
    while first.loads is not None or second.loads is not None:
        if second.loads is not None and second.may_read(first) and second.is_due(first):
            second.advance()
        else:
            (second if first.loads is None else first).advance()
