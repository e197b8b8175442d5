"""Generate the tree that adds the segments of every chain and lane, one registered level per halving."""

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gossamer.rtl.array.shape import ArrayShape
from gossamer.rtl.copies import Copies


class Adder(wiring.Component):
    """Add two signed numbers into a register.

    Members
    -------
    a, b, total: signed, all of one width; the sum must fit.

    Protocol
    --------
    None: every cycle is an addition.

    Latency and throughput
    ----------------------
    1 cycle; one sum per cycle.
    """

    def __init__(self, bits: int) -> None:
        self.bits = bits
        super().__init__({"a": In(bits), "b": In(bits), "total": Out(bits)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        total = Signal(self.bits, reset_less=True)
        m.d.sync += total.eq(self.a + self.b)
        m.d.comb += self.total.eq(total)
        return m


class AdderTree(wiring.Component):
    """Add the partial sums of all segments, elementwise over chains and lanes.

    Members
    -------
    sums: [segment][chain][lane], signed, of `segment_sum_bits`.
    totals: [chain][lane], signed, of `sum_bits`.

    Protocol
    --------
    None: every cycle is a row.

    Latency and throughput
    ----------------------
    ceil(log2(weight_rows_per_cycle)) cycles; one row per cycle.
    """

    def __init__(self, shape: ArrayShape) -> None:
        self.shape = shape
        self.width = shape.chains * shape.lanes
        segments = shape.weight_rows_per_cycle
        super().__init__(
            {"sums": In(segments * self.width * shape.segment_sum_bits), "totals": Out(self.width * shape.sum_bits)}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shape, width, segments = self.shape, self.width, self.shape.weight_rows_per_cycle
        level = Signal(segments * width * shape.sum_bits, name="segments")
        m.d.comb += level.eq(_extended(self.sums, shape.segment_sum_bits, shape.sum_bits))
        row_bits = width * shape.sum_bits
        number = 0
        while segments > 1:
            pairs = (segments + 1) // 2
            adders = Copies(Adder(shape.sum_bits), pairs * width)
            m.submodules[f"level{number}"] = adders
            rows = [level.word_select(row, row_bits) for row in range(segments)]
            if segments % 2:
                rows.append(Const(0, row_bits))
            m.d.comb += [adders.a.eq(Cat(rows[0::2])), adders.b.eq(Cat(rows[1::2]))]
            level, segments, number = adders.total, pairs, number + 1
        m.d.comb += self.totals.eq(level)
        return m


def _extended(values: Value, narrow: int, wide: int) -> Value:
    """Return packed signed numbers of `narrow` bits as packed numbers of `wide` bits."""
    if narrow == wide:
        return values
    count = len(values) // narrow
    numbers = [values.word_select(at, narrow) for at in range(count)]
    return Cat(Cat(number, number[-1].replicate(wide - narrow)) for number in numbers)
