"""Emit the instructions of one multiply-accumulate layer from its mapping.

Loops are those of `gossamer.dataflow.mapping`. The loads of a step are emitted before the compute of the step before
it, into the other slot; loads that belong to the next outer iteration (the next input tile while weights stream, the
next group's weights while they stay) are spread over the steps of this one, so that LOAD never has a lump in front of
what is needed next.
"""

from collections.abc import Iterator
from itertools import groupby

from gossamer.arch.accumulator import SUM_BYTES
from gossamer.arch.isa import REQUANTIZING, Opcode, Space, index_pitch_bytes
from gossamer.arch.timing import ceil_div
from gossamer.dataflow.mapping import (
    SLOTS,
    ConvMapping,
    LoopOrder,
    Split,
    Tile,
    accumulator_slot,
    input_extent,
    reduction_runs,
)
from gossamer.dataflow.numerics import Requantization
from gossamer.mapper.allocate import TensorPlace
from gossamer.mapper.codegen.convolution_loads import (
    InputTiles,
    Row,
    WeightSource,
    fill_lines,
    load_row,
    plane_loads,
    run_pieces,
)
from gossamer.mapper.codegen.convolution_parts import Joined, Slots, Step, Turns
from gossamer.mapper.codegen.convolution_shape import PARAMETER_ALIGN_BYTES
from gossamer.mapper.codegen.packing import active_chains
from gossamer.mapper.codegen.parameters import requantize_block, requantize_block_bytes
from gossamer.mapper.emit import OPERANDS, Emitter
from gossamer.mapper.shares import WHOLE, Share

SUMS_OF_COMPUTE = OPERANDS[Opcode.COMPUTE].index("acc")

CHUNKS = 8
"""Parts at most that a background load of an input tile is cut into."""

Area = tuple[int, int, int]
"""Where a tile lies on chip: its address, the bytes of a line and of a pixel."""

Work = list[tuple[Opcode, Row, bool]]
"""Instructions: opcode, operands, and whether it belongs to the layer that is joined to this one."""


def _moved(row: Row, at: int, distance: int) -> Row:
    """Return a row with one operand raised by a distance."""
    return *row[:at], row[at] + distance, *row[at + 1 :]


class ConvEmitter:
    """Emission of one mapped layer.

    `correction`: int8 values v; for each, the products of v with every weight are added to every sum (the zero point of
    a matrix product's first operand, when the second is known only at run time). `joined`: the target is its result.
    `share`: of the buffers, that the mapping was made for. `row_parts`, `row_step`: a pixel has parts of so many output
    rows, so many off-chip bytes behind each other.
    """

    def __init__(self, emitter: Emitter, mapping: ConvMapping, source: TensorPlace, target: TensorPlace,
                 weights: WeightSource, params: Requantization, *, who: str, fill: int,
                 correction: tuple[int, ...] = (), joined: Joined | None = None, turns: Turns | None = None,
                 share: Share = WHOLE, row_parts: int = 1, row_step: int = 0) -> None:  # fmt: skip
        self.emitter, self.mapping, self.shape = emitter, mapping, mapping.shape
        self.target, self.weights, self.correction, self.joined = target, weights, correction, joined
        self.row_parts, self.row_step = row_parts, row_step
        self.group_size = emitter.group_size
        self.inputs = InputTiles(mapping.shape, source, fill)
        self.parts = [mapping.splits(number) for number in range(len(self.shape.blocks))]
        self.resident = mapping.order is LoopOrder.WEIGHTS_OUTER
        weight_slots = 1 if self.resident and mapping.group_count == 1 else SLOTS
        self._allocate(who, weight_slots)
        self._place_parameters(params)
        self._input_slots, self._weight_slots = Slots(SLOTS), Slots(weight_slots)
        self._parameter_slots = Slots(SLOTS)
        self._segments: dict[int, dict[tuple[int, int], int]] = {}
        self._loaded: dict[int, set[tuple[int, int]]] = {}
        self._turns, self.share = turns or Turns(), share
        self._sum_turn = self._out_turn = self._operand_turn = 0
        self.stored = target.address
        """Off-chip address below which all of the target has been stored by what is emitted."""
        self.progress = 0.0
        """Part of the steps that is emitted."""

    def _allocate(self, who: str, weight_slots: int) -> None:
        emitter, mapping, group_size = self.emitter, self.mapping, self.group_size
        array = emitter.spec.array
        self.in_bytes, self.out_bytes = mapping.input_tile_bytes(group_size), mapping.output_tile_bytes(group_size)
        constant_bytes = len(self.correction) * mapping.split_words * group_size
        operand_bytes = self.operand_bytes = mapping.operand_tile_bytes(group_size)
        self.in_base, self.out_base = emitter.activation.alloc_apart(
            SLOTS * (self.in_bytes + operand_bytes) + constant_bytes, SLOTS * self.out_bytes, group_size, who=who
        )
        self.operand_base = self.in_base + SLOTS * self.in_bytes
        self.constant_base = self.operand_base + SLOTS * operand_bytes
        self.slot_rows, self.pitch = mapping.resident_rows, index_pitch_bytes(array.chains, mapping.shape.index_bits)
        rows = weight_slots * self.slot_rows
        self.w_base = emitter.weight.alloc(rows * array.chains, array.chains, who=who)
        self.i_base = emitter.index.alloc(rows * self.pitch, self.pitch, who=who) if self.shape.index_bits else 0
        self.sum_slot = accumulator_slot(mapping.tile_rows * mapping.tile_columns, array.lanes)
        self.sum_base = emitter.accumulator.alloc_pair(mapping.accumulator_slots // 2 * self.sum_slot, who=who)
        count = len(self.shape.blocks) if mapping.resident_parameters else SLOTS
        blocks_bytes = count * self.shape.parameter_bytes
        self.par_base = emitter.parameter.alloc(
            blocks_bytes + self.shape.joined_bytes, PARAMETER_ALIGN_BYTES, who=who
        )  # fmt: skip
        self.joined_par = self.par_base + blocks_bytes
        self.held_bytes = {
            "activation": SLOTS * (self.in_bytes + operand_bytes + self.out_bytes) + constant_bytes,
            "weight": rows * array.chains,
            "index": rows * self.pitch if self.shape.index_bits else 0,
            "accumulator": mapping.accumulator_slots * self.sum_slot * array.chains * SUM_BYTES,
            "parameter": blocks_bytes + self.shape.joined_bytes,
        }

    def _place_parameters(self, params: Requantization) -> None:
        """Place the parameter blocks off chip, one every `parameter_bytes`."""
        blocks = []
        for block in self.shape.blocks:
            words = ceil_div(block.channels, self.group_size)
            data = requantize_block(
                params, first=block.first, channels=block.channels, words=words, group_size=self.group_size,
                addition=self.joined.addition if self.joined else None,
            )  # fmt: skip
            blocks.append(data.ljust(self.shape.parameter_bytes, b"\0"))
        self.has_table = params.table is not None
        self.par_dram = self.emitter.memory.constant(b"".join(blocks))
        if self.shape.joined_bytes:
            assert self.joined is not None
            self.joined_dram = self.emitter.memory.constant(self.joined.block.ljust(self.shape.joined_bytes, b"\0"))

    # Loops

    def _steps(self) -> Iterator[Step]:
        """Yield every step in loop order."""
        groups, tiles = tuple(self.mapping.groups()), tuple(enumerate(self.mapping.tiles()))
        if self.resident:
            for outer, group in enumerate(groups):
                for number, tile in tiles:
                    yield from self._group_steps(outer, number, tile, group)
        else:
            for number, tile in tiles:
                for group in groups:
                    yield from self._group_steps(number, number, tile, group)

    def _group_steps(self, outer: int, number: int, tile: Tile, group: tuple[int, ...]) -> Iterator[Step]:
        for part in range(max(len(self.parts[block]) for block in group)):
            for block in group:
                if part < len(self.parts[block]):
                    yield Step(outer, number, tile, group, block, part)

    keeps_up = True
    """It takes whichever half of the accumulator is next."""

    @property
    def strips(self) -> int:
        """Parts that the result is made in, one after another."""
        return self.mapping.strip_count

    def emit(self) -> None:
        """Emit the layer."""
        for _ in self.run():
            pass

    def run(self) -> Iterator[list[Row]]:
        """Emit the layer bit by bit: yield the LOADs that come next before they are emitted."""
        reserved = len(self.correction) * self.inputs.source.words * self.group_size
        self.emitter.note_mapping(self.mapping, reserved, self.share, self.held_bytes)
        iterations = [list(steps) for _, steps in groupby(self._steps(), key=lambda step: step.outer)]
        self._append_loads(self._constant_loads())
        if self.shape.joined_bytes:
            size = self.shape.joined_bytes
            loads = plane_loads(Space.PARAMETER, self.joined_dram, self.joined_par, 1, size, size)
            self._append_loads(loads, joined=True)
        pending: Work = []
        last: Step | None = None
        done, total = 0, sum(map(len, iterations))
        for number, steps in enumerate(iterations):
            ahead: list[Row] = []
            share = len(steps) - 1
            for position, step in enumerate(steps):
                loads, operand = self._step_loads(step), self._operand_loads(step)
                yield loads + operand
                self._append_loads(loads)
                self._append_loads(operand, joined=True)
                if number == position == 0 and self.mapping.resident_parameters:
                    self._append_loads(self._parameter_loads(0, len(self.shape.blocks), 0))
                self._append_work(pending)
                self._note_stored(last)
                pending, last = self._step_work(step), step
                done += 1
                self.progress = done / total
                if position < share:
                    if position == 0 and number + 1 < len(iterations):
                        ahead = self._loads_ahead(iterations[number + 1][0], share)
                    part = ahead[len(ahead) * position // share : len(ahead) * (position + 1) // share]
                    if part:
                        yield part
                    self._append_loads(part)
        self._append_work(pending)
        self._note_stored(last)

    def _note_stored(self, step: Step | None) -> None:
        """Note what is stored once the work of a step has been emitted: whole tiles, in their order."""
        if step is None or step.block != self._last_block(step.group) or not self._is_last(step):
            return
        if step.group[-1] != len(self.shape.blocks) - 1:
            return
        tile, target = step.tile, self.target
        _, rows, columns, _ = target.shape
        if tile.column + tile.columns < columns:
            self.stored = target.at(tile.batch, tile.row, tile.column + tile.columns if rows == 1 else 0)
        elif tile.row + tile.rows < rows:
            self.stored = target.at(tile.batch, tile.row + tile.rows)
        else:
            self.stored = target.at(tile.batch + 1)

    def _append(self, work: Work) -> None:
        append = self.emitter.append
        for opcode, row, joined in work:
            append(opcode, row, joined=joined)

    def _append_loads(self, rows: list[Row], *, joined: bool = False) -> None:
        self._append([(Opcode.LOAD, row, joined) for row in rows])

    # Loads

    def _constant_loads(self) -> list[Row]:
        """Return the LOADs that fill the words of constants a correction multiplies the weights with."""
        size = self.mapping.split_words * self.group_size
        return [
            row
            for number, value in enumerate(self.correction)
            for row in fill_lines(Space.ACTIVATION, self.constant_base + number * size, 1, size, size, value & 0xFF)
        ]

    def _parameter_loads(self, first: int, count: int, slot: int) -> list[Row]:
        """Return the LOADs of the parameter blocks [first, first + count) to block `slot` of the buffer range."""
        size = self.shape.parameter_bytes
        dram, dst = self.par_dram + first * size, self.par_base + slot * size
        return plane_loads(Space.PARAMETER, dram, dst, count, size, size)

    def _input_key(self, step: Step) -> tuple[int, ...]:
        if self.shape.shares_input:
            return step.tile_number, step.part
        return step.tile_number, step.part, step.block

    def _input_loads(self, step: Step, chunks: int = 1) -> list[Row]:
        base = self.in_base + self._input_slots.fill(self._input_key(step)) * self.in_bytes
        split = self.parts[step.block][step.part]
        return self.inputs.loads(step.tile, self.shape.blocks[step.block], split, base, chunks)

    def _weight_key(self, step: Step) -> tuple[int, ...]:
        return step.group if self.resident else (step.block, step.part)

    def _place_weights(self, step: Step) -> int:
        """Give the weights a step needs (its whole group's if they stay) a slot and rows in it; return the slot."""
        slot = self._weight_slots.fill(self._weight_key(step))
        row, rows = slot * self.slot_rows, {}
        if self.resident:
            for other in self._group_steps(0, 0, step.tile, step.group):
                rows[other.block, other.part] = row
                row += self.mapping.weight_rows(self.parts[other.block][other.part])
        else:
            rows[step.block, step.part] = row
        self._segments[slot], self._loaded[slot] = rows, set()
        return slot

    def _weight_loads(self, slot: int, block: int, part: int) -> list[Row]:
        self._loaded[slot].add((block, part))
        w, i = self._weight_addresses(self._segments[slot][block, part])
        return self.weights.loads(block, part, self.shape.blocks[block], self.parts[block][part], w, i)

    def _weight_addresses(self, row: int) -> tuple[int, int]:
        w = self.w_base + row * self.emitter.spec.array.chains
        return w, self.i_base + row * self.pitch if self.shape.index_bits else 0

    def _step_loads(self, step: Step) -> list[Row]:
        """Return the loads a step needs that are not on chip; weights first, since no producer holds them up."""
        loads: list[Row] = []
        slot = self._weight_slots.find(self._weight_key(step))
        if slot is None:
            slot = self._place_weights(step)
        if (step.block, step.part) not in self._loaded[slot]:
            loads += self._weight_loads(slot, step.block, step.part)
        if not self.mapping.resident_parameters and self._is_last(step):
            key = (step.block,)
            if self._parameter_slots.find(key) is None:
                loads += self._parameter_loads(step.block, 1, self._parameter_slots.fill(key))
        if not self.shape.source_on_chip and self._input_slots.find(self._input_key(step)) is None:
            loads += self._input_loads(step)
        return loads

    def _loads_ahead(self, step: Step, share: int) -> list[Row]:
        """Return the loads of the next outer iteration, which starts with `step`, that can run during this one."""
        if self.resident:
            slot = self._place_weights(step)
            segments = tuple(self._segments[slot])
            return [row for block, part in segments for row in self._weight_loads(slot, block, part)]
        if self.shape.source_on_chip or not self.shape.shares_input or self.mapping.split_count > 1:
            return []
        return self._input_loads(step, min(CHUNKS, share))

    # Compute, requantize, store

    def _is_last(self, step: Step) -> bool:
        return step.part == len(self.parts[step.block]) - 1

    def _step_work(self, step: Step) -> Work:
        """Return the COMPUTEs of a step and, where its sums are complete, REQUANTIZE and STORE."""
        sums = self._sums(step)
        work = self._computes(step, sums)
        if not self._is_last(step):
            return work
        words = self.mapping.group_words(step.group, self.group_size)
        out = self._at(step, self.target, self.out_base + self._out_turn % SLOTS * self.out_bytes, words)
        adds = self.joined is not None and self.joined.addition is not None
        opcode = Opcode.REQUANTIZE_ADD if adds else Opcode.REQUANTIZE
        work.append((opcode, self._requantize(step, sums, out, words), False))
        if step.block == self._last_block(step.group):
            if self.joined and not adds:
                work.append((self.joined.opcode, self._join(self.joined, step, out, words), True))
            if not self.target.on_chip:
                work += [(Opcode.STORE, row, self.joined is not None) for row in self._stores(step, out[0], words)]
            self._out_turn += 1
        return work

    def _last_block(self, group: tuple[int, ...]) -> int:
        """Return the block of a group whose reduction is complete last."""
        parts = max(len(self.parts[block]) for block in group)
        return max(block for block in group if len(self.parts[block]) == parts)

    def _sums(self, step: Step) -> int:
        """Return the first accumulator entry of a step: slots alternate between the halves.

        Unless the reduction is split: then it is counted from the half that is chosen when the step is emitted.
        """
        if self.mapping.split_count == 1:
            return 0
        if step.part == 0 and step.block == step.group[0]:
            self._sum_turn = self._turns.take()
        slot = self._sum_turn % SLOTS * self.mapping.group_blocks + step.block - step.group[0]
        return self.sum_base[slot % 2] + slot // 2 * self.sum_slot

    def _append_work(self, work: Work) -> None:
        """Append the work of a step, its sums in the next half of the accumulator."""
        if work and self.mapping.split_count == 1:
            base = self.sum_base[self._turns.take() % 2]
            at = {Opcode.COMPUTE: SUMS_OF_COMPUTE, **dict.fromkeys(REQUANTIZING, 0)}
            work = [(op, _moved(row, at[op], base) if op in at else row, joined) for op, row, joined in work]
        self._append(work)

    def _computes(self, step: Step, sums: int) -> Work:
        shape, tile, split = self.shape, step.tile, self.parts[step.block][step.part]
        (stride_y, stride_x), (dilation_y, dilation_x) = shape.stride, shape.dilation
        n_ry, n_rx, run_words = reduction_runs(split.rows, split.columns, shape.columns_apart(split.words), split.words)
        base, line, pixel = self._input_at(step, split)
        slot = self._weight_slots.use(self._weight_key(step))
        w, i = self._weight_addresses(self._segments[slot][step.block, step.part])
        chains = active_chains(shape.blocks[step.block], self.group_size)
        row = (
            base, stride_y * line if tile.rows > 1 else 0, stride_x * pixel if tile.columns > 1 else 0, tile.rows,
            tile.columns, n_ry, n_rx, dilation_y * line if n_ry > 1 else 0, dilation_x * pixel if n_rx > 1 else 0,
            run_words, w, i, shape.steps, shape.slots, shape.index_bits, sums, int(step.part == 0), chains,
        )  # fmt: skip
        work: Work = [(Opcode.COMPUTE, row, False)]
        for number in range(len(self.correction)):
            constant = self.constant_base + number * self.mapping.split_words * self.group_size
            row = (
                constant, 0, 0, tile.rows, tile.columns, 1, 1, 0, 0, run_words, w, i, shape.steps, shape.slots,
                shape.index_bits, sums, 0, chains,
            )  # fmt: skip
            work.append((Opcode.COMPUTE, row, False))
        return work

    def _input_at(self, step: Step, split: Split) -> Area:
        """Return where the input of a step lies on chip."""
        shape, tile, source = self.shape, step.tile, self.inputs.source
        (stride_y, stride_x), (dilation_y, dilation_x) = shape.stride, shape.dilation
        if not source.on_chip:
            pixel = split.words * self.group_size
            line = input_extent(tile.columns, split.columns, stride_x, dilation_x) * pixel
            return self.in_base + self._input_slots.use(self._input_key(step)) * self.in_bytes, line, pixel
        row = tile.row * stride_y - shape.pads[0] + split.row * dilation_y
        column = tile.column * stride_x - shape.pads[1] + split.column * dilation_x
        at = source.at(tile.batch, row, column, shape.blocks[step.block].word + split.word)
        return at, source.row_bytes, source.column_bytes

    def _at(self, step: Step, place: TensorPlace, slot: int, words: int) -> Area:
        """Return where a group's output tile lies on chip: in a slot of its own, or where the whole tensor does."""
        tile, pixel = step.tile, words * self.group_size
        if not place.on_chip:
            return slot, tile.columns * pixel, pixel
        word = self.shape.blocks[step.group[0]].first // self.group_size
        return place.at(tile.batch, tile.row, tile.column, word), place.row_bytes, place.column_bytes

    def _requantize(self, step: Step, sums: int, out: Area, words: int) -> Row:
        block, first = self.shape.blocks[step.block], self.shape.blocks[step.group[0]].first
        count = ceil_div(block.channels, self.group_size)
        slot = step.block
        if not self.mapping.resident_parameters:
            slot = self._parameter_slots.use((step.block,))
        par = self.par_base + slot * self.shape.parameter_bytes
        par_bytes = requantize_block_bytes(count, self.group_size, has_table=self.has_table)
        at, b, (d, d_y, d_x) = block.first - first, (0, 0, 0), out
        if self.joined and self.joined.addition:
            operand, b_y, b_x = self._operand(self.joined, step, words)
            b = operand + at, b_y, b_x
        return (
            sums, 0, 0, 0, 0, 1, 1, *b, 0, d + at, d_y, d_x, step.tile.rows, step.tile.columns, count, par, par_bytes
        )  # fmt: skip

    def _operand(self, joined: Joined, step: Step, words: int) -> Area:
        """Return where the second operand's tile lies."""
        slot = self.operand_base + self._out_turn % SLOTS * self.operand_bytes
        return self._at(step, joined.operand, slot, words)

    def _operand_loads(self, step: Step) -> list[Row]:
        """Return the LOAD of the second operand's tile if there is one and an output tile starts with a step."""
        if self.joined is None or self.joined.operand.on_chip or step.part != 0 or step.block != step.group[0]:
            return []
        words = self.mapping.group_words(step.group, self.group_size)
        base = self.operand_base + self._operand_turn % SLOTS * self.operand_bytes
        self._operand_turn += 1
        dram, dram_y, dram_x, ny, nx, run, dst, dst_y, dst_x = self._output_runs(step, self.joined.operand, base, words)
        return [
            load_row(
                Space.ACTIVATION, dram=dram, dst=dst, run_bytes=run, ny=ny, nx=nx, dram_y=dram_y, dram_x=dram_x,
                dst_y=dst_y, dst_x=dst_x,
            )
        ]  # fmt: skip

    def _join(self, joined: Joined, step: Step, out: Area, words: int) -> Row:
        """Return the VECTOR instruction that joins a requantized output tile with the operand's, in place."""
        operand = self._operand(joined, step, words)
        a, b = (out, operand) if joined.first else (operand, out)
        return (
            *a, 0, 0, 1, 1, *b, 0, *out, step.tile.rows, step.tile.columns, words, self.joined_par, len(joined.block)
        )  # fmt: skip

    def _stores(self, step: Step, out: int, words: int) -> list[Row]:
        """Return the STOREs of a group's output tile: one, or one for each output row that a pixel has parts of."""
        if self.row_parts == 1:
            return [self._output_runs(step, self.target, out, words)]
        tile, target, pixel = step.tile, self.target, words * self.group_size
        part, dram = pixel // self.row_parts, target.at(tile.batch, tile.row, tile.column)
        return [
            (
                dram + number * self.row_step, target.row_bytes, target.column_bytes, tile.rows, tile.columns, part,
                out + number * part, tile.columns * pixel, pixel,
            )
            for number in range(self.row_parts)
        ]  # fmt: skip

    def _output_runs(self, step: Step, target: TensorPlace, out: int, words: int) -> Row:
        """Return the operands of a STORE to `target` of a group's tile: [rows][columns][words] at `out`, no gaps."""
        tile = step.tile
        pixel = words * self.group_size
        line = tile.columns * pixel
        dram = target.at(tile.batch, tile.row, tile.column, self.shape.blocks[step.group[0]].first // self.group_size)
        if target.column_bytes != pixel:
            return dram, target.row_bytes, target.column_bytes, tile.rows, tile.columns, pixel, out, line, pixel
        rows, run = tile.rows, line
        if target.row_bytes == line:
            rows, run = 1, line * tile.rows
        pieces = run_pieces(run)
        piece = run // pieces
        return dram, target.row_bytes, piece, rows, pieces, piece, out, line, piece
