"""Sum pooling windows on the array: averages of any size, where that is faster than VECTOR.

Pixels are loaded as weights, a row of the weight buffer each, and multiplied with ones: every chain sums a channel. The
pieces of a window add to the same accumulator entries, and the requantization divides. The bits are those of AVERAGE,
whose sum is as exact.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from gossamer.arch.accumulator import tile_entries
from gossamer.arch.errors import MappingError
from gossamer.arch.isa import FIELDS, Opcode, Space
from gossamer.arch.spec import SparseAccelerator
from gossamer.arch.timing import ceil_div, compute_cycles
from gossamer.dataflow.network import Pool2d
from gossamer.dataflow.numerics import Requantization
from gossamer.mapper.allocate import TensorPlace, align
from gossamer.mapper.codegen.convolution_loads import Row, fill_lines, load_row
from gossamer.mapper.codegen.convolution_parts import Turns
from gossamer.mapper.codegen.large_pooling import Window, piece_shape, store_pixel, windows_of
from gossamer.mapper.codegen.parameters import requantize_block, requantize_block_bytes
from gossamer.mapper.codegen.pool_windows import average_params
from gossamer.mapper.codegen.tile_choice import TileCost, pipeline_cycles
from gossamer.mapper.codegen.transfer import load_block
from gossamer.mapper.emit import Emitter
from gossamer.sim.offchip import offchip_timing

_BITS = {op: {field.name: field.bits for field in FIELDS[op]} for op in (Opcode.COMPUTE, Opcode.LOAD)}
MAX_RUN_WORDS = (1 << _BITS[Opcode.COMPUTE]["run_words"]) - 1
MAX_PIXELS = (1 << _BITS[Opcode.LOAD]["nx"]) - 1
SLOTS, MOST = 2, 3
"""Pieces that there is room for; ahead of the sums at most, while another layer is emitted in turn."""

Piece = tuple[int, int, int, int]
"""First row, first column, rows and columns of a part of a window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summing:
    """How the array sums windows: `words` of a pixel at once, from pieces of height x width pixels.

    A pixel's channels are a row of the weight buffer, `steps` of which are the weights of a word of ones.
    """

    words: int
    height: int
    width: int
    steps: int
    slots: int

    def run_words(self, pixels: int) -> int:
        """Return the words of ones that a piece is multiplied with."""
        return ceil_div(pixels, self.steps)

    @property
    def slot_rows(self) -> int:
        """Rows of the weight buffer that a piece takes, those of zeros behind it included."""
        return self.run_words(self.height * self.width) * self.steps

    @property
    def ones_words(self) -> int:
        """Words of ones that a whole piece is multiplied with."""
        return self.run_words(self.height * self.width)


def _summing(
    spec: SparseAccelerator, layer: Pool2d, out: TensorPlace, source: TensorPlace, slots: int = SLOTS
) -> Summing:  # fmt: skip
    """Return how the array sums the windows of a layer. Raises MappingError if not even a pixel fits."""
    group_size, chains, buffers = spec.array.group_size, spec.array.chains, spec.buffers
    words, rows = min(out.words, chains // group_size), buffers.weight.capacity_bytes // chains
    steps = min(group_size, max(1, rows // slots))
    slots = min(slots, rows)
    ones = buffers.activation.capacity_bytes // group_size - words
    fitting = min(rows // max(1, slots) // steps, ones, MAX_RUN_WORDS) * steps
    height, width = piece_shape(layer, source, fitting, MAX_PIXELS)
    return Summing(words=words, height=height, width=width, steps=steps, slots=slots)


def summed_cycles(spec: SparseAccelerator, layer: Pool2d, out: TensorPlace, source: TensorPlace) -> float:
    """Return about how many cycles an average takes when the array sums it; infinity if it does not fit."""
    array = spec.array
    try:
        how = _summing(spec, layer, out, source)
    except MappingError:
        return math.inf
    if requantize_block_bytes(how.words, array.group_size, has_table=False) > spec.buffers.parameter.capacity_bytes:
        return math.inf
    rows, columns = (min(layer.kernel[axis], source.shape[1 + axis]) for axis in (0, 1))
    pieces = math.prod(out.shape[:3]) * ceil_div(rows, how.height) * ceil_div(columns, how.width)
    memory, costs = offchip_timing(spec), dict[int, float]()
    counts = [min(how.words, out.words - first) for first in range(0, out.words, how.words)]
    pixels = how.height * how.width
    for count in dict.fromkeys(counts):
        pixel = count * array.group_size
        tile = TileCost(
            sizes=(how.height, how.width), on_chip_bytes=pixels * pixel, tiles=pieces,
            loaded_bytes=pixels * align(pixel, memory.row_bytes), stored_bytes=0,
            load_runs=how.height * (1 if count == source.words else how.width),
            work_cycles=compute_cycles(
                positions=1, runs=1, run_words=how.ones_words, steps=how.steps, chain_length=array.chain_length,
                lanes=array.lanes, weight_rows_per_cycle=array.weight_rows_per_cycle,
            ),
        )  # fmt: skip
        costs[count] = pipeline_cycles(memory, tile)
    return sum(costs[count] for count in counts)


@dataclass(frozen=True, slots=True)
class Step:
    """One COMPUTE: `count` words from `word` on of all pixels of the `order`th piece of a window.

    `number`: of its sums among those of the window; `ends`: words and counts of all of these, if it is the last.
    """

    window: Window
    piece: Piece
    order: int
    word: int
    count: int
    number: int
    ends: tuple[tuple[int, int], ...]


class SumEmitter:
    """Emission of averages that the array sums, step by step (`gossamer.mapper.codegen.together.Part`).

    All channels of a piece follow each other, so that the source is read from its first pixel to its last once.
    """

    def __init__(
        self, emitter: Emitter, layer: Pool2d, out: TensorPlace, source: TensorPlace, turns: Turns | None = None
    ) -> None:  # fmt: skip
        """Give it buffers. Raises MappingError if they are too small. `turns`: of the layer it runs together with."""
        self.emitter, self.layer, self.target, self.source = emitter, layer, out, source
        groups = ceil_div(out.words, emitter.spec.array.chains // emitter.group_size)
        self.how = how = _summing(emitter.spec, layer, out, source, SLOTS if turns is None else 1 + min(MOST, groups))
        self.chains, self.lanes = emitter.spec.array.chains, emitter.spec.array.lanes
        group_size, who = emitter.group_size, layer.name
        self.ones_bytes = how.ones_words * group_size
        self.ones, self.result = emitter.activation.alloc_apart(
            self.ones_bytes, how.words * group_size, group_size, who=who
        )
        self.weight = emitter.weight.alloc(how.slots * how.slot_rows * self.chains, self.chains, who=who)
        self._steps = list(self._all_steps())
        self._slots = [self.weight + n * how.slot_rows * self.chains for n in range(how.slots)]
        self._done = self._half = 0
        self._most = max(step.number for step in self._steps) + 1
        self._turns = turns or Turns()
        if turns is not None:  # the other layer's first step, one of its largest, takes the first half
            emitter.accumulator.turn()

    def _all_steps(self) -> Iterator[Step]:
        """Yield the steps: for every window the words of its pieces, for as many words as there are sums at once."""
        words, most = self.target.words, self.how.words
        groups = [(word, min(most, words - word)) for word in range(0, words, most)]
        at_once = tile_entries(self.emitter.spec) // self.lanes
        for window in windows_of(self.layer, self.target, self.source):
            pieces = list(window.pieces(self.how.height, self.how.width))
            for first in range(0, len(groups), at_once):
                own = groups[first : first + at_once]
                for order, piece in enumerate(pieces):
                    for number, (word, count) in enumerate(own):
                        last = order == len(pieces) - 1 and number == len(own) - 1
                        yield Step(window, piece, order, word, count, number, tuple(own) if last else ())

    @property
    def strips(self) -> int:
        """Steps that it is made in."""
        return len(self._steps)

    @property
    def stored(self) -> int:
        """Off-chip address below which all has been stored: said of the whole result only."""
        return self.target.address if self._done < self.strips else self.target.at(self.target.shape[0])

    @property
    def progress(self) -> float:
        """Part of the steps that is emitted."""
        return self._done / self.strips

    @property
    def keeps_up(self) -> bool:
        """Whether its sums are in the half that the other layer takes next, and not in that which is being read."""
        return self._half == self._turns.next_half

    def emit(self) -> None:
        """Emit the layer."""
        for _ in self.run():
            pass

    def run(self) -> Iterator[list[Row]]:
        """Emit the layer piece by piece: yield the LOADs that come next before they are emitted.

        Those of a step come before the step whose slot they do not take, so that they need not wait for it.
        """
        self._append_loads(fill_lines(Space.ACTIVATION, self.ones, 1, self.ones_bytes, self.ones_bytes, 1))
        ahead, acc = max(1, self.how.slots - 1), 0
        first = [row for number in range(min(ahead, self.strips)) for row in self._loads(number)]
        yield first
        self._append_loads(first)
        for number, step in enumerate(self._steps):
            loads = self._loads(number + ahead) if number + ahead < self.strips else []
            yield loads
            if step.order == step.number == 0:
                acc = self.emitter.accumulator.alloc(self._most * self.lanes, who=self.layer.name)
                self._half = self.emitter.accumulator.half(acc)
            if self.how.slots > 1:
                self._append_loads(loads)
            self._sum(step, self._slots[number % self.how.slots], acc + step.number * self.lanes)
            if self.how.slots == 1:
                self._append_loads(loads)
            self._done += 1
            for which, (word, count) in enumerate(step.ends):
                self._divide(step.window, word, count, acc + which * self.lanes)

    def _append_loads(self, rows: list[Row]) -> None:
        for row in rows:
            self.emitter.append(Opcode.LOAD, row)

    def _loads(self, number: int) -> list[Row]:
        """Return the LOADs of a step: words of a piece's pixels as weights, and zeros behind them."""
        step, source, chains = self._steps[number], self.source, self.chains
        slot, (y, x, ny, nx) = self._slots[number % self.how.slots], step.piece
        pixel, missing = step.count * self.emitter.group_size, self.how.run_words(ny * nx) * self.how.steps - ny * nx
        row = load_row(
            Space.WEIGHT, dram=source.at(step.window.batch, y, x, step.word), dst=slot, run_bytes=pixel, ny=ny, nx=nx,
            dram_y=source.row_bytes, dram_x=source.column_bytes, dst_y=nx * chains, dst_x=chains,
        )  # fmt: skip
        return [row, *(fill_lines(Space.WEIGHT, slot + ny * nx * chains, missing, pixel, chains, 0) if missing else ())]

    def _sum(self, step: Step, slot: int, acc: int) -> None:
        """Append the sums of a step."""
        _, _, ny, nx = step.piece
        self.emitter.compute(
            a=self.ones, a_y=0, a_x=0, ny=1, nx=1, n_ry=1, n_rx=1, r_y=0, r_x=0, run_words=self.how.run_words(ny * nx),
            w=slot, i=0, steps=self.how.steps, slots=0, index_bits=0, acc=acc, clear=int(step.order == 0),
            chains_active=step.count * self.emitter.group_size,
        )  # fmt: skip

    def _divide(self, window: Window, word: int, count: int, acc: int) -> None:
        """Append what makes an output pixel's words of their sums."""
        block = _divide_block(self.layer, window, count, self.emitter.group_size)
        par, par_bytes = load_block(self.emitter, block, self.layer.name)
        self.emitter.vector(
            Opcode.REQUANTIZE, a=acc, d=self.result, ny=1, nx=1, nc=count, par=par, par_bytes=par_bytes
        )  # fmt: skip
        store_pixel(self.emitter, self.target, window, word, count, self.result)


def _divide_block(layer: Pool2d, window: Window, words: int, group_size: int) -> bytes:
    """Return the REQUANTIZE block that subtracts the zero point of all real elements and divides by the count."""
    params = average_params(layer, window.count)
    channels = words * group_size
    real = window.rows.real * window.columns.real
    return requantize_block(
        Requantization(
            bias=np.full(channels, -real * params.zero_a, np.int32),
            multiplier=np.full(channels, params.mult_a, np.int32),
            shift=np.full(channels, params.shift, np.uint8),
            zero_out=params.zero_out, low=params.low, high=params.high,
        ),
        first=0, channels=channels, words=words, group_size=group_size,
    )  # fmt: skip
