# Clock of the core alone (UG903, UG905): the config's @CLOCK_MHZ@ MHz. Where the core stands in a block design, its clock
# comes from there and this file is not read.
create_clock -name clk -period @PERIOD_NS@ [get_ports clk]
# No false paths: the core has one clock, and its reset is synchronous to it.
