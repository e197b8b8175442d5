"""Name the targets hardware is generated for, and state what each can build: the limits of its DSP cascades.

Two lanes share a DSP48E2 by packing: one product holds both, the low lane in `LOW_LANE_BITS` bits. A cascade must not
let the low lane's sum leave its field, which bounds the stages of a segment. Ours, checked by tests/rtl/test_dsp.py.
"""

from collections.abc import Iterator
from enum import StrEnum

from gossamer.arch.errors import ConfigError
from gossamer.arch.spec import AcceleratorSpec, Family, SparseAccelerator, SparseChainArraySpec


class Target(StrEnum):
    """What the array is built from: plain Verilog, or the DSP primitives of one family."""

    GENERIC = "generic"
    XCUP = "xcup"
    ECP5 = "ecp5"


_OF_FAMILY = {Family.ULTRASCALE_PLUS: Target.XCUP, Family.ECP5: Target.ECP5}

LOW_LANE_BITS = 18
"""Bits of a packed product below those of the high lane."""

LARGEST_PRODUCT = 128 * 128
"""Of two int8, from -128 x -128. The quantizer clips constant weights to -127, which would allow one stage more; but
the weights of a product of two activations, and those of any Program file, are all of int8."""

CASCADE_STAGES = 20
"""Longest DSP cascade generated: it has to find that many free DSPs one above the other in a column."""


def default_target(family: Family) -> Target:
    """Return the target of a device family; generic where no primitive is built in (Versal, 7 series)."""
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


def segment_limit(target: Target, lanes: int) -> int | None:
    """Return the most stages of a segment, None if there is no limit: only packed cascades, and cascades, have one."""
    if target is not Target.XCUP:
        return None
    return packed_stages() if lanes > 1 else CASCADE_STAGES


def target_problems(array: SparseChainArraySpec, target: Target) -> Iterator[str]:
    """Yield what keeps an array from being built on a target: what must be, what is, why, and what to do."""
    stages, limit = array.chain_length // array.weight_rows_per_cycle, segment_limit(target, array.lanes)
    if limit is None or stages <= limit:
        return
    if array.lanes > 1:
        field = (1 << LOW_LANE_BITS - 1) - 1
        why = (
            f"two lanes share a DSP and the low one has {LOW_LANE_BITS} bits: {stages} products of up to "
            f"{LARGEST_PRODUCT} (-128 x -128) reach {stages * LARGEST_PRODUCT}, more than {field}; "
            f"{limit} reach {limit * LARGEST_PRODUCT}"
        )
    else:
        why = f"a DSP cascade longer than {limit} does not fit a column wherever it starts"
    rows = next(
        r for r in range(1, array.chain_length + 1) if not array.chain_length % r and array.chain_length // r <= limit
    )
    yield (
        f"`array.chain_length` over `array.weight_rows_per_cycle`, the stages of a segment, must be at most {limit} on "
        f"target {target}, not {stages}: {why}; try --set array.weight_rows_per_cycle={rows}, a shorter chain, or "
        "--target generic"
    )
