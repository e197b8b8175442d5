"""Generate the multiplexer in front of a multiplier: one byte of an activation word, in the fewest LUTs of a family."""

from amaranth.lib.wiring import In, Out

from gossamer.rtl.array.shape import ArrayShape
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

_LEVELS = {4: _ONE_LEVEL, 8: _QUARTERS + _EIGHT, 16: _QUARTERS + _SIXTEEN}


class ByteSelect(Leaf):
    """Select one byte of a word.

    Members
    -------
    word: `group_size` bytes, byte 0 in the least significant bits. select: which of them. chosen: that byte.

    Latency and throughput
    ----------------------
    Combinational: one level of LUTs, and the multiplexers MUXF7 and MUXF8 behind them.

    Resources
    ---------
    Per bit one LUT6 at group_size 4, two and a MUXF7 at 8, four with two MUXF7 and a MUXF8 at 16: the multiplexers are
    instances, since Yosys 0.70 takes half as many LUTs again for 8.
    """

    has_clock = False

    def __init__(self, shape: ArrayShape) -> None:
        self.shape = shape
        super().__init__({"word": In(shape.word_bits), "select": In(shape.select_bits), "chosen": Out(8)})

    def verilog(self) -> str:
        """Return the Verilog module."""
        size = self.shape.group_size
        return (_HEAD + _LEVELS[size]).format(
            word=self.shape.word_bits - 1, select=self.shape.select_bits - 1, last=2 * size - 1, count=size // 4
        )
