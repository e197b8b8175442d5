"""Generate the way of one lane's activations into the array: mask what is beyond the fold, delay stage by stage."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gossamer.rtl.array.shape import ArrayShape
from gossamer.rtl.copies import Copies


class MaskedWord(wiring.Component):
    """Register a word, or zero.

    Members
    -------
    word: any bits. kept: take them; else take 0. masked: what was taken.

    Latency and throughput
    ----------------------
    1 cycle; one word per cycle.

    Resources
    ---------
    No LUT: `kept` is the register's synchronous reset.
    """

    def __init__(self, shape: ArrayShape) -> None:
        self.bits = shape.word_bits
        super().__init__({"word": In(self.bits), "kept": In(1), "masked": Out(self.bits)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        masked = Signal(self.bits, reset_less=True)
        m.d.sync += masked.eq(self.word)
        with m.If(~self.kept):
            m.d.sync += masked.eq(0)
        m.d.comb += self.masked.eq(masked)
        return m


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
        m.submodules.words = words = Copies(MaskedWord(shape), shape.chain_length)
        m.d.comb += [words.word.eq(self.words), words.kept.eq(self.mask)]
        # Delay k holds what stages k and later still need: a triangle, kept in one register.
        sizes = [bits - stage * step for stage in range(shape.segment_stages)]
        # The reset keeps the delays in flip-flops: as shift registers they would take a LUT per bit.
        held = Signal(sum(sizes))
        starts = [sum(sizes[:stage]) for stage in range(shape.segment_stages)]
        delays = [held[start : start + size] for start, size in zip(starts, sizes, strict=True)]
        m.d.sync += held.eq(Cat(words.masked, *(delay[step:] for delay in delays[:-1])))
        m.d.comb += self.skewed.eq(Cat(delay[:step] for delay in delays))
        return m
