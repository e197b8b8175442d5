# Constraints of the whole design (UG903).
# The core's clock of @CLOCK_MHZ@ MHz (@PERIOD_NS@ ns) comes from the clocking wizard, whose constraints define it; a second
# create_clock here would hide them. build.tcl checks that it is the config's. Pins of clocks and PCIe come from the
# board files. No false paths: what crosses clocks does so in IP with constraints of its own (SmartConnect, XPM).

# The card powers down when this pin is high or open (UG1314, CATTRIP).
set_property PACKAGE_PIN D32 [get_ports hbm_cattrip]
set_property IOSTANDARD LVCMOS18 [get_ports hbm_cattrip]
set_property PULLTYPE PULLDOWN [get_ports hbm_cattrip]

set_property CONFIG_VOLTAGE 1.8 [current_design]
set_property BITSTREAM.GENERAL.COMPRESS TRUE [current_design]
