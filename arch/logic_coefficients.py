"""Say what the logic estimate multiplies its quantities by: LUTs and flip-flops per unit of each, by family.

`gossamer.arch.logic` counts the quantities; `MEANING` says what one of each is. The values are least squares over the
points of benchmarks/synthesis_points.csv whose use is "fit", by benchmarks/fit_resources.py, which also writes them
here; tests/unit/test_logic_estimate.py fits them again, and holds the estimate against the points held out.
"""

from collections.abc import Mapping

from gossamer.arch.spec import Family

MEANING: dict[str, str] = {
    "control": "the whole of control but its queues' memories and pointers",
    "dma": "what there is once of FETCH, LOAD and STORE: set-up, walks, burst cutters",
    "port": "a memory port: arbiter, addresses, control of its queues",
    "row": "a LUT of what grows with a row: byte rotations, masks, the beat put together, choices of a port, pointers",
    "compute": "what there is once of COMPUTE: passes, rows, checks, the instruction",
    "walker": "a LUT of the walks over positions: sums, partial products of their first addresses",
    "selection": "a bit of the selections that are widened from indices in a cycle",
    "sum": "a bit of a sum: addition, clearing, choice of a half",
    "half": "a bit chosen between the halves of the accumulator for VECTOR, apart from the choice of a lane",
    "view": "a LUT of the choice of a lane and of channels on the way to VECTOR",
    "quotient": "the square of an entry's bits, if lanes are no power of two: an entry is divided by them",
    "vector": "what there is once of VECTOR: walks, SOFTMAX, LAYER_NORM, LRN, parameters",
    "vector_lane": "a lane of VECTOR but its memories and multipliers",
    "activation_read": "a LUT of the copies of the activations: choice of a half, rotation, row numbers",
    "activation_write": "a LUT of what LOAD, VECTOR and STORE turn for the activation buffer, and of its write ports",
    "window": "a LUT of the weight, index and parameter buffers: rotations, masks, row numbers",
    "deep": "a LUT of the choice between memory primitives that hold different rows of a word",
}
"""What one of each quantity is."""

# From here on written by benchmarks/fit_resources.py.
LUT_COEFFICIENTS: dict[str, tuple[float, float]] = {
    "control": (2057.0, 3324.0),
    "dma": (3258.0, 4019.0),
    "port": (151.2, 908.8),
    "row": (1.349, 0.912),
    "compute": (301.8, 592.5),
    "walker": (1.312, 1.327),
    "selection": (1.499, 2.045),
    "sum": (1.342, 2.082),
    "half": (0.89, 1.04),
    "view": (0.6209, 0.9976),
    "quotient": (7.337, 0.0),
    "vector": (4089.0, 5254.0),
    "vector_lane": (925.2, 1119.0),
    "activation_read": (1.296, 0.873),
    "activation_write": (0.803, 1.105),
    "window": (0.8366, 0.786),
    "deep": (1.924, 1.435),
}
FLIP_FLOP_COEFFICIENTS: dict[str, tuple[float, float]] = {
    "control": (2150.0, 2102.0),
    "dma": (3874.0, 3772.0),
    "port": (550.7, 631.2),
    "compute": (386.8, 331.2),
    "vector": (5969.0, 5533.0),
    "vector_lane": (1451.0, 1100.0),
}
HELD_OUT_POINTS, HELD_OUT_LUT_PCT, HELD_OUT_FF_PCT = 20, 6.9, 2.7
# As far as here.
"""Coefficients of both families by quantity; then how many points were held out, and how far the totals of LUTs and
flip-flops are off there at most."""


def _of(table: Mapping[str, tuple[float, float]]) -> dict[Family, dict[str, float]]:
    """Return a table by family: the first of each pair is for LUT6, fitted on UltraScale+, the second for ECP5.

    What has not been fitted yet is 0: the fit itself needs configs, which need an estimate.
    """
    columns = [{name: table.get(name, (0.0, 0.0))[column] for name in MEANING} for column in range(2)]
    return {family: columns[family is Family.ECP5] for family in Family}


LUTS = _of(LUT_COEFFICIENTS)
FLIP_FLOPS = _of(FLIP_FLOP_COEFFICIENTS)
"""LUTs and flip-flops of one of each quantity. Nothing of Versal and 7 series was synthesized: theirs are those of
UltraScale+."""
