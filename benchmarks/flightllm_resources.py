"""Set what a core with FlightLLM's number of DSPs takes beside what FlightLLM takes, component by component.

    python benchmarks/flightllm_resources.py -o docs/flightllm-resources.md

The published figures are those on the Alveo U280 (FPGA'24, arXiv 2401.03868), after place and route in Vivado. Ours
are the estimate of `gossamer.arch.resources`, which is held against Yosys, not against Vivado.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markdown_table import table

from gossamer.arch.config import load_config, require_hardware
from gossamer.arch.resources import BAND, ResourceEstimate, Resources, estimate_resources

CONFIG = "u280-6144"
GROUP_SIZES = (4, 8, 16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A component of FlightLLM as published, None where nothing is, and those of ours that do the same work."""

    name: str
    published: Resources
    known: tuple[str, ...]
    ours: tuple[str, ...]


PARTS = (
    Part(
        name="matrix engine", published=Resources(lut=190_000, ff=360_000, dsp=6144), known=("lut", "ff", "dsp"),
        ours=("array", "accumulator"),
    ),
    Part(
        name="on-chip buffers", published=Resources(bram36=816, uram=792), known=("bram36", "uram"),
        ours=("activation buffer", "weight buffer", "index buffer", "parameter buffer"),
    ),
    Part(
        name="controller", published=Resources(lut=162_000, ff=156_000, bram36=408), known=("lut", "ff", "bram36"),
        ours=("control", "compute control"),
    ),
    Part(name="vector unit", published=Resources(lut=30_000, dsp=201), known=("lut", "dsp"), ours=("vector engine",)),
    Part(name="interconnect, DMA", published=Resources(lut=150_000), known=("lut",), ours=("dma",)),
)  # fmt: skip
TOTAL = Resources(lut=574_000, ff=943_000, bram36=1252, uram=792, dsp=6345)
NAMES = {"dsp": "DSP", "lut": "LUT", "ff": "FF", "bram36": "BRAM36", "uram": "URAM"}


def estimate(group_size: int) -> ResourceEstimate:
    """Return the estimate of the config with another group size."""
    spec = load_config(CONFIG, (f"array.group_size={group_size}",))
    return estimate_resources(require_hardware(spec, CONFIG))


def ours(parts: Sequence[str], found: ResourceEstimate) -> Resources:
    """Return the sum of some components."""
    return sum((found.components[name] for name in parts), Resources())


def component_rows(found: ResourceEstimate) -> list[list[str]]:
    """Return a line per component: theirs / ours for each resource."""
    rows = []
    covered = {name for part in PARTS for name in part.ours}
    assert covered == set(found.components), covered ^ set(found.components)
    for part in PARTS:
        mine = ours(part.ours, found)
        cells = [
            f"{getattr(part.published, name):,} / {getattr(mine, name):,}" if name in part.known
            else f"not given / {getattr(mine, name):,}"
            for name in NAMES
        ]  # fmt: skip
        rows.append([part.name, ", ".join(part.ours), *cells])
    cells = [f"{getattr(TOTAL, name):,} / {getattr(found.total, name):,}" for name in NAMES]
    return [*rows, ["total", "", *cells]]


def per_dsp_rows() -> list[list[str]]:
    """Return LUTs and flip-flops per DSP of the matrix engine: FlightLLM's, and ours by group size."""
    matrix = PARTS[0]
    rows = [["FlightLLM", "16", *per_dsp(matrix.published), *per_dsp(matrix.published)]]
    for group_size in GROUP_SIZES:
        found = estimate(group_size)
        rows.append(
            ["ours", str(group_size), *per_dsp(found.components["array"]), *per_dsp(ours(matrix.ours, found))]
        )  # fmt: skip
    return rows


def per_dsp(resources: Resources, dsps: int = 6144) -> list[str]:
    """Return LUTs and flip-flops per DSP of the array."""
    return [f"{resources.lut / dsps:.1f}", f"{resources.ff / dsps:.1f}"]


def page() -> str:
    """Return the page."""
    found = estimate(4)
    components = table(["FlightLLM", "ours", *NAMES.values()], component_rows(found))
    groups = table(
        ["", "M at most", "array: LUT", "FF", "with accumulator: LUT", "FF"], per_dsp_rows()
    )  # fmt: skip
    return f"""# As many DSPs as FlightLLM

FlightLLM (FPGA'24, arXiv 2401.03868, Alveo U280) as published, after place and route, and `{CONFIG}`: one core with
the 6,144 DSPs of its three. Its matrix engine multiplies groups of up to 16 with weights of 2 to 8 bits; ours takes
int8. Ours are estimated, nothing of this size was placed: {BAND}.

Theirs / ours, groups of 4:

{components}

LUTs and flip-flops per DSP of the matrix engine:

{groups}

Written by

<!-- not run in CI: it writes this page -->
```bash
python benchmarks/flightllm_resources.py -o docs/flightllm-resources.md
```
"""


def main() -> None:
    """Print the page or write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, help="Markdown file to write")
    output = parser.parse_args().output
    if output is None:
        print(page())
    else:
        output.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
