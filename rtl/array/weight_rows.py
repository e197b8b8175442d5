"""Generate the way of weight rows into the array: widen their indices to selections, register both."""

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gossamer.arch.isa import FIELDS, Opcode
from gossamer.rtl.array.shape import ArrayShape

INDEX_BITS = next(field.bits for field in FIELDS[Opcode.COMPUTE] if field.name == "index_bits")


class WeightRows(wiring.Component):
    """Turn rows of indices into rows of selections, and register them and the weights.

    Members
    -------
    weight_data, weights: weight_rows_per_cycle rows of one byte per chain, row 0 in the least significant bits.
    index_data: rows of `index_bits` bits per chain that follow each other without gaps; the high bits are unused.
    index_bits: log2(M), 0 if all chains select alike. select_base: added to every index, in bits they do not use.
    selects: rows of one selection per chain.

    Protocol
    --------
    None: every cycle is a set of rows.

    Latency and throughput
    ----------------------
    1 cycle; weight_rows_per_cycle rows per cycle.
    """

    def __init__(self, shape: ArrayShape) -> None:
        self.shape = shape
        self.count = shape.weight_rows_per_cycle * shape.chains
        super().__init__(
            {
                "weight_data": In(8 * self.count),
                "index_data": In(shape.select_bits * self.count),
                "index_bits": In(INDEX_BITS),
                "select_base": In(shape.select_bits),
                "weights": Out(8 * self.count),
                "selects": Out(shape.select_bits * self.count),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = self.shape.select_bits
        weights = Signal(8 * self.count, reset_less=True)
        selects = Signal(bits * self.count, reset_less=True)
        indices = Signal(bits * self.count)
        with m.Switch(self.index_bits):
            for width in range(1, bits + 1):
                with m.Case(width):
                    m.d.comb += indices.eq(_widened(self.index_data, width, bits, self.count))
            with m.Default():
                m.d.comb += indices.eq(0)
        m.d.sync += [weights.eq(self.weight_data), selects.eq(indices | self.select_base.replicate(self.count))]
        m.d.comb += [self.weights.eq(weights), self.selects.eq(selects)]
        return m


def _widened(data: Value, narrow: int, wide: int, count: int) -> Value:
    """Return `count` packed numbers of `narrow` bits as packed numbers of `wide` bits."""
    if narrow == wide:
        return data
    return Cat(Cat(data.word_select(at, narrow), Const(0, wide - narrow)) for at in range(count))
