"""Derive the semaphore tokens that make four concurrent in-order engines obey a sequential instruction order.

Method (ours, checked by tests/unit/test_tokens.py). Instructions are walked in program order. Every instruction has a
clock: for each engine, how many of its instructions are complete whenever this one may start. It begins with the clock
of its predecessor on its own engine. For every other engine the latest earlier instruction that conflicts with it (an
overlap of ranges in one space, one of them written) is looked for beyond the clock; if there is one, this instruction
waits for one token of that engine, that instruction releases one, and its clock joins ours. Conflicts already implied
by a joined clock need no token.

For an ordered pair of engines both the releasing and the waiting instructions strictly increase, and each has at most
one token of the pair, so the k-th token taken is the k-th given although tokens are anonymous. No deadlock: an
instruction waits only for earlier ones, so the earliest unfinished instruction can always run.
"""

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.accumulator import accumulator_entries, half_entries
from gossamer.arch.activation import half_bytes
from gossamer.arch.errors import MappingError
from gossamer.arch.isa import ENGINE_OF, ENGINES, MOST_TOKENS, REQUANTIZING, TWO_SOURCES, Opcode, Space
from gossamer.arch.spec import SparseAccelerator
from gossamer.mapper.allocate import ACTIVATION_BASE
from gossamer.mapper.emit import PARAMETER_BYTES
from gossamer.sim.kernels import kernel

ACCUMULATOR = 4
OFF_CHIP = 5
WRITE_PORTS = 6
"""Spaces of accesses beyond those of `Space`. WRITE_PORTS: those of the halves of the activation buffer (`_ports`)."""

ACCESSES = 5
"""Most ranges one instruction reads or writes: VECTOR three sources, a destination and its write ports."""

SCAN_LIMIT = 2048
"""Instructions of another engine searched for a conflict. A conflict with an older one becomes one with the oldest
searched, which is later and therefore safe."""

Ints = NDArray[np.int64]
Columns = dict[str, Ints]

_ENGINE_NUMBER = np.full(max(Opcode) + 1, -1, dtype=np.int64)
for _opcode, _engine in ENGINE_OF.items():
    _ENGINE_NUMBER[_opcode] = ENGINES.index(_engine)


def engine_numbers(opcodes: Ints) -> Ints:
    """Return the index into ENGINES that runs each instruction, -1 for END."""
    return _ENGINE_NUMBER[opcodes]


class Accesses:
    """Ranges each instruction reads and writes, conservatively (bounding boxes; whole halves of the accumulator).

    Members: `space` int64 [n, ACCESSES] (-1: no access), `low` and `high` int64 (half open; bytes, or entries of the
    accumulator), `writes` int64 0 or 1.
    """

    def __init__(self, count: int) -> None:
        self.space = np.full((count, ACCESSES), -1, dtype=np.int64)
        self.low = np.zeros((count, ACCESSES), dtype=np.int64)
        self.high = np.zeros((count, ACCESSES), dtype=np.int64)
        self.writes = np.zeros((count, ACCESSES), dtype=np.int64)

    def add(self, rows: Ints, slot: int, space: Ints | int, low: Ints,
            length: Ints, *, writes: bool) -> None:  # fmt: skip
        """Set access number `slot` of the instructions `rows`."""
        self.space[rows, slot] = space
        self.low[rows, slot] = low
        self.high[rows, slot] = low + length
        self.writes[rows, slot] = writes


def derive_accesses(opcodes: Ints, columns: Columns, spec: SparseAccelerator) -> Accesses:
    """Return the ranges of instructions given as opcodes [n] and operand columns with virtual off-chip addresses.

    Constants are never written, so reading them is no access.
    """
    result = Accesses(len(opcodes))
    _load_accesses(result, np.flatnonzero(opcodes == Opcode.LOAD), columns, spec)
    _store_accesses(result, np.flatnonzero(opcodes == Opcode.STORE), columns)
    _compute_accesses(result, np.flatnonzero(opcodes == Opcode.COMPUTE), columns, spec)
    _vector_accesses(result, opcodes, np.flatnonzero(opcodes >= Opcode.REQUANTIZE), columns, spec)
    return result


def _at(columns: Columns, rows: Ints, *names: str) -> list[Ints]:
    zero = np.zeros(len(rows), dtype=np.int64)
    return [columns[name][rows] if name in columns else zero for name in names]


def _ports(result: Accesses, rows: Ints, written: int, own: int, spec: SparseAccelerator) -> None:
    """Set the write ports that instructions use, whose access number `written` is to the activation buffer.

    Each half has one, and LOAD waits for VECTOR in the cycle. Both may write while each keeps to its `own` half: that
    is a read here. In the other one they must not meet: that is a write.
    """
    low, high, middle = result.low[rows, written], result.high[rows, written], half_bytes(spec)
    first, end = np.where(low < middle, 0, 1), np.where(high <= middle, 1, 2)
    result.add(rows, ACCESSES - 1, WRITE_PORTS, first, end - first, writes=False)
    result.writes[rows, ACCESSES - 1] = (first != own) | (end - first > 1)


def _load_accesses(result: Accesses, rows: Ints, columns: Columns, spec: SparseAccelerator) -> None:
    dram, dram_y, dram_x, ny, nx, run = _at(columns, rows, "dram", "dram_y", "dram_x", "ny", "nx", "run_bytes")
    space, dst, dst_y, dst_x, dst_e = _at(columns, rows, "space", "dst", "dst_y", "dst_x", "dst_e")
    top, bottom, left, right = _at(columns, rows, "pad_top", "pad_bottom", "pad_left", "pad_right")
    varying = np.where(dram >= ACTIVATION_BASE, OFF_CHIP, -1)
    result.add(rows, 0, varying, dram, (ny - 1) * dram_y + (nx - 1) * dram_x + run, writes=False)
    line = left + (nx - 1) * dst_x + (run - 1) * dst_e + 1 + right
    length = (top + ny + bottom - 1) * dst_y + line
    result.add(rows, 1, space, dst, length, writes=True)
    _ports(result, rows[space == Space.ACTIVATION], 1, 0, spec)


def _store_accesses(result: Accesses, rows: Ints, columns: Columns) -> None:
    dram, dram_y, dram_x, ny, nx, run = _at(columns, rows, "dram", "dram_y", "dram_x", "ny", "nx", "run_bytes")
    src, src_y, src_x = _at(columns, rows, "src", "src_y", "src_x")
    result.add(rows, 0, Space.ACTIVATION, src, (ny - 1) * src_y + (nx - 1) * src_x + run, writes=False)
    result.add(rows, 1, OFF_CHIP, dram, (ny - 1) * dram_y + (nx - 1) * dram_x + run, writes=True)


def _compute_accesses(result: Accesses, rows: Ints, columns: Columns, spec: SparseAccelerator) -> None:
    a, a_y, a_x, ny, nx = _at(columns, rows, "a", "a_y", "a_x", "ny", "nx")
    n_ry, n_rx, r_y, r_x, words = _at(columns, rows, "n_ry", "n_rx", "r_y", "r_x", "run_words")
    w, i, steps, bits, acc = _at(columns, rows, "w", "i", "steps", "index_bits", "acc")
    group = spec.array.group_size
    reach = (ny - 1) * a_y + (nx - 1) * a_x + (n_ry - 1) * r_y + (n_rx - 1) * r_x + words * group
    result.add(rows, 0, Space.ACTIVATION, a, reach, writes=False)
    weight_rows = n_ry * n_rx * words * steps
    result.add(rows, 1, Space.WEIGHT, w, weight_rows * spec.array.chains, writes=False)
    pitch = spec.array.chains * bits // 8
    result.add(rows, 2, np.where(bits > 0, int(Space.INDEX), -1), i, weight_rows * pitch, writes=False)
    result.add(rows, 3, ACCUMULATOR, *_halves(acc, ny * nx, spec), writes=True)


def _halves(first: Ints, entries: Ints, spec: SparseAccelerator) -> tuple[Ints, Ints]:
    """Return first entry and entries of the halves of the accumulator that ranges touch.

    A half has one read port: COMPUTE and VECTOR must not meet in it, whichever entries they use.
    """
    middle, end = half_entries(spec), accumulator_entries(spec)
    low = np.where(first < middle, 0, middle)
    high = np.where(first + entries <= middle, middle, end)
    return low, high - low


def _vector_accesses(
    result: Accesses,
    opcodes: Ints,
    rows: Ints,
    columns: Columns,
    spec: SparseAccelerator,
) -> None:
    group = spec.array.group_size
    a, a_y, a_x, a_ky, a_kx, kh, kw = _at(columns, rows, "a", "a_y", "a_x", "a_ky", "a_kx", "kh", "kw")
    b, b_y, b_x, b_c, d, d_y, d_x = _at(columns, rows, "b", "b_y", "b_x", "b_c", "d", "d_y", "d_x")
    ny, nx, nc, par, par_bytes = _at(columns, rows, "ny", "nx", "nc", "par", PARAMETER_BYTES)
    from_accumulator = np.isin(opcodes[rows], REQUANTIZING)
    reach = (ny - 1) * a_y + (nx - 1) * a_x + (kh - 1) * a_ky + (kw - 1) * a_kx + nc * group
    source = np.where(from_accumulator, ACCUMULATOR, int(Space.ACTIVATION))
    first, entries = _halves(a, ny * nx, spec)
    low, length = np.where(from_accumulator, first, a), np.where(from_accumulator, entries, reach)
    result.add(rows, 0, source, low, length, writes=False)
    two = np.isin(opcodes[rows], TWO_SOURCES)
    reach = (ny - 1) * b_y + (nx - 1) * b_x + np.where(b_c > 0, 1, nc * group)
    result.add(rows, 1, np.where(two, int(Space.ACTIVATION), -1), b, reach, writes=False)
    result.add(rows, 2, np.where(par_bytes > 0, int(Space.PARAMETER), -1), par, par_bytes, writes=False)
    result.add(rows, 3, Space.ACTIVATION, d, (ny - 1) * d_y + (nx - 1) * d_x + nc * group, writes=True)
    _ports(result, rows, 3, 1, spec)


@kernel
def _conflict(space: Ints, low: Ints, high: Ints, writes: Ints, i: int, j: int) -> bool:
    """Return whether instructions i and j touch a common address and one of them writes it."""
    for p in range(space.shape[1]):
        s = space[i, p]
        if s < 0:
            continue
        for q in range(space.shape[1]):
            if (
                space[j, q] == s
                and (writes[i, p] | writes[j, q]) != 0
                and low[i, p] < high[j, q]
                and low[j, q] < high[i, p]
            ):
                return True
    return False


@kernel
def _derive(
    engine: Ints, space: Ints, low: Ints, high: Ints, writes: Ints, limit: int, wait: Ints, release: Ints, clock: Ints
) -> None:
    """Fill wait, release int64 [n] with bit masks over engines, and clock int64 [n, engines]."""
    count = engine.shape[0]
    engines = 4
    order = np.zeros((engines, count), dtype=np.int64)  # instructions of each engine, in program order
    filled = np.zeros(engines, dtype=np.int64)
    known = np.zeros((engines, engines), dtype=np.int64)
    touched = np.zeros(engines, dtype=np.int64)  # spaces an engine ever touched
    found = np.zeros(engines, dtype=np.int64)
    for i in range(count):
        mine = engine[i]
        if mine < 0:
            continue
        spaces = 0
        for p in range(space.shape[1]):
            if space[i, p] >= 0:
                spaces |= 1 << space[i, p]
        for other in range(engines):
            found[other] = 0
            if other == mine or (touched[other] & spaces) == 0:
                continue
            stop = known[mine, other]
            k = filled[other]
            searched = 0
            while k > stop:
                if searched == limit or _conflict(space, low, high, writes, i, order[other, k - 1]):
                    found[other] = k
                    break
                k -= 1
                searched += 1
        while True:
            best = -1
            latest = -1
            for other in range(engines):
                if found[other] > known[mine, other] and order[other, found[other] - 1] > latest:
                    best = other
                    latest = order[other, found[other] - 1]
            if best < 0:
                break
            wait[i] |= 1 << best
            release[latest] |= 1 << mine
            for other in range(engines):
                if clock[latest, other] > known[mine, other]:
                    known[mine, other] = clock[latest, other]
            known[mine, best] = found[best]
        for other in range(engines):
            clock[i, other] = known[mine, other]
        order[mine, filled[mine]] = i
        filled[mine] += 1
        touched[mine] |= spaces


def most_tokens(engine: Ints, wait: Ints, release: Ints, clock: Ints) -> Ints:
    """Return the most tokens that engine g's semaphore for engine t can hold at once, int64 [g, t], in any schedule.

    When an instruction gives a token, what its clock says has run for certain has taken those it waited for.
    """
    most = np.zeros((len(ENGINES), len(ENGINES)), dtype=np.int64)
    for giver, taker in np.ndindex(most.shape):
        gives = np.flatnonzero((engine == giver) & (release >> taker & 1 == 1))
        takes = np.cumsum(np.append(0, wait[engine == taker] >> giver & 1))
        if gives.size:
            most[giver, taker] = (np.arange(1, gives.size + 1) - takes[clock[gives, taker]]).max()
    return most


def derive_tokens(engine: Ints, accesses: Accesses, *, scan_limit: int = SCAN_LIMIT) -> tuple[Ints, Ints]:
    """Return the wait and release masks int64 [n] of instructions run by `engine` int64 [n] (-1: END, no tokens).

    Raises MappingError if a semaphore could be given more tokens than it holds.
    """
    wait = np.zeros(len(engine), dtype=np.int64)
    release = np.zeros(len(engine), dtype=np.int64)
    clock = np.zeros((len(engine), len(ENGINES)), dtype=np.int64)
    _derive(engine, accesses.space, accesses.low, accesses.high, accesses.writes, scan_limit, wait, release, clock)
    most = most_tokens(engine, wait, release, clock)
    if most.max() > MOST_TOKENS:
        giver, taker = (ENGINES[number] for number in np.unravel_index(most.argmax(), most.shape))
        raise MappingError(
            f"{giver} can run ahead of {taker} by {most.max()} tokens, and a semaphore holds at most {MOST_TOKENS}: "
            "compile a smaller part of the network, or choose a config with smaller buffers, which engines wait for"
        )
    return wait, release
