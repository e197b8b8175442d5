"""The components that are Verilog text: what synthesis must recognise as a primitive, or what is one."""

from amaranth.lib import wiring


class Leaf(wiring.Component):
    """A component that writes its own Verilog module and is never elaborated.

    `has_clock`, `has_reset`: the module has the port `clk`, `rst`.
    """

    has_reset = False
    has_clock = True
    _MustUse__silence = True  # Amaranth never elaborates it and would warn

    def verilog(self) -> str:
        """Return the Verilog module, named `module_name(self)`, with the ports of the signature, and of these."""
        raise NotImplementedError
