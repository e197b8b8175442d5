"""Simulate a Program on a config: cycles, their causes, traffic and energy, checked against the Program's records."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.encoding import decode_columns
from gossamer.arch.errors import ProgramError, SelfCheckError
from gossamer.arch.isa import ENGINES, INSTRUCTION_BYTES, MOST_TOKENS, VECTOR_OPCODES, Engine, Opcode
from gossamer.arch.spec import SparseAccelerator
from gossamer.arch.timing import (
    COMPLETION_CYCLES,
    LOAD_MOVE_CYCLES,
    LOAD_SETUP_CYCLES,
    LOAD_WRITE_CYCLES,
    STORE_SETUP_CYCLES,
)
from gossamer.dataflow.program import Program, RegionKind
from gossamer.sim import accounting, attribution, engine
from gossamer.sim.durations import compute_columns, vector_columns
from gossamer.sim.offchip import OffChipTiming, offchip_timing
from gossamer.sim.results import (
    Bound,
    CycleClass,
    EngineCycles,
    LayerTiming,
    Simulation,
    Trace,
    Traffic,
)
from gossamer.sim.stalled_engine import run_engines_stalled
from gossamer.sim.stalls import unpaused_cycles
from gossamer.sim.transfers import describe_columns

Columns = dict[str, NDArray[np.int64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What the engines did, per instruction; columns of the arrays are named in `gossamer.sim.engine`.

    `fill` and `windows` int64 [n]: pipeline fill of COMPUTEs, channel windows of LRNs (1 otherwise).
    """

    columns: Columns
    work: NDArray[np.int64]
    times: NDArray[np.int64]
    token_waits: NDArray[np.int64]
    traffic: NDArray[np.int64]
    fill: NDArray[np.int64]
    windows: NDArray[np.int64]
    total_cycles: int
    memory: OffChipTiming

    def members(self, which: Engine) -> NDArray[np.int64]:
        """Return the instructions of an engine, in order."""
        return np.flatnonzero(self.work[:, engine.ENGINE] == ENGINES.index(which))

    def span(self, at: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return cycles from start to completion."""
        cycles: NDArray[np.int64] = self.times[at, engine.COMPLETED] - self.times[at, engine.STARTED]
        return cycles


def peak_macs_per_cycle(spec: SparseAccelerator) -> int:
    """Return multiply-accumulates of a full array per cycle."""
    return spec.array.chains * spec.array.chain_length * spec.array.lanes


def _engine_of(opcodes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the engine numbers of opcodes: positions in ENGINES, END for END."""
    table = np.full(max(Opcode) + 1, engine.END, dtype=np.int64)
    table[Opcode.LOAD], table[Opcode.COMPUTE], table[Opcode.STORE] = engine.LOAD, engine.COMPUTE, engine.STORE
    table[list(VECTOR_OPCODES)] = engine.VECTOR
    return table[opcodes]


def _check_shape(program: Program, opcodes: NDArray[np.int64]) -> None:
    ends = np.flatnonzero(opcodes == Opcode.END)
    if ends.size != 1 or ends[0] != opcodes.size - 1:
        raise ProgramError(
            f"{program.name}: a Program must have one END, its last instruction; found END at {ends.tolist()} of "
            f"{opcodes.size} instructions"
        )
    if program.layer_of.shape != opcodes.shape:
        raise ProgramError(
            f"{program.name}: `layer_of` must have one entry for each of {opcodes.size} instructions, not "
            f"{program.layer_of.size}"
        )


def _describe(columns: Columns, at: NDArray[np.int64], work: NDArray[np.int64], *, buffer: str) -> None:
    """Describe the off-chip runs of LOADs or STOREs."""
    names = ("dram", "ny", "dram_y", "nx", "dram_x", "run_bytes", f"{buffer}_y", f"{buffer}_x")
    describe_columns(work, at, np.stack([columns[name][at] for name in names], axis=1))


def fill_beats(columns: Columns, at: NDArray[np.int64], bytes_per_cycle: int) -> NDArray[np.int64]:
    """Return the cycles LOADs write padding: whole lines above and below, then both ends of every data line."""
    left, right, lines = columns["pad_left"][at], columns["pad_right"][at], columns["ny"][at]
    line_bytes = left + (columns["nx"][at] - 1) * columns["dst_x"][at] + columns["run_bytes"][at] + right
    around = columns["pad_top"][at] + columns["pad_bottom"][at]
    width = bytes_per_cycle
    return around * -(-line_bytes // width) + lines * (-(-left // width) + -(-right // width))


def _prepare(program: Program, columns: Columns, spec: SparseAccelerator, memory: OffChipTiming) -> Run:
    """Return a Run whose times are still unknown."""
    count = columns["opcode"].size
    work = np.zeros((count, engine.WORK_COLUMNS), dtype=np.int64)
    work[:, engine.ENGINE] = _engine_of(columns["opcode"])
    work[:, engine.WAIT], work[:, engine.RELEASE] = columns["wait"], columns["release"]
    loads, computes, vectors, stores = (np.flatnonzero(work[:, engine.ENGINE] == number) for number in range(4))
    _describe(columns, loads, work, buffer="dst")
    _describe(columns, stores, work, buffer="src")
    work[loads, engine.SCATTER] = columns["dst_e"][loads] != 1
    work[loads, engine.FILL_BEATS] = fill_beats(columns, loads, memory.row_bytes)
    fill, windows = np.zeros(count, dtype=np.int64), np.ones(count, dtype=np.int64)
    windows[vectors] = accounting.lrn_windows(program, columns, vectors)
    positions = columns["ny"] * columns["nx"]
    array = spec.array
    busy, filling = np.zeros(computes.size, dtype=np.int64), np.zeros(computes.size, dtype=np.int64)
    compute_columns(
        positions[computes], (columns["n_ry"] * columns["n_rx"])[computes], columns["run_words"][computes],
        columns["steps"][computes], array.chain_length, array.lanes, array.weight_rows_per_cycle, busy, filling,
    )  # fmt: skip
    work[computes, engine.DURATION], fill[computes] = busy, filling
    busy = np.zeros(vectors.size, dtype=np.int64)
    vector_columns(
        columns["opcode"][vectors], positions[vectors], columns["nc"][vectors],
        (columns["kh"] * columns["kw"])[vectors], array.group_size, spec.vector.lanes, windows[vectors], busy,
    )  # fmt: skip
    work[vectors, engine.DURATION] = busy
    return Run(
        columns=columns,
        work=work,
        times=np.full((count, engine.TIME_COLUMNS), engine.UNKNOWN, dtype=np.int64),
        token_waits=np.zeros((count, len(ENGINES)), dtype=np.int64),
        traffic=np.zeros((count, engine.TRAFFIC_COLUMNS), dtype=np.int64),
        fill=fill,
        windows=windows,
        total_cycles=0,
        memory=memory,
    )


def run_program(program: Program, spec: SparseAccelerator, *, stalls: NDArray[np.bool_] | None = None) -> Run:
    """Run a Program on the engines. Raises ProgramError if it is malformed or its tokens deadlock.

    stalls bool [5, cycles]: whether a channel of the memory port, in the order of STALL_CHANNELS, pauses in a cycle.
    """
    columns = decode_columns(program.instructions)
    _check_shape(program, columns["opcode"])
    stream = next(region.address for region in program.regions if region.kind is RegionKind.INSTRUCTIONS)
    memory = replace(offchip_timing(spec), stream_address=stream)
    run = _prepare(program, columns, spec, memory)
    order = np.zeros((len(ENGINES), columns["opcode"].size), dtype=np.int64)
    for number, name in enumerate(ENGINES):
        members = run.members(name)
        order[number, : members.size] = members
    released = [
        int(((run.work[:, engine.ENGINE] == giver) & ((run.work[:, engine.RELEASE] >> taker) & 1 == 1)).sum())
        for giver in range(len(ENGINES))
        for taker in range(len(ENGINES))
    ]
    token_base = np.concatenate([[0], np.cumsum(released)]).astype(np.int64)
    control = np.zeros(engine.CONTROL_COLUMNS, dtype=np.int64)
    arrays = (
        spec.dispatch.queue_depth, order, token_base, run.times, run.token_waits, run.traffic, control
    )  # fmt: skip
    if stalls is None:
        status = engine.run_engines(run.work, memory.as_array(), *arrays)
    else:
        status = run_engines_stalled(run.work, memory.as_array(), unpaused_cycles(stalls), *arrays)
    if status == engine.DEADLOCK:
        raise _deadlock(program, run)
    _check_tokens(program, run)
    return Run(
        columns=columns, work=run.work, times=run.times, token_waits=run.token_waits, traffic=run.traffic,
        fill=run.fill, windows=run.windows, total_cycles=int(control[engine.TOTAL]), memory=memory,
    )  # fmt: skip


def _check_tokens(program: Program, run: Run) -> None:
    """Raise ProgramError if a semaphore is given more tokens than it holds."""
    owner, times = run.work[:, engine.ENGINE], run.times
    for giver, taker in np.ndindex(len(ENGINES), len(ENGINES)):
        gives = np.flatnonzero((owner == giver) & ((run.work[:, engine.RELEASE] >> taker) & 1 == 1))
        if gives.size <= MOST_TOKENS:
            continue
        takes = np.flatnonzero((owner == taker) & ((run.work[:, engine.WAIT] >> giver) & 1 == 1))
        given = times[gives, engine.COMPLETED] + COMPLETION_CYCLES
        held = np.arange(1, gives.size + 1) - np.searchsorted(times[takes, engine.STARTED], given, side="right")
        if held.max() > MOST_TOKENS:
            first = int(gives[np.argmax(held > MOST_TOKENS)])
            raise ProgramError(
                f"{program.name}: instruction {first} gives {ENGINES[taker].value} a token while its semaphore for "
                f"{ENGINES[giver].value} holds {MOST_TOKENS}, as many as it can: the hardware stops there with a token "
                "overflow; compile the model again"
            )


def _deadlock(program: Program, run: Run) -> ProgramError:
    """Return the error that names the first instruction of each engine that can never start."""
    stuck = []
    for name in ENGINES:
        waiting = run.members(name)
        waiting = waiting[run.times[waiting, engine.STARTED] == engine.UNKNOWN]
        if waiting.size:
            wait = int(run.work[waiting[0], engine.WAIT])
            givers = [giver.value for bit, giver in enumerate(ENGINES) if (wait >> bit) & 1]
            stuck.append(f"{name.value} at instruction {waiting[0]} (waits for {', '.join(givers) or 'dispatch'})")
    return ProgramError(f"{program.name}: deadlock, no engine can go on: {'; '.join(stuck)}; its tokens do not match")


def _engine_cycles(run: Run, which: Engine) -> EngineCycles:
    """Return where an engine's cycles went; idle is counted, not taken as the rest, so that the sum is a check."""
    at = run.members(which)
    span, moving = run.span(at), run.work[at, engine.DURATION].copy()
    if which in (Engine.LOAD, Engine.STORE):
        load_setup = LOAD_SETUP_CYCLES + LOAD_MOVE_CYCLES + LOAD_WRITE_CYCLES
        setup = load_setup if which is Engine.LOAD else STORE_SETUP_CYCLES
        moving = setup + run.work[at, engine.FILL_BEATS] + run.traffic[at, engine.PIECES]
    waits = run.token_waits[at].sum(axis=0)
    ends = np.concatenate([[0], run.times[at, engine.COMPLETED]])
    starts = np.concatenate([run.times[at, engine.READY], [run.total_cycles]])
    return EngineCycles(
        instructions=at.size,
        busy=int(moving.sum()),
        waiting_token={name: int(waits[number]) for number, name in enumerate(ENGINES)},
        waiting_memory=int((span - moving).sum()),
        idle=int((starts - ends).sum()),
    )


def _classes(program: Program, run: Run, peak: int, work: accounting.ArrayWork) -> NDArray[np.int64]:
    """Return cycles by layer and class, int64 [layers or 1, 6]."""
    layers = len(program.layers)
    spans = [run.members(name) for name in (Engine.COMPUTE, Engine.VECTOR, Engine.LOAD, Engine.STORE)]
    size = max(1, *(at.size for at in spans))
    starts, ends, owners = (np.zeros((len(spans), size), dtype=np.int64) for _ in range(3))
    for row, at in enumerate(spans):
        starts[row, : at.size] = run.times[at, engine.STARTED]
        ends[row, : at.size] = run.times[at, engine.COMPLETED]
        owners[row, : at.size] = program.layer_of[at]
    computes = spans[0]
    room = run.work[computes, engine.DURATION] - run.fill[computes]
    macs = np.array([record.macs for record in program.layers], dtype=np.int64)
    useful = attribution.useful_cycles(work.slots, room, program.layer_of[computes], macs, peak)
    classes = np.zeros((max(1, layers), attribution.CLASSES), dtype=np.int64)
    counts = np.array([at.size for at in spans], dtype=np.int64)
    attribution.classify(
        starts, ends, counts, run.fill[computes], useful, owners, run.total_cycles, classes
    )  # fmt: skip
    return classes


def _bound(compute: int, fill: int, vector: int, memory: int, control: int) -> Bound:
    """Return the engine with most cycles of its own; fill and control together are overhead."""
    shares = {
        Bound.COMPUTE: compute - fill, Bound.MEMORY: memory, Bound.VECTOR: vector, Bound.OVERHEAD: fill + control,
    }  # fmt: skip
    return max(shares, key=lambda bound: shares[bound])


def _layer_timings(
    program: Program,
    run: Run,
    peak: int,
    classes: NDArray[np.int64],
    traffics: tuple[Traffic, ...],
) -> tuple[LayerTiming, ...]:
    layers = len(program.layers)
    owned = np.flatnonzero((program.layer_of >= 0) & (run.work[:, engine.ENGINE] != engine.END))
    row = program.layer_of[owned].astype(np.int64)
    busy = np.zeros((layers, len(ENGINES)), dtype=np.int64)
    np.add.at(busy, (row, run.work[owned, engine.ENGINE]), run.span(owned))
    fill = np.zeros(layers, dtype=np.int64)
    np.add.at(fill, row, run.fill[owned])
    start = np.full(layers, run.total_cycles, dtype=np.int64)
    np.minimum.at(start, row, run.times[owned, engine.STARTED])
    end = np.zeros(layers, dtype=np.int64)
    np.maximum.at(end, row, run.times[owned, engine.COMPLETED])
    timings = []
    for at, record in enumerate(program.layers):
        load, compute, vector, store = (int(value) for value in busy[at])
        cycles = int(classes[at].sum())
        own = {cls: int(classes[at, number]) for number, cls in enumerate(CycleClass)}
        timings.append(
            LayerTiming(
                record=record, cycles=cycles, start=int(start[at]), end=int(end[at]), compute_cycles=compute,
                fill_cycles=int(fill[at]), vector_cycles=vector, load_cycles=load, store_cycles=store,
                ideal_compute_cycles=record.macs / peak, traffic=traffics[at], classes=own,
                bound=_bound(compute, int(fill[at]), vector, max(load, store), own[CycleClass.CONTROL]),
                utilization=record.macs / (peak * max(cycles, compute)) if max(cycles, compute) else 0.0,
            )
        )  # fmt: skip
    return tuple(timings)


def _check_sums(result: Simulation) -> None:
    """Raise SelfCheckError unless every breakdown sums to its whole and no utilisation exceeds 1."""
    for name, cycles in result.engines.items():
        parts = (cycles.busy, cycles.waiting_memory, cycles.idle, *cycles.waiting_token.values())
        if cycles.total != result.total_cycles or min(parts) < 0:
            raise SelfCheckError(f"engine {name}: cycles must sum to {result.total_cycles}: {parts}")
    if sum(result.classes.values()) != result.total_cycles:
        raise SelfCheckError(f"cycle classes must sum to {result.total_cycles}, not {sum(result.classes.values())}")
    if result.layers and sum(layer.cycles for layer in result.layers) != result.total_cycles:
        raise SelfCheckError(f"cycles of layers must sum to {result.total_cycles}")
    for layer in result.layers:
        if sum(layer.classes.values()) != layer.cycles:
            raise SelfCheckError(f"layer {layer.record.name}: classes must sum to its {layer.cycles} cycles")
        if layer.utilization > 1:
            raise SelfCheckError(f"layer {layer.record.name}: utilisation must not exceed 1, not {layer.utilization}")
    if result.utilization > 1:
        raise SelfCheckError(f"utilisation must not exceed 1, not {result.utilization}")


def check_records(program: Program, spec: SparseAccelerator, columns: Columns) -> None:
    """Raise SelfCheckError unless the instructions multiply and load what the Program's records say."""
    computes, loads = (np.flatnonzero(columns["opcode"] == opcode) for opcode in (Opcode.COMPUTE, Opcode.LOAD))
    accounting.check_macs(program, program.layer_of[computes], accounting.array_work(columns, computes, spec))
    accounting.check_constants(program, columns, loads)


def simulate(
    program: Program, spec: SparseAccelerator, *, trace: bool = False, stalls: NDArray[np.bool_] | None = None,
    whole: bool = True,
) -> Simulation:  # fmt: skip
    """Simulate a Program on a config; `trace` adds the times of every instruction, for `stalls` see `run_program`.

    `whole`: all that the records speak of is in this Program, and is held against them (`check_records`).

    Raises ProgramError for a malformed Program or one whose tokens deadlock, SelfCheckError if a conservation law does
    not hold: MACs, weight and index bytes and moved bytes against the Program's records, and every sum of cycles.
    """
    run = run_program(program, spec, stalls=stalls)
    peak = peak_macs_per_cycle(spec)
    loads, computes, vectors, stores = (run.members(name) for name in ENGINES)
    moved_bytes = run.traffic[:, engine.BYTES]
    array_work = accounting.array_work(run.columns, computes, spec)
    accounting.check_moved_bytes(run.columns, np.concatenate([loads, stores]), moved_bytes)
    if whole:
        check_records(program, spec, run.columns)
    layer_traffic, traffic = accounting.layer_traffic(program, run.columns, loads, stores, moved_bytes)
    classes = _classes(program, run, peak, array_work)
    beat_bytes = int(run.traffic[:, engine.BEATS].sum()) * run.memory.beat_bytes
    events = accounting.activity(
        run.columns, spec, computes, array_work, vectors, run.windows[vectors],
        beat_bytes + run.columns["opcode"].size * INSTRUCTION_BYTES,
    )  # fmt: skip
    macs = sum(record.macs for record in program.layers)
    columns = ("dispatched", "ready", "started", "completed")
    result = Simulation(
        program_name=program.name,
        config_name=spec.name,
        clock_mhz=spec.clock_mhz,
        total_cycles=run.total_cycles,
        peak_macs_per_cycle=peak,
        macs=macs,
        dense_macs=sum(record.dense_macs for record in program.layers),
        utilization=macs / (peak * run.total_cycles),
        engines={name: _engine_cycles(run, name) for name in ENGINES},
        classes={cls: int(classes[:, number].sum()) for number, cls in enumerate(CycleClass)},
        layers=_layer_timings(program, run, peak, classes, layer_traffic),
        traffic=traffic,
        events=events,
        energy=accounting.energy(events, spec, run.total_cycles / (spec.clock_mhz * 1e6)),
        trace=Trace(**{name: run.times[:, at].copy() for at, name in enumerate(columns)}) if trace else None,
    )
    _check_sums(result)
    return result
