"""Generate the sparse chain array: feeds of all lanes, segments of chains, adder tree."""

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gossamer.rtl.array.activation_feed import ActivationFeed
from gossamer.rtl.array.adder_tree import AdderTree, DspAdderTree, SumDelay
from gossamer.rtl.array.chain import Segment
from gossamer.rtl.array.dsp_slice import SLICES
from gossamer.rtl.array.shape import ArrayShape
from gossamer.rtl.array.weight_rows import INDEX_BITS, WeightRows
from gossamer.rtl.copies import Copies

LOAD_SELECT_CYCLES = 4
"""From a pass's first row request (see `SparseArray`) to the cycle that loads the selections of the first stages."""

WEIGHT_LAG_CYCLES = 2
"""Weight rows are requested, and loaded, so much later than the selections of the same stages: the product comes two
registers after the selection."""

SUM_CYCLES = 8
"""From a row request to the sums, beside the stages of a segment and the levels of the tree."""


class SparseArray(wiring.Component):
    """Multiply rows of activation words by held weights, the words' bytes selected by indices; add along the chains.

    A pass begins with `pass_start`. A wave then runs down the stages, one per cycle, and loads the pass's weights just
    in
    front of its first activations: there is no shadow register, and a pass may follow its predecessor as soon as that
    one's rows of weights have been requested.

    Members
    -------
    activations: what the buffer answers, [lane][word]. weight_data, index_data: see `WeightRows`.
    pass_start: high with the first row request of a pass. words: words of the pass's fold, of which later words are
    masked. index_bits, select_base: see `WeightRows`.
    sums: [lane][chain], signed, of `sum_bits`.

    Protocol
    --------
    Cycle t requests a row of activations, and with it `words`; index rows are requested in the cycles t, t + 1, ...
    from pass_start on, weight rows two cycles later. Data come 3 cycles after each request. index_bits and select_base
    are those of the index request.

    Latency and throughput
    ----------------------
    Sums come segment_stages + adder levels + 8 cycles after their row's request; one row per cycle, which is
    chains x chain_length x lanes multiply-accumulates.
    """

    def __init__(self, shape: ArrayShape) -> None:
        self.shape = shape
        rows = shape.weight_rows_per_cycle * shape.chains
        self.words_bits = shape.chain_length.bit_length()
        super().__init__(
            {
                "activations": In(shape.lanes * shape.chain_length * shape.word_bits),
                "weight_data": In(8 * rows),
                "index_data": In(shape.select_bits * rows),
                "pass_start": In(1),
                "words": In(self.words_bits),
                "index_bits": In(INDEX_BITS),
                "select_base": In(shape.select_bits),
                "sums": Out(shape.lanes * shape.chains * shape.sum_bits),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shape = self.shape
        m.submodules.feed = feed = Copies(ActivationFeed(shape), shape.lanes, shared=("mask",))
        m.submodules.rows = rows = Copies(WeightRows(shape))
        shared = ("load_weight", "load_select")
        m.submodules.segments = segments = Copies(Segment(shape), shape.segment_groups, shared=shared)
        totals = segments.sums
        if shape.segment_groups > 1:
            tree = Copies((DspAdderTree if shape.target in SLICES else AdderTree)(shape))
            m.submodules.tree = tree
            m.d.comb += tree.sums.eq(segments.sums)
            totals = tree.totals
        if shape.delay_levels:
            m.submodules.delay = delay = Copies(SumDelay(shape), shape.chains * shape.lanes)
            m.d.comb += delay.number.eq(totals)
            totals = delay.delayed

        words_before = Signal(2 * self.words_bits, reset_less=True)
        mask = Signal(shape.chain_length, reset_less=True)
        base_before = Signal(3 * shape.select_bits, reset_less=True)
        wave = Signal(LOAD_SELECT_CYCLES + WEIGHT_LAG_CYCLES + shape.segment_stages - 1)
        first = LOAD_SELECT_CYCLES - 1
        m.d.sync += [
            words_before.eq(Cat(self.words, words_before)),
            mask.eq(~(Const(-1, shape.chain_length) << words_before[-self.words_bits :])),  # no adder
            base_before.eq(Cat(self.select_base, base_before)),
            wave.eq(Cat(self.pass_start, wave)),
        ]
        m.d.comb += [
            feed.words.eq(self.activations),
            feed.mask.eq(mask),
            rows.weight_data.eq(self.weight_data),
            rows.index_data.eq(self.index_data),
            rows.index_bits.eq(self.index_bits),
            rows.select_base.eq(base_before[-shape.select_bits :]),
            segments.words.eq(self._segment_words(feed)),
            segments.weight.eq(self._by_group(rows.weights, 8)),
            segments.select.eq(self._by_group(rows.selects, shape.select_bits)),
            segments.load_select.eq(wave[first:]),
            segments.load_weight.eq(wave[first + WEIGHT_LAG_CYCLES :]),
        ]
        numbers = [totals.word_select(at, shape.sum_bits) for at in range(shape.chains * shape.lanes)]
        m.d.comb += self.sums.eq(Cat(Cat(numbers[lane :: shape.lanes]) for lane in range(shape.lanes)))
        return m

    def _segment_words(self, feed: Copies) -> Cat:
        """Return all lanes' words, [lane][word], in the order [segment][stage][lane]; absent segments are above."""
        shape = self.shape
        order = [
            lane * shape.chain_length + stage * shape.weight_rows_per_cycle + segment
            for segment in range(shape.weight_rows_per_cycle)
            for stage in range(shape.segment_stages)
            for lane in range(shape.lanes)
        ]
        return Cat(feed.skewed.word_select(at, shape.word_bits) for at in order)

    def _by_group(self, rows: Value, bits: int) -> Value:
        """Return rows of weights or selections, [segment][chain], in the order [group][chain][segment of the group]."""
        shape = self.shape
        if shape.dot_segments == 1:
            return rows
        order = [
            (group * shape.dot_segments + segment) * shape.chains + chain
            for group in range(shape.segment_groups)
            for chain in range(shape.chains)
            for segment in range(shape.dot_segments)
        ]
        return Cat(rows.word_select(at, bits) if at < len(rows) // bits else Const(0, bits) for at in order)
