"""Generate the multiplexer in front of a multiplier: one byte of an activation word, in the fewest LUTs of a family."""

from amaranth.lib.wiring import In, Out

from gossamer.arch.target import Target
from gossamer.rtl.leaf import Leaf

_HEAD = """\
module byte_select(
  input [{word}:0] word,
  input [{select}:0] select,
  output [7:0] chosen
);
"""

_ONE_LEVEL = """\
  assign chosen = word[{{select, 3'b000}} +: 8];
endmodule
"""

_QUARTERS = """\
  // One LUT6 for each bit of four bytes.
  wire [{last}:0] quarter;
  genvar n;
  generate
    for (n = 0; n < {count}; n = n + 1) begin : quarters
      wire [31:0] bytes = word[32*n +: 32];
      assign quarter[8*n +: 8] = bytes[{{select[1:0], 3'b000}} +: 8];
    end
  endgenerate
"""

_EIGHT = """\
  MUXF7 half [7:0] (.I0(quarter[7:0]), .I1(quarter[15:8]), .S(select[2]), .O(chosen));
endmodule
"""

_SIXTEEN = """\
  wire [15:0] half;
  MUXF7 low [7:0] (.I0(quarter[7:0]), .I1(quarter[15:8]), .S(select[2]), .O(half[7:0]));
  MUXF7 high [7:0] (.I0(quarter[23:16]), .I1(quarter[31:24]), .S(select[2]), .O(half[15:8]));
  MUXF8 both [7:0] (.I0(half[7:0]), .I1(half[15:8]), .S(select[3]), .O(chosen));
endmodule
"""

_LUT_EIGHT = """\
  assign chosen = select[2] ? quarter[15:8] : quarter[7:0];
endmodule
"""

_LUT_SIXTEEN = """\
  assign chosen = quarter[{{select[3:2], 3'b000}} +: 8];
endmodule
"""

_KEPT_QUARTERS = _QUARTERS.replace("  wire [{last}", "  (* keep *) wire [{last}")
"""As synthesis would else split what a LUT6 does over two."""

_GENERIC = dict.fromkeys((4, 8, 16), _ONE_LEVEL)

_VERSAL = {4: _ONE_LEVEL, 8: _KEPT_QUARTERS + _LUT_EIGHT, 16: _KEPT_QUARTERS + _LUT_SIXTEEN}

_XCUP = {4: _ONE_LEVEL, 8: _QUARTERS + _EIGHT, 16: _QUARTERS + _SIXTEEN}

_ECP5_QUARTERS = """\
  // Two LUT4 and a PFUMX for each bit of four bytes.
  wire [{last}:0] quarter;
  genvar n;
  generate
    for (n = 0; n < {count}; n = n + 1) begin : quarters
      wire [31:0] bytes = word[32*n +: 32];
      wire [7:0] low = select[0] ? bytes[15:8] : bytes[7:0];
      wire [7:0] high = select[0] ? bytes[31:24] : bytes[23:16];
      PFUMX pair [7:0] (.BLUT(low), .ALUT(high), .C0(select[1]), .Z(quarter[8*n +: 8]));
    end
  endgenerate
"""

_ECP5_FOUR = """\
  assign chosen = quarter;
endmodule
"""

_ECP5_EIGHT = """\
  L6MUX21 half [7:0] (.D0(quarter[7:0]), .D1(quarter[15:8]), .SD(select[2]), .Z(chosen));
endmodule
"""

_ECP5_SIXTEEN = """\
  wire [15:0] half;
  L6MUX21 low [7:0] (.D0(quarter[7:0]), .D1(quarter[15:8]), .SD(select[2]), .Z(half[7:0]));
  L6MUX21 high [7:0] (.D0(quarter[23:16]), .D1(quarter[31:24]), .SD(select[2]), .Z(half[15:8]));
  assign chosen = select[3] ? half[15:8] : half[7:0];
endmodule
"""

_ECP5 = {4: _ECP5_QUARTERS + _ECP5_FOUR, 8: _ECP5_QUARTERS + _ECP5_EIGHT, 16: _ECP5_QUARTERS + _ECP5_SIXTEEN}


class ByteSelect(Leaf):
    """Select one byte of a word.

    Members
    -------
    word: `group_size` bytes, byte 0 in the least significant bits. select: which of them. chosen: that byte.

    Latency and throughput
    ----------------------
    Combinational: one level of LUTs, and what is behind them.

    Resources
    ---------
    UltraScale+, per bit: one LUT6 at group_size 4, two and a MUXF7 at 8, four with two MUXF7 and a MUXF8 at 16. Versal,
    which has LUTs only (AMD UG1273): one, three and five, the last two on two levels. ECP5:
    two LUT4 and a PFUMX at 4, twice that and an L6MUX21 at 8, twice that and a LUT4 at 16. The multiplexers are
    instances, since Yosys 0.70 takes half as many LUTs again, and on the ECP5 two levels of them.
    """

    has_clock = False

    def __init__(self, group_size: int, target: Target) -> None:
        self.group_size, self.target = group_size, target
        self.select_bits = group_size.bit_length() - 1
        super().__init__({"word": In(8 * group_size), "select": In(self.select_bits), "chosen": Out(8)})

    def verilog(self) -> str:
        """Return the Verilog module."""
        size = self.group_size
        levels = {Target.GENERIC: _GENERIC, Target.ECP5: _ECP5, Target.VERSAL: _VERSAL}.get(self.target, _XCUP)
        return (_HEAD + levels[size]).format(
            word=8 * size - 1, select=self.select_bits - 1, last=2 * size - 1, count=size // 4
        )
