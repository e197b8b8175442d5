"""Generate one stage of a chain: a held weight, and for every lane one selected activation times that weight."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gossamer.rtl.array.shape import ArrayShape
from gossamer.rtl.copies import Copies


class MultiplyAdd(wiring.Component):
    """Select one of `group_size` activations, multiply it by the weight, add the sum of the stage before.

    The registers are those of a DSP slice: operand (A/D), pre-adder (AD), product (M), sum (P). An FPGA family's
    primitive replaces the inside of this component and nothing else.

    Members
    -------
    word: the activations, byte 0 in the least significant bits. select: which of them.
    weight: int8. sum_in, sum_out: signed.

    Protocol
    --------
    `word` and `select` in cycle t, `weight` in cycle t + 2, `sum_in` in cycle t + 3: `sum_out` in cycle t + 4.

    Latency and throughput
    ----------------------
    4 cycles from word to sum; one product per cycle.
    """

    def __init__(self, shape: ArrayShape) -> None:
        self.shape = shape
        super().__init__(
            {
                "word": In(shape.word_bits),
                "select": In(shape.select_bits),
                "weight": In(8),
                "sum_in": In(shape.segment_sum_bits),
                "sum_out": Out(shape.segment_sum_bits),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        selected = Signal(8, reset_less=True)
        operand = Signal(8, reset_less=True)
        product = Signal(16, reset_less=True)
        total = Signal(self.shape.segment_sum_bits, reset_less=True)
        m.d.sync += [
            selected.eq(self.word.word_select(self.select, 8)),
            operand.eq(selected),
            product.eq(operand.as_signed() * self.weight.as_signed()),
            total.eq(self.sum_in.as_signed() + product.as_signed()),
        ]
        m.d.comb += self.sum_out.eq(total)
        return m


def stage_members(shape: ArrayShape) -> dict[str, wiring.Member]:
    """Return the members of a stage, whatever multiplies in it."""
    return {
        "words": In(shape.lanes * shape.word_bits),
        "weight": In(8),
        "select": In(shape.select_bits),
        "load_weight": In(1),
        "load_select": In(1),
        "sums_in": In(shape.lanes * shape.segment_sum_bits),
        "sums_out": Out(shape.lanes * shape.segment_sum_bits),
    }


class Stage(wiring.Component):
    """Hold one weight and its selection; multiply them with one word of every lane.

    Members
    -------
    words: one activation word per lane, lane 0 in the least significant bits.
    weight, select: of the row that may be loaded; `load_weight` and `load_select` load them.
    sums_in, sums_out: one partial sum per lane.

    Protocol
    --------
    `load_select` in cycle t selects from the words of cycle t + 1 on, `load_weight` in cycle t + 2 multiplies them:
    a pass may follow the one before without a gap.

    Latency and throughput
    ----------------------
    4 cycles from words to sums; `lanes` products per cycle.
    """

    def __init__(self, shape: ArrayShape) -> None:
        self.shape = shape
        super().__init__(stage_members(shape))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        held_weight = Signal(8, reset_less=True)
        held_select = Signal(self.shape.select_bits, reset_less=True)
        with m.If(self.load_weight):
            m.d.sync += held_weight.eq(self.weight)
        with m.If(self.load_select):
            m.d.sync += held_select.eq(self.select)
        m.submodules.lanes = lanes = Copies(MultiplyAdd(self.shape), self.shape.lanes, shared=("weight", "select"))
        m.d.comb += [
            lanes.word.eq(self.words),
            lanes.weight.eq(held_weight),
            lanes.select.eq(held_select),
            lanes.sum_in.eq(self.sums_in),
            self.sums_out.eq(lanes.sum_out),
        ]
        return m
