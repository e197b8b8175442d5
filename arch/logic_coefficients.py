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
    "control": (2018.0, 3323.0),
    "dma": (3307.0, 4916.0),
    "port": (65.23, 0.0),
    "row": (1.348, 0.7432),
    "compute": (317.5, 583.6),
    "walker": (1.274, 1.33),
    "selection": (1.496, 3.82),
    "sum": (1.327, 1.903),
    "half": (0.8953, 1.595),
    "view": (0.5939, 1.126),
    "quotient": (8.398, 0.0),
    "vector": (4102.0, 5274.0),
    "vector_lane": (922.4, 1128.0),
    "activation_read": (1.188, 2.239),
    "activation_write": (0.9246, 0.0),
    "window": (0.8239, 0.9679),
    "deep": (1.967, 1.902),
}
FLIP_FLOP_COEFFICIENTS: dict[str, tuple[float, float]] = {
    "control": (2118.0, 2086.0),
    "dma": (3902.0, 3724.0),
    "port": (525.1, 620.5),
    "compute": (335.8, 274.8),
    "vector": (5951.0, 5505.0),
    "vector_lane": (1448.0, 1097.0),
}
HELD_OUT_POINTS, HELD_OUT_LUT_PCT, HELD_OUT_FF_PCT = 12, 6.9, 2.6
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
