"""Tell the lanes, stage by stage, what to do with each operand, and with which constants."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from gossamer.rtl.copies import Copies
from gossamer.rtl.vector.arithmetic import LIMITS_BITS, ShiftLimits
from gossamer.rtl.vector.lane import FACTOR_STAGE, LANE_LATENCY, PRODUCT_STAGE, SUM_PORTS
from gossamer.rtl.vector.lane_sum import SUM_LATENCY
from gossamer.rtl.vector.parameters import HEADER_BITS, READ_LATENCY, header_layout
from gossamer.rtl.vector.walk import row_bits

PASS_FACTOR = 2
"""With a shift of one, and no zero points, the multiplier passes its operand on."""

CAPTURE_STAGE = READ_LATENCY + LANE_LATENCY - 1
"""Cycles from the read of a result's last operand to its capture."""


class LaneControl(wiring.Component):
    """Delay what the reader says of a read until the lanes' stages need it, and choose constants.

    Members
    -------
    step, first, second, last, row, b_byte: of the read in this cycle, as `BeatReader` says.
    b_c: B has one channel. requantize, adds, multiply, plain, table: the operation: plain operations neither scale nor
        clamp, one that adds requantizes first. Held.
    header: of the parameter block, once it has come; needed READ_LATENCY cycles after the first read.
    replicate, operand_byte: the operand is one of B, for all channels; byte of B's word it starts at; READ_LATENCY
        cycles later.
    reads_b: B is to be read in this cycle, `LANE_LATENCY` cycles after the step: its operation adds.
    result_next: a result can be taken in the next cycle. The others: as in `VectorLane`.

    Latency and throughput
    ----------------------
    One step per cycle; capture comes `CAPTURE_STAGE` cycles after the read, and so does the result, or, if the
    operation adds, `SUM_LATENCY` cycles later.
    """

    def __init__(self, *, group_size: int, rows: int) -> None:
        row = row_bits(rows)
        super().__init__(
            {
                "step": In(1), "first": In(1), "second": In(1), "last": In(1), "row": In(row),
                "b_byte": In(range(group_size)), "b_c": In(1), "requantize": In(1), "adds": In(1),
                "multiply": In(1), "plain": In(1), "table": In(1), "header": In(HEADER_BITS), "replicate": Out(1),
                "operand_byte": Out(range(group_size)), "offset": Out(signed(9)), "lane_first": Out(1),
                "factor": Out(signed(32)), "amount": Out(6), "limits": Out(LIMITS_BITS), "use_table": Out(1),
                "reads_b": Out(1), "result_next": Out(1), "capture": Out(1),
                **{name: Out(port.shape) for name, port in SUM_PORTS.items()},
                "bias_row": Out(row), "multiplier_row": Out(row), "shift_row": Out(row),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        """Return the delays and the constants."""
        m = Module()

        def delayed(value: Signal, stages: int, name: str) -> list[Signal]:
            chain = [value]
            for stage in range(stages):
                chain.append(Signal(len(value), name=f"{name}_{stage + 1}"))
                m.d.sync += chain[-1].eq(chain[-2])
            return chain

        operand = READ_LATENCY
        second = delayed(self.second & self.step, operand + FACTOR_STAGE - 2, "second")
        row = delayed(self.row, operand + PRODUCT_STAGE - 1, "row")
        capture = delayed(self.step & self.last, CAPTURE_STAGE, "capture")
        # What another operation left in the registers before is no sum's.
        summed = delayed(capture[-2] & self.adds, SUM_LATENCY, "summed")
        header = data.View(header_layout(), self.header)
        offset, factor = Signal(signed(9)), Signal(signed(32))
        m.d.comb += [
            self.operand_byte.eq(delayed(self.b_byte, operand, "b_byte")[-1]),
            self.bias_row.eq(row[operand]), self.multiplier_row.eq(row[operand + FACTOR_STAGE - 2]),
            self.shift_row.eq(row[-1]),
            offset.eq(-Mux(second[operand], header.zero_b, header.zero_a)),
            factor.eq(Mux(second[-1] & ~self.multiply, header.mult_b, header.mult_a)),
            self.lane_first.eq(delayed(self.first, operand + 2, "first")[-1]),
            self.capture.eq(capture[-1]), self.reads_b.eq(self.adds & capture[LANE_LATENCY]),
            self.result_next.eq(Mux(self.adds, summed[-1], capture[-2])),
        ]  # fmt: skip
        m.d.sync += [
            self.replicate.eq((second[operand - 1] | self.adds) & self.b_c), self.offset.eq(Mux(self.plain, 0, offset)),
            self.factor.eq(Mux(self.plain, PASS_FACTOR, factor)),
        ]  # fmt: skip
        m.submodules.limits = limits = Copies(ShiftLimits())
        m.submodules.sum_limits = sum_limits = Copies(ShiftLimits())
        m.d.sync += [
            self.amount.eq(Mux(self.plain, 0, header.shift - 1)), limits.zero.eq(Mux(self.plain, 0, header.zero_out)),
            limits.low.eq(Mux(self.plain, -128, header.low)), limits.high.eq(Mux(self.plain, 127, header.high)),
            self.use_table.eq(self.table | (self.requantize & header.has_table.any())),
            self.sum_offset_a.eq(-header.zero_a), self.sum_offset_b.eq(-header.zero_b),
            self.sum_amount.eq(header.shift - 1),
        ]  # fmt: skip
        # As `gossamer.dataflow.numerics.pack_limits` packs them.
        m.d.comb += [Cat(sum_limits.zero, sum_limits.low, sum_limits.high).eq(header.extra)]
        m.d.comb += [
            self.limits.eq(limits.limits), self.sum_limits.eq(sum_limits.limits),
            self.sum_factor_a.eq(header.mult_a), self.sum_factor_b.eq(header.mult_b),
        ]  # fmt: skip
        return m
