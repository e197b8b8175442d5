"""Generate what a stage of a DSP cascade has outside the DSPs: the held selection and the byte multiplexers."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gossamer.rtl.array.byte_select import ByteSelect
from gossamer.rtl.array.shape import ArrayShape
from gossamer.rtl.copies import Copies


class SelectStage(wiring.Component):
    """Hold one selection; select one byte of every lane's word by it.

    Members
    -------
    words: one activation word per lane, lane 0 in the least significant bits. select, load_select: the next selection.
    chosen: one byte per lane.

    Protocol
    --------
    `load_select` in cycle t selects from the words of cycle t + 1 on.

    Latency and throughput
    ----------------------
    Combinational from words to chosen; one byte per lane and cycle.
    """

    def __init__(self, shape: ArrayShape) -> None:
        self.shape = shape
        super().__init__(
            {
                "words": In(shape.lanes * shape.word_bits),
                "select": In(shape.select_bits),
                "load_select": In(1),
                "chosen": Out(8 * shape.lanes),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        held_select = Signal(self.shape.select_bits, reset_less=True)
        with m.If(self.load_select):
            m.d.sync += held_select.eq(self.select)
        m.submodules.lanes = lanes = Copies(
            ByteSelect(self.shape.group_size, self.shape.target), self.shape.lanes, shared=("select",)
        )
        m.d.comb += [lanes.word.eq(self.words), lanes.select.eq(held_select), self.chosen.eq(lanes.chosen)]
        return m
