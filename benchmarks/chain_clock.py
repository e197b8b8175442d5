"""Place and route one sparse chain of 16 stages on an ECP5 with nextpnr, and print its clock for several seeds.

    python benchmarks/chain_clock.py [--group-size 4] [--seeds 5] [--speed 6]

The chain has the multipliers' registers and a register behind the selection; its ports end in registers (the harness of
`gossamer synth`), and the pins are not timed. nextpnr does not know the multiplier's inner register.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

from gossamer.arch.target import Target
from gossamer.rtl.array.chain import Chain
from gossamer.rtl.array.shape import ArrayShape
from gossamer.rtl.packaging.interfaces import top_ports
from gossamer.rtl.synthesis.harness import HARNESS, harness_text
from gossamer.rtl.synthesis.hierarchy import Design, Unit
from gossamer.rtl.synthesis.place import DSP_LIMIT_MHZ, SPEED_GRADES, place_and_route
from gossamer.rtl.synthesis.units import prepare_units, synthesize_unit
from gossamer.rtl.verilog import verilog_modules

PART, STAGES = "LFE5U-85F", 16

PLACER = "heap"
"""nextpnr's default, the better one for so small a design."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Place and route a chain on an ECP5.")
    parser.add_argument("--group-size", type=int, default=4, choices=(4, 8, 16))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--speed", type=int, default=6, choices=SPEED_GRADES)
    options = parser.parse_args()
    shape = ArrayShape(
        group_size=options.group_size, chains=8, chain_length=STAGES, lanes=1, weight_rows_per_cycle=1,
        vector_lanes=options.group_size, accumulator_entries=64, target=Target.ECP5,
    )  # fmt: skip
    chain = Chain(shape)
    modules = verilog_modules(chain)
    files = {f"{module.name}.v": module.text for module in modules}
    files[f"{HARNESS}.v"] = harness_text(modules[0].name, top_ports(chain), chosen=True)
    unit = Unit(name=HARNESS, files=tuple(files), cuts={}, count=1, component="all")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepared = prepare_units(Target.ECP5, [unit], Design(top=HARNESS, files=files), folder)
        netlist = synthesize_unit(Target.ECP5, unit, prepared, folder).netlist
        clock = place_and_route(
            netlist, PART, speed_grade=options.speed, seeds=range(1, options.seeds + 1), target_mhz=DSP_LIMIT_MHZ,
            has_multipliers=False, folder=folder, stage=print, placer=PLACER,
        )  # fmt: skip
    found = sorted(placement.fmax_mhz for placement in clock.placements)
    path = clock.median.critical_path
    print(f"{STAGES} stages, groups of {options.group_size}, {PART}, speed {options.speed}: "
          f"median {statistics.median(found):.0f} MHz of {', '.join(f'{each:.0f}' for each in found)}")  # fmt: skip
    print(f"slowest of the median: {path.start} to {path.end}, {path.logic_ns} ns logic, {path.routing_ns} ns wires")


if __name__ == "__main__":
    main()
