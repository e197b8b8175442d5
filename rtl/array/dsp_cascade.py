"""Generate the multipliers of a chain as a cascade of DSP slices, one per stage for two lanes, or for one."""

from amaranth.lib.wiring import In, Out

from gossamer.arch.target import LOW_LANE_BITS
from gossamer.rtl.array.dsp_slice import SLICES
from gossamer.rtl.array.shape import ArrayShape
from gossamer.rtl.leaf import Leaf

_TEXT = """\
module {name}(
  input clk,
  input [{bytes}:0] low,
{high_port}  input [7:0] weight,
  input [{stages}:0] load_weight,
  output [{sums}:0] sums
);
  // Stage n adds to what the slice below hands up; nothing else may drive PCIN or take PCOUT.
  wire [{cascade}:0] cascade;
  wire [{totals}:0] totals;
  wire [{p_last}:0] total = totals[{totals} -: {p}];
  assign cascade[{p_last}:0] = {p}'h0;
  assign sums = {sum_bits};
  genvar n;
  generate
    for (n = 0; n <= {stages}; n = n + 1) begin : stage
      {primitive} #(
        .A_INPUT("DIRECT"), .AMULTSEL("AD"), .PREADDINSEL("A"), .B_INPUT("DIRECT"), .BMULTSEL("B"),
        {mode}.USE_MULT("MULTIPLY"), .USE_SIMD("{one_sum}"), .RND({p}'h{rounding:x}),
        .AREG(1), .ACASCREG(1), .DREG(1), .ADREG(1), .BREG(1), .BCASCREG(1), .CREG(1), .MREG(1), .PREG(1),
        .INMODEREG(0), .OPMODEREG(0), .ALUMODEREG(0), .CARRYINREG(0), .CARRYINSELREG(0)
      ) dsp (
        .CLK(clk),
        .A({{{{{a_sign}{{low[8*n + 7]}}}}, low[8*n +: 8]}}),
        .D({high_operand}),
        .B({{{{{b_sign}{{weight[7]}}}}, weight}}),
        .C({p}'h0),
        // AD = D + A; P = AD * B + PCIN, in the first stage AD * B{rounding_note}
        .INMODE(5'b00{use_d}00), .ALUMODE(4'b0000),
        .OPMODE(n == 0 ? 9'b{first_mode} : 9'b000010101),
        .CARRYIN(1'b0), .CARRYINSEL(3'b000),
        .PCIN(cascade[{p}*n +: {p}]), .PCOUT(cascade[{p}*n + {p} +: {p}]), .P(totals[{p}*n +: {p}]),
        .CEA1(1'b0), .CEA2(1'b1), .CED(1'b1), .CEAD(1'b1), .CEB1(1'b0), .CEB2(load_weight[n]), .CEC(1'b0),
        .CEM(1'b1), .CEP(1'b1), .CEINMODE(1'b0), .CECTRL(1'b0), .CEALUMODE(1'b0), .CECARRYIN(1'b0),
{unused}      );
    end
  endgenerate
endmodule
"""


class DspCascade(Leaf):
    """Multiply the bytes of two lanes by one weight per stage and add along the cascade: two products per DSP.

    The pre-adder packs the lanes: AD = low + (high << 18), times the weight on B. The first stage adds RND = 2**17, so
    that the low lane's sum is never negative in its 18 bits and borrows nothing from the high lane: that is P above
    bit 17 as it stands, and the low one P[17:0] less 2**17, its top bit inverted. One lane alone takes P as it is.

    Members
    -------
    low, high: int8, one per stage, stage 0 in the least significant bits; stage k's come k cycles after stage 0's.
    A cascade of one lane has no `high`.
    weight: int8, on a bus that all stages see; bit k of `load_weight` loads it in stage k.
    sums: one signed sum per lane, the low lane in the least significant bits.

    Protocol
    --------
    Bytes in cycle t are multiplied by the weight loaded in cycle t + 1 or before. All registers lie in the DSPs: A and
    D, AD, B (loaded by its clock enable), M, P.

    Latency and throughput
    ----------------------
    stages + 3 cycles from the bytes of stage 0 to the sums; one row per cycle.

    Resources
    ---------
    One DSP slice per stage and nothing else, but for an inverter where a sum has 18 bits.
    """

    def __init__(self, shape: ArrayShape, lanes: int) -> None:
        assert lanes in (1, 2)
        self.module_name = "dsp_cascade" if lanes == 2 else "dsp_cascade_odd"
        self.shape, self.lanes = shape, lanes
        stages = shape.segment_stages
        operands = {"low": In(8 * stages), "high": In(8 * stages)}
        super().__init__(
            {
                **(operands if lanes == 2 else {"low": operands["low"]}),
                "weight": In(8),
                "load_weight": In(stages),
                "sums": Out(lanes * shape.segment_sum_bits),
            }
        )

    def verilog(self) -> str:
        """Return the Verilog module."""
        packed, stages, bits = self.lanes == 2, self.shape.segment_stages, self.shape.segment_sum_bits
        dsp = SLICES[self.shape.target]
        return _TEXT.format(
            name=self.module_name, bytes=8 * stages - 1, stages=stages - 1, sums=self.lanes * bits - 1,
            cascade=dsp.sum_bits * (stages + 1) - 1, totals=dsp.sum_bits * stages - 1,
            p=dsp.sum_bits, p_last=dsp.sum_bits - 1,
            primitive=dsp.primitive, mode=dsp.mode, one_sum=dsp.one_sum, a_sign=dsp.a_bits - 8, b_sign=dsp.b_bits - 8,
            high_port=f"  input [{8 * stages - 1}:0] high,\n" if packed else "",
            sum_bits=self._packed_sums() if packed else f"total[{bits - 1}:0]",
            rounding=1 << LOW_LANE_BITS - 1 if packed else 0,
            rounding_note=" + RND" if packed else "",
            first_mode="100000101" if packed else "000000101",
            high_operand=f"{{high[8*n + 7], high[8*n +: 8], {LOW_LANE_BITS}'h0}}" if packed else "27'h0",
            use_d=int(packed), unused=dsp.unused_pins,
        )  # fmt: skip

    def _packed_sums(self) -> str:
        """Return the lanes' sums out of the last P; only a sum as wide as the low lane's field shows its top bit."""
        bits = self.shape.segment_sum_bits
        high = f"total[{LOW_LANE_BITS} +: {bits}]"
        if bits < LOW_LANE_BITS:
            return f"{{{high}, total[{bits - 1}:0]}}"
        return f"{{{high}, ~total[{LOW_LANE_BITS - 1}], total[{LOW_LANE_BITS - 2}:0]}}"
