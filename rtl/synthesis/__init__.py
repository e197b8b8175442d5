"""Synthesize generated Verilog with Yosys, place and route it with nextpnr, and read what they report."""
