# Constraints of the whole design (UG903).
# The core's clock of @CLOCK_MHZ@ MHz (@PERIOD_NS@ ns) is pl_clk0: the constraints of the processing system's IP define it,
# and a second create_clock here would hide them. build.tcl checks that it is the config's.
# No false paths: everything in the logic runs on that clock. No pins: all go through the processing system.
set_property BITSTREAM.GENERAL.COMPRESS TRUE [current_design]
