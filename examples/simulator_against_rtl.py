"""How far is the simulator from the hardware on my layer?

    python examples/simulator_against_rtl.py [LAYER]

LAYER is a one-liner such as conv:14x14x16:3x3x24:p=1 (rows, columns, channels; kernel and outputs; padding). It is
compiled dense and at 2:4, each Program is simulated and run on the generated Verilog by Verilator, and every byte and
cycle is compared. The core is built once, which takes most of the time.
"""

import sys

import gossamer

CONFIG = "ecp5-tiny"
PATTERNS = ("dense", "2:4")


def main() -> None:
    """Print a line for each pattern; exit 1 if a byte differs."""
    layer = sys.argv[1] if len(sys.argv) > 1 else "conv:14x14x16:3x3x24:p=1"
    print(f"{layer} on {CONFIG}\n{'pattern':<9}{'RTL cycles':>11}{'simulator':>11}{'error':>9}  bytes that differ")
    exact = True
    for pattern in PATTERNS:
        report = gossamer.verify(layer, CONFIG, sparsity=pattern)
        (run,) = report.programs
        exact &= run.bit_exact
        print(
            f"{pattern:<9}{run.rtl_cycles:>11,}{run.sim_cycles:>11,}{run.cycle_error_pct:>8.3f}%  "
            f"{'none' if run.bit_exact else 'some'} of {run.outputs_checked:,}"
        )
    sys.exit(not exact)


if __name__ == "__main__":
    main()
