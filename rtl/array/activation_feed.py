"""Generate the way of one lane's activations into the array: mask what is beyond the fold, delay stage by stage."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gossamer.rtl.array.shape import ArrayShape
from gossamer.rtl.copies import Copies
from gossamer.rtl.leaf import Leaf

_DELAYS = """\
module activation_delays(
  input clk,
  input rst,
  input [{words}:0] words,
  output [{words}:0] skewed
);
  // Stage n holds what stages n and later still need, {step} bits less than the stage before.
  genvar n;
  generate
    for (n = 0; n < {stages}; n = n + 1) begin : stage
      reg [{words} - n*{step}:0] held;
      if (n == 0) begin : first
        always @(posedge clk) if (rst) held <= 0; else held <= words;
      end else begin : later
        always @(posedge clk) if (rst) held <= 0; else held <= stage[n - 1].held[{words} - (n-1)*{step}:{step}];
      end
      assign skewed[n*{step} +: {step}] = held[{step_last}:0];
    end
  endgenerate
endmodule
"""


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


class ActivationDelays(Leaf):
    """Delay the words of stage k by k + 1 cycles: a triangle of registers, one register for each stage.

    Members
    -------
    words, skewed: chain_length words, `weight_rows_per_cycle` of each stage.

    Latency and throughput
    ----------------------
    1 cycle to stage 0, segment_stages to the last stage; one row per cycle.

    Resources
    ---------
    One flip-flop per bit and cycle of delay. The reset keeps them flip-flops: shift registers would take a LUT per bit.
    """

    has_reset = True

    def __init__(self, shape: ArrayShape) -> None:
        self.shape = shape
        bits = shape.chain_length * shape.word_bits
        super().__init__({"words": In(bits), "skewed": Out(bits)})

    def verilog(self) -> str:
        """Return the Verilog module."""
        shape = self.shape
        step = shape.weight_rows_per_cycle * shape.word_bits
        return _DELAYS.format(
            words=shape.chain_length * shape.word_bits - 1, stages=shape.segment_stages, step=step, step_last=step - 1
        )


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
        m.submodules.words = words = Copies(MaskedWord(shape), shape.chain_length)
        m.submodules.delays = delays = Copies(ActivationDelays(shape))
        m.d.comb += [
            words.word.eq(self.words),
            words.kept.eq(self.mask),
            delays.words.eq(words.masked),
            self.skewed.eq(delays.skewed),
        ]
        return m
