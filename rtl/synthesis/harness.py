"""Wrap a core so that it can be placed and routed whole: it has more ports than a package has pins.

Every input comes from a register of a shift register, every output goes into one: the paths between core and harness
start and end in registers, as they would in a system, and nothing of the core is optimised away. The reset comes over
a global net.
"""

from collections.abc import Sequence

from gossamer.rtl.copies import CLOCK, RESET
from gossamer.rtl.packaging.interfaces import Port

HARNESS = "gossamer_harness"
"""Name of the module; CORE is the instance in it."""

CORE = "core"

_TEXT = """\
module {harness}(input clk, input reset_pin, input serial_in{port}, output serial_out);
  reg reset{register};
  wire {reset};
  DCCA global_reset(.CLKI(reset), .CE(1'b1), .CLKO({reset}));
  (* keep *) reg [{last_in}:0] drive;
  (* keep *) reg [{last_out}:0] seen;
  wire [{last_out}:0] outputs;
  assign serial_out = seen[{last_out}];
  always @(posedge clk) begin
    reset <= reset_pin;{step}
    drive <= {{drive, serial_in}};
    seen <= {taken}{{seen, drive[{last_in}]}};
  end
  {top} {core} (
{pins}
  );
endmodule
"""


_ADDED = {"port": "", "register": "", "step": "", "taken": "outputs ^ "}
_CHOSEN = {
    "port": ", input capture_pin", "register": ", capture", "step": "\n    capture <= capture_pin;",
    "taken": "capture ? outputs : ",
}  # fmt: skip


def harness_text(top: str, ports: Sequence[Port], *, chosen: bool = False) -> str:
    """Return the Verilog of the harness around a core, which has `ports` besides clock and reset.

    Outputs are added to what moves on in the shift register, or, if `chosen`, taken in its place when a pin says so:
    for a core that would be one of the slowest nets, to every output across the device.
    """
    pins = [f"    .{CLOCK}(clk)", f"    .{RESET}(rst)"]
    used = {True: 0, False: 0}
    for port in ports:
        low = used[port.is_input]
        used[port.is_input] += port.bits
        wire = "drive" if port.is_input else "outputs"
        pins.append(f"    .{port.name}({wire}[{low + port.bits - 1}:{low}])")
    return _TEXT.format(
        **(_CHOSEN if chosen else _ADDED),
        harness=HARNESS,
        reset=RESET,
        top=top,
        core=CORE,
        last_in=used[True] - 1,
        last_out=used[False] - 1,
        pins=",\n".join(pins),
    )
