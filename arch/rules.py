"""State the rules of a config that tie several fields together: what a legal accelerator is beyond legal fields.

The rules work on plain data of which some may be missing or wrong, so that they are reported together with all other
problems: a rule whose inputs are not all there is skipped. Ours, checked by tests/unit/test_config_rules.py.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from gossamer.arch.isa import FIELDS, Opcode, index_pitch_bytes
from gossamer.arch.problems import Path
from gossamer.arch.spec import Family, MemoryKind
from gossamer.arch.target import default_target, segment_problem
from gossamer.arch.timing import AXI_BOUNDARY_BYTES, ROW_BYTES_LIMIT, burst_bytes

PARAMETER_HEADER_BYTES = 32
PARAMETER_ENTRY_BYTES = 12
PARAMETER_TABLE_BYTES = 256
PARAMETER_WIDE_TABLE_BYTES = 1024
"""Sizes of a parameter block's parts; the formats themselves are in `gossamer.dataflow.numerics`."""

MEMORIES: dict[Family, tuple[MemoryKind, ...]] = {
    Family.ULTRASCALE_PLUS: (MemoryKind.BRAM36, MemoryKind.URAM288, MemoryKind.LUTRAM),
    Family.VERSAL: (MemoryKind.BRAM36, MemoryKind.URAM288, MemoryKind.LUTRAM),
    Family.SERIES7: (MemoryKind.BRAM36, MemoryKind.LUTRAM),
    Family.ECP5: (MemoryKind.DP16KD, MemoryKind.LUTRAM),
}
"""Memory primitives of each family."""

BUFFERS = ("activation", "weight", "index", "accumulator", "parameter")


class _Unknown(Exception):
    """An input of a rule is missing or wrong."""


class Values:
    """Read-only view of a config as plain data, in which some values are known to be wrong."""

    def __init__(self, data: dict[str, Any], wrong: Iterable[Path]) -> None:
        """`wrong` are paths whose values, and all below them, must not be used."""
        self._data = data
        self._wrong = frozenset(wrong)

    def __getitem__(self, dotted: str) -> Any:
        """Return the value at a dotted path; rules that ask for a wrong or missing one are skipped."""
        node: Any = self._data
        path: Path = ()
        for key in dotted.split("."):
            path = (*path, key)
            if path in self._wrong or not isinstance(node, dict) or key not in node:
                raise _Unknown
            node = node[key]
        return node


Finding = tuple[str, str]
"""Dotted path of the field to change, and what is wrong with it."""


def broken_rules(values: Values) -> list[Finding]:
    """Return what a sparse accelerator breaks; rules that lack an input are skipped."""
    findings: list[Finding] = []
    for rule in RULES:
        try:
            findings.extend(rule(values))
        except _Unknown:
            continue
    return findings


def minimum_capacities(*, chains: int, chain_length: int, lanes: int, group_size: int) -> dict[str, tuple[int, str]]:
    """Return for each buffer the bytes of two minimal tiles (one in use, one being filled) and what they are.

    A minimal tile is one fold of one block of output channels at one position per lane.
    """
    rows = chain_length * group_size
    index_bytes = index_pitch_bytes(chains, group_size.bit_length() - 1)
    block = PARAMETER_HEADER_BYTES + chains * PARAMETER_ENTRY_BYTES + PARAMETER_TABLE_BYTES
    return {
        "activation": (
            2 * lanes * (chain_length * group_size + chains),
            f"2 x {lanes} lanes x ({chain_length} words of {group_size} in, {chains} channels out)",
        ),
        "weight": (2 * rows * chains, f"2 x {rows} rows of {chains} weights: two folds of a dense chain"),
        "index": (2 * rows * index_bytes, f"2 x {rows} rows of {index_bytes} bytes: two folds of a chain"),
        "accumulator": (2 * lanes * 4 * chains, f"2 x {lanes} lanes x {chains} int32"),
        "parameter": (
            max(2 * block, PARAMETER_HEADER_BYTES + PARAMETER_WIDE_TABLE_BYTES),
            f"2 blocks of {chains} channels with a table, or one wide table",
        ),
    }


def _capacities(values: Values) -> Iterator[Finding]:
    """`buffers.*.capacity_bytes` hold two minimal tiles, one in use and one being filled: see `minimum_capacities`."""
    names = ("chains", "chain_length", "lanes", "group_size")
    minimums = minimum_capacities(**{name: values[f"array.{name}"] for name in names})
    for name, (need_bytes, why) in minimums.items():
        path = f"buffers.{name}.capacity_bytes"
        try:
            capacity_bytes = values[path]
        except _Unknown:
            continue
        if capacity_bytes < need_bytes:
            yield path, f"must be at least {need_bytes} to hold two minimal tiles ({why}), not {capacity_bytes}"


def _address_widths(values: Values) -> Iterator[Finding]:
    """`buffers.*.capacity_bytes` are within what the address fields of instructions reach."""
    limits = {"activation": _bits(Opcode.COMPUTE, "a"), "weight": _bits(Opcode.COMPUTE, "w"),
              "index": _bits(Opcode.COMPUTE, "i"), "parameter": _bits(Opcode.TABLE, "par")}  # fmt: skip
    for name, bits in limits.items():
        path = f"buffers.{name}.capacity_bytes"
        try:
            capacity_bytes = values[path]
        except _Unknown:
            continue
        if capacity_bytes > 2**bits:
            yield (
                path,
                f"must be at most {2**bits} for a {bits}-bit address field of an instruction, not {capacity_bytes}",
            )
    entry_bytes, bits = 4 * values["array.chains"], _bits(Opcode.COMPUTE, "acc")
    capacity_bytes = values["buffers.accumulator.capacity_bytes"]
    if capacity_bytes > entry_bytes * 2**bits:
        yield (
            "buffers.accumulator.capacity_bytes",
            f"must be at most {entry_bytes * 2**bits}, the {2**bits} entries of {entry_bytes} bytes that a {bits}-bit "
            f"instruction field addresses, not {capacity_bytes}",
        )


def _bits(opcode: Opcode, name: str) -> int:
    return next(field.bits for field in FIELDS[opcode] if field.name == name)


def _memories(values: Values) -> Iterator[Finding]:
    """`buffers.*.memory` is a primitive that `device.family` has."""
    family = values["device.family"]
    kinds = [kind.value for kind in MEMORIES[Family(family)]]
    for name in BUFFERS:
        path = f"buffers.{name}.memory"
        try:
            memory = values[path]
        except _Unknown:
            continue
        if memory not in kinds:
            yield path, f"must be one of {', '.join(kinds)} on the {family} device, not {memory}"


def _device(values: Values) -> Iterator[Finding]:
    """`device.uram` is 0 in a family without UltraRAM."""
    family, uram = values["device.family"], values["device.uram"]
    if uram and MemoryKind.URAM288 not in MEMORIES[Family(family)]:
        yield "device.uram", f"must be 0 on the {family} family, which has no UltraRAM, not {uram}"


def _vector_lanes(values: Values) -> Iterator[Finding]:
    """`vector.lanes` is a multiple of `array.group_size`: VECTOR takes whole activation words."""
    lanes, group_size = values["vector.lanes"], values["array.group_size"]
    if lanes % group_size:
        near = sorted({max(group_size, lanes // group_size * group_size), (lanes // group_size + 1) * group_size})
        yield (
            "vector.lanes",
            f"must be a multiple of array.group_size ({group_size}), not {lanes}; "
            f"nearest: {' and '.join(map(str, near))}",
        )


def _chains(values: Values) -> Iterator[Finding]:
    """`array.chains` is at least `array.group_size`: a block of output channels is stored in whole words."""
    chains, group_size = values["array.chains"], values["array.group_size"]
    if chains < group_size:
        yield (
            "array.chains",
            f"must be at least array.group_size ({group_size}), since a block of output channels is stored in whole "
            f"words, not {chains}",
        )


def _weight_rows(values: Values) -> Iterator[Finding]:
    """`array.weight_rows_per_cycle` divides `array.chain_length`: a chain is cut into so many equal segments."""
    rows, stages = values["array.weight_rows_per_cycle"], values["array.chain_length"]
    if rows > stages:
        yield "array.weight_rows_per_cycle", f"must be at most array.chain_length ({stages}), not {rows}"
    elif stages % rows:
        near = [
            max(r for r in range(1, rows) if stages % r == 0),
            min(r for r in range(rows, stages + 1) if stages % r == 0),
        ]
        yield (
            "array.weight_rows_per_cycle",
            f"must be a divisor of array.chain_length ({stages}), not {rows}; nearest: {near[0]} and {near[1]}",
        )


def _segments(values: Values) -> Iterator[Finding]:
    """A segment of a chain, `array.chain_length` over `array.weight_rows_per_cycle`, fits the family's DSP cascades."""
    rows, stages, lanes = (values[f"array.{name}"] for name in ("weight_rows_per_cycle", "chain_length", "lanes"))
    if stages % rows == 0:
        target = default_target(Family(values["device.family"]))
        problem = segment_problem(chain_length=stages, segments=rows, lanes=lanes, target=target)
        if problem is not None:
            yield "array.weight_rows_per_cycle", problem


def _bursts(values: Values) -> Iterator[Finding]:
    """`axi.burst_beats` of `axi.data_bits` fit between two 4 KiB boundaries (AMBA AXI4, A3.4.1)."""
    beats, bits = values["axi.burst_beats"], values["axi.data_bits"]
    if beats * bits // 8 > AXI_BOUNDARY_BYTES:
        yield (
            "axi.burst_beats",
            f"must be at most {AXI_BOUNDARY_BYTES * 8 // bits} with axi.data_bits {bits}, since no burst crosses "
            f"{AXI_BOUNDARY_BYTES} bytes, not {beats}",
        )


def _rows(values: Values) -> Iterator[Finding]:
    """A beat of all `axi.ports` fits the way on chip and the longest burst: bursts of several ports are whole rows."""
    ports, bits, beats = values["axi.ports"], values["axi.data_bits"], values["axi.burst_beats"]
    stripe_bytes = values["off_chip.interleave_bytes"]
    row_bytes, most = ports * bits // 8, ROW_BYTES_LIMIT * 8 // bits
    if row_bytes > ROW_BYTES_LIMIT:
        yield (
            "axi.ports",
            f"must be at most {most} with axi.data_bits {bits}, since a core moves at most {ROW_BYTES_LIMIT} bytes on "
            f"chip per cycle and direction, not {ports}",
        )
        return
    longest = burst_bytes(data_bits=bits, burst_beats=beats, interleave_bytes=stripe_bytes)
    if longest < row_bytes:
        yield (
            "axi.burst_beats",
            f"must be at least axi.ports ({ports}), within off_chip.interleave_bytes ({stripe_bytes}): a burst holds "
            f"whole rows of {row_bytes} bytes, a beat of every port; not {beats}",
        )


def _interleave(values: Values) -> Iterator[Finding]:
    """`off_chip.interleave_bytes` is a power of two: channels are chosen by address bits."""
    interleave_bytes = values["off_chip.interleave_bytes"]
    if interleave_bytes & (interleave_bytes - 1):
        below = 1 << (interleave_bytes.bit_length() - 1)
        yield (
            "off_chip.interleave_bytes",
            f"must be a power of two, not {interleave_bytes}; nearest: {below} and {2 * below}",
        )


RULES: tuple[Callable[[Values], Iterator[Finding]], ...] = (
    _device, _memories, _capacities, _address_widths, _vector_lanes, _chains, _weight_rows, _segments, _bursts, _rows,
    _interleave,
)  # fmt: skip
