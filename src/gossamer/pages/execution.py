"""Work out from a Program and its times what charts show of it: slots by layer and by unit, activity over time."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.encoding import decode_columns
from gossamer.arch.isa import ENGINES, Opcode
from gossamer.mapper.tokens import engine_numbers
from gossamer.pages.run_folder import Execution
from gossamer.sim.accounting import array_work


def issued_slots(execution: Execution) -> list[int]:
    """Return the multiply-accumulate slots that the COMPUTEs of every layer issue."""
    columns = decode_columns(execution.program.instructions)
    at = np.flatnonzero(columns["opcode"] == Opcode.COMPUTE)
    layer_of = execution.program.layer_of[at].astype(np.int64)
    slots = np.zeros(len(execution.program.layers) + 1, dtype=np.int64)
    np.add.at(slots, layer_of + 1, array_work(columns, at, execution.spec).slots)
    return [int(count) for count in slots[1:]]


def unit_slots(execution: Execution) -> NDArray[np.int64]:
    """Return the slots issued to every chain and stage, all lanes together: int64 [chains, chain_length].

    A COMPUTE with `words` words a run gives stage j one slot per position, run and step in each fold that reaches it,
    in every chain that produces a channel.
    """
    columns = decode_columns(execution.program.instructions)
    at = np.flatnonzero(columns["opcode"] == Opcode.COMPUTE)
    chains, length = execution.spec.array.chains, execution.spec.array.chain_length
    runs = columns["n_ry"][at] * columns["n_rx"][at]
    each = columns["ny"][at] * columns["nx"][at] * runs * columns["steps"][at]
    words, active = columns["run_words"][at], columns["chains_active"][at]
    folds = (words[:, None] - np.arange(length) + length - 1) // length  # of the run, those that reach stage j
    ending = np.zeros((chains + 1, length), dtype=np.int64)  # row c: COMPUTEs with c chains active
    np.add.at(ending, active, each[:, None] * folds)
    counted: NDArray[np.int64] = ending[::-1].cumsum(axis=0)[::-1][1:]
    return counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Spans:
    """Instructions, or several of one engine together, in order of engines and time: int64 [n] each.

    `start` and `end` in cycles, `busy` cycles in between; `count` instructions, the first of them `number`; the `layer`
    (-1: none) and `opcode` most of the busy cycles are of, `others` layers besides; `waited` cycles at the head of the
    queue for tokens.
    """

    engine: NDArray[np.int64]
    start: NDArray[np.int64]
    end: NDArray[np.int64]
    busy: NDArray[np.int64]
    waited: NDArray[np.int64]
    count: NDArray[np.int64]
    number: NDArray[np.int64]
    layer: NDArray[np.int64]
    opcode: NDArray[np.int64]
    others: NDArray[np.int64]


def spans(execution: Execution, most: int) -> Spans:
    """Return every instruction by itself if they are `most` or fewer, else those that start in the same bin together.

    Bins are as short as they can be with at most `most` spans.
    """
    trace = execution.simulation.trace
    assert trace is not None
    opcodes = decode_columns(execution.program.instructions)["opcode"]
    engines = engine_numbers(opcodes)
    at = np.flatnonzero(engines >= 0)
    at = at[np.lexsort((at, engines[at]))]
    engine, start, end = engines[at], trace.started[at], trace.completed[at]
    if at.size <= most:
        group = np.arange(at.size)
    else:
        group = _bins(engine, start, execution.simulation.total_cycles, most)
    first = np.flatnonzero(np.diff(group, prepend=-1))
    layer, opcode = execution.program.layer_of[at].astype(np.int64), opcodes[at]
    busy = end - start
    main, others = _most_of(group, layer, busy)
    return Spans(
        engine=engine[first], start=start[first], end=np.maximum.reduceat(end, first),
        busy=np.add.reduceat(busy, first), waited=np.add.reduceat(start - trace.ready[at], first),
        count=np.diff(first, append=at.size), number=at[first], layer=main, others=others,
        opcode=_most_of(group, opcode, busy)[0],
    )  # fmt: skip


def _bins(engine: NDArray[np.int64], start: NDArray[np.int64], total: int, most: int) -> NDArray[np.int64]:
    """Return the number of the span each instruction is in, ascending: int64 [n]."""
    per_bin = max(1, total * len(ENGINES) // most)
    while True:
        key = engine * (total // per_bin + 1) + start // per_bin
        group = np.cumsum(np.diff(key, prepend=key[0]) != 0)
        if group[-1] < most:
            return group
        per_bin += -(-per_bin // 8)


def _most_of(
    group: NDArray[np.int64], value: NDArray[np.int64], busy: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return for every group the value that most busy cycles are of, and how many other values there are."""
    pairs, inverse = np.unique(np.stack([group, value], axis=1), axis=0, return_inverse=True)
    weight = np.zeros(len(pairs), dtype=np.int64)
    np.add.at(weight, inverse, busy)
    order = np.lexsort((weight, pairs[:, 0]))
    counts = np.bincount(pairs[:, 0])
    last = order[np.cumsum(counts) - 1]
    return pairs[last, 1], counts - 1


def busy_shares(execution: Execution, bins: int) -> NDArray[np.float64]:
    """Return the share of each bin of the run's time in which an engine is busy: float64 [engines, bins]."""
    trace = execution.simulation.trace
    assert trace is not None
    engines = engine_numbers(decode_columns(execution.program.instructions)["opcode"])
    edges = np.linspace(0, execution.simulation.total_cycles, bins + 1)
    shares = np.zeros((len(ENGINES), bins))
    for number in range(len(ENGINES)):
        at = np.flatnonzero(engines == number)
        if at.size:
            start, end = trace.started[at], trace.completed[at]
            times = np.stack([start, end], axis=1).ravel()
            busy = np.stack([np.cumsum(end - start) - (end - start), np.cumsum(end - start)], axis=1).ravel()
            shares[number] = np.diff(np.interp(edges, times, busy)) / np.diff(edges)
    return shares
