"""Run cocotb benches on generated Verilog with Verilator."""
