"""Import, prune, quantize, tile and compile networks into Programs."""

if __name__ == "mapper":
    raise ImportError("import gossamer.mapper, not mapper: the rooms are sub-packages of gossamer")
