"""Choose the format of waveform files."""

import os
import subprocess


def wave_format() -> str:
    """Return the format of waveforms: fst if the compiler finds lz4.h, which Verilator's FST writer needs, else vcd."""
    try:
        found = subprocess.run(
            ["g++", "-E", "-x", "c++", "-include", "lz4.h", os.devnull], capture_output=True, check=False
        )
    except OSError:
        return "vcd"
    return "vcd" if found.returncode else "fst"
