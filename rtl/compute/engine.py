"""Generate the COMPUTE engine: sequencer, array, accumulator, and the markers that accompany rows through the array."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gossamer.arch.registers import ErrorCause
from gossamer.rtl.accumulator import CHANNEL_BITS, ENTRY_BITS, SUM_BITS, Accumulator
from gossamer.rtl.array.array import SUM_CYCLES, SparseArray
from gossamer.rtl.array.shape import ArrayShape
from gossamer.rtl.compute.fields import ADDRESS_BITS
from gossamer.rtl.compute.sequencer import Sequencer
from gossamer.rtl.copies import Copies
from gossamer.rtl.engine import EngineControl

SUM_LAG_CYCLES = 3
"""The accumulator is told of a row so much before its sums."""


class ComputeEngine(wiring.Component):
    """Execute COMPUTE instructions, as `gossamer.arch.isa` defines them; hold the sums until VECTOR reads them.

    Members
    -------
    control: see `gossamer.rtl.engine.EngineControl`. FIELD fault: a count is zero, or index_bits or chains_active
    exceed the array.
    act_valid, act_address: request of one row of chain_length words per lane, [lane]; act_data: [lane][word].
    weight_valid, weight_address: request of weight_rows_per_cycle rows; weight_data: [row][chain].
    index_valid, index_address: request of as many rows of indices; index_data: bits from that byte on.
    acc_valid, acc_entry, acc_channel, acc_data, acc_conflict: see `gossamer.rtl.accumulator.Accumulator`.

    Protocol
    --------
    A valid address in cycle t is answered by data in cycle t + 3; nothing stalls. `act_address` of a lane without a
    position, and words beyond the fold, are read but do not matter.

    Latency and throughput
    ----------------------
    An instruction takes `gossamer.arch.timing.compute_cycles` exactly: the passes, of max(ceil(positions / lanes),
    ceil(words / weight_rows_per_cycle), ACCUMULATE_CYCLES) cycles each, the last ceil(positions / lanes), and

        chain_length / weight_rows_per_cycle + ceil(log2(weight_rows_per_cycle)) + COMPUTE_PIPELINE_CYCLES.

    Within a pass of a full fold that is chains x chain_length x lanes multiply-accumulates per cycle.
    """

    def __init__(self, shape: ArrayShape) -> None:
        self.shape = shape
        rows = shape.weight_rows_per_cycle * shape.chains
        super().__init__(
            {
                "control": Out(EngineControl()),
                "act_valid": Out(1), "act_address": Out(shape.lanes * ADDRESS_BITS),
                "act_data": In(shape.lanes * shape.chain_length * shape.word_bits),
                "weight_valid": Out(1), "weight_address": Out(ADDRESS_BITS), "weight_data": In(8 * rows),
                "index_valid": Out(1), "index_address": Out(ADDRESS_BITS), "index_data": In(shape.select_bits * rows),
                "acc_valid": In(1), "acc_entry": In(ENTRY_BITS), "acc_channel": In(CHANNEL_BITS),
                "acc_data": Out(SUM_BITS * shape.vector_lanes), "acc_conflict": Out(1),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shape = self.shape
        m.submodules.sequencer = sequencer = Copies(Sequencer(shape))
        m.submodules.array = array = Copies(SparseArray(shape))
        m.submodules.accumulator = accumulator = Copies(Accumulator(shape))

        row = Cat(sequencer.last, sequencer.clear, sequencer.first, sequencer.lanes)
        delay = SUM_CYCLES - SUM_LAG_CYCLES + shape.segment_stages + shape.adder_levels
        markers = Signal(delay * len(row))
        m.d.sync += markers.eq(Cat(row, markers))
        done, clear, first = markers[-len(row) : -shape.lanes]
        m.d.comb += [
            sequencer.start.eq(self.control.start),
            sequencer.instruction.eq(self.control.instruction),
            sequencer.done.eq(done),
            self.control.done.eq(done),
            self.control.fault.eq(sequencer.fault),
            self.control.cause.eq(ErrorCause.FIELD),
            array.activations.eq(self.act_data),
            array.weight_data.eq(self.weight_data),
            array.index_data.eq(self.index_data),
            accumulator.first_entry.eq(sequencer.first_entry),
            accumulator.prepare.eq(sequencer.prepare),
            accumulator.working.eq(sequencer.working),
            accumulator.lanes.eq(markers[-shape.lanes :]),
            accumulator.first.eq(first),
            accumulator.clear.eq(clear),
            accumulator.sums.eq(array.sums),
        ]
        m.d.comb += [getattr(array, name).eq(getattr(sequencer, name)) for name in _TO_ARRAY]
        m.d.comb += [getattr(self, name).eq(getattr(sequencer, name)) for name in _REQUESTS]
        m.d.comb += [getattr(accumulator, name).eq(getattr(self, name)) for name in _FROM_VECTOR]
        m.d.comb += [getattr(self, name).eq(getattr(accumulator, name)) for name in ("acc_data", "acc_conflict")]
        return m


_TO_ARRAY = ("pass_start", "words", "index_bits", "select_base")
_REQUESTS = ("act_valid", "act_address", "index_valid", "index_address", "weight_valid", "weight_address")
_FROM_VECTOR = ("acc_valid", "acc_entry", "acc_channel")
