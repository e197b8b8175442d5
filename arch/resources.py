"""Estimate what a sparse accelerator takes on its device, by component, without synthesis: tier "estimated".

On-chip memories are counted primitive by primitive from the widths and depths the RTL is built with
(`gossamer.arch.banking`, `activation`, `accumulator`), multipliers from the products it contains. Logic is counted from
figures per processing element and per vector lane that were measured after synthesis, and from engineering estimates
for the rest; every constant says which. `gossamer.arch.config.load_config` refuses a config whose estimate exceeds its
device.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields

from gossamer.arch.accumulator import CELL_CHAINS, SUM_BYTES, accumulator_cells, accumulator_entries, half_depths
from gossamer.arch.activation import activation_banks, copies
from gossamer.arch.banking import WindowSizes, index_window, parameter_window, weight_window
from gossamer.arch.isa import ENGINES, FIELDS, INSTRUCTION_BYTES, TRANSFER_BYTES_LIMIT, Opcode
from gossamer.arch.spec import DeviceSpec, Family, MemoryKind, SparseAccelerator
from gossamer.arch.target import packed_stages
from gossamer.arch.timing import FETCH_BUFFER_BYTES, FETCH_BURST_BYTES, burst_bytes, ceil_div

TIER = "estimated"
"""How far the numbers can be trusted: from formulas, not from synthesis."""

LANES_PER_DSP = {Family.ULTRASCALE_PLUS: 2, Family.VERSAL: 2, Family.SERIES7: 1, Family.ECP5: 1}
"""Two positions share one DSP where its multiplier is 27 bits wide (measured, see `PE_LUT`); the 25-bit DSP48E1 and the
18-bit ECP5 multiplier take one each."""

PE_LUT = {4: 16.1, 8: 32.1, 16: 94.0}
"""LUT6 per DSP of the packed element for each group_size: two M:1 byte selectors. Measured: Yosys 0.70, synth_xilinx
-family xcup, 8:1 with explicit MUXF7."""

PE_FF = 44
"""Flip-flops per DSP of the packed element: forward register and index ping-pong; measured 37 to 44, the upper end."""

PE_LUT4 = {4: 16, 8: 40, 16: 88}
"""LUT4 per multiplier of an ECP5 element: eight M:1 selectors of 2, 5 and 11 LUT4. Engineering estimate."""

UNCASCADED_LUT = 20
UNCASCADED_FF = 36
"""Per multiplier without a cascade (ECP5): a 20-bit adder and registers for select and sum. Engineering estimate."""

SEGMENT_STAGES = packed_stages()
SEGMENT_LUT = 24
SEGMENT_FF = 24
"""Per lane. A packed cascade is safe for 7 stages; each further segment is added in fabric, 48 LUT and 48 FF for two
lanes (measured)."""

ACCUMULATE_LUT = 32
ACCUMULATE_FF = 64
"""Per chain and lane: a 32-bit adder, operand and result registers. Engineering estimate."""

VECTOR_PRODUCTS = ((18, 18),) * 4 + ((9, 9),)
"""Signed factors' bits of the products of a vector lane: four parts of 32 x 32, and two operands of MULTIPLY."""

VECTOR_LUT = 170
"""Requantization per vector lane, most of it the variable shifter. Measured: Yosys 0.70, xcup."""

VECTOR_OTHER_LUT = 200
VECTOR_FF = 400
"""Per vector lane: choice of a table's byte, maximum, sums, all registers. Engineering estimate."""

VECTOR_TABLE_BITS = (128, 16)
VECTOR_CONSTANT_BITS = (32, 32, 6)
"""Memories of a vector lane: a byte table of 16 rows; bias, multiplier and shift of every lanes-th channel."""

ROW_PRODUCTS = (
    *((8, 8), (17, 8), (25, 25), (25, 26), *((18, 18),) * 8),  # LAYER_NORM
    *((9, 9), (9, 9), (9, 18), (9, 18)),  # LRN: its factors are 9 x 32 bits
)
"""Products of the engines that take one element per cycle, as wide as their factors are; SOFTMAX has none. Yosys 0.70
takes as many DSPs on either target: 22 on ecp5, 18 on xcup (tests/unit/test_resources.py)."""

LRN_HISTORY = (9, 256)
LRN_READERS = 2
"""Bits and words of the elements LRN remembers, and who reads them: each has a copy. 256 words are block RAM on ECP5
and LUTs elsewhere, which is what Yosys 0.70 chooses."""

DIVIDER_LUT = 1200
DIVIDER_FF = 1500
"""Serial divider and square root of SOFTMAX and LAYER_NORM, one of each. Engineering estimate."""

SEQUENCER_LUT = 1500
SEQUENCER_FF = 2000
"""Address generators and token counters of one engine. Engineering estimate."""

CONTROL_LUT = 1000
CONTROL_FF = 1500
"""Fetch, AXI4-Lite registers and performance counters. Engineering estimate."""

PORT_LUT = 500
PORT_FF = 700
"""Address channels and burst splitting of one AXI4 master port, both sides, without data path. Engineering estimate."""

ACTIVATION_WRITERS = 2
"""VECTOR and LOAD."""

OWNER_BITS = 41
"""Remembered of a read on its way: whose it is, and its 40-bit offset."""

STORE_PIECES_AHEAD = 8
"""Pieces STORE reads ahead of the memory: 9 bits per byte and one that says whether the beat ends."""

WRITE_BURSTS_HELD = 2
"""Of each of several ports."""

MULTIPLIER_BITS = {
    Family.ULTRASCALE_PLUS: (27, 18), Family.VERSAL: (27, 24), Family.SERIES7: (25, 18), Family.ECP5: (18, 18),
}  # fmt: skip
"""Signed factors of one DSP slice (AMD UG579, AM004, UG479; Lattice FPGA-TN-02205)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """Counts of each resource a device budgets; names are those of `DeviceSpec`."""

    dsp: int = 0
    bram36: int = 0
    uram: int = 0
    lut: int = 0
    ff: int = 0

    def __add__(self, other: "Resources") -> "Resources":
        return Resources(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})


RESOURCE_NAMES: tuple[str, ...] = tuple(field.name for field in fields(Resources))


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceEstimate:
    """Estimate of one accelerator: `components` by name, in the order of the data path, against `device`."""

    device: DeviceSpec
    components: dict[str, Resources]
    tier: str = TIER

    @property
    def total(self) -> Resources:
        """Sum over the components."""
        return sum(self.components.values(), Resources())

    def share(self, resource: str) -> float:
        """Return need over budget of one resource; infinite if the device has none of what is needed."""
        need, budget = getattr(self.total, resource), getattr(self.device, resource)
        if need == 0:
            return 0.0
        return float(need / budget) if budget else float("inf")


def estimate_resources(spec: SparseAccelerator) -> ResourceEstimate:
    """Return the estimate for `spec`. Exact for memories as structured here; see the constants for logic."""
    return ResourceEstimate(device=spec.device, components=dict(_components(spec)))


def shortages(spec: SparseAccelerator) -> list[str]:
    """Return one message per resource that `spec` needs more of than its device has; empty if it fits."""
    estimate = estimate_resources(spec)
    messages = []
    for name in RESOURCE_NAMES:
        need, budget = getattr(estimate.total, name), getattr(spec.device, name)
        if need <= budget:
            continue
        parts = {key: getattr(part, name) for key, part in estimate.components.items()}
        largest = sorted((-count, key) for key, count in parts.items() if count)
        breakdown = ", ".join(f"{key} {-count:,}" for count, key in largest)
        messages.append(f"needs {need:,} {name} ({TIER}) but {spec.device.name} has {budget:,}: {breakdown}")
    return messages


def memory_primitives(
    kind: MemoryKind, family: Family, width_bits: int, depth: int, *, byte_writes: bool, read_ports: int = 1
) -> int:
    """Return how many primitives a memory of `depth` words of `width_bits` takes, in its best aspect ratio.

    `byte_writes`: single bytes are written, so that the ninth bits go unused. `read_ports` 2: both ports read, at the
    narrower width of a true dual-port memory. For LUTRAM the count is LUTs.
    """
    if kind is MemoryKind.LUTRAM and byte_writes:
        words, luts = LUTRAM_BYTE.get(family, (64, 10))
        return ceil_div(width_bits, 8) * ceil_div(depth, words) * luts * read_ports
    if kind is MemoryKind.URAM288 and family is Family.ULTRASCALE_PLUS and byte_writes and read_ports == 1:
        # Nine byte lanes each, the ninth in the parity bits; lanes that are left over share one for several depths.
        lanes, deep = ceil_div(width_bits, 8), ceil_div(depth, URAM_WORDS)
        return lanes // URAM_BYTE_LANES * deep + ceil_div(lanes % URAM_BYTE_LANES * deep, URAM_BYTE_LANES)
    shapes = _shapes(kind, family, read_ports)
    return min(ceil_div(width_bits, _usable(bits, byte_writes)) * ceil_div(depth, words) * each
               for words, bits, each in shapes)  # fmt: skip


URAM_WORDS = 4096
URAM_BYTE_LANES = 9
"""Words of an UltraRAM, and bytes of a word that can be written apart (BWE_MODE PARITY_INDEPENDENT, AMD UG573), as
Yosys 0.70 uses them: 29 for 128 bytes x 8,192, 15 for 64 bytes x 6,144 (u280-sparse)."""

LUTRAM_BYTE = {Family.SERIES7: (64, 12), Family.ECP5: (16, 12)}
"""Words and LUTs of a LUTRAM one byte wide, which has a write enable of its own: 64 x 7 and 64 x 1 in 8 + 2 LUT6 where
this has no entry, two 64 x 3 and two 64 x 1 in 4 + 4 + 2 + 2, two 16 x 4 in 6 + 6 LUT4."""


def multiplier_dsps(family: Family, bits: tuple[int, int]) -> int:
    """Return the DSP slices of a product of two signed factors; each further slice adds one bit less to a factor."""
    wide, narrow = MULTIPLIER_BITS[family]
    return min(ceil_div(a - 1, wide - 1) * ceil_div(b - 1, narrow - 1) for a, b in (bits, bits[::-1]))


def _dsps(family: Family, products: Iterable[tuple[int, int]]) -> Resources:
    return Resources(dsp=sum(multiplier_dsps(family, bits) for bits in products))


def _usable(bits: int, byte_writes: bool) -> int:
    """Return the bits of a primitive's word that data fills: 8 of 9 where bytes are written one by one."""
    return bits // 9 * 8 if byte_writes and bits >= 9 else bits


def _shapes(kind: MemoryKind, family: Family, read_ports: int) -> list[tuple[int, int, int]]:
    """Return (words, bits, primitives or LUTs) for each aspect ratio of a memory primitive.

    AMD UG573 and UG473 (block RAM: 72 bits wide with one port each way, 36 with two), UG573 and AM007 (UltraRAM),
    Lattice FPGA-TN-02204 (DP16KD); LUTRAM: 64 x 7 in the 8 LUT6 of an UltraScale+ slice, 64 x 3 in the 4 of series 7,
    16 x 4 in 6 LUT4 of an ECP5; its second read port doubles the LUTs.
    """
    ratios = [(1024, 36), (2048, 18), (4096, 9), (8192, 4), (16384, 2), (32768, 1)]
    match kind:
        case MemoryKind.BRAM36:
            return [(words, bits, 1) for words, bits in ([(512, 72)] if read_ports == 1 else []) + ratios]
        case MemoryKind.URAM288:
            wider = [(8192, 36, 1), (16384, 18, 1), (32768, 9, 1)]
            return [(4096, 72, 1), *(wider if family is Family.VERSAL else [])]
        case MemoryKind.DP16KD:
            halved = [(words, bits, 1) for words, bits in [(1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1)]]
            return ([(512, 36, 1)] if read_ports == 1 else []) + halved
        case MemoryKind.LUTRAM:
            words, bits, luts = {Family.SERIES7: (64, 3, 4), Family.ECP5: (16, 4, 6)}.get(family, (64, 7, 8))
            return [(words, bits, luts * read_ports)]


def _memory(
    kind: MemoryKind, family: Family, width_bits: int, depth: int, *, count: int = 1, byte_writes: bool = False
) -> Resources:
    """Return what `count` memories with one write and one read port take."""
    return _of_kind(kind, count * memory_primitives(kind, family, width_bits, depth, byte_writes=byte_writes))


def _of_kind(kind: MemoryKind, count: int) -> Resources:
    match kind:
        case MemoryKind.URAM288:
            return Resources(uram=count)
        case MemoryKind.LUTRAM:
            return Resources(lut=count)
        case _:
            return Resources(bram36=count)


def _components(spec: SparseAccelerator) -> Iterator[tuple[str, Resources]]:
    """Yield every component with what it takes."""
    yield "array", _array(spec)
    yield "segment adders", _segments(spec)
    yield "accumulate", _accumulate(spec)
    yield "position walk", _positions(spec)
    yield from _buffers(spec)
    yield "activation rotate", _rotate(spec)
    yield "vector engine", _vector(spec)
    yield "memory port", _memory_port(spec)
    yield "axi ports", _axi(spec)
    yield "dispatch", _dispatch(spec)


def _array(spec: SparseAccelerator) -> Resources:
    """Chains of multipliers with their selectors; an odd lane takes a DSP of its own."""
    array, family = spec.array, spec.device.family
    per_stage = ceil_div(array.lanes, LANES_PER_DSP[family])
    dsp = array.chains * array.chain_length * per_stage
    if family is Family.ECP5:
        lut = dsp * (PE_LUT4[array.group_size] + UNCASCADED_LUT)
        return Resources(dsp=dsp, lut=lut, ff=dsp * (PE_FF // 2 + UNCASCADED_FF))
    # One lane per DSP needs one of the two selectors.
    lut = round(dsp * PE_LUT[array.group_size] * LANES_PER_DSP[family] / 2)
    return Resources(dsp=dsp, lut=lut, ff=dsp * PE_FF)


def _segments(spec: SparseAccelerator) -> Resources:
    """Adders of the segments of a chain: one per weight row loaded in a cycle, more if a packed cascade needs them."""
    array = spec.array
    segments = array.weight_rows_per_cycle
    if LANES_PER_DSP[spec.device.family] > 1:
        segments = max(segments, ceil_div(array.chain_length, SEGMENT_STAGES))
    adders = array.chains * array.lanes * (segments - 1)
    return Resources(lut=adders * SEGMENT_LUT, ff=adders * SEGMENT_FF)


def _accumulate(spec: SparseAccelerator) -> Resources:
    count = spec.array.chains * spec.array.lanes
    return Resources(lut=count * ACCUMULATE_LUT, ff=count * ACCUMULATE_FF)


def _buffers(spec: SparseAccelerator) -> Iterator[tuple[str, Resources]]:
    """Yield the five buffers as `gossamer.rtl` builds them, all of memories with one write and one read port.

    Activations: a copy per reader, two halves per bank. Weights, indices, parameters: banks, single bytes written.
    Accumulators: two halves per cell.
    """
    buffers, family = spec.buffers, spec.device.family
    cut = activation_banks(spec)
    halves = [
        _memory(
            buffers.activation.memory, family, 8 * cut.word_bytes, rows, count=copies(spec) * cut.banks,
            byte_writes=True,
        )
        for rows in (cut.half_rows, cut.upper_rows)
    ]  # fmt: skip
    yield "activation buffer", sum(halves, Resources())
    yield "weight buffer", _window(weight_window(spec), family)
    yield "index buffer", _window(index_window(spec), family)
    cells = [
        _memory(buffers.accumulator.memory, family, 8 * SUM_BYTES * CELL_CHAINS, rows, count=accumulator_cells(spec))
        for rows in half_depths(accumulator_entries(spec), spec.array.lanes)
    ]
    yield "accumulator buffer", sum(cells, Resources())
    yield "parameter buffer", _window(parameter_window(spec), family)


def _window(sizes: WindowSizes, family: Family) -> Resources:
    """Return the banks of a buffer that is read in windows."""
    cut = sizes.banks
    return _memory(sizes.memory, family, 8 * cut.word_bytes, cut.rows, count=cut.banks, byte_writes=True)


def _rotate(spec: SparseAccelerator) -> Resources:
    """Turn windows of activations, which start in any bank, to their places: one rotation per reader and writer."""
    cut = activation_banks(spec)
    bits = 8 * cut.word_bytes * cut.banks * (copies(spec) + ACTIVATION_WRITERS)
    return Resources(lut=bits * _mux_levels(cut.banks, spec.device.family), ff=bits)


def _mux_levels(inputs: int, family: Family) -> int:
    """Return LUTs per bit of a rotation over `inputs` positions: each halves the choices, a LUT6 twice."""
    choices = (inputs - 1).bit_length()
    return choices if family is Family.ECP5 else ceil_div(choices, 2)


def _positions(spec: SparseAccelerator) -> Resources:
    """The one product of COMPUTE's walk over positions: columns by bytes between them, modulo the buffer."""
    bits = {field.name: field.bits for field in FIELDS[Opcode.COMPUTE]}
    address_bits = (spec.buffers.activation.capacity_bytes - 1).bit_length()
    sign = 0 if spec.device.family is Family.ECP5 else 1  # the ECP5 multiplier takes 18 unsigned bits too
    return _dsps(spec.device.family, [(min(bits["nx"], address_bits) + sign, min(bits["a_x"], address_bits) + sign)])


def _vector(spec: SparseAccelerator) -> Resources:
    """Lanes with their multipliers, tables and constants, and the engines that take one element per cycle."""
    lanes, family = spec.vector.lanes, spec.device.family
    table_width, table_rows = VECTOR_TABLE_BITS
    rows = max(2, ceil_div(spec.array.chains, lanes))
    memories = [_memory(MemoryKind.LUTRAM, family, table_width, table_rows, count=lanes)] + [
        _memory(MemoryKind.LUTRAM, family, bits, rows, count=lanes) for bits in VECTOR_CONSTANT_BITS
    ]
    logic = Resources(
        lut=lanes * (VECTOR_LUT + VECTOR_OTHER_LUT) + DIVIDER_LUT, ff=lanes * VECTOR_FF + DIVIDER_FF
    )  # fmt: skip
    kept = MemoryKind.DP16KD if family is Family.ECP5 else MemoryKind.LUTRAM
    memories.append(_memory(kept, family, *LRN_HISTORY, count=LRN_READERS))
    return sum(memories, logic) + _dsps(family, VECTOR_PRODUCTS * lanes) + _dsps(family, ROW_PRODUCTS)


def _memory_port(spec: SparseAccelerator) -> Resources:
    """What there is once: the buffer of FETCH, and the products of LOAD's and STORE's set-up."""
    family, beat_bits = spec.device.family, spec.axi.data_bits
    row_bits = max(beat_bits, 8 * INSTRUCTION_BYTES)
    fetched = _memory(MemoryKind.LUTRAM, family, row_bits, 8 * FETCH_BUFFER_BYTES // row_bits)
    lines = next(field.bits for field in FIELDS[Opcode.LOAD] if field.name == "ny")
    return fetched + _dsps(family, [((TRANSFER_BYTES_LIMIT - 1).bit_length() + 1, lines + 1)] * 2)


def _axi(spec: SparseAccelerator) -> Resources:
    """Per port: reads on their way; once: pieces of STORE and a byte rotation per side. Several ports also have queues.

    One port hands every beat on at once. Each of several holds all read bursts that can be on their way, and two write
    bursts, in rows.
    """
    axi, family = spec.axi, spec.device.family
    burst = burst_bytes(
        data_bits=axi.data_bits, burst_beats=axi.burst_beats, interleave_bytes=spec.off_chip.interleave_bytes
    )
    flying = axi.max_outstanding + FETCH_BUFFER_BYTES // min(burst, FETCH_BURST_BYTES)
    owners = _memory(MemoryKind.LUTRAM, family, OWNER_BITS, flying)
    row_bits, rows = 8 * axi.row_bytes, burst // axi.row_bytes
    ahead = _memory(MemoryKind.LUTRAM, family, 9 * axi.row_bytes + 1, STORE_PIECES_AHEAD)
    rotation = Resources(lut=row_bits * _mux_levels(axi.row_bytes, family), ff=2 * row_bits)
    port = Resources(lut=PORT_LUT, ff=PORT_FF) + owners
    if axi.ports > 1:
        port += _memory(MemoryKind.LUTRAM, family, row_bits + 1, axi.max_outstanding * rows)
        port += _memory(MemoryKind.LUTRAM, family, OWNER_BITS, axi.max_outstanding)
        port += _memory(MemoryKind.LUTRAM, family, 9 * axi.row_bytes + 1, WRITE_BURSTS_HELD * rows)
        port += Resources(ff=row_bits)
    return sum([port] * axi.ports, ahead + rotation + rotation)


def _dispatch(spec: SparseAccelerator) -> Resources:
    """Instruction queues in LUTRAM, the engines' sequencers and control."""
    queue = memory_primitives(
        MemoryKind.LUTRAM, spec.device.family, 8 * INSTRUCTION_BYTES, spec.dispatch.queue_depth, byte_writes=False
    )
    engines = len(ENGINES)
    return Resources(lut=engines * (queue + SEQUENCER_LUT) + CONTROL_LUT, ff=engines * SEQUENCER_FF + CONTROL_FF)
