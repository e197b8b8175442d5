"""The small multiplier that all products of the VECTOR engine are made of, with registers on both sides."""

from amaranth.hdl import Module, Value
from amaranth.lib.wiring import In, Out

from gossamer.arch.target import Target
from gossamer.rtl.array.multiplier import multiplier_instance
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
{multiplier_instance("x", "y", "product")}endmodule
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
