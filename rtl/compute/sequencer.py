"""Generate the sequencer of COMPUTE: take an instruction, walk over passes, positions and rows, make every request."""

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from gossamer.arch.isa import INSTRUCTION_BYTES, Opcode
from gossamer.arch.timing import ACCUMULATE_CYCLES
from gossamer.rtl.array.array import WEIGHT_LAG_CYCLES
from gossamer.rtl.array.shape import ArrayShape
from gossamer.rtl.compute.fields import ADDRESS_BITS, COUNTS, FIELD_BITS
from gossamer.rtl.compute.passes import INPUTS, PassWalk, RowWalk
from gossamer.rtl.compute.positions import SETUP_CYCLES, PositionWalk
from gossamer.rtl.copies import Copies
from gossamer.rtl.engine import instruction_fields


class Sequencer(wiring.Component):
    """Make the requests of one instruction: a row of activations per step, rows of indices and weights per pass.

    Members
    -------
    start, instruction, fault: see `gossamer.rtl.engine.EngineControl`. done: the instruction has ended.
    working: high from the cycle after `prepare` to the last busy cycle.
    act_valid, act_address, index_valid, index_address, weight_valid, weight_address: requests to the buffers.
    pass_start, words, select_base, index_bits: to the array, with the request of a pass's first row.
    prepare, first_entry: to the accumulator. lanes, first, clear, last: what the requested row is: which lanes have a
    position, whether it begins a pass, whether its sums start from zero, whether it is the instruction's last.

    Protocol
    --------
    A pass ends when its positions and its rows of weights have been requested, and not before ACCUMULATE_CYCLES.

    Latency and throughput
    ----------------------
    The first request is in the sixth cycle after `start`, then one row per cycle. Weights are requested two cycles
    after the indices they belong to.
    """

    def __init__(self, shape: ArrayShape) -> None:
        self.shape = shape
        super().__init__(
            {
                "start": In(1), "instruction": In(8 * INSTRUCTION_BYTES), "fault": Out(1), "done": In(1),
                "working": Out(1), "act_valid": Out(1), "act_address": Out(shape.lanes * ADDRESS_BITS),
                "index_valid": Out(1), "index_address": Out(ADDRESS_BITS), "weight_valid": Out(1),
                "weight_address": Out(ADDRESS_BITS), "pass_start": Out(1),
                "words": Out(shape.chain_length.bit_length()), "select_base": Out(shape.select_bits),
                "index_bits": Out(FIELD_BITS["index_bits"]), "prepare": Out(1), "first_entry": Out(FIELD_BITS["acc"]),
                "lanes": Out(shape.lanes), "first": Out(1), "clear": Out(1), "last": Out(1),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.passes = passes = Copies(PassWalk(self.shape))
        m.submodules.positions = positions = Copies(PositionWalk(self.shape.lanes))
        m.submodules.rows = rows = Copies(RowWalk(self.shape))
        fields, wide = self._fields(m)
        running = Signal()
        pass_first = Signal()
        pass_end = Signal()
        decoded, prepare = self._setup(m, fields)
        steps_done = Signal()
        issue = Signal()
        more = positions.more
        age = Signal(ACCUMULATE_CYCLES - 1)  # 0 unless running
        m.d.comb += [
            issue.eq(running & ~steps_done),
            pass_end.eq(age[-1] & (steps_done | ~more) & rows.last),
        ]
        m.d.sync += [age.eq(Cat(running, age)), pass_first.eq(prepare | (pass_end & ~passes.last))]
        with m.If(prepare | pass_end):
            m.d.sync += [steps_done.eq(0), age.eq(0)]
        with m.Elif(issue & ~more):
            m.d.sync += steps_done.eq(1)
        with m.If(prepare):
            m.d.sync += running.eq(1)
        with m.Elif(pass_end & passes.last):
            m.d.sync += running.eq(0)

        m.d.comb += [getattr(passes, name).eq(fields[name]) for name in INPUTS]
        m.d.comb += [getattr(positions, name).eq(fields[name]) for name in ("ny", "nx", "a_y", "a_x")]
        m.d.comb += [
            positions.wide.eq(wide),
            passes.prepare.eq(decoded),
            passes.advance.eq(pass_end),
            positions.base.eq(passes.base),
            positions.restart.eq(prepare | pass_end),
            positions.advance.eq(issue),
            rows.running.eq(running),
            rows.pass_first.eq(pass_first),
            rows.words.eq(passes.words),
            rows.weight_row.eq(passes.weight_row),
            rows.index_row.eq(passes.index_row),
            rows.index_bits.eq(fields["index_bits"]),
        ]
        # What goes out with the address of a row, which takes a cycle more than the decisions above.
        decided = Cat(
            issue, pass_first, issue & pass_first, passes.clear_sums, issue & ~more & passes.last,
            positions.present & issue.replicate(self.shape.lanes), passes.words, passes.select_base,
        )  # fmt: skip
        row = Signal(len(decided))
        m.d.sync += row.eq(decided)
        m.d.comb += Cat(
            self.act_valid, self.pass_start, self.first, self.clear, self.last, self.lanes, self.words, self.select_base
        ).eq(row)  # fmt: skip
        m.d.comb += [
            self.act_address.eq(positions.addresses),
            self.index_bits.eq(fields["index_bits"]),
            self.first_entry.eq(fields["acc"]),
            self.prepare.eq(prepare),
        ]
        self._row_requests(m, rows, fields["index_bits"])
        return m

    def _fields(self, m: Module) -> tuple[dict[str, Value], Value]:
        """Return the fields of the instruction, held from the cycle after `start` on, and `wide` of `PositionWalk`.

        Until it is started there is none to hold, so that its start need not reach every bit.
        """
        held = Signal(8 * INSTRUCTION_BYTES + 1, reset_less=True)
        nx = instruction_fields(Opcode.COMPUTE, self.instruction)["nx"]
        busy = Signal()
        m.d.sync += busy.eq((busy | self.start) & ~self.done)
        with m.If(~busy):
            m.d.sync += held.eq(Cat(self.instruction, nx[self.shape.lanes.bit_length() :].any()))
        return instruction_fields(Opcode.COMPUTE, held[:-1]), held[-1]

    def _setup(self, m: Module, fields: dict[str, Value]) -> tuple[Value, Signal]:
        """Check the fields while the positions are set up; return pulses that go to the first pass and begin it.

        The first comes in the first cycle after `start`, the other `SETUP_CYCLES` later; it is absent after a fault.
        """
        started = Signal(SETUP_CYCLES)
        prepare = Signal()
        reasons = _reasons_against(fields, self.shape)
        found = Signal(len(reasons), reset_less=True)
        bad = Signal(reset_less=True)
        m.d.sync += [
            started.eq(Cat(self.start, started)), found.eq(reasons), bad.eq(found.any()),
            prepare.eq(started[-1] & ~bad), self.fault.eq(started[-1] & bad),
        ]  # fmt: skip
        with m.If(prepare):
            m.d.sync += self.working.eq(1)
        with m.Elif(self.done):
            m.d.sync += self.working.eq(0)
        return started[0], prepare

    def _row_requests(self, m: Module, rows: Copies, index_bits: Value) -> None:
        """Request index rows at once, weight rows WEIGHT_LAG_CYCLES later."""
        valid = Signal(1 + WEIGHT_LAG_CYCLES)
        addresses = Signal(WEIGHT_LAG_CYCLES * ADDRESS_BITS, reset_less=True)
        m.d.sync += [valid.eq(Cat(rows.valid, valid)), addresses.eq(Cat(rows.weight_address, addresses))]
        m.d.comb += [
            self.index_valid.eq(valid[0] & (index_bits != 0)),
            self.index_address.eq(rows.index_address),
            self.weight_valid.eq(valid[-1]),
            self.weight_address.eq(addresses[-ADDRESS_BITS:]),
        ]


def _reasons_against(fields: dict[str, Value], shape: ArrayShape) -> Value:
    """Return a bit for each count that is zero, and for a pattern and a number of chains that are not the array's."""
    sparse = fields["index_bits"] != 0
    return Cat(
        *(fields[name] == 0 for name in COUNTS),
        sparse & (fields["slots"] == 0),
        fields["index_bits"] > shape.select_bits,
        fields["chains_active"] > shape.chains,
    )
