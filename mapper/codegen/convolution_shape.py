"""See every multiply-accumulate layer as one `ConvShape`: blocks of output channels, and how its weights are stored."""

from math import lcm

from gossamer.arch.errors import MappingError
from gossamer.arch.spec import SparseAccelerator
from gossamer.arch.timing import ceil_div
from gossamer.dataflow.mapping import Block, ConvShape
from gossamer.dataflow.sparsity import NmPattern
from gossamer.mapper.allocate import TensorPlace, align
from gossamer.mapper.codegen.parameters import requantize_block_bytes

PARAMETER_ALIGN_BYTES = 64


def block_channels(spec: SparseAccelerator) -> int:
    """Return the output channels of a full block: the chains, in whole words."""
    array = spec.array
    return array.chains // array.group_size * array.group_size


def dense_blocks(channels: int, words: int, size: int) -> tuple[Block, ...]:
    """Return blocks of `size` output channels that all read the input words [0, words)."""
    return tuple(
        Block(first=first, channels=min(size, channels - first), word=0, words=words)
        for first in range(0, channels, size)
    )


def grouped_blocks(channels: int, in_channels: int, groups: int, size: int, group_size: int) -> tuple[Block, ...]:
    """Return blocks for a grouped convolution, each with the input words of the groups it touches.

    Blocks end at group boundaries where those are word boundaries, so that no chain multiplies another group's words.
    """
    out_per_group, in_per_group = channels // groups, in_channels // groups
    unit = lcm(out_per_group, group_size)
    span = channels
    if unit <= size:
        size = size // unit * unit
    elif out_per_group % group_size == 0:
        span = out_per_group
    blocks = []
    for start in range(0, channels, span):
        for first in range(start, start + span, size):
            count = min(size, start + span - first)
            low = first // out_per_group * in_per_group
            high = ((first + count - 1) // out_per_group + 1) * in_per_group
            word = low // group_size
            blocks.append(Block(first=first, channels=count, word=word, words=ceil_div(high, group_size) - word))
    return tuple(blocks)


def weight_storage(in_channels: int, groups: int, pattern: NmPattern | None, group_size: int) -> tuple[int, int, int]:
    """Return (steps, slots, index_bits) of a COMPUTE: dense, N:M, or at most N nonzeros per word with explicit index.

    A word of a grouped convolution holds few channels of any one group, so most of its weights are structural zeros.
    """
    per_group = in_channels // groups
    dense = min(in_channels, group_size)
    options = [(dense, 0, 0)]
    index_bits = group_size.bit_length() - 1
    if groups > 1:
        kept = min(per_group, group_size)
        if pattern is not None and pattern.m <= group_size:
            kept = min(kept, pattern.n * ceil_div(per_group, pattern.m), pattern.n * (group_size // pattern.m + 1))
        options.append((kept, kept, index_bits))
    if (pattern is not None and pattern.n < pattern.m <= group_size and per_group % pattern.m == 0) or (
        pattern is not None and pattern.n < pattern.m <= group_size and groups == 1
    ):
        subgroups = ceil_div(dense, pattern.m)
        options.append((pattern.n * subgroups, pattern.n, pattern.index_bits))
    return min(options, key=lambda option: (option[0], option[2]))


def check_pattern(pattern: NmPattern | None, group_size: int, who: str) -> None:
    """Raise MappingError if the array cannot run a pattern."""
    if pattern is not None and pattern.m > group_size:
        raise MappingError(
            f"{who}: pattern {pattern} needs `array.group_size` of at least {pattern.m}, not {group_size}: prune to a "
            f"pattern with M <= {group_size} or choose another config"
        )


def conv_shape(
    spec: SparseAccelerator,
    source: TensorPlace,
    target: TensorPlace,
    *,
    who: str,
    kernel: tuple[int, int],
    stride: tuple[int, int] = (1, 1),
    dilation: tuple[int, int] = (1, 1),
    pads: tuple[int, int] = (0, 0),
    groups: int = 1,
    pattern: NmPattern | None = None,
    has_table: bool = False,
    blocks: tuple[Block, ...] | None = None,
    storage: tuple[int, int, int] | None = None,
    joined_bytes: int = 0,
    operand: TensorPlace | None = None,
    held_bytes: int = 0,
) -> ConvShape:
    """Return the shape of a convolution from `source` to `target`. Raises MappingError if the array cannot run it.

    `blocks` and `storage` override what follows from groups and pattern; `joined_bytes`, `held_bytes`: as there.
    `operand`: the place of what results are joined with.
    """
    group_size = spec.array.group_size
    check_pattern(pattern, group_size, who)
    size = block_channels(spec)
    batch, rows, columns, channels = source.shape
    _, out_rows, out_columns, out_channels = target.shape
    if blocks is None:
        if groups == 1:
            blocks = dense_blocks(out_channels, source.words, size)
        else:
            blocks = grouped_blocks(out_channels, channels, groups, size, group_size)
    if storage is None:
        storage = weight_storage(channels, groups, pattern, group_size)
    words = max(ceil_div(block.channels, group_size) for block in blocks)
    block_bytes = requantize_block_bytes(words, group_size, has_table=has_table)
    return ConvShape(
        batch=batch, rows=rows, columns=columns, channels=channels, out_rows=out_rows, out_columns=out_columns,
        out_channels=out_channels, kernel=kernel, stride=stride, dilation=dilation, pads=pads, steps=storage[0],
        slots=storage[1], index_bits=storage[2], blocks=blocks,
        shares_input=all((block.word, block.words) == (blocks[0].word, blocks[0].words) for block in blocks),
        parameter_bytes=align(block_bytes, PARAMETER_ALIGN_BYTES),
        dense_pixels=source.column_bytes == source.words * group_size,
        joined=operand is not None, joined_bytes=align(joined_bytes, PARAMETER_ALIGN_BYTES),
        source_on_chip=source.on_chip, target_on_chip=target.on_chip,
        operand_on_chip=operand is not None and operand.on_chip, held_bytes=held_bytes,
    )  # fmt: skip


def flatten(place: TensorPlace) -> TensorPlace:
    """Return all pixels of a contiguous tensor as the columns of one row, so that tiles can be cut anywhere."""
    batch, rows, columns, channels = place.shape
    count = batch * rows * columns
    return TensorPlace(
        name=place.name, shape=(1, 1, count, channels), quant=place.quant, group_size=place.group_size,
        address=place.address, batch_bytes=count * place.column_bytes, row_bytes=count * place.column_bytes,
        column_bytes=place.column_bytes, on_chip=place.on_chip,
    )  # fmt: skip
