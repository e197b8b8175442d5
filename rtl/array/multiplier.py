"""Generate the stage of a chain around the ECP5's multiplier, whose registers hold operand, weight and product."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gossamer.rtl.array.byte_select import ByteSelect
from gossamer.rtl.array.shape import ArrayShape
from gossamer.rtl.array.stage import stage_members
from gossamer.rtl.copies import Copies
from gossamer.rtl.leaf import Leaf

_BITS = 18


def _connected_pins(port: str, bits: int, net: str) -> str:
    """Return the connections of a port that the primitive has as single bits with the bits of a net."""
    pins = [f".{port}{bit}({net}[{bit}])" for bit in range(bits)]
    return ",\n".join("    " + ", ".join(pins[at : at + 6]) for at in range(0, bits, 6))


def multiplier_instance(a: str, b: str, product: str, load: str | None = None) -> str:
    """Return a MULT18X18D of signed factors with its input and output registers; `load` enables the register of `b`.

    Enables without a use are high, as that of the others: a block of four multipliers takes four different ones.
    """
    enable, enabled = ("CE0", "1'b1") if load is None else ("CE1", load)
    return f"""\
  MULT18X18D #(
    .REG_INPUTA_CLK("CLK0"), .REG_INPUTA_CE("CE0"), .REG_INPUTA_RST("RST0"),
    .REG_INPUTB_CLK("CLK0"), .REG_INPUTB_CE("{enable}"), .REG_INPUTB_RST("RST0"),
    .REG_INPUTC_CLK("NONE"), .REG_PIPELINE_CLK("NONE"),
    .REG_OUTPUT_CLK("CLK0"), .REG_OUTPUT_CE("CE0"), .REG_OUTPUT_RST("RST0"),
    .GSR("DISABLED"), .MULT_BYPASS("DISABLED"), .SOURCEB_MODE("B_SHIFT"), .RESETMODE("SYNC")
  ) multiplier (
    .CLK0(clk), .CLK1(1'b0), .CLK2(1'b0), .CLK3(1'b0),
    .CE0(1'b1), .CE1({enabled}), .CE2(1'b1), .CE3(1'b1), .RST0(1'b0), .RST1(1'b0), .RST2(1'b0), .RST3(1'b0),
    .SIGNEDA(1'b1), .SIGNEDB(1'b1), .SOURCEA(1'b0), .SOURCEB(1'b0),
{_connected_pins("A", _BITS, a)},
{_connected_pins("B", _BITS, b)},
{_connected_pins("P", 2 * _BITS, product)}
  );
"""


_TEXT = f"""\
module registered_multiplier(
  input clk,
  input [7:0] operand,
  input [7:0] weight,
  input load_weight,
  output [15:0] product
);
  wire [{_BITS - 1}:0] a = {{{{10{{operand[7]}}}}, operand}};
  wire [{_BITS - 1}:0] b = {{{{10{{weight[7]}}}}, weight}};
  wire [35:0] p;
  assign product = p[15:0];
{multiplier_instance("a", "b", "p", load="load_weight")}endmodule
"""


class RegisteredMultiplier(Leaf):
    """Multiply two int8 in one MULT18X18D, with its input and output registers used.

    Pins the product does not depend on (C, shift inputs) stay open: to tie each to a constant is a wire to route.

    Members
    -------
    operand, weight: int8; `load_weight` loads the weight. product: signed.

    Protocol
    --------
    The operand of cycle t is multiplied by the weight loaded in cycle t or before.

    Latency and throughput
    ----------------------
    2 cycles from operand to product; one product per cycle.
    """

    def __init__(self) -> None:
        super().__init__({"operand": In(8), "weight": In(8), "load_weight": In(1), "product": Out(16)})

    def verilog(self) -> str:
        """Return the Verilog module."""
        return _TEXT


class MultiplierLane(wiring.Component):
    """Select one activation into a register, multiply it, add the sum of the stage before.

    Members
    -------
    word, select: as `gossamer.rtl.array.stage.MultiplyAdd`. weight, load_weight: of the multiplier's own register.
    sum_in, sum_out: signed.

    Protocol
    --------
    `word` and `select` in cycle t, a weight loaded in cycle t + 1, `sum_in` in cycle t + 3: `sum_out` in cycle t + 4.

    Latency and throughput
    ----------------------
    4 cycles from word to sum; one product per cycle.
    """

    def __init__(self, shape: ArrayShape) -> None:
        self.shape = shape
        super().__init__(
            {
                "word": In(shape.word_bits),
                "select": In(shape.select_bits),
                "weight": In(8),
                "load_weight": In(1),
                "sum_in": In(shape.segment_sum_bits),
                "sum_out": Out(shape.segment_sum_bits),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.byte_select = byte_select = Copies(ByteSelect(self.shape.group_size, self.shape.target))
        m.submodules.multiplier = multiplier = Copies(RegisteredMultiplier())
        selected = Signal(8, reset_less=True)
        total = Signal(self.shape.segment_sum_bits, reset_less=True)
        m.d.sync += [
            selected.eq(byte_select.chosen),
            total.eq(self.sum_in.as_signed() + multiplier.product.as_signed()),
        ]
        m.d.comb += [
            byte_select.word.eq(self.word),
            byte_select.select.eq(self.select),
            multiplier.operand.eq(selected),
            multiplier.weight.eq(self.weight),
            multiplier.load_weight.eq(self.load_weight),
            self.sum_out.eq(total),
        ]
        return m


class MultiplierStage(wiring.Component):
    """Hold one selection; every lane's multiplier holds the weight. A `gossamer.rtl.array.stage.Stage` for the ECP5.

    Members, Protocol, Latency and throughput
    -----------------------------------------
    As `gossamer.rtl.array.stage.Stage`.
    """

    def __init__(self, shape: ArrayShape) -> None:
        self.shape = shape
        super().__init__(stage_members(shape))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        held_select = Signal(self.shape.select_bits, reset_less=True)
        with m.If(self.load_select):
            m.d.sync += held_select.eq(self.select)
        shared = ("weight", "load_weight", "select")
        m.submodules.lanes = lanes = Copies(MultiplierLane(self.shape), self.shape.lanes, shared=shared)
        m.d.comb += [
            lanes.word.eq(self.words),
            lanes.weight.eq(self.weight),
            lanes.load_weight.eq(self.load_weight),
            lanes.select.eq(held_select),
            lanes.sum_in.eq(self.sums_in),
            self.sums_out.eq(lanes.sum_out),
        ]
        return m
