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
    a, b: signed, of `bits`. total: signed, of `total_bits`; the sum must fit.

    Protocol
    --------
    None: every cycle is an addition.

    Latency and throughput
    ----------------------
    1 cycle; one sum per cycle.
    """

    def __init__(self, bits: int, total_bits: int) -> None:
        self.module_name = f"adder_{bits}_{total_bits}"
        self.total_bits = total_bits
        super().__init__({"a": In(bits), "b": In(bits), "total": Out(total_bits)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        total = Signal(self.total_bits, reset_less=True)
        m.d.sync += total.eq(self.a.as_signed() + self.b.as_signed())
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
        bits, segments, number = self.shape.segment_sum_bits, self.shape.weight_rows_per_cycle, 0
        level: Value = self.sums
        while segments > 1:
            pairs = (segments + 1) // 2
            adders = Copies(Adder(bits, self.shape.sum_bits), pairs * self.width)
            m.submodules[f"level{number}"] = adders
            row_bits = self.width * bits
            rows: list[Value] = [level.word_select(row, row_bits) for row in range(segments)]
            if segments % 2:
                rows.append(Const(0, row_bits))
            m.d.comb += [adders.a.eq(Cat(rows[0::2])), adders.b.eq(Cat(rows[1::2]))]
            level, bits, segments, number = adders.total, self.shape.sum_bits, pairs, number + 1
        m.d.comb += self.totals.eq(level)
        return m
