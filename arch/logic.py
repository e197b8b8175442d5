"""Count the logic of a core by component: what follows from the structure of the RTL, and quantities to be scaled.

Flip-flops of the buffers, of the array and of the accumulator are counted from the registers the RTL declares, LUTs of
small memories from their sizes. Everything else is a quantity, such as bits times levels of a rotation, that a
coefficient of `gossamer.arch.logic_coefficients` turns into LUTs or flip-flops.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gossamer.arch.accumulator import CELL_CHAINS, SUM_BYTES, accumulator_entries, accumulator_rows, half_depths
from gossamer.arch.activation import activation_banks, copies
from gossamer.arch.banking import WindowSizes, index_window, parameter_window, weight_window
from gossamer.arch.isa import FIELDS, INSTRUCTION_BYTES, Opcode
from gossamer.arch.primitives import memory_primitives
from gossamer.arch.spec import Family, MemoryKind, SparseAccelerator
from gossamer.arch.target import default_target, dot_segments
from gossamer.arch.timing import (
    FETCH_BUFFER_BYTES,
    FETCH_BURST_BYTES,
    adder_levels,
    burst_bytes,
    ceil_div,
    requantize_entries,
)

QUEUED = (Opcode.LOAD, Opcode.COMPUTE, Opcode.ADD, Opcode.STORE)
"""An instruction of each engine: the bits its queue holds. All of VECTOR have the same fields."""

OWNER_BITS = 41
"""Remembered of a read on its way: whose it is, and its 40-bit offset."""

OFFSET_BITS = 40
"""Remembered of a write on its way."""

STORE_PIECES_AHEAD = 8
"""Pieces STORE reads ahead of the memory: 9 bits per byte and one that says whether the beat ends."""

WRITE_BURSTS_HELD = 2
"""Of each of several ports."""

TABLE_BITS = (128, 16)
CONSTANT_BITS = (32, 32, 6)
"""Memories of a vector lane: a byte table of 16 rows; bias, multiplier and shift of every lanes-th channel."""

OPERANDS_AHEAD = (26, 16)
"""Bits and number of the addresses of operands that wait for the sums they are added to."""

LRN_HISTORY = (9, 256)
LRN_READERS = 2
"""Bits and words of the elements LRN remembers, and who reads them: each has a copy. In block RAM on ECP5, which has
one for every 400 LUTs, and in LUTs elsewhere."""

SUM_BITS = 8 * SUM_BYTES
PRODUCT_BITS = 16
PRODUCT_LIMIT_BITS = 14


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What a component needs beside DSPs and block memories.

    `lut`, `ff`: counted. `lut_of`, `ff_of`: quantities by coefficient.
    """

    lut: int = 0
    ff: int = 0
    lut_of: Mapping[str, float] = field(default_factory=dict)
    ff_of: Mapping[str, float] = field(default_factory=dict)


def logic_demand(spec: SparseAccelerator) -> dict[str, Demand]:
    """Return the demand of every component, by the names of the synthesis report, in the order of the data path."""
    return {name: demand(spec) for name, demand in LOGIC.items()}


def _levels(choices: int) -> int:
    """Return the bits that tell so many things apart."""
    return (choices - 1).bit_length()


def _small(family: Family, width_bits: int, depth: int) -> int:
    """Return the LUTs of a memory in LUTs that is written as a whole."""
    return memory_primitives(MemoryKind.LUTRAM, family, width_bits, depth, byte_writes=False)


def _turn(family: Family, units: int, levels: int) -> int:
    """Return how many LUTs a rotation of `units` takes for each bit of one: a LUT6 does two levels, a LUT4 one."""
    return units * (levels if family is Family.ECP5 else ceil_div(levels, 2))


def _shift(family: Family, units: int, levels: int, step: int = 1) -> int:
    """Return the same of a shift by up to 2**levels - 1 steps, which brings `units` out of as many more."""
    grown = [units + step * ((1 << level) - 1) for level in range(1, levels + 1)]
    return sum(grown if family is Family.ECP5 else grown[::-2])


def _spread(family: Family, units: int, levels: int) -> int:
    """Return the same of a shift of `units` among zeros into a register.

    Where only one unit or zero can come out at the end there is no LUT: the register's reset makes the zero.
    """
    if not levels:
        return 0
    alone = 1 << (levels - 1) if family is Family.ECP5 or levels == 1 else 1 << (levels - 2)
    return _shift(family, units, levels) - 2 * alone


def _place(family: Family, units: int, word: int, banks: int) -> int:
    """Return the same of a rotation by words of `units` among zeros, all of them `banks` words, into a register."""
    full, rest = divmod(min(units, word * banks), word)
    levels, total = _turn(family, 1, _levels(banks)), 0
    for outputs, sources in ((rest, full + 1), (word - rest, full)):
        alone = 1 if banks > 2 and sources else 0
        total += outputs * banks * (min(levels, sources - 1) if sources > 1 else alone)
    return total


def _choice(family: Family, bits: int, inputs: int) -> int:
    """Return the LUTs that select one of several inputs: one LUT6, or two LUT4, bring four down to one."""
    return bits * ceil_div((inputs - 1) * (2 if family is Family.ECP5 else 1), 3)


def _deep(memory: MemoryKind, family: Family, width_bits: int, depth: int) -> int:
    """Return the LUTs that choose between primitives that are one above the other in a memory."""
    words = {MemoryKind.LUTRAM: 16 if family is Family.ECP5 else 64, MemoryKind.URAM288: 4096}.get(memory)
    return 0 if words is None else _choice(family, width_bits, ceil_div(depth, words))


def _held(memory: MemoryKind, family: Family, width_bits: int, depth: int) -> tuple[int, int]:
    """Return LUTs and flip-flops of a buffer's memory whose bytes are written one by one: those of a LUTRAM.

    Its register is in front of it: the row that is read.
    """
    if memory is not MemoryKind.LUTRAM:
        return 0, 0
    return memory_primitives(memory, family, width_bits, depth, byte_writes=True), max(1, _levels(depth))


def _window(sizes: WindowSizes, family: Family) -> Demand:
    """Return what `rtl/memory/window.py` has around its banks: two turns of a piece written, two of a window read.

    Nine bits a byte are written, with its enable. Registers: the piece three times, its mask, its enables, where it
    begins and ends; the window's words, the window turned and shifted, and the parts of addresses that steer them.
    """
    cut = sizes.banks
    word, banks, row_bits = cut.word_bytes, cut.banks, max(1, _levels(cut.rows))
    total, bank_bits, byte_bits = word * banks, _levels(banks), _levels(word)
    unit = word if sizes.aligned else sizes.read_unit_bytes & -sizes.read_unit_bytes
    unit_bits = _levels(word // unit)
    written, read = sizes.piece_bytes + word - 1, min(total, sizes.read_bytes + word - unit)
    luts, registers = _held(sizes.memory, family, 8 * word, cut.rows)
    mask = min(total, 2 << max(byte_bits, sizes.piece_bytes.bit_length())) - 1  # as far as a sum of two places reaches
    turns = 9 * (_spread(family, sizes.piece_bytes, byte_bits) + _place(family, written, word, banks))
    turns += 8 * (_turn(family, read, bank_bits) + _shift(family, sizes.read_bytes, unit_bits, unit))
    return Demand(
        lut=banks * luts,
        ff=3 * 8 * sizes.piece_bytes + mask + total + _levels(written + 1) + byte_bits + 4 * row_bits
        + 4 * bank_bits + banks - 1 + 8 * (total + sizes.read_bytes) + 2 * unit_bits + banks * registers,
        lut_of={
            "window": turns + 2 * (banks - 1) * row_bits + sizes.piece_bytes,
            "deep": _deep(sizes.memory, family, 8 * total, cut.rows),
        },
    )  # fmt: skip


def _activations(spec: SparseAccelerator) -> Demand:
    """Return what `rtl/memory/activation.py` has around its banks: turns of every copy, of both writers, of STORE.

    A bank's write port has row, enables and data for either half. Registers beside it: of every copy the words of
    either half, the window and what steers it; VECTOR's result and two pieces of LOAD, with the banks each is for; and
    STORE's bytes with three delays of their place.
    """
    family, cut, kind = spec.device.family, activation_banks(spec), spec.buffers.activation.memory
    word, banks, row_bits, readers = cut.word_bytes, cut.banks, max(1, _levels(cut.rows)), copies(spec)
    total, bank_bits, byte_bits, row_bytes = word * banks, _levels(banks), _levels(word), spec.axi.row_bytes
    halves = (cut.half_rows, cut.upper_rows)
    used = (spec.array.lanes * spec.array.chain_length * word, spec.vector.lanes, min(total, row_bytes + word - 1))
    window = readers * total if (readers - 1) * total >= COPIED_BYTES else sum(used)
    memories = [_held(kind, family, 8 * word, rows) for rows in halves]
    reads = 8 * _turn(family, window, bank_bits) + 8 * readers * total + readers * (banks - 1) * row_bits
    places = 2 * row_bits + 2 * banks
    given = spec.vector.lanes if spec.vector.lanes & (spec.vector.lanes - 1) == 0 else total
    result = 8 * given + places + banks - 1
    piece = 8 * row_bytes + used[2] + places + bank_bits
    turns = (8 + 9) * _shift(family, row_bytes, byte_bits) + 2 * 9 * total + 4 * banks * row_bits
    turns += 9 * _place(family, row_bytes + word - 1, word, banks) + 8 * _place(family, spec.vector.lanes, word, banks)
    return Demand(
        lut=readers * banks * sum(luts for luts, _ in memories),
        ff=readers * (2 * bank_bits + 2 * banks) + 8 * (2 * readers * total + window) + 8 * row_bytes + 3 * byte_bits
        + banks * (sum(map(_levels, halves)) + 18 * word) + readers * banks * sum(bits for _, bits in memories)
        + result + 2 * piece + 3,
        lut_of={
            "activation_read": reads, "activation_write": turns,
            "deep": readers * sum(_deep(kind, family, 8 * total, rows) for rows in halves),
        },
    )  # fmt: skip


COPIED_BYTES = 96
"""Bytes of all windows but one from which on synthesis takes the copies of the activations as equal: each with a whole
window, though not all of it is used. `CUT_BITS` of rtl/synthesis/hierarchy.py, as it turned out: between point 6 (80)
and points 34 and 37 (96; held out is 37) of benchmarks/synthesis_points.csv."""


def sum_bits(products: int) -> int:
    """Return the bits of a signed sum of this many products of two int8."""
    return (products << PRODUCT_LIMIT_BITS).bit_length() + 1


BYTE_SELECT_LUTS = {4: 1, 8: 2, 16: 4}
BYTE_SELECT_LUTS_ALONE = {4: 1, 8: 3, 16: 5}
BYTE_SELECT_LUT4S = {4: 2, 8: 4, 16: 9}
"""LUTs per bit of the choice of one of group_size bytes, as rtl/array/byte_select.py instantiates it; Versal has no
multiplexers behind its LUTs."""


def _array(spec: SparseAccelerator) -> Demand:
    """Return the feeds' delays, held selections, byte multiplexers, and adders of cascades and segments."""
    array, family = spec.array, spec.device.family
    rows, stages = array.weight_rows_per_cycle, array.chain_length // array.weight_rows_per_cycle
    select_bits, sums = _levels(array.group_size), array.chains * array.lanes
    luts = {Family.ECP5: BYTE_SELECT_LUT4S, Family.VERSAL: BYTE_SELECT_LUTS_ALONE}.get(family, BYTE_SELECT_LUTS)
    byte_luts = luts[array.group_size]
    feed = array.lanes * 8 * array.group_size * rows * (stages + stages * (stages + 1) // 2)
    selections = array.chains * (array.chain_length + rows) * select_bits
    controls = 5 + stages + 2 * array.chain_length.bit_length() + array.chain_length + 3 * select_bits
    lut, ff = sums * array.chain_length * 8 * byte_luts, feed + selections + 8 * rows * array.chains + controls
    if not cascaded(family):
        bits = sum_bits(stages)
        lut += sums * rows * (stages - 1) * 2 * ceil_div(bits, 2)
        # Sums of few products need fewer bits, a bit more in each stage.
        ff += sums * rows * (8 * stages + sum(min(bits, PRODUCT_BITS + stage) for stage in range(stages)))
        # Segments are added in fabric; DSP cascades are added in DSPs.
        for _ in range(adder_levels(rows)):
            rows = ceil_div(rows, 2)
            lut += sums * rows * bits
            bits = min(bits + 1, sum_bits(array.chain_length))
            ff += sums * rows * bits
    elif (shared := dot_segments(default_target(family), rows)) > 1:
        # Sums that DSP slices have added by themselves wait for as long as adding would have taken.
        ff += sums * sum_bits(array.chain_length) * (adder_levels(rows) - adder_levels(ceil_div(rows, shared)))
    return Demand(lut=lut, ff=ff, lut_of={"selection": array.chains * array.weight_rows_per_cycle * select_bits})


def cascaded(family: Family) -> bool:
    """Return whether the array is built of DSP cascades that add, with the byte's register inside."""
    return family in (Family.ULTRASCALE_PLUS, Family.VERSAL)


def _accumulator(spec: SparseAccelerator) -> Demand:
    """Return the sums' adders and registers, and the choice of a lane and of channels for VECTOR."""
    array, family, kind = spec.array, spec.device.family, spec.buffers.accumulator.memory
    entries = accumulator_entries(spec)
    rows, entry_bits = accumulator_rows(entries, array.lanes), _levels(entries)
    row_bits, words = max(1, _levels(rows)), array.chains // array.group_size
    bits, cells = SUM_BITS * array.chains * array.lanes, array.lanes * array.chains // CELL_CHAINS
    # Two halves of output registers; what is shown; rows, lanes, groups and flags on their way to both ends.
    markers = 4 * row_bits + 3 * array.lanes + 9 + 2 * max(1, _levels(array.lanes)) + 2 * _levels(words)
    # The nth word shown can be any from the nth of the entry on.
    inputs = [max(1, words - shown) for shown in range(spec.vector.lanes // array.group_size)]
    apart = array.lanes * array.chains >= SUMS_APART
    view = _choice(family, SUM_BITS * array.chains, array.lanes if apart else 2 * array.lanes)
    view += sum(_choice(family, SUM_BITS * array.group_size, count) for count in inputs)
    lut, registers, deep = 0, 0, 0
    if kind is MemoryKind.LUTRAM:
        width = SUM_BITS * CELL_CHAINS
        lut = cells * sum(_small(family, width, depth) for depth in half_depths(entries, array.lanes))
        # The row read is registered in front of the memory; the cells of a lane read the same row.
        registers = array.lanes * sum(max(1, _levels(depth)) for depth in half_depths(entries, array.lanes))
        deep = cells * sum(_deep(kind, family, width, depth) for depth in half_depths(entries, array.lanes))
    return Demand(
        lut=lut,
        ff=2 * bits + registers + SUM_BITS * min(spec.vector.lanes, array.chains) + markers,
        lut_of={
            "sum": bits, "half": bits if apart else 0, "view": view, "deep": deep,
            "quotient": entry_bits * entry_bits if array.lanes & (array.lanes - 1) else 0,
        },
    )  # fmt: skip


SUMS_APART = 48
"""Sums of a row from which on synthesis maps lanes or cells of the accumulator one by one: the choice of a half for
VECTOR is then apart from that of a lane. `CUT_BITS` of rtl/synthesis/hierarchy.py, as it turned out: between points 0
(64 sums) and 1 (32, held out) of benchmarks/synthesis_points.csv."""


def _vector(spec: SparseAccelerator) -> Demand:
    """Return lanes with their memories, and what there is once: walks, SOFTMAX, LAYER_NORM, LRN, parameters.

    Counted registers: five reads of entries, three of them gathered, and the word that single elements are put into.
    """
    lanes, family, group = spec.vector.lanes, spec.device.family, spec.array.group_size
    rows = max(2, ceil_div(spec.array.chains, lanes))
    memories = lanes * (_small(family, *TABLE_BITS) + sum(_small(family, bits, rows) for bits in CONSTANT_BITS))
    memories += _small(family, *OPERANDS_AHEAD)
    if family is not Family.ECP5:
        memories += LRN_READERS * _small(family, *LRN_HISTORY)
    entry_bits = 32 * requantize_entries(lanes)
    scaled = {"vector": 1, "vector_lane": lanes}
    return Demand(lut=memories, ff=5 * entry_bits + 2 * 8 * group, lut_of=scaled, ff_of=scaled)


def _address_bits(spec: SparseAccelerator) -> int:
    """Return the bits of a byte's address in the activation buffer."""
    return _levels(spec.buffers.activation.capacity_bytes)


PLACE_BITS = 33
"""Column and row of a walk over positions: 16 and 17 bits."""

ADDRESS_REGISTERS, ROW_REGISTERS = 14, 4
"""Registers of COMPUTE as wide as an activation's address, and as a weight's or an index's: the instruction's fields,
runs and folds, steps between positions."""


def _compute(spec: SparseAccelerator) -> Demand:
    """Return COMPUTE's walks: one over positions per lane and one more, over passes, over rows of weights.

    A walk has five registers of an address (two products, their sum, its offset, the sum with the pass's base), four
    flags, and an adder for each bit of a place in the two products its first address is made of, beside four others;
    markers of rows go with them through the array.
    """
    array, address = spec.array, _address_bits(spec)
    walkers, place_bits = array.lanes + 1, array.lanes.bit_length()
    others = _levels(spec.buffers.weight.capacity_bytes) + _levels(spec.buffers.index.capacity_bytes)
    stages = array.chain_length // array.weight_rows_per_cycle
    delay = 5 + stages + adder_levels(array.weight_rows_per_cycle)
    return Demand(
        ff=walkers * (PLACE_BITS + 5 * address + 2 * place_bits + 4) + (3 + array.lanes) * delay
        + ADDRESS_REGISTERS * address + ROW_REGISTERS * others,
        lut_of={"compute": 1, "walker": walkers * (address * (2 * place_bits + 4) + 2 * PLACE_BITS)},
        ff_of={"compute": 1},
    )  # fmt: skip


def _control(spec: SparseAccelerator) -> Demand:
    """Return queues, and what does not depend on sizes: registers, counters, tokens, dispatch."""
    depth = spec.dispatch.queue_depth
    held = [sum(entry.bits for entry in FIELDS[opcode]) for opcode in QUEUED]
    return Demand(
        lut=sum(_small(spec.device.family, bits, max(2, depth)) for bits in held),
        ff=len(held) * (2 * _levels(max(2, depth)) + depth.bit_length()),
        lut_of={"control": 1}, ff_of={"control": 1},
    )  # fmt: skip


def _dma(spec: SparseAccelerator) -> Demand:
    """Return LOAD, STORE and FETCH with their turns of a row, and each port with its queues.

    Counted registers: the beat put together, the turns of LOAD and STORE half way, pointers and levels of the FIFOs; of
    several ports the rows gathered.
    """
    axi, family = spec.axi, spec.device.family
    beat, row, ports, shift = axi.data_bits // 8, axi.row_bytes, axi.ports, _levels(axi.row_bytes)
    burst = burst_bytes(
        data_bits=axi.data_bits, burst_beats=axi.burst_beats, interleave_bytes=spec.off_chip.interleave_bytes
    )
    fetched = max(beat, INSTRUCTION_BYTES)
    flying = axi.max_outstanding + FETCH_BUFFER_BYTES // min(burst, FETCH_BURST_BYTES)
    fetch = _small(family, 8 * beat, FETCH_BUFFER_BYTES // fetched) * (fetched // beat)
    fifos = [(OFFSET_BITS, ports * axi.max_outstanding), (9 * row + 1, STORE_PIECES_AHEAD)]
    fifos += [(OWNER_BITS, flying)] * ports
    ff, choices = (9 + 2 * 8) * row, 0
    if ports > 1:
        per_port = [
            (8 * row, axi.max_outstanding * burst // row), (1, axi.max_outstanding * burst // row),
            (OWNER_BITS, axi.max_outstanding),
            (9 * row + 1, WRITE_BURSTS_HELD * burst // row),
        ]  # fmt: skip
        fifos += per_port * ports
        ff += ports * 8 * (row - beat) + 8 * row + OWNER_BITS
        choices = _choice(family, 8 * row, ports) + ports * _choice(family, 9 * beat, ports)
    pointers = sum(2 * _levels(depth) + depth.bit_length() for _, depth in fifos)
    turns = 8 * (_turn(family, row, shift + 1) + _turn(family, row, shift))
    return Demand(
        lut=fetch + sum(_small(family, *size) for size in fifos), ff=ff + pointers,
        lut_of={
            "dma": 1, "port": ports, "row": turns + 2 * 9 * row + choices + 2 * pointers,
            "deep": sum(_deep(MemoryKind.LUTRAM, family, *size) for size in fifos),
        },
        ff_of={"dma": 1, "port": ports},
    )  # fmt: skip


LOGIC: dict[str, Callable[[SparseAccelerator], Demand]] = {
    "control": _control,
    "dma": _dma,
    "compute control": _compute,
    "array": _array,
    "accumulator": _accumulator,
    "vector engine": _vector,
    "activation buffer": _activations,
    "weight buffer": lambda spec: _window(weight_window(spec), spec.device.family),
    "index buffer": lambda spec: _window(index_window(spec), spec.device.family),
    "parameter buffer": lambda spec: _window(parameter_window(spec), spec.device.family),
}
"""What tells the demand of each component."""
