"""Describe the memory that every large buffer is made of, as Verilog that synthesis tools recognise.

Amaranth's own memories start with zeros, written out bit by bit: that is megabytes for a buffer, nothing here relies on
it, and UltraRAM cannot do it. So this one leaf is Verilog text.
"""

from amaranth.lib.wiring import In, Out

from gossamer.arch.spec import MemoryKind
from gossamer.rtl.leaf import Leaf

RAM_STYLE = {
    MemoryKind.BRAM36: "block",
    MemoryKind.DP16KD: "block",
    MemoryKind.URAM288: "ultra",
    MemoryKind.LUTRAM: "distributed",
}
"""Value of the `ram_style` attribute that asks synthesis for a primitive.

`no_rw_check` stands beside it: no engine uses what it reads from a row in the cycle it is written, and without it Yosys
surrounds every block RAM of an ECP5 with registers and comparators for that case (tests/rtl/test_collisions.py).
"""

_TEXT = """\
module {name}(
  input clk,
  input [{row}:0] read_row,
  output [{word}:0] read_data,
  input [{row}:0] write_row,
  input [{enables}:0] write_enable,
  input [{word}:0] write_data
);
  (* ram_style = "{style}", no_rw_check *)
  reg [{word}:0] words [0:{last}];
  {register};
  integer part;
  assign read_data = {shown};
  always @(posedge clk) begin
    {read};
    for (part = 0; part <= {enables}; part = part + 1)
      if (write_enable[part])
        words[write_row][part*{part_bits} +: {part_bits}] <= write_data[part*{part_bits} +: {part_bits}];
  end
endmodule
"""

_BEHIND = {"register": "reg [{word}:0] read", "shown": "read", "read": "read <= words[read_row]"}
_IN_FRONT = {"register": "reg [{row}:0] row", "shown": "words[row]", "read": "row <= read_row"}
"""Where the register of the read port is: block RAM has it behind the words; LUTs, of which one word in 64 is chosen
in more levels than many an address takes, in front."""


class BlockMemory(Leaf):
    """Memory with one read port and one write port, without reset or initial values.

    Members
    -------
    read_row, read_data: the word of that row, one cycle later; to be registered as it comes.
    write_row, write_enable, write_data: one enable per part of the word.

    Protocol: a read in the cycle of a write to the same row returns the old word in simulation, or of LUTs the new one,
    and in hardware anything: nothing may depend on it.

    Parameters
    ----------
    name: of the Verilog module. part_bits: bits that one enable writes. parts: parts of a word. rows: words.
    kind: primitive asked for.
    """

    def __init__(self, name: str, *, part_bits: int, parts: int, rows: int, kind: MemoryKind) -> None:
        self.module_name = name
        self.part_bits, self.parts, self.rows, self.kind = part_bits, parts, rows, kind
        self.row_bits = max(1, (rows - 1).bit_length())
        super().__init__(
            {
                "read_row": In(self.row_bits),
                "read_data": Out(parts * part_bits),
                "write_row": In(self.row_bits),
                "write_enable": In(parts),
                "write_data": In(parts * part_bits),
            }
        )

    def verilog(self) -> str:
        """Return the Verilog module."""
        ends = {"row": self.row_bits - 1, "word": self.parts * self.part_bits - 1}
        place = _IN_FRONT if self.kind is MemoryKind.LUTRAM else _BEHIND
        return _TEXT.format(
            name=self.module_name, enables=self.parts - 1, last=self.rows - 1, part_bits=self.part_bits,
            style=RAM_STYLE[self.kind], **ends, **{part: text.format(**ends) for part, text in place.items()},
        )  # fmt: skip
