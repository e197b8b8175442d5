"""Turn nests of strided axes into LOAD and STORE instructions, whatever their depth and size.

The operands of a nest here are (off-chip bytes, activation-buffer bytes). Runs of more than one byte are whole-word
aligned on both sides; what is not aligned moves byte by byte: a scatter where off-chip bytes are adjacent, else runs of
one byte. That is slow, and honest about it. Runs of one byte that follow each other on both sides move together, so
they are cut where the banks of the activation buffer ask for it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gossamer.arch.activation import may_shift, shifted_bytes
from gossamer.arch.isa import FIELDS, Opcode, Space
from gossamer.arch.spec import SparseAccelerator
from gossamer.mapper.codegen.strided import Axis, Nest, collapse, offsets
from gossamer.mapper.emit import Emitter

_LOAD_BITS = {field.name: field.bits for field in FIELDS[Opcode.LOAD]}
MAX_COUNT = (1 << _LOAD_BITS["ny"]) - 1
MAX_RUN_BYTES = (1 << _LOAD_BITS["run_bytes"]) - 64
MAX_INNER_STRIDE = (1 << _LOAD_BITS["dst_x"]) - 1
MAX_SCATTER_STRIDE = (1 << _LOAD_BITS["dst_e"]) - 1
MAX_PAD_LINES = (1 << _LOAD_BITS["pad_top"]) - 1
MAX_PAD_BYTES = (1 << _LOAD_BITS["pad_left"]) - 1
MAX_LINE_AXES = 2
PARAMETER_ALIGN_BYTES = 32

_Issue = Callable[[int, int, Axis, Axis, Axis], None]


def load_nest(emitter: Emitter, axes: Sequence[Axis], dram: int, chip: int) -> None:
    """Append the LOADs that move a nest of bytes from off-chip address `dram` to activation address `chip`."""

    def issue(source: int, target: int, y: Axis, x: Axis, run: Axis) -> None:
        emitter.load(
            Space.ACTIVATION, dram=source, dst=target, run_bytes=run.size, ny=y.size, nx=x.size,
            dram_y=y.strides[0], dram_x=x.strides[0], dst_y=y.strides[1], dst_x=x.strides[1], dst_e=run.strides[1],
        )  # fmt: skip

    _issue_nest(issue, collapse(axes), dram, chip, emitter.spec, scatter=True)


def store_nest(emitter: Emitter, axes: Sequence[Axis], dram: int, chip: int) -> None:
    """Append the STOREs that move a nest of bytes from activation address `chip` to off-chip address `dram`."""

    def issue(target: int, source: int, y: Axis, x: Axis, run: Axis) -> None:
        emitter.store(
            dram=target, src=source, run_bytes=run.size, ny=y.size, nx=x.size,
            dram_y=y.strides[0], dram_x=x.strides[0], src_y=y.strides[1], src_x=x.strides[1],
        )  # fmt: skip

    _issue_nest(issue, collapse(axes), dram, chip, emitter.spec, scatter=False)


def _issue_nest(
    issue: _Issue, axes: Nest, dram: int, chip: int, spec: SparseAccelerator, *, scatter: bool
) -> None:  # fmt: skip
    run, lines = _split_run(axes, dram, chip, spec.array.group_size, scatter=scatter)
    adjacent = MAX_COUNT if may_shift(spec) else min(MAX_COUNT, shifted_bytes(spec))
    limits = [(run, MAX_RUN_BYTES), *((axis, adjacent if axis.strides == (1, 1) else MAX_COUNT) for axis in lines)]
    for axis, limit in limits:
        if axis.size <= limit:
            continue
        for start in range(0, axis.size, limit):
            part = Axis(min(limit, axis.size - start), axis.strides)
            parts = tuple(part if other is axis else other for other in axes)
            there, here = (start * stride for stride in axis.strides)
            _issue_nest(issue, parts, dram + there, chip + here, spec, scatter=scatter)
        return
    # Runs that follow each other off chip share bursts, so an axis of adjacent bytes is always the inner one.
    by_size = sorted(lines, key=lambda axis: (axis.strides[0] == run.size, axis.size))
    counted = sorted(by_size[-MAX_LINE_AXES:], key=lambda axis: -axis.strides[0])
    while len(counted) < MAX_LINE_AXES:
        counted.insert(0, Axis(1, (0, 0)))
    if counted[1].strides[1] > MAX_INNER_STRIDE:
        counted.reverse()
    for there, here in offsets(by_size[:-MAX_LINE_AXES], 2):
        issue(dram + there, chip + here, counted[0], counted[1], run)


def _split_run(axes: Nest, dram: int, chip: int, group_size: int, *, scatter: bool) -> tuple[Axis, list[Axis]]:
    """Return the axis a run covers (one byte if none can be) and the axes that remain."""
    for axis in axes:
        lines = [other for other in axes if other is not axis]
        strides = [stride for other in lines for stride in other.strides]
        if axis.strides == (1, 1) and not any(v % group_size for v in (dram, chip, *strides)):
            return axis, lines
        if scatter and axis.strides[0] == 1 and 1 < axis.strides[1] <= MAX_SCATTER_STRIDE:
            return axis, lines
    return Axis(1, (1, 1)), list(axes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Padded:
    """A box of whole pixels with a filled border: data lines and runs, pads in lines and bytes, the fill byte."""

    ny: int
    nx: int
    run_bytes: int
    dram_y: int
    dram_x: int
    dst_y: int
    top: int
    bottom: int
    left_bytes: int
    right_bytes: int
    fill: int


def load_padded(emitter: Emitter, box: Padded, dram: int, dst: int) -> None:
    """Append the LOADs of a box of pixels, runs next to each other on chip, with its border filled.

    Borders of more lines than one LOAD can fill come first, each with one data word that a later LOAD overwrites.
    """
    if not (box.top or box.bottom or box.left_bytes or box.right_bytes):
        axes = (
            Axis(box.ny, (box.dram_y, box.dst_y)),
            Axis(box.nx, (box.dram_x, box.run_bytes)),
            Axis(box.run_bytes, (1, 1)),
        )
        load_nest(emitter, axes, dram, dst)
        return
    top, bottom = box.top, box.bottom
    word = emitter.group_size
    line_bytes = box.left_bytes + box.nx * box.run_bytes + box.right_bytes
    border = {"dram": dram, "run_bytes": word, "dst_y": box.dst_y, "pad_right": line_bytes - word, "fill": box.fill}
    while bottom > MAX_PAD_LINES:
        last_data = box.top + box.ny + bottom - MAX_PAD_LINES - 1
        emitter.load(Space.ACTIVATION, dst=dst + last_data * box.dst_y, pad_bottom=MAX_PAD_LINES, **border)
        bottom -= MAX_PAD_LINES
    while top > MAX_PAD_LINES:
        emitter.load(Space.ACTIVATION, dst=dst, pad_top=MAX_PAD_LINES, **border)
        dst += MAX_PAD_LINES * box.dst_y
        top -= MAX_PAD_LINES
    nx, run_bytes, dram_x = box.nx, box.run_bytes, box.dram_x
    if dram_x == run_bytes and nx * run_bytes <= MAX_RUN_BYTES:
        nx, run_bytes, dram_x = 1, nx * run_bytes, 0
    emitter.load(
        Space.ACTIVATION, dram=dram, dst=dst, run_bytes=run_bytes, ny=box.ny, nx=nx, dram_y=box.dram_y, dram_x=dram_x,
        dst_y=box.dst_y, dst_x=run_bytes, pad_top=top, pad_bottom=bottom, pad_left=box.left_bytes,
        pad_right=box.right_bytes, fill=box.fill,
    )  # fmt: skip


def fill_range(emitter: Emitter, *, source: int, dst: int, size_bytes: int, fill: int) -> None:
    """Append LOADs that define all bytes of an activation range of whole words.

    LOAD always moves at least one run: the first word of each LOAD holds data read from `source`, the rest `fill`.
    """
    word = emitter.group_size
    line = min(size_bytes, MAX_PAD_BYTES // word * word)
    lines, rest = divmod(size_bytes, line)
    for first in range(0, lines, MAX_PAD_LINES):
        emitter.load(
            Space.ACTIVATION, dram=source, dst=dst + first * line, run_bytes=word, dst_y=line, pad_right=line - word,
            pad_bottom=min(MAX_PAD_LINES, lines - first) - 1, fill=fill,
        )  # fmt: skip
    if rest:
        emitter.load(
            Space.ACTIVATION, dram=source, dst=dst + lines * line, run_bytes=word, pad_right=rest - word, fill=fill
        )


def load_range(emitter: Emitter, space: Space, dram: int, dst: int, size_bytes: int) -> None:
    """Append the LOADs of one contiguous range of bytes into any buffer."""
    for start in range(0, size_bytes, MAX_RUN_BYTES):
        emitter.load(space, dram=dram + start, dst=dst + start, run_bytes=min(MAX_RUN_BYTES, size_bytes - start))


def load_block(emitter: Emitter, block: bytes, who: str) -> tuple[int, int]:
    """Append the LOAD of a parameter block kept as a constant; return its address and bytes ((0, 0): none)."""
    if not block:
        return 0, 0
    address = emitter.parameter.alloc(len(block), PARAMETER_ALIGN_BYTES, who=who)
    load_range(emitter, Space.PARAMETER, emitter.memory.constant(block), address, len(block))
    return address, len(block)
