"""Gossamer: a co-design workbench for sparse neural-network accelerators on FPGAs."""
