"""Estimate what a sparse accelerator takes on its device, by component, without synthesis: tier "estimated".

Multipliers and on-chip memories are counted primitive by primitive from the widths and depths the RTL is built with
(`gossamer.arch.banking`, `activation`, `accumulator`, `primitives`). Logic is counted where it follows from the RTL's
structure, and scaled by fitted coefficients where not (`gossamer.arch.logic`). Components are those of the synthesis
report. `gossamer.arch.config.load_config` refuses a config whose estimate exceeds its device.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields

from gossamer.arch.accumulator import CELL_CHAINS, SUM_BYTES, accumulator_cells, accumulator_entries, half_depths
from gossamer.arch.activation import activation_banks, copies
from gossamer.arch.banking import WindowSizes, index_window, parameter_window, weight_window
from gossamer.arch.isa import FIELDS, TRANSFER_BYTES_LIMIT, Opcode
from gossamer.arch.logic import LOGIC, LRN_HISTORY, LRN_READERS, Demand, cascaded
from gossamer.arch.logic_coefficients import FLIP_FLOPS, HELD_OUT_FF_PCT, HELD_OUT_LUT_PCT, HELD_OUT_POINTS, LUTS
from gossamer.arch.primitives import adder_dsps, memory_primitives, multiplier_dsps
from gossamer.arch.spec import DeviceSpec, Family, MemoryKind, SparseAccelerator
from gossamer.arch.target import default_target, dot_segments
from gossamer.arch.timing import ceil_div

TIER = "estimated"
"""How far the numbers can be trusted: from formulas, not from synthesis."""

BAND = (
    f"{HELD_OUT_POINTS} configs synthesized with Yosys that no coefficient was fitted to: "
    f"LUT within {HELD_OUT_LUT_PCT} %, FF within {HELD_OUT_FF_PCT} %"
)
"""How far the totals are off (benchmarks/synthesis_points.csv); DSPs and block memories are exact at all its points."""

LANES_PER_DSP = {Family.ULTRASCALE_PLUS: 2, Family.VERSAL: 2, Family.SERIES7: 1, Family.ECP5: 1}
"""Two positions share one DSP where its multiplier is 27 bits wide (docs/decisions/0010); the 25-bit DSP48E1 and the
18-bit ECP5 multiplier take one each. A DSP58 that takes several segments of a chain takes one (docs/decisions/0024)."""

VECTOR_PRODUCTS = ((18, 18),) * 7
"""Signed factors' bits of the products of a vector lane: four parts of 32 x 32, two operands of MULTIPLY, both
operands of a sum behind a requantization with their factors."""

ROW_PRODUCTS = (
    *((18, 18),) * (2 + 6 + 8),  # LAYER_NORM: of an element, three parts of the reciprocal, two of 32 x 32 bits
    *((18, 18),) * (2 + 2),  # LRN: its factors are 9 x 32 bits
)
"""Products of the engines that take one element per cycle, parts of wider ones; SOFTMAX has none. Yosys 0.70 takes as
many DSPs on either target, 20 (tests/unit/test_resources.py)."""


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

    def __mul__(self, times: int) -> "Resources":
        return Resources(**{f.name: getattr(self, f.name) * times for f in fields(self)})


COMPONENTS: tuple[str, ...] = tuple(LOGIC)
"""Components of a core, by the names of the synthesis report, in the order of the data path."""

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
    return ResourceEstimate(
        device=spec.device, components={name: component_resources(name, spec) for name in COMPONENTS}
    )


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


def component_resources(name: str, spec: SparseAccelerator) -> Resources:
    """Return what one of COMPONENTS takes in all cores."""
    blocks = _HARD_BLOCKS[name](spec) if name in _HARD_BLOCKS else Resources()
    return (_logic(LOGIC[name](spec), spec.device.family) + blocks) * spec.cores


def _logic(demand: Demand, family: Family) -> Resources:
    """Return the LUTs and flip-flops of a component: those counted, and quantities times coefficients."""
    lut = demand.lut + sum(LUTS[family][name] * quantity for name, quantity in demand.lut_of.items())
    ff = demand.ff + sum(FLIP_FLOPS[family][name] * quantity for name, quantity in demand.ff_of.items())
    return Resources(lut=round(lut), ff=round(ff))


def _transfer_dsps(spec: SparseAccelerator) -> Resources:
    """Return the multipliers of LOAD's and STORE's set-up: columns by bytes between them."""
    lines = next(field.bits for field in FIELDS[Opcode.LOAD] if field.name == "ny")
    return _dsps(spec.device.family, [((TRANSFER_BYTES_LIMIT - 1).bit_length() + 1, lines + 1)] * 2)


def _place_dsps(spec: SparseAccelerator) -> Resources:
    """Return the multiplier of COMPUTE's addresses."""
    family = spec.device.family
    bits = {field.name: field.bits for field in FIELDS[Opcode.COMPUTE]}
    address_bits = (spec.buffers.activation.capacity_bytes - 1).bit_length()
    sign = 0 if family is Family.ECP5 else 1  # the ECP5 multiplier takes 18 unsigned bits too
    return _dsps(family, [(min(bits["nx"], address_bits) + sign, min(bits["a_x"], address_bits) + sign)])


def _array_dsps(spec: SparseAccelerator) -> Resources:
    """Return the multipliers of the chains, an odd lane in a DSP of its own, and the adders of their segments."""
    array, family, rows = spec.array, spec.device.family, spec.array.weight_rows_per_cycle
    shared = dot_segments(default_target(family), rows)
    groups, lanes = ceil_div(rows, shared), LANES_PER_DSP[family] if shared == 1 else 1
    adders = adder_dsps(array.chains * array.lanes, groups) if cascaded(family) else 0
    stages = groups * array.chain_length // rows
    return Resources(dsp=array.chains * stages * ceil_div(array.lanes, lanes) + adders)


def _sum_memories(spec: SparseAccelerator) -> Resources:
    """Return the memories of the accumulator."""
    sums = [(8 * SUM_BYTES * CELL_CHAINS, rows, accumulator_cells(spec))
            for rows in half_depths(accumulator_entries(spec), spec.array.lanes)]  # fmt: skip
    return _memories(spec.buffers.accumulator.memory, spec.device.family, sums, byte_writes=False)


def _vector_blocks(spec: SparseAccelerator) -> Resources:
    """Return the multipliers of VECTOR, and LRN's history where it is a memory block."""
    family = spec.device.family
    history = [(*LRN_HISTORY, LRN_READERS)] if family is Family.ECP5 else []
    products = _dsps(family, VECTOR_PRODUCTS * spec.vector.lanes) + _dsps(family, ROW_PRODUCTS)
    return products + _memories(MemoryKind.DP16KD, family, history, byte_writes=False)


def _activation_memories(spec: SparseAccelerator) -> Resources:
    """Return the memories of all copies of the activations."""
    cut = activation_banks(spec)
    halves = [(8 * cut.word_bytes, rows, copies(spec) * cut.banks) for rows in (cut.half_rows, cut.upper_rows)]
    return _memories(spec.buffers.activation.memory, spec.device.family, halves, byte_writes=True)


_HARD_BLOCKS: dict[str, Callable[[SparseAccelerator], Resources]] = {
    "dma": _transfer_dsps,
    "compute control": _place_dsps,
    "array": _array_dsps,
    "accumulator": _sum_memories,
    "vector engine": _vector_blocks,
    "activation buffer": _activation_memories,
    "weight buffer": lambda spec: _banks(weight_window(spec), spec.device.family),
    "index buffer": lambda spec: _banks(index_window(spec), spec.device.family),
    "parameter buffer": lambda spec: _banks(parameter_window(spec), spec.device.family),
}
"""What tells the DSPs and block memories of the components that have some."""


def _dsps(family: Family, products: Iterable[tuple[int, int]]) -> Resources:
    return Resources(dsp=sum(multiplier_dsps(family, bits) for bits in products))


def _banks(sizes: WindowSizes, family: Family) -> Resources:
    """Return the banks of a buffer that is read in windows; single bytes are written."""
    cut = sizes.banks
    return _memories(sizes.memory, family, [(8 * cut.word_bytes, cut.rows, cut.banks)], byte_writes=True)


def _memories(
    kind: MemoryKind, family: Family, sizes: Iterable[tuple[int, int, int]], *, byte_writes: bool
) -> Resources:
    """Return the blocks of memories of a kind, as (bits, rows, count); those of LUTs count as logic."""
    count = sum(
        count * memory_primitives(kind, family, bits, rows, byte_writes=byte_writes) for bits, rows, count in sizes
    )
    match kind:
        case MemoryKind.LUTRAM:
            return Resources()
        case MemoryKind.URAM288:
            return Resources(uram=count)
        case MemoryKind.BRAM36:
            return Resources(bram36=ceil_div(count, 2))
        case MemoryKind.DP16KD:
            return Resources(bram36=count)
