"""Tell the lanes, stage by stage, what to do with each operand, and with which constants."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from gossamer.rtl.vector.lane import LANE_LATENCY, PRODUCT_STAGE
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
    requantize, multiply, maximum, plain, table: the operation: plain operations neither scale nor clamp. Held.
    header: of the parameter block, once it has come.
    operand_second, operand_byte: the operand comes from B; byte of B's word it starts at; READ_LATENCY cycles later.
    The others: as in `VectorLane`.

    Latency and throughput
    ----------------------
    One step per cycle; capture comes `CAPTURE_STAGE` cycles after the read.
    """

    def __init__(self, *, group_size: int, rows: int) -> None:
        row = row_bits(rows)
        super().__init__(
            {
                "step": In(1), "first": In(1), "second": In(1), "last": In(1), "row": In(row),
                "b_byte": In(range(group_size)), "requantize": In(1), "multiply": In(1), "maximum": In(1),
                "plain": In(1), "table": In(1), "header": In(HEADER_BITS), "operand_second": Out(1),
                "operand_byte": Out(range(group_size)), "offset": Out(signed(9)), "lane_first": Out(1),
                "product": Out(1), "factor": Out(signed(32)), "add_second": Out(1), "amount": Out(6),
                "zero": Out(signed(8)), "low": Out(signed(8)), "high": Out(signed(8)), "use_table": Out(1),
                "capture": Out(1), "bias_row": Out(row), "multiplier_row": Out(row), "shift_row": Out(row),
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
        first = delayed(self.first, operand + 2, "first")
        second = delayed(self.second & self.step, operand + PRODUCT_STAGE, "second")
        row = delayed(self.row, operand + PRODUCT_STAGE, "row")
        byte = delayed(self.b_byte, operand, "b_byte")
        capture = delayed(self.step & self.last, CAPTURE_STAGE, "capture")
        header = data.View(header_layout(), self.header)
        zero_a, zero_b = header.zero_a, header.zero_b
        m.d.comb += [
            self.operand_second.eq(second[operand]), self.operand_byte.eq(byte[operand]),
            self.bias_row.eq(row[operand]), self.multiplier_row.eq(row[operand + 1]),
            self.shift_row.eq(row[operand + PRODUCT_STAGE]),
            self.offset.eq(Mux(self.plain, 0, -Mux(second[operand + 1], zero_b, zero_a))),
            self.lane_first.eq(first[operand + 2]), self.product.eq(second[operand + 2] & self.multiply),
            self.factor.eq(
                Mux(self.plain, PASS_FACTOR,
                    Mux(second[operand + 2] & ~self.multiply, header.mult_b, header.mult_a))
            ),
            self.add_second.eq(second[operand + PRODUCT_STAGE] & ~self.multiply),
            self.capture.eq(capture[CAPTURE_STAGE]),
        ]  # fmt: skip
        m.d.sync += [
            self.amount.eq(Mux(self.plain, 0, header.shift - 1)), self.zero.eq(Mux(self.plain, 0, header.zero_out)),
            self.low.eq(Mux(self.plain, -128, header.low)), self.high.eq(Mux(self.plain, 127, header.high)),
            self.use_table.eq(self.table | (self.requantize & header.has_table.any())),
        ]  # fmt: skip
        return m
