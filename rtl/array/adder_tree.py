"""Generate the tree that adds the segments of every chain and lane, in fabric or in DSPs: a cycle per halving."""

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gossamer.arch.primitives import adder_groups
from gossamer.rtl.array.dsp_adder import DspAdder
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


class SumDelay(wiring.Component):
    """Delay a sum that needs no adding.

    Members
    -------
    number, delayed: of `sum_bits`.

    Latency and throughput
    ----------------------
    `delay_levels` cycles, at least 1; one sum per cycle.
    """

    def __init__(self, shape: ArrayShape) -> None:
        self.cycles, self.bits = shape.delay_levels, shape.sum_bits
        super().__init__({"number": In(self.bits), "delayed": Out(self.bits)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        number: Value = self.number
        for cycle in range(self.cycles):
            held = Signal(self.bits, reset_less=True, name=f"held_{cycle}")
            m.d.sync += held.eq(number)
            number = held
        m.d.comb += self.delayed.eq(number)
        return m


class DspAdderTree(wiring.Component):
    """Add the partial sums of all groups of segments in DSP slices, each of which adds for two sums at a time.

    Members, Protocol, Latency and throughput
    -----------------------------------------
    As `AdderTree`.

    Resources
    ---------
    `gossamer.arch.primitives.adder_dsps`, and no LUT.
    """

    def __init__(self, shape: ArrayShape) -> None:
        self.shape = shape
        self.width = shape.chains * shape.lanes
        super().__init__(_tree_members(shape))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        total_bits, pairs = self.shape.sum_bits, self.width // 2  # the chains are a multiple of 8
        bits, level = self.shape.segment_sum_bits, self.sums
        for number, (groups, size) in enumerate(adder_groups(self.shape.segment_groups)):
            adders = Copies(DspAdder(size, bits, total_bits, self.shape.target), groups * pairs)
            m.submodules[f"level{number}"] = adders
            numbers = Signal(groups * size * self.width * bits, name=f"level{number}_numbers")
            m.d.comb += numbers.eq(level)
            rows = [numbers.word_select(row, self.width * bits) for row in range(groups * size)]
            m.d.comb += adders.numbers.eq(Cat(
                rows[size * group + row].word_select(pair, 2 * bits)
                for group in range(groups) for pair in range(pairs) for row in range(size)
            ))  # fmt: skip
            level, bits = adders.totals, total_bits
        m.d.comb += self.totals.eq(level)
        return m


def _tree_members(shape: ArrayShape) -> dict[str, wiring.Member]:
    """Return the members of either tree."""
    width = shape.chains * shape.lanes
    return {
        "sums": In(shape.segment_groups * width * shape.segment_sum_bits),
        "totals": Out(width * shape.sum_bits),
    }


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
        super().__init__(_tree_members(shape))

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
