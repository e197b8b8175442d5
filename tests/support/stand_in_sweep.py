"""Run the sweep file of the first argument with the stand-in evaluator, in two workers, into the second."""

import sys
from pathlib import Path

from stand_in import StandIn

from gossamer.explore.runner import run_sweep
from gossamer.explore.sweep_file import load_sweep

if __name__ == "__main__":
    run_sweep(load_sweep(sys.argv[1]), Path(sys.argv[2]), workers=2, factory=StandIn(seconds=0.02), chunk_points=64)
