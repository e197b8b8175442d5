"""Estimate what a sparse accelerator takes on its device, by component, before any RTL exists: tier "estimated".

On-chip memories are counted primitive by primitive from their widths and depths. Logic is counted from figures per
processing element and per vector lane that were measured after synthesis, and from engineering estimates for the rest;
every constant says which. `gossamer.arch.config.load_config` refuses a config whose estimate exceeds its device.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields

from gossamer.arch.isa import ENGINES, INSTRUCTION_BYTES
from gossamer.arch.rules import PARAMETER_ENTRY_BYTES
from gossamer.arch.spec import BufferSpec, DeviceSpec, Family, MemoryKind, SparseAccelerator
from gossamer.arch.timing import ceil_div

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

SEGMENT_STAGES = 8
SEGMENT_LUT = 48
SEGMENT_FF = 48
"""A packed cascade is safe for 8 stages with weights clipped to -127 (7 at the extremes); each further segment is added
in fabric, 48 LUT and 48 FF for both lanes (measured)."""

ACCUMULATE_LUT = 32
ACCUMULATE_FF = 64
"""Per chain and lane: a 32-bit adder, operand and result registers. Engineering estimate."""

VECTOR_DSP = 1
VECTOR_LUT = 170
"""Requantization per vector lane, most of it the variable shifter. Measured: Yosys 0.70, xcup."""

VECTOR_OTHER_DSP = 1
VECTOR_OTHER_LUT = 200
VECTOR_FF = 400
"""Per vector lane: second multiplier of ADD and MULTIPLY, table, maximum, sums, all registers. Engineering estimate."""

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

ACCUMULATOR_HALVES = 2
"""COMPUTE adds in one half of the accumulator while REQUANTIZE reads the other: separate primitives, since each has one
read and one write port."""


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
    shapes = _shapes(kind, family, read_ports)
    return min(ceil_div(width_bits, _usable(bits, byte_writes)) * ceil_div(depth, words) * each
               for words, bits, each in shapes)  # fmt: skip


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
    buffer: BufferSpec, family: Family, *, banks: int, bank_bits: int, byte_writes: bool = True, read_ports: int = 1
) -> Resources:
    """Return what a buffer of `banks` equal memories, each `bank_bits` wide, takes."""
    depth = ceil_div(8 * buffer.capacity_bytes, banks * bank_bits)
    count = banks * memory_primitives(
        buffer.memory, family, bank_bits, depth, byte_writes=byte_writes, read_ports=read_ports
    )
    return _of_kind(buffer.memory, count)


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
    yield "accumulate", _accumulate(spec)
    yield from _buffers(spec)
    yield "activation rotate", _rotate(spec)
    yield "vector engine", _vector(spec)
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
    further = array.chains * per_stage * (ceil_div(array.chain_length, SEGMENT_STAGES) - 1)
    if LANES_PER_DSP[family] == 1:
        further = 0  # nothing is packed, so no field can overflow
    return Resources(dsp=dsp, lut=lut + further * SEGMENT_LUT, ff=dsp * PE_FF + further * SEGMENT_FF)


def _accumulate(spec: SparseAccelerator) -> Resources:
    count = spec.array.chains * spec.array.lanes
    return Resources(lut=count * ACCUMULATE_LUT, ff=count * ACCUMULATE_FF)


def _buffers(spec: SparseAccelerator) -> Iterator[tuple[str, Resources]]:
    """Yield the five buffers.

    Activations: chain_length banks of one word, so that a run may start at any word; two lanes read through the two
    ports, further lanes from copies. Weights and indices: one bank per row loaded in a cycle. Accumulators: one bank
    per lane and half. Parameters: one entry per vector lane and cycle.
    """
    array, buffers, family = spec.array, spec.buffers, spec.device.family
    index_bits = array.group_size.bit_length() - 1
    copy = _memory(
        buffers.activation, family,
        banks=array.chain_length, bank_bits=8 * array.group_size, read_ports=min(array.lanes, 2),
    )  # fmt: skip
    yield "activation buffer", sum([copy] * ceil_div(array.lanes, 2), Resources())
    rows = array.weight_rows_per_cycle
    yield "weight buffer", _memory(buffers.weight, family, banks=rows, bank_bits=8 * array.chains)
    yield "index buffer", _memory(buffers.index, family, banks=rows, bank_bits=index_bits * array.chains)
    yield (
        "accumulator buffer",
        _memory(
            buffers.accumulator, family,
            banks=array.lanes * ACCUMULATOR_HALVES, bank_bits=32 * array.chains, byte_writes=False,
        ),
    )  # fmt: skip
    width_bits = 8 * PARAMETER_ENTRY_BYTES * spec.vector.lanes
    yield "parameter buffer", _memory(buffers.parameter, family, banks=1, bank_bits=width_bits)


def _rotate(spec: SparseAccelerator) -> Resources:
    """Bring the words a lane reads, which start in any bank, into stage order: 4:1 selectors of one LUT6 per bit."""
    array = spec.array
    bits = 8 * array.group_size * array.chain_length * array.lanes
    return Resources(lut=bits * _mux_levels(array.chain_length, spec.device.family), ff=2 * bits)


def _mux_levels(inputs: int, family: Family) -> int:
    """Return LUTs per bit of a rotation over `inputs` positions: each halves the choices, a LUT6 twice."""
    choices = (inputs - 1).bit_length()
    return choices if family is Family.ECP5 else ceil_div(choices, 2)


def _vector(spec: SparseAccelerator) -> Resources:
    lanes = spec.vector.lanes
    return Resources(
        dsp=lanes * (VECTOR_DSP + VECTOR_OTHER_DSP),
        lut=lanes * (VECTOR_LUT + VECTOR_OTHER_LUT) + DIVIDER_LUT,
        ff=lanes * VECTOR_FF + DIVIDER_FF,
    )


def _axi(spec: SparseAccelerator) -> Resources:
    """Per port and side: a queue of two bursts and a byte rotation; per outstanding read: its address and length."""
    axi, family = spec.axi, spec.device.family
    depth = 2 * axi.burst_beats
    kind = MemoryKind.DP16KD if family is Family.ECP5 else MemoryKind.BRAM36
    if depth <= 64:
        kind = MemoryKind.LUTRAM
    queue = _of_kind(kind, memory_primitives(kind, family, axi.data_bits, depth, byte_writes=False))
    descriptors = _of_kind(
        MemoryKind.LUTRAM, memory_primitives(MemoryKind.LUTRAM, family, 64, axi.max_outstanding, byte_writes=False)
    )
    rotation = Resources(lut=axi.data_bits * _mux_levels(axi.data_bits // 8, family), ff=2 * axi.data_bits)
    port = Resources(lut=PORT_LUT, ff=PORT_FF) + descriptors + queue + queue + rotation + rotation
    return sum([port] * axi.ports, Resources())


def _dispatch(spec: SparseAccelerator) -> Resources:
    """Instruction queues in LUTRAM, the engines' sequencers and control."""
    queue = memory_primitives(
        MemoryKind.LUTRAM, spec.device.family, 8 * INSTRUCTION_BYTES, spec.dispatch.queue_depth, byte_writes=False
    )
    engines = len(ENGINES)
    return Resources(lut=engines * (queue + SEQUENCER_LUT) + CONTROL_LUT, ff=engines * SEQUENCER_FF + CONTROL_FF)
