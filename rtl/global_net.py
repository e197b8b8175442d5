"""A net that reaches every register of a device."""

from amaranth.lib.wiring import In, Out

from gossamer.arch.target import Target
from gossamer.rtl.leaf import Leaf

_TEXT = """\
module global_net(
  input value,
  output everywhere
);
{body}
endmodule
"""

_ECP5 = "  DCCA global_buffer(.CLKI(value), .CE(1'b1), .CLKO(everywhere));"
_PLAIN = "  assign everywhere = value;"


class GlobalNet(Leaf):
    """Bring a register's value to very many registers: on the ECP5 over the network of the clocks.

    Members
    -------
    value: from a register without logic. everywhere: the same.

    Latency and throughput
    ----------------------
    Combinational. nextpnr takes the network itself for free, as it does for clocks.

    Parameters
    ----------
    target: whose primitive it is. Vivado puts such nets onto its network by itself.
    """

    has_clock = False

    def __init__(self, target: Target) -> None:
        self.target = target
        super().__init__({"value": In(1), "everywhere": Out(1)})

    def verilog(self) -> str:
        """Return the Verilog module."""
        return _TEXT.format(body=_ECP5 if self.target is Target.ECP5 else _PLAIN)
