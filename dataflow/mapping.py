"""State how one multiply-accumulate layer is scheduled on an array: everything its code generation decides, as numbers.

A layer is a `ConvShape`: a convolution (matrix products are 1x1, positions along columns). Its output channels are cut
into blocks of at most `chains`; its positions into tiles of rows and columns; its reduction, if it must be, into splits
of kernel rows, kernel columns and channel words. A group is a number of consecutive blocks whose results share one
output tile. Loops, outermost first::

    WEIGHTS_OUTER:      group, tile, split, block     weights of the whole group stay on chip
    ACTIVATIONS_OUTER:  tile, group, split, block     weights stream; an unsplit input tile is loaded once

One step of the innermost loop is one COMPUTE. After the last split of a group the blocks are requantized into the
output tile, which one STORE writes. A layer with a second operand (the addition behind a convolution) loads a tile of
it for every output tile, and one more VECTOR instruction joins the two before the STORE. Every operand has two slots
(ping-pong), so the loads of the next step run during this one. What is on chip as a whole tensor has no slots and is
neither loaded nor stored: instructions find their parts of it. The functions of plain integers below are the only
statement of sizes; search kernels compile them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from gossamer.arch.timing import ceil_div

SLOTS = 2
"""Copies of every tile on chip: one in use, one being filled or emptied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Output channels computed together, and the input words they depend on. `first` starts a word."""

    first: int
    channels: int
    word: int
    words: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvShape:
    """A layer as the array sees it.

    `pads` are top and left (negative: the input is entered further in); bottom and right follow from the output size.
    `steps`, `slots`, `index_bits`: weights as COMPUTE consumes them. `shares_input`: every block reads all words.
    `parameter_bytes`: of the largest block, padded. `dense_pixels`: input pixels follow each other without gaps.
    `joined`: results are joined with a second operand of their size; `joined_bytes`: parameters, padded, of a VECTOR
    instruction that does that after they are requantized, 0 if it is done in one pass. `source_on_chip`,
    `target_on_chip`, `operand_on_chip`: whether all of the input, the result, the second operand lies in the activation
    buffer; `held_bytes`: what tensors on chip take of it while the layer runs, these and others.
    """

    batch: int
    rows: int
    columns: int
    channels: int
    out_rows: int
    out_columns: int
    out_channels: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    pads: tuple[int, int]
    steps: int
    slots: int
    index_bits: int
    blocks: tuple[Block, ...]
    shares_input: bool
    parameter_bytes: int
    dense_pixels: bool
    joined: bool = False
    joined_bytes: int = 0
    source_on_chip: bool = False
    target_on_chip: bool = False
    operand_on_chip: bool = False
    held_bytes: int = 0

    @property
    def source_words(self) -> int:
        """Words of an input pixel."""
        return max(block.word + block.words for block in self.blocks)

    def columns_apart(self, words: int) -> bool:
        """Return whether kernel columns do not follow each other on chip where `words` of a pixel are read."""
        return self.dilation[1] != 1 or (self.source_on_chip and words != self.source_words)

    @property
    def block_words(self) -> int:
        """Input words of the block that reads most."""
        return max(block.words for block in self.blocks)

    @property
    def positions(self) -> int:
        """Output positions of all batches."""
        return self.batch * self.out_rows * self.out_columns


class LoopOrder(StrEnum):
    """Which operand the outermost loop walks over."""

    WEIGHTS_OUTER = "weights_outer"
    ACTIVATIONS_OUTER = "activations_outer"


class Objective(StrEnum):
    """What a mapping is chosen for; the least is best. `edp`: energy times delay; `bytes`: those moved off chip."""

    LATENCY = "latency"
    ENERGY = "energy"
    EDP = "edp"
    BYTES = "bytes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """Output positions [row, row + rows) x [column, column + columns) of one batch element."""

    batch: int
    row: int
    rows: int
    column: int
    columns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Part of the reduction: kernel rows, kernel columns, words of the block (counted from its first word)."""

    row: int
    rows: int
    column: int
    columns: int
    word: int
    words: int


def input_extent(outputs: int, taps: int, stride: int, dilation: int) -> int:
    """Return the input rows (or columns) that `outputs` output rows need with `taps` kernel rows."""
    return (outputs - 1) * stride + (taps - 1) * dilation + 1


def accumulator_slot(positions: int, lanes: int) -> int:
    """Return the accumulator entries of one tile: COMPUTE bases are multiples of `lanes`."""
    return ceil_div(positions, lanes) * lanes


def reduction_runs(taps_y: int, taps_x: int, columns_apart: bool, words: int) -> tuple[int, int, int]:
    """Return (n_ry, n_rx, run_words) of a COMPUTE: kernel columns join into one run unless they lie apart."""
    if taps_x == 1 or not columns_apart:
        return taps_y, 1, taps_x * words
    return taps_y, taps_x, words


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvMapping:
    """The schedule of a `ConvShape`; the loops are in the module's description.

    `tile_rows`, `tile_columns`: output positions per tile. `group_blocks`: blocks per output tile. `split_rows`,
    `split_columns`, `split_words`: kernel rows, kernel columns and words per split. `resident_parameters`: all
    parameter blocks are loaded once, else with every (tile, block).
    """

    shape: ConvShape
    order: LoopOrder
    tile_rows: int
    tile_columns: int
    group_blocks: int
    split_rows: int
    split_columns: int
    split_words: int
    resident_parameters: bool

    @property
    def row_tiles(self) -> int:
        """Tiles along output rows."""
        return ceil_div(self.shape.out_rows, self.tile_rows)

    @property
    def column_tiles(self) -> int:
        """Tiles along output columns."""
        return ceil_div(self.shape.out_columns, self.tile_columns)

    @property
    def tile_count(self) -> int:
        """Tiles of all batches."""
        return self.shape.batch * self.row_tiles * self.column_tiles

    @property
    def strip_count(self) -> int:
        """Parts of whole rows (of the only row, parts of it) that tiles complete one after another, of all batches."""
        return self.shape.batch * (self.column_tiles if self.shape.out_rows == 1 else self.row_tiles)

    @property
    def group_count(self) -> int:
        """Groups of blocks."""
        return ceil_div(len(self.shape.blocks), self.group_blocks)

    @property
    def split_count(self) -> int:
        """Splits of the block that reads most words."""
        kernel = self.shape.kernel
        return (
            ceil_div(kernel[0], self.split_rows)
            * ceil_div(kernel[1], self.split_columns)
            * ceil_div(self.shape.block_words, self.split_words)
        )

    def tiles(self) -> Iterator[Tile]:
        """Yield the tiles in loop order: batch, rows, columns."""
        shape = self.shape
        for batch in range(shape.batch):
            for row in range(0, shape.out_rows, self.tile_rows):
                rows = min(self.tile_rows, shape.out_rows - row)
                for column in range(0, shape.out_columns, self.tile_columns):
                    columns = min(self.tile_columns, shape.out_columns - column)
                    yield Tile(batch=batch, row=row, rows=rows, column=column, columns=columns)

    def groups(self) -> Iterator[tuple[int, ...]]:
        """Yield the block numbers of every group."""
        blocks = len(self.shape.blocks)
        for first in range(0, blocks, self.group_blocks):
            yield tuple(range(first, min(blocks, first + self.group_blocks)))

    def splits(self, block: int) -> tuple[Split, ...]:
        """Return the splits of a block's reduction in loop order: words, kernel rows, kernel columns."""
        (kernel_rows, kernel_columns), words = self.shape.kernel, self.shape.blocks[block].words
        return tuple(
            Split(
                row=row,
                rows=min(self.split_rows, kernel_rows - row),
                column=column,
                columns=min(self.split_columns, kernel_columns - column),
                word=word,
                words=min(self.split_words, words - word),
            )
            for word in range(0, words, self.split_words)
            for row in range(0, kernel_rows, self.split_rows)
            for column in range(0, kernel_columns, self.split_columns)
        )

    def weight_rows(self, split: Split) -> int:
        """Return the weight (and index) rows of one block over one split."""
        return split.rows * split.columns * split.words * self.shape.steps

    @property
    def slot_rows(self) -> int:
        """Weight rows of the largest split of a block."""
        return self.split_rows * self.split_columns * self.split_words * self.shape.steps

    @property
    def resident_rows(self) -> int:
        """Weight rows one weight slot holds: of a whole group if weights stay, else of one split of one block."""
        if self.order is LoopOrder.ACTIVATIONS_OUTER:
            return self.slot_rows
        return max(
            sum(self.weight_rows(split) for block in group for split in self.splits(block)) for group in self.groups()
        )

    def input_tile_bytes(self, group_size: int) -> int:
        """Return the bytes of one input slot: the largest tile of one split, with its halo; none if all is on chip."""
        if self.shape.source_on_chip:
            return 0
        (stride_y, stride_x), (dilation_y, dilation_x) = self.shape.stride, self.shape.dilation
        rows = input_extent(self.tile_rows, self.split_rows, stride_y, dilation_y)
        columns = input_extent(self.tile_columns, self.split_columns, stride_x, dilation_x)
        return rows * columns * self.split_words * group_size

    def group_words(self, group: tuple[int, ...], group_size: int) -> int:
        """Return the output words of a group of blocks."""
        first, last = self.shape.blocks[group[0]], self.shape.blocks[group[-1]]
        return ceil_div(last.first + last.channels - first.first, group_size)

    def output_tile_bytes(self, group_size: int) -> int:
        """Return the bytes of one output slot; none if all of the result is on chip."""
        return 0 if self.shape.target_on_chip else self._tile_bytes(group_size)

    def operand_tile_bytes(self, group_size: int) -> int:
        """Return the bytes of one slot of the second operand; none if there is none or all of it is on chip."""
        return self._tile_bytes(group_size) if self.shape.joined and not self.shape.operand_on_chip else 0

    def _tile_bytes(self, group_size: int) -> int:
        words = max(self.group_words(group, group_size) for group in self.groups())
        return self.tile_rows * self.tile_columns * words * group_size

    @property
    def accumulator_slots(self) -> int:
        """Tiles of partial sums at once: two, or two groups of blocks while the reduction is split."""
        return SLOTS * (1 if self.split_count == 1 else self.group_blocks)
