"""Tell the lanes, stage by stage, what to do with each operand, and with which constants."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from gossamer.rtl.vector.lane import FACTOR_STAGE, LANE_LATENCY, PRODUCT_STAGE
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
    b_c: B has one channel. requantize, multiply, plain, table: the operation: plain operations neither scale nor clamp.
        Held.
    header: of the parameter block, once it has come; needed READ_LATENCY cycles after the first read.
    replicate, operand_byte: the operand is one of B, for all channels; byte of B's word it starts at; READ_LATENCY
        cycles later.
    captures_next: `capture` comes in the next cycle. The others: as in `VectorLane`.

    Latency and throughput
    ----------------------
    One step per cycle; capture comes `CAPTURE_STAGE` cycles after the read.
    """

    def __init__(self, *, group_size: int, rows: int) -> None:
        row = row_bits(rows)
        super().__init__(
            {
                "step": In(1), "first": In(1), "second": In(1), "last": In(1), "row": In(row),
                "b_byte": In(range(group_size)), "b_c": In(1), "requantize": In(1), "multiply": In(1),
                "plain": In(1), "table": In(1), "header": In(HEADER_BITS), "replicate": Out(1),
                "operand_byte": Out(range(group_size)), "offset": Out(signed(9)), "lane_first": Out(1),
                "factor": Out(signed(32)), "amount": Out(6), "zero": Out(signed(8)), "low": Out(signed(8)),
                "high": Out(signed(8)), "use_table": Out(1), "captures_next": Out(1), "capture": Out(1),
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
        header = data.View(header_layout(), self.header)
        offset, factor = Signal(signed(9)), Signal(signed(32))
        m.d.comb += [
            self.operand_byte.eq(delayed(self.b_byte, operand, "b_byte")[-1]),
            self.bias_row.eq(row[operand]), self.multiplier_row.eq(row[operand + FACTOR_STAGE - 2]),
            self.shift_row.eq(row[-1]),
            offset.eq(-Mux(second[operand], header.zero_b, header.zero_a)),
            factor.eq(Mux(second[-1] & ~self.multiply, header.mult_b, header.mult_a)),
            self.lane_first.eq(delayed(self.first, operand + 2, "first")[-1]),
            self.capture.eq(capture[-1]), self.captures_next.eq(capture[-2]),
        ]  # fmt: skip
        m.d.sync += [
            self.replicate.eq(second[operand - 1] & self.b_c), self.offset.eq(Mux(self.plain, 0, offset)),
            self.factor.eq(Mux(self.plain, PASS_FACTOR, factor)),
        ]  # fmt: skip
        m.d.sync += [
            self.amount.eq(Mux(self.plain, 0, header.shift - 1)), self.zero.eq(Mux(self.plain, 0, header.zero_out)),
            self.low.eq(Mux(self.plain, -128, header.low)), self.high.eq(Mux(self.plain, 127, header.high)),
            self.use_table.eq(self.table | (self.requantize & header.has_table.any())),
        ]  # fmt: skip
        return m
