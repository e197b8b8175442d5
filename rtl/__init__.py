"""Generate the accelerator: Amaranth components, the top level, and the Verilog that comes out of them."""

if __name__ == "rtl":
    raise ImportError("import gossamer.rtl, not rtl: the rooms are sub-packages of gossamer")
