"""Say what the logic estimate multiplies its quantities by: LUTs and flip-flops per unit of each, by family.

`gossamer.arch.logic` counts the quantities; `MEANING` says what one of each is. The values are least squares over the
points of benchmarks/synthesis_points.csv whose use is "fit", by benchmarks/fit_resources.py, which also writes them
here; tests/unit/test_logic_estimate.py fits them again, and holds the estimate against the points held out.
"""

from collections.abc import Mapping

from gossamer.arch.spec import Family

MEANING: dict[str, str] = {
    "control": "the whole of control but its queues' memories and pointers",
    "dma": "what there is once of FETCH, LOAD and STORE",
    "dma_pointer": "a bit of a FIFO's pointers and levels",
    "dma_port": "a memory port: arbiter, addresses, queues' control",
    "dma_turn": "a bit that a LUT level of LOAD's or STORE's byte rotation moves",
    "dma_byte": "a bit of a row with its strobe: padding, masks, the beat put together",
    "dma_choice": "a two-way choice of one bit between ports, or between beats of a row",
    "compute": "what there is once of COMPUTE: passes, rows, checks, the instruction",
    "compute_walker": "a walk over positions, without what grows with addresses",
    "compute_product": "an address bit of a walk, times bits of a place: partial products of its first address",
    "compute_address": "an address bit of a walk over positions",
    "index_bit": "a bit of the selections that are widened from indices in a cycle",
    "sum_bit": "a bit of a sum: addition, clearing, choice of a half twice",
    "sum_choice": "a two-way choice of one bit, between lanes or channels, on the way to VECTOR",
    "sum_row": "a bit of a row's number in the accumulator",
    "sum_quotient": "the square of an entry's bits, if lanes are no power of two: entry divided by lanes",
    "vector": "what there is once of VECTOR: walks, SOFTMAX, LAYER_NORM, LRN, parameters",
    "vector_word": "a bit of an activation word in VECTOR's single-element way",
    "vector_lane": "a lane of VECTOR but its memories and multipliers",
    "activation_turn": "a bit that a LUT level of a rotation of the activation buffer moves",
    "activation_half": "a bit of a window's word chosen between the halves of its bank",
    "activation_write": "a bit of a half's write port, chosen between VECTOR and LOAD",
    "activation_row": "a bit of a bank's row number: first row plus carry",
    "window_turn": "a bit that a LUT level of a rotation of the weight, index and parameter buffers moves",
    "window_row": "a bit of a bank's row number, or of a mask of bytes, in those buffers",
    "deep_choice": "a two-way choice of one bit between memory primitives that hold different rows",
}
"""What one of each quantity is."""

# fitted: begin
LUT_COEFFICIENTS: dict[str, tuple[float, float]] = {
    "control": (1898.0, 0.0),
    "dma": (0.0, 0.0),
    "dma_pointer": (0.0, 0.0),
    "dma_port": (0.0, 0.0),
    "dma_turn": (0.0, 0.0),
    "dma_byte": (87.06, 0.0),
    "dma_choice": (0.0, 0.0),
    "compute": (1582.0, 0.0),
    "compute_walker": (0.0, 0.0),
    "compute_product": (0.0, 0.0),
    "compute_address": (0.0, 0.0),
    "index_bit": (1.359, 0.0),
    "sum_bit": (2.419, 0.0),
    "sum_choice": (0.0, 0.0),
    "sum_row": (0.0, 0.0),
    "sum_quotient": (0.0, 0.0),
    "vector": (7458.0, 0.0),
    "vector_word": (0.0, 0.0),
    "vector_lane": (0.0, 0.0),
    "activation_turn": (1.581, 0.0),
    "activation_half": (0.0, 0.0),
    "activation_write": (0.0, 0.0),
    "activation_row": (0.0, 0.0),
    "window_turn": (0.6131, 0.0),
    "window_row": (3.395, 0.0),
    "deep_choice": (1.058, 0.0),
}
FLIP_FLOP_COEFFICIENTS: dict[str, tuple[float, float]] = {
    "control": (840.0, 0.0),
    "dma": (2250.0, 0.0),
    "dma_pointer": (0.0, 0.0),
    "dma_port": (0.0, 0.0),
    "compute": (216.0, 0.0),
    "vector": (7266.0, 0.0),
    "vector_word": (0.0, 0.0),
    "vector_lane": (0.0, 0.0),
}
# fitted: end


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
