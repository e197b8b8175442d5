"""Move data between memory and the chip: LOAD, STORE, the instruction stream, and the AXI4 master they share."""
