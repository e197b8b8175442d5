"""Generate the multipliers of a lane as a cascade of DSP58 that take two or three segments of a chain each."""

from amaranth.lib.wiring import In, Out

from gossamer.arch.target import DOT_PRODUCTS
from gossamer.rtl.array.dsp_slice import DSP58
from gossamer.rtl.array.shape import ArrayShape
from gossamer.rtl.leaf import Leaf

_TEXT = """\
module dot_cascade(
  input clk,
  input [{bytes}:0] operands,
  input [{weights}:0] weight,
  input [{stages}:0] load_weight,
  output [{sums}:0] sums
);
  // Stage n adds to what the slice below hands up; nothing else may drive PCIN or take PCOUT.
  wire [{cascade}:0] cascade;
  wire [{totals}:0] totals;
  assign cascade[57:0] = 58'h0;
  assign sums = totals[{last} +: {bits}];
  genvar n;
  generate
    for (n = 0; n <= {stages}; n = n + 1) begin : stage
      DSP58 #(
        .A_INPUT("DIRECT"), .AMULTSEL("A"), .PREADDINSEL("A"), .B_INPUT("DIRECT"), .BMULTSEL("B"),
        .DSP_MODE("INT8"), .USE_MULT("MULTIPLY"), .USE_SIMD("ONE58"),
        .AREG(2), .ACASCREG(2), .DREG(1), .ADREG(1), .BREG(1), .BCASCREG(1), .CREG(1), .MREG(1), .PREG(1),
        .INMODEREG(0), .OPMODEREG(0), .ALUMODEREG(0), .CARRYINREG(0), .CARRYINSELREG(0)
      ) dsp (
        .CLK(clk),
        .A({{7'h0,
          {operands}}}),
        .B({{{factors}}}),
        .C(58'h0), .D(27'h0),
        // P = the three products of 9 bits of A and 8 of B + PCIN
        .INMODE(5'b00000), .ALUMODE(4'b0000), .OPMODE(n == 0 ? 9'b000000101 : 9'b000010101),
        .CARRYIN(1'b0), .CARRYINSEL(3'b000),
        .PCIN(cascade[58*n +: 58]), .PCOUT(cascade[58*n + 58 +: 58]), .P(totals[58*n +: 58]),
        .CEA1(1'b1), .CEA2(1'b1), .CED(1'b0), .CEAD(1'b0), .CEB1(1'b0), .CEB2(load_weight[n]), .CEC(1'b0),
        .CEM(1'b1), .CEP(1'b1), .CEINMODE(1'b0), .CECTRL(1'b0), .CEALUMODE(1'b0), .CECARRYIN(1'b0),
{unused}      );
    end
  endgenerate
endmodule
"""

_NINE_BITS = "operands[{at} + 8*n + 7], operands[{at} + 8*n +: 8]"


class DotCascade(Leaf):
    """Multiply one byte of each of two or three segments by its weight, add the products, and add along the cascade.

    In mode INT8 the multiplier of a DSP58 is three of 9 x 8 bits whose products it adds: the same stage of three
    segments. One lane is all it takes, so that no field bounds the sum.

    Members
    -------
    operands: int8, [segment][stage], segment 0 and stage 0 in the least significant bits; stage k's come k cycles after
    stage 0's. weight: int8, one per segment, on a bus that all stages see; bit k of `load_weight` loads them in stage
    k. sums: the signed sum.

    Protocol, Latency and throughput
    --------------------------------
    As `gossamer.rtl.array.dsp_cascade.DspCascade`. All registers lie in the DSPs: A twice, B (loaded by its clock
    enable), M, P.

    Resources
    ---------
    One DSP58 per stage and nothing else.
    """

    def __init__(self, shape: ArrayShape) -> None:
        assert 1 < shape.dot_segments <= DOT_PRODUCTS
        self.shape = shape
        super().__init__(
            {
                "operands": In(8 * shape.dot_segments * shape.segment_stages),
                "weight": In(8 * shape.dot_segments),
                "load_weight": In(shape.segment_stages),
                "sums": Out(shape.segment_sum_bits),
            }
        )

    def verilog(self) -> str:
        """Return the Verilog module."""
        segments, stages, bits = self.shape.dot_segments, self.shape.segment_stages, self.shape.segment_sum_bits
        absent = DOT_PRODUCTS - segments
        low = [8 * stages * segment for segment in reversed(range(segments))]
        return _TEXT.format(
            bytes=8 * segments * stages - 1, weights=8 * segments - 1, stages=stages - 1, sums=bits - 1, bits=bits,
            cascade=58 * stages + 57, totals=58 * stages - 1, last=58 * (stages - 1), unused=DSP58.unused_pins,
            operands=",\n          ".join(["9'h0"] * absent + [_NINE_BITS.format(at=at) for at in low]),
            factors=", ".join(["8'h0"] * absent + ["weight"]),
        )  # fmt: skip
