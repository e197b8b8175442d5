"""Generate a chain of stages, and a segment: the chains of all output channels that load weights side by side."""

from amaranth.hdl import Cat, Const, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gossamer.arch.target import Target
from gossamer.rtl.array.dot_cascade import DotCascade
from gossamer.rtl.array.dsp_cascade import DspCascade
from gossamer.rtl.array.dsp_slice import SLICES
from gossamer.rtl.array.multiplier import MultiplierStage
from gossamer.rtl.array.select_stage import SelectStage
from gossamer.rtl.array.shape import ArrayShape
from gossamer.rtl.array.stage import Stage
from gossamer.rtl.copies import Copies


class Chain(wiring.Component):
    """Add one product per stage: the partial sums run down the chain, one stage per cycle.

    What multiplies and adds is the target's: stages of plain arithmetic, stages around the ECP5's multiplier, or
    cascades of DSP48E2 or DSP58 that take two lanes each. Cascades of DSP58 can take several segments instead, which
    then are one chain that adds them too. Values and cycles are the same.

    Members
    -------
    words: one word per segment, stage and lane, [segment][stage][lane]; stage k's words come k cycles after stage 0's.
    weight, select: one weight per segment and cycle, on a bus that all stages see.
    load_weight, load_select: one bit per stage; stage k's bit comes k cycles after stage 0's.
    sums: one signed sum per lane.

    Protocol
    --------
    See `gossamer.rtl.array.stage.Stage`; a weight is on the bus in the cycle its stage's load bit is high.

    Latency and throughput
    ----------------------
    segment_stages + 3 cycles from the words of stage 0 to the sums; one row of every lane per cycle.
    """

    def __init__(self, shape: ArrayShape) -> None:
        self.shape = shape
        super().__init__(_chain_members(shape, chains=1))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if self.shape.dot_segments > 1:
            self._dot_products(m)
        elif self.shape.target in SLICES:
            self._cascades(m)
        else:
            self._stages(m)
        return m

    def _stages(self, m: Module) -> None:
        """Add stages that hand their sums on."""
        shape = self.shape
        bits = shape.lanes * shape.segment_sum_bits
        stage = MultiplierStage(shape) if shape.target is Target.ECP5 else Stage(shape)
        m.submodules.stages = stages = Copies(stage, shape.segment_stages, shared=("weight", "select"))
        m.d.comb += [
            stages.words.eq(self.words),
            stages.weight.eq(self.weight),
            stages.select.eq(self.select),
            stages.load_weight.eq(self.load_weight),
            stages.load_select.eq(self.load_select),
            stages.sums_in.eq(Cat(Const(0, bits), stages.sums_out)),
            self.sums.eq(stages.sums_out[-bits:]),
        ]

    def _cascades(self, m: Module) -> None:
        """Add the selection of every stage, and a cascade per pair of lanes; an odd lane has one of its own."""
        shape, stages = self.shape, self.shape.segment_stages
        pairs, odd = divmod(shape.lanes, 2)
        m.submodules.selects = selects = Copies(SelectStage(shape), stages, shared=("select",))
        m.d.comb += [
            selects.words.eq(self.words),
            selects.select.eq(self.select),
            selects.load_select.eq(self.load_select),
        ]

        def lane_bytes(lane: int) -> Cat:
            return Cat(selects.chosen.word_select(stage * shape.lanes + lane, 8) for stage in range(stages))

        shared, sums = ("weight", "load_weight"), []
        for name, count, lanes in (("cascades", pairs, 2), ("odd", odd, 1)):
            if not count:
                continue
            m.submodules[name] = cascade = Copies(DspCascade(shape, lanes), count, shared=shared)
            first = 0 if lanes == 2 else shape.lanes - 1
            m.d.comb += [
                cascade.weight.eq(self.weight),
                cascade.load_weight.eq(self.load_weight),
                cascade.low.eq(Cat(lane_bytes(first + 2 * pair) for pair in range(count))),
            ]
            if lanes == 2:
                m.d.comb += cascade.high.eq(Cat(lane_bytes(2 * pair + 1) for pair in range(count)))
            sums.append(cascade.sums)
        m.d.comb += self.sums.eq(Cat(sums))

    def _dot_products(self, m: Module) -> None:
        """Add the selection of every segment and stage, and a cascade per lane that takes all segments."""
        shape, stages, segments = self.shape, self.shape.segment_stages, self.shape.dot_segments
        m.submodules.selects = selects = Copies(SelectStage(shape), segments * stages)
        m.submodules.cascades = cascades = Copies(DotCascade(shape), shape.lanes, shared=("weight", "load_weight"))
        rows = [self.select.word_select(segment, shape.select_bits) for segment in range(segments)]
        m.d.comb += [
            selects.words.eq(self.words),
            selects.select.eq(Cat(row for row in rows for _ in range(stages))),
            selects.load_select.eq(Cat(self.load_select for _ in range(segments))),
            cascades.operands.eq(Cat(
                selects.chosen.word_select(at * shape.lanes + lane, 8)
                for lane in range(shape.lanes) for at in range(segments * stages)
            )),
            cascades.weight.eq(self.weight),
            cascades.load_weight.eq(self.load_weight),
            self.sums.eq(cascades.sums),
        ]  # fmt: skip


class Segment(wiring.Component):
    """The chains of all output channels: they share activations and load waves, each has weights of its own.

    Members
    -------
    As `Chain`; weight, select and sums are [chain][segment] and [chain][lane], chain 0 in the least significant bits.

    Protocol, Latency and throughput
    --------------------------------
    As `Chain`.
    """

    def __init__(self, shape: ArrayShape) -> None:
        self.shape = shape
        super().__init__(_chain_members(shape, chains=shape.chains))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shared = ("words", "load_weight", "load_select")
        m.submodules.chains = chains = Copies(Chain(self.shape), self.shape.chains, shared=shared)
        m.d.comb += [getattr(chains, name).eq(getattr(self, name)) for name in (*shared, "weight", "select")]
        m.d.comb += self.sums.eq(chains.sums)
        return m


def _chain_members(shape: ArrayShape, *, chains: int) -> dict[str, wiring.Member]:
    return {
        "words": In(shape.dot_segments * shape.segment_stages * shape.lanes * shape.word_bits),
        "weight": In(chains * shape.dot_segments * 8),
        "select": In(chains * shape.dot_segments * shape.select_bits),
        "load_weight": In(shape.segment_stages),
        "load_select": In(shape.segment_stages),
        "sums": Out(chains * shape.lanes * shape.segment_sum_bits),
    }
