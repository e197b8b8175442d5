"""Describe the hardware as data: specs, devices, instruction set, closed forms. Imports none of ours."""

if __name__ == "arch":
    raise ImportError("import gossamer.arch, not arch: the rooms are sub-packages of gossamer")
