"""The small multiplier that all products of the VECTOR engine are made of, with registers on both sides."""

from amaranth.hdl import Module, Value
from amaranth.lib.wiring import In, Out

from gossamer.arch.target import Target
from gossamer.rtl.array.multiplier import connected_pins
from gossamer.rtl.copies import Copies
from gossamer.rtl.leaf import Leaf

FACTOR_BITS = 18
"""Of a signed factor."""

PART_LATENCY = 2
"""Cycles from factors to their product."""

_PLAIN = """\
module part_product(
  input clk,
  input signed [17:0] x,
  input signed [17:0] y,
  output reg signed [35:0] product
);
  reg signed [17:0] x_held, y_held;
  always @(posedge clk) begin
    x_held <= x;
    y_held <= y;
    product <= x_held * y_held;
  end
endmodule
"""

_ECP5 = f"""\
module part_product(
  input clk,
  input [17:0] x,
  input [17:0] y,
  output [35:0] product
);
  MULT18X18D #(
    .REG_INPUTA_CLK("CLK0"), .REG_INPUTA_CE("CE0"), .REG_INPUTA_RST("RST0"),
    .REG_INPUTB_CLK("CLK0"), .REG_INPUTB_CE("CE0"), .REG_INPUTB_RST("RST0"),
    .REG_INPUTC_CLK("NONE"), .REG_PIPELINE_CLK("NONE"),
    .REG_OUTPUT_CLK("CLK0"), .REG_OUTPUT_CE("CE0"), .REG_OUTPUT_RST("RST0"),
    .GSR("DISABLED"), .MULT_BYPASS("DISABLED"), .SOURCEB_MODE("B_SHIFT"), .RESETMODE("SYNC")
  ) multiplier (
    .CLK0(clk), .CLK1(1'b0), .CLK2(1'b0), .CLK3(1'b0),
    .CE0(1'b1), .CE1(1'b0), .CE2(1'b0), .CE3(1'b0), .RST0(1'b0), .RST1(1'b0), .RST2(1'b0), .RST3(1'b0),
    .SIGNEDA(1'b1), .SIGNEDB(1'b1), .SOURCEA(1'b0), .SOURCEB(1'b0),
{connected_pins("A", FACTOR_BITS, "x[#]")},
{connected_pins("B", FACTOR_BITS, "y[#]")},
{connected_pins("P", 2 * FACTOR_BITS, "product[#]")}
  );
endmodule
"""


class PartProduct(Leaf):
    """Multiply two signed numbers of 18 bits: on the ECP5 in one MULT18X18D, with its input and output registers.

    Members
    -------
    x, y: signed factors. product: signed.

    Latency and throughput
    ----------------------
    One product per cycle, `PART_LATENCY` cycles after its factors.

    Parameters
    ----------
    target: whose primitive it is.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        super().__init__({"x": In(FACTOR_BITS), "y": In(FACTOR_BITS), "product": Out(2 * FACTOR_BITS)})

    def verilog(self) -> str:
        """Return the Verilog module."""
        return _ECP5 if self.target is Target.ECP5 else _PLAIN


def part_product(m: Module, name: str, x: Value, y: Value, target: Target) -> Value:
    """Return the signed product of two values that 18 signed bits hold, `PART_LATENCY` cycles later."""
    m.submodules[name] = multiplier = Copies(PartProduct(target))
    m.d.comb += [multiplier.x.eq(x), multiplier.y.eq(y)]
    return multiplier.product.as_signed()
