"""What goes with generated Verilog: scripts for other tools, and a README for people."""
