"""Generate the way of one lane's activations into the array: mask what is beyond the fold, delay stage by stage."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gossamer.rtl.array.shape import ArrayShape


class ActivationFeed(wiring.Component):
    """Mask one lane's words beyond the fold and delay them as the partial sums of the segments need them.

    Word j goes to stage j // R of segment j mod R, R = weight_rows_per_cycle. Words beyond a ragged fold become zero,
    so that the weights their stages hold do not matter.

    Members
    -------
    words: chain_length words, word 0 in the least significant bits. mask: bit j is high if word j is in the fold.
    skewed: the same order; the words of stage k come k cycles after those of stage 0.

    Protocol
    --------
    `mask` comes with `words`; every cycle is a row.

    Latency and throughput
    ----------------------
    2 cycles to stage 0, segment_stages + 1 to the last stage; one row per cycle.

    Resources
    ---------
    No LUT; one flip-flop per bit and cycle of delay.
    """

    def __init__(self, shape: ArrayShape) -> None:
        self.shape = shape
        bits = shape.chain_length * shape.word_bits
        super().__init__({"words": In(bits), "mask": In(shape.chain_length), "skewed": Out(bits)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shape = self.shape
        step = shape.weight_rows_per_cycle * shape.word_bits
        bits = shape.chain_length * shape.word_bits
        masked = Signal(bits, reset_less=True)
        # A word beyond the fold clears its register: that is the register's synchronous reset and takes no LUT.
        m.d.sync += masked.eq(self.words)
        for at, inside in enumerate(self.mask):
            with m.If(~inside):
                m.d.sync += masked.word_select(at, shape.word_bits).eq(0)
        # Delay k holds what stages k and later still need: a triangle, kept in one register.
        sizes = [bits - stage * step for stage in range(shape.segment_stages)]
        # The reset keeps the delays in flip-flops: as shift registers they would take a LUT per bit.
        held = Signal(sum(sizes))
        starts = [sum(sizes[:stage]) for stage in range(shape.segment_stages)]
        delays = [held[start : start + size] for start, size in zip(starts, sizes, strict=True)]
        m.d.sync += held.eq(Cat(masked, *(delay[step:] for delay in delays[:-1])))
        m.d.comb += self.skewed.eq(Cat(delay[:step] for delay in delays))
        return m
