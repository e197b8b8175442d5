"""Name the targets hardware is generated for, and state what each can build: the limits of its DSP cascades.

Two lanes share a DSP48E2, or a DSP58, by packing: one product holds both, the low lane in `LOW_LANE_BITS` bits. A
cascade must not let the low lane's sum leave its field, which bounds the stages of a segment. Several segments of a
chain share a DSP58 as terms of a dot product. Ours, checked by tests/rtl/test_dsp.py.
"""

from enum import StrEnum

from gossamer.arch.errors import ConfigError
from gossamer.arch.spec import AcceleratorSpec, Family, SparseAccelerator
from gossamer.arch.timing import ceil_div


class Target(StrEnum):
    """What the array is built from: plain Verilog, or the DSP primitives of one family."""

    GENERIC = "generic"
    XCUP = "xcup"
    VERSAL = "versal"
    ECP5 = "ecp5"


_OF_FAMILY = {Family.ULTRASCALE_PLUS: Target.XCUP, Family.VERSAL: Target.VERSAL, Family.ECP5: Target.ECP5}

LOW_LANE_BITS = 18
"""Bits of a packed product below those of the high lane. The pre-adder's 27 bits hold no more: a high lane of -128 at
bit 19 is -2**26, and a negative low lane would go below it. The wider factor and sum of a DSP58 do not change that."""

DOT_PRODUCTS = 3
"""Products of 9 x 8 bits that a DSP58 adds, in mode INT8 (AMD AM004)."""

LARGEST_PRODUCT = 128 * 128
"""Of two int8, from -128 x -128. The quantizer clips constant weights to -127, which would allow one stage more; but
the weights of a product of two activations, and those of any Program file, are all of int8."""

CASCADE_STAGES = 20
"""Longest DSP cascade generated: it has to find that many free DSPs one above the other in a column."""


def default_target(family: Family) -> Target:
    """Return the target of a device family; generic where no primitive is built in (7 series)."""
    return _OF_FAMILY.get(family, Target.GENERIC)


def chosen_target(name: str | None, spec: AcceleratorSpec) -> Target:
    """Return the target named by a user, or the one of the config's device. Raises ConfigError for an unknown name."""
    if name is None:
        return default_target(spec.device.family) if isinstance(spec, SparseAccelerator) else Target.GENERIC
    if name not in tuple(Target):
        raise ConfigError(f"--target must be one of {', '.join(Target)}; not {name}")
    return Target(name)


def packed_stages(largest_product: int = LARGEST_PRODUCT) -> int:
    """Return how many products of at most this magnitude the low lane of a packed cascade holds, whatever their signs.

    The field is unsigned and starts at half its range: n products must stay within 2**(bits - 1) - 1 of it.
    """
    return ((1 << LOW_LANE_BITS - 1) - 1) // largest_product


def dot_segments(target: Target, segments: int) -> int:
    """Return how many segments of a chain share DSP slices, each a term of their dot products; 1 where lanes do."""
    return ceil_div(segments, ceil_div(segments, DOT_PRODUCTS)) if target is Target.VERSAL else 1


def _packs_lanes(target: Target, lanes: int, segments: int) -> bool:
    return lanes > 1 and dot_segments(target, segments) == 1


def segment_limit(target: Target, lanes: int, segments: int) -> int | None:
    """Return the most stages of a segment, None if there is no limit: only packed cascades, and cascades, have one."""
    if target not in (Target.XCUP, Target.VERSAL):
        return None
    return packed_stages() if _packs_lanes(target, lanes, segments) else CASCADE_STAGES


def segment_problem(*, chain_length: int, segments: int, lanes: int, target: Target) -> str | None:
    """Return why the segments of a chain cannot be built on a target, None if they can.

    Says what must be, what is, the arithmetic, and what to do.
    """
    stages, limit = chain_length // segments, segment_limit(target, lanes, segments)
    if limit is None or stages <= limit:
        return None
    if _packs_lanes(target, lanes, segments):
        field = (1 << LOW_LANE_BITS - 1) - 1
        why = (
            f"two lanes share a DSP and the low one has {LOW_LANE_BITS} bits: {stages} products of up to "
            f"{LARGEST_PRODUCT} (-128 x -128) reach {stages * LARGEST_PRODUCT}, more than {field}; "
            f"{limit} reach {limit * LARGEST_PRODUCT}"
        )
    else:
        why = f"a DSP cascade longer than {limit} does not fit a column wherever it starts"
    limits = {r: segment_limit(target, lanes, r) for r in range(1, chain_length + 1) if not chain_length % r}
    rows = next(r for r, most in limits.items() if most is None or chain_length // r <= most)
    return (
        f"must cut array.chain_length ({chain_length}) into segments of at most {limit} stages on target {target}, not "
        f"{stages}: {why}; try {rows}, or a shorter chain"
    )
