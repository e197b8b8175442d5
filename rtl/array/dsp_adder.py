"""Generate the adders of segments as DSP slices: two sums side by side in each, as many as four segments in a pair."""

from amaranth.lib.wiring import In, Out

from gossamer.arch.primitives import ADDER_SEGMENTS
from gossamer.arch.target import Target
from gossamer.rtl.array.dsp_slice import SLICES
from gossamer.rtl.leaf import Leaf

FIELD_BITS = 24
"""Bits of each of the two sums a DSP slice adds in SIMD mode TWO24."""

_TEXT = """\
module {name}(
  input clk,
  input [{inputs}:0] numbers,
  output [{outputs}:0] totals
);
  // Number n of segment s is sign-extended into half n of a port.
  wire [{ports}:0] ports;
  wire [{cascade}:0] cascade;
  wire [{cascade}:0] sums;
  genvar n;
  generate
    for (n = 0; n < {fields}; n = n + 1) begin : extend
      assign ports[24*n +: 24] = {{{{{sign}{{numbers[{bits}*n + {last}]}}}}, numbers[{bits}*n +: {bits}]}};
    end
    assign cascade[{p_last}:0] = {p}'h0;
    for (n = 0; n < {dsps}; n = n + 1) begin : pair
      // The second DSP takes its segments a cycle later, when the sum of the first arrives from below.
      {primitive} #(
        .A_INPUT("DIRECT"), .AMULTSEL("A"), .PREADDINSEL("A"), .B_INPUT("DIRECT"), .BMULTSEL("B"),
        {mode}.USE_MULT("NONE"), .USE_SIMD("TWO24"),
        .AREG(n), .ACASCREG(n), .DREG(1), .ADREG(1), .BREG(n), .BCASCREG(n), .CREG(n), .MREG(0), .PREG(1),
        .INMODEREG(0), .OPMODEREG(0), .ALUMODEREG(0), .CARRYINREG(0), .CARRYINSELREG(0)
      ) dsp (
        .CLK(clk),
        .A({{{above}ports[96*n + {b_bits} +: {a_bits}]}}), .B(ports[96*n +: {b_bits}]),
        .C({{{above}ports[96*n + 48 +: 48]}}), .D(27'h0),
        // P = A:B + C, in the second DSP + PCIN
        .INMODE(5'b00000), .ALUMODE(4'b0000), .OPMODE(n == 0 ? 9'b000001111 : 9'b000011111),
        .CARRYIN(1'b0), .CARRYINSEL(3'b000),
        .PCIN(cascade[{p}*n +: {p}]), .PCOUT(cascade[{p}*n + {p} +: {p}]), .P(sums[{p}*n +: {p}]),
        .CEA1(1'b0), .CEA2(1'b1), .CED(1'b0), .CEAD(1'b0), .CEB1(1'b0), .CEB2(1'b1), .CEC(1'b1),
        .CEM(1'b0), .CEP(1'b1), .CEINMODE(1'b0), .CECTRL(1'b0), .CEALUMODE(1'b0), .CECARRYIN(1'b0),
{unused}      );
    end
  endgenerate
  assign totals = {{sums[{high} +: {total_bits}], sums[{low} +: {total_bits}]}};
endmodule
"""


class DspAdder(Leaf):
    """Add two segments in one DSP slice, or four in two, for two sums at a time.

    Mode TWO24 has two adders of 24 bits in a DSP: one for each of two sums. It adds what is on A:B and C, the second
    DSP also what the first hands up; that one's inputs are registered, since it is a cycle behind.

    Members
    -------
    numbers: [segment][2], signed, of `bits`. totals: [2], signed, of `total_bits`, at most 24; the sums must fit.

    Protocol
    --------
    None: every cycle is an addition.

    Latency and throughput
    ----------------------
    1 cycle for two segments, 2 for four; two sums per cycle.

    Resources
    ---------
    One DSP slice for two segments and nothing else.
    """

    def __init__(self, segments: int, bits: int, total_bits: int, target: Target) -> None:
        assert segments in (2, ADDER_SEGMENTS)
        assert total_bits <= FIELD_BITS
        self.module_name = f"dsp_adder_{segments}_{bits}_{total_bits}"
        self.segments, self.bits, self.total_bits, self.target = segments, bits, total_bits, target
        super().__init__({"numbers": In(segments * 2 * bits), "totals": Out(2 * total_bits)})

    def verilog(self) -> str:
        """Return the Verilog module."""
        dsps, bits, dsp = self.segments // 2, self.bits, SLICES[self.target]
        p, pair = dsp.sum_bits, 2 * FIELD_BITS
        return _TEXT.format(
            name=self.module_name, inputs=self.segments * 2 * bits - 1, outputs=2 * self.total_bits - 1,
            ports=self.segments * pair - 1, cascade=p * (dsps + 1) - 1, p=p, p_last=p - 1, fields=2 * self.segments,
            sign=FIELD_BITS - bits, bits=bits, last=bits - 1, dsps=dsps, total_bits=self.total_bits,
            low=p * (dsps - 1), high=p * (dsps - 1) + FIELD_BITS, unused=dsp.unused_pins,
            primitive=dsp.primitive, mode=dsp.mode, b_bits=dsp.b_bits, a_bits=pair - dsp.b_bits,
            above=f"{p - pair}'h0, " if p > pair else "",
        )  # fmt: skip
