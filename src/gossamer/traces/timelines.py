"""Draw runs of a Program on one time axis: what every engine did when, in simulator and RTL.

Each run is a group of tracks: dispatch, one per engine, and the off-chip bytes per cycle of LOAD and STORE. An
instruction is a slice named by its opcode, from its start to its completion, with number, layer, cycles and operands as
annotations; one of a cycle says when it was dispatched. Arrows lead from the instruction that gave a token to the one
that took it. Cycle 0 is that of FETCH's first request, at 0 ns; a cycle lasts 1 / clock.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.encoding import decode_columns
from gossamer.arch.isa import ENGINE_OF, ENGINES, FIELDS, Engine, Opcode, Space
from gossamer.dataflow.assembly import DEFAULTS
from gossamer.dataflow.program import Program
from gossamer.sim.results import Trace
from gossamer.traces.perfetto import PerfettoWriter, Value, perfetto_writer

UNKNOWN = -1
"""Cycle of what did not happen."""

_MEMORY_ENGINES = (Engine.LOAD, Engine.STORE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """One run of a Program: cycles int64 [count] of dispatch, start and completion (the cycle after the last one).

    name: of the run, for example simulator or RTL. core: number of the core it was on. UNKNOWN: it did not happen.
    """

    name: str
    dispatched: NDArray[np.int64]
    started: NDArray[np.int64]
    completed: NDArray[np.int64]
    core: int = 0

    @classmethod
    def of(cls, name: str, trace: Trace, core: int = 0) -> "Timeline":
        """Return the run whose times are those of a trace."""
        return cls(
            name=name, dispatched=trace.dispatched, started=trace.started, completed=trace.completed, core=core
        )  # fmt: skip


def write_timelines(path: Path, program: Program, clock_mhz: float, timelines: Sequence[Timeline]) -> None:
    """Write a Perfetto trace with one group of tracks per run. Raises GossamerError if it cannot be written."""
    listing = _Listing.of(program)
    cores = len({timeline.core for timeline in timelines})
    with perfetto_writer(path) as writer:
        for number, timeline in enumerate(timelines):
            name = timeline.name if cores == 1 else f"{timeline.name}, core {timeline.core}"
            _draw(writer, f"{name}: {program.name}", listing, timeline, clock_mhz, number * len(listing.opcodes) * 16)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listing:
    """A Program's instructions, as they are shown; all lists are by instruction.

    flows_in and flows_out: numbers of the tokens taken and given, of those that are both.
    """

    opcodes: list[Opcode]
    annotations: list[dict[str, Value]]
    transfer_bytes: list[int]
    flows_out: list[tuple[int, ...]]
    flows_in: list[tuple[int, ...]]

    @classmethod
    def of(cls, program: Program) -> "_Listing":
        """Return the listing of a Program."""
        columns = decode_columns(program.instructions)
        opcodes = [Opcode(code) for code in columns["opcode"].tolist()]
        values = {name: column.tolist() for name, column in columns.items()}
        flows_out, flows_in = _tokens(opcodes, columns)
        moved = (columns["ny"] * columns["nx"] * columns["run_bytes"]).tolist()
        return cls(
            opcodes=opcodes, transfer_bytes=moved, flows_out=flows_out, flows_in=flows_in,
            annotations=[
                {
                    "instruction": at,
                    **({"layer": program.layers[layer].name} if layer >= 0 else {}),
                    **_operands(opcode, {field.name: values[field.name][at] for field in FIELDS[opcode]}),
                }
                for at, (opcode, layer) in enumerate(zip(opcodes, program.layer_of.tolist(), strict=True))
            ],
        )  # fmt: skip


def _operands(opcode: Opcode, fields: dict[str, int]) -> dict[str, Value]:
    """Return the operands that are not at their default."""
    shown: dict[str, Value] = {}
    for name, value in fields.items():
        if name == "opcode" or value == DEFAULTS.get(name, 0):
            continue
        if name in ("wait", "release"):
            shown[name] = ",".join(engine for bit, engine in enumerate(ENGINES) if value >> bit & 1)
        else:
            shown[name] = Space(value).name if name == "space" else value
    return shown


def _tokens(
    opcodes: Sequence[Opcode], columns: dict[str, NDArray[np.int64]]
) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Return the numbers of tokens given and taken: what an engine gives another, that one takes in the same order."""
    owner = [ENGINE_OF.get(opcode) for opcode in opcodes]
    flows_out: list[tuple[int, ...]] = [()] * len(opcodes)
    flows_in: list[tuple[int, ...]] = [()] * len(opcodes)
    flow = 0
    masks = {engine: np.array([each is engine for each in owner], dtype=np.bool_) for engine in ENGINES}
    for to, taker in enumerate(ENGINES):
        for source, giver in enumerate(ENGINES):
            gives = np.flatnonzero(masks[giver] & (columns["release"] >> to & 1 == 1)).tolist()
            takes = np.flatnonzero(masks[taker] & (columns["wait"] >> source & 1 == 1)).tolist()
            for given, taken in zip(gives, takes, strict=False):
                flow += 1
                flows_out[given] += (flow,)
                flows_in[taken] += (flow,)
    return flows_out, flows_in


def _draw(
    writer: PerfettoWriter, name: str, listing: _Listing, timeline: Timeline, clock_mhz: float, first_flow: int
) -> None:
    """Write one group of tracks; its tokens are numbered from `first_flow` + 1, which no other group's are."""
    process = writer.process(name)
    dispatch = writer.track(process, "dispatch")
    engines = {engine: writer.track(process, engine.value.upper()) for engine in ENGINES}
    rates = {
        engine: writer.counter(process, f"{engine.value.upper()} bytes per cycle", "bytes per cycle")
        for engine in _MEMORY_ENGINES
    }

    def time_ns(cycle: int) -> int:
        return round(cycle * 1000 / clock_mhz)

    def flows(numbers: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(first_flow + number for number in numbers)

    for cycle, begins, at, is_dispatch in _events(timeline, listing):
        opcode = listing.opcodes[at]
        if is_dispatch:
            if begins:
                writer.begin(dispatch, time_ns(cycle), opcode.name, {"instruction": at, "cycle": cycle})
            else:
                writer.end(dispatch, time_ns(cycle))
            continue
        engine = ENGINE_OF[opcode]
        span = int(timeline.completed[at]) - int(timeline.started[at])
        if engine in _MEMORY_ENGINES and timeline.completed[at] != UNKNOWN:
            # A counter keeps its value: the next instruction starts a cycle later at the earliest.
            writer.count(rates[engine], time_ns(cycle), listing.transfer_bytes[at] / span if begins else 0.0)
        if not begins:
            writer.end(engines[engine], time_ns(cycle))
            continue
        cycles: dict[str, Value] = {"cycle": cycle}
        if timeline.completed[at] != UNKNOWN:
            cycles["cycles"] = span
        writer.begin(
            engines[engine], time_ns(cycle), opcode.name, cycles | listing.annotations[at],
            flows_out=flows(listing.flows_out[at]), flows_in=flows(listing.flows_in[at]),
        )  # fmt: skip


def _events(timeline: Timeline, listing: _Listing) -> Iterator[tuple[int, bool, int, bool]]:
    """Yield (cycle, whether it begins, instruction, whether it is of dispatch) in the order of time, ends first."""
    on_engine = np.array([opcode in ENGINE_OF for opcode in listing.opcodes], dtype=np.bool_)
    parts = []
    for begin, end, is_dispatch, shown in (
        (timeline.dispatched, timeline.dispatched + 1, True, timeline.dispatched != UNKNOWN),
        (timeline.started, timeline.completed, False, on_engine & (timeline.started != UNKNOWN)),
    ):
        for begins, cycle, there in ((True, begin, shown), (False, end, shown & (end != UNKNOWN))):
            at = np.flatnonzero(there)
            parts.append(np.stack([cycle[at], np.full_like(at, begins), at, np.full_like(at, is_dispatch)]))
    events = np.concatenate(parts, axis=1)
    for cycle, begins, at, is_dispatch in events[:, np.lexsort((events[1], events[0]))].T.tolist():
        yield cycle, bool(begins), at, bool(is_dispatch)
