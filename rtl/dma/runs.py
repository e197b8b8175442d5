"""Walk over the runs of a transfer."""

from collections.abc import Mapping
from dataclasses import dataclass

from amaranth.hdl import Module, Mux, Signal, Value

from gossamer.rtl.dma.parameters import COUNT_BITS


@dataclass(frozen=True, slots=True, kw_only=True)
class RunShape:
    """Runs in a line and lines, each less one, and whether there is one; they hold from `load` on."""

    runs_less_one: Value
    lines_less_one: Value
    one_run: Value
    one_line: Value


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAddress:
    """An address of the first run, and its distances from line to line and from run to run."""

    first: Value
    line_pitch: Value
    run_pitch: Value


@dataclass(frozen=True, slots=True, kw_only=True)
class RunWalk:
    """The run the walk is at: every address by its name, and whether it is a line's last, and in the last line."""

    valid: Signal
    addresses: Mapping[str, Signal]
    last_of_line: Signal
    last_line: Signal


def walk_runs(m: Module, shape: RunShape, addresses: Mapping[str, RunAddress], *, load: Value, drop: Value,
              moves: Value) -> RunWalk:  # fmt: skip
    """Add registers that are at the first run in the cycle after `load`, and go to the next whenever `moves` is high.

    `drop`, high in the cycle after `load`, ends the walk.
    """
    walk = RunWalk(
        valid=Signal(name="walk_valid"),
        addresses={name: Signal(len(each.first), name=f"run_{name}") for name, each in addresses.items()},
        last_of_line=Signal(name="last_of_line"),
        last_line=Signal(name="last_line"),
    )
    runs_left, lines_left = Signal(COUNT_BITS, name="runs_left"), Signal(COUNT_BITS, name="lines_left")
    runs = [runs_left.eq(shape.runs_less_one), walk.last_of_line.eq(shape.one_run)]
    with m.If(load):
        m.d.sync += [walk.valid.eq(1), *runs, lines_left.eq(shape.lines_less_one), walk.last_line.eq(shape.one_line)]
    with m.Elif(moves):
        m.d.sync += [
            walk.valid.eq(walk.valid & ~(walk.last_of_line & walk.last_line) & ~drop),
            runs_left.eq(runs_left - 1), walk.last_of_line.eq(runs_left == 1),
        ]  # fmt: skip
        with m.If(walk.last_of_line):
            m.d.sync += [*runs, lines_left.eq(lines_left - 1), walk.last_line.eq(lines_left == 1)]
    for name, each in addresses.items():
        run, line, beyond = walk.addresses[name], Signal.like(each.first, name=f"line_{name}"), Signal.like(each.first)
        m.d.comb += beyond.eq(
            Mux(walk.last_of_line, line, run) + Mux(walk.last_of_line, each.line_pitch, each.run_pitch)
        )
        with m.If(load):
            m.d.sync += [run.eq(each.first), line.eq(each.first)]
        with m.Elif(moves):
            m.d.sync += run.eq(beyond)
            with m.If(walk.last_of_line):
                m.d.sync += line.eq(beyond)
    return walk
