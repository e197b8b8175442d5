"""State the closed forms of every engine's cycles once; RTL, timing simulator and analytic model all meet them.

Ours, checked by tests/: the RTL counters and the simulator against these forms, these forms against brute-force loops.
"""

from math import gcd

from gossamer.arch.isa import REQUANTIZING, Opcode

COMPUTE_PIPELINE_CYCLES = 11
"""Cycles of a COMPUTE beside its passes, the stages of a segment and the adder tree: 6 from the start to the first
request (decode, position tables, products, sums, first positions, address), 3 of buffer read, mask and feed register,
then the registers of a DSP slice. The last 3 of the way to the accumulator count to the next instruction: nothing
sees them.
"""

ACCUMULATE_CYCLES = 3
"""Shortest pass: from the read of an accumulator entry to the first read that sees what was added."""

VECTOR_SETUP_CYCLES = 4
"""From the start of a VECTOR instruction to its first read."""

VECTOR_PIPELINE_CYCLES = 21
"""From the read of a VECTOR operand to its result's write: address, buffer 3, multiply 9, sum, shift 5, table 2."""

VECTOR_SUM_CYCLES = 10
"""How much longer a REQUANTIZE_ADD takes from a read of sums to the write: centre, multiply 3, sum, shift 5."""

VECTOR_FILL_CYCLES = VECTOR_SETUP_CYCLES + VECTOR_PIPELINE_CYCLES
"""Of every VECTOR instruction."""

ROW_PIPELINE_CYCLES = 15
"""How much longer SOFTMAX, LAYER_NORM and LRN take from an element's read to the write of its word."""

LAYER_NORM_GAP_CYCLES = 87
"""Between the two passes of a LAYER_NORM over a row: variance, 31 bits of its root, 49 of the root's reciprocal."""

VECTOR_TABLE_LEAD_CYCLES = 2
"""Reads of a byte table before the first operand's; the others come while operands are on their way to the table."""

AXI_BOUNDARY_BYTES = 4096
"""No AXI burst crosses this boundary (AMBA AXI4, A3.4.1)."""

ROW_BYTES_LIMIT = 256
"""Most bytes LOAD or STORE moves on chip in a cycle: the width of the byte rotations that put them in their place."""

GATHER_CYCLES = 1
"""From the cycle after a read burst's last beat to its first piece, if there are several ports: a register."""

LOAD_SETUP_CYCLES = 10
"""From the start of a LOAD to its first read request: two products, joins, first run, its bursts, first burst, and a
register in front of the port."""

LOAD_MOVE_CYCLES = 1
"""From the first read request of a LOAD to the first cycle in which it can write padding or take a beat."""

LOAD_WRITE_CYCLES = 4
"""From the cycle in which LOAD makes its last piece to the one in which a buffer has written it: two registers between
them, the buffer's decision, and its answer."""

STORE_SETUP_CYCLES = 17
"""From the start of a STORE to its first write beat: the same, a read of the activation buffer, and a turn."""

FETCH_REQUEST_CYCLES = 2
"""From a request of FETCH that is taken to its next: what that is is worked out in a cycle of its own."""

FETCH_ROOM_CYCLES = 3
"""From the dispatch of an instruction to a request of FETCH that takes the room it leaves."""

DISPATCH_CYCLES = 2
"""From the cycle after the last beat of a burst of FETCH to the dispatch of its first instruction: a register behind
the buffer, and one behind the decoder. Those that follow are dispatched one per cycle."""

START_CYCLES = 2
"""From the dispatch of an instruction to its start: its queue, and a register in front of the engine."""

COMPLETION_CYCLES = 1
"""From the cycle after an instruction's last to the start of what waits for it, the next of its engine or one that
waits for its tokens: a register behind `done`. No engine is busy in between."""

END_CYCLES = 1
"""From the cycle in which END could be dispatched and nothing is left to do, to its dispatch."""

BARRIER_CYCLES = 9
"""From the cycle after that of the last core's BARRIER to the first request of FETCH in every core: two cycles in which
its error may come, a register before and one behind the wire between the cores, and the reset before a start."""

FETCH_BUFFER_BYTES = 2048
"""Instructions FETCH holds or has requested ahead of dispatch."""

FETCH_BURST_BYTES = 1024
"""Longest burst of FETCH, so that one can be on its way while the other is dispatched."""


def ceil_div(numerator: int, denominator: int) -> int:
    """Return ceil(numerator / denominator) of non-negative integers."""
    return -(-numerator // denominator)


def weight_load_cycles(stages: int, weight_rows_per_cycle: int) -> int:
    """Return the cycles that bring one weight per chain to `stages` stages, and the least a pass takes."""
    return max(ACCUMULATE_CYCLES, ceil_div(stages, weight_rows_per_cycle))


def adder_levels(segments: int) -> int:
    """Return the registered levels of the tree that adds the segments of a chain."""
    return (segments - 1).bit_length()


def burst_bytes(*, data_bits: int, burst_beats: int, interleave_bytes: int) -> int:
    """Return the power of two whose multiples no burst crosses: within burst_beats, 4 KiB and one channel's stripe."""
    limit = min(burst_beats * data_bits // 8, AXI_BOUNDARY_BYTES, interleave_bytes)
    return 1 << (limit.bit_length() - 1)


def load_cycles(
    *, bursts: int, burst_beats: int, latency_cycles: int, max_outstanding: int, fill_beats: int = 0
) -> int:
    """Return cycles of a LOAD of equal bursts through one port, alone on a memory of fixed latency.

    The memory answers a request `latency_cycles` later and then gives a beat per cycle. Requests leave one per cycle
    while fewer than `max_outstanding` bursts are on their way; padding is written before the first data beat, while
    the requests are. Exact if the padding is written by then or the window never closes (bursts <= max_outstanding).
    """
    filled = LOAD_MOVE_CYCLES + fill_beats
    if bursts == 0:
        return LOAD_SETUP_CYCLES + filled + LOAD_WRITE_CYCLES
    rounds, rest = divmod(bursts - 1, max_outstanding)
    round_cycles = max(max_outstanding * burst_beats, latency_cycles + burst_beats)
    moved = max(latency_cycles, filled) + rounds * round_cycles + (rest + 1) * burst_beats
    return LOAD_SETUP_CYCLES + moved + LOAD_WRITE_CYCLES


def store_cycles(*, bursts: int, burst_beats: int, latency_cycles: int, max_outstanding: int) -> int:
    """Return cycles of a STORE of equal bursts through one port, alone on a memory of fixed latency.

    A burst is acknowledged `latency_cycles` after its last beat; the STORE completes with the last acknowledgement.
    """
    if bursts == 0:
        return STORE_SETUP_CYCLES
    rounds, rest = divmod(bursts - 1, max_outstanding)
    round_cycles = max(max_outstanding * burst_beats, latency_cycles + burst_beats)
    return STORE_SETUP_CYCLES + rounds * round_cycles + (rest + 1) * burst_beats + latency_cycles


def compute_cycles(
    *,
    positions: int,
    runs: int,
    run_words: int,
    steps: int,
    chain_length: int,
    lanes: int,
    weight_rows_per_cycle: int,
) -> int:
    """Return busy cycles of one COMPUTE.

    A run of `run_words` words is covered by folds of at most `chain_length` words; each fold takes `steps` passes over
    ceil(positions / lanes) cycles. The weights of a pass run down the stages just in front of its first activations, so
    a pass starts as soon as the rows of its predecessor have been read, and when that one has presented all positions;
    the last pass has no successor. The chain, cut into segments of chain_length / weight_rows_per_cycle stages, the
    tree that adds the segments, and the pipeline are the fill. For one fold of a full chain with ceil(positions /
    lanes) >=
    weight load: steps * ceil(positions / lanes) + fill (DESIGN section 4).
    """
    pass_cycles = ceil_div(positions, lanes)
    full_folds, ragged_words = divmod(run_words, chain_length)
    full_pass = max(pass_cycles, weight_load_cycles(chain_length, weight_rows_per_cycle))
    ragged_pass = max(pass_cycles, weight_load_cycles(ragged_words, weight_rows_per_cycle))
    passes = runs * steps * full_folds * full_pass
    if ragged_words:
        passes += runs * steps * ragged_pass
    last_wait = (ragged_pass if ragged_words else full_pass) - pass_cycles
    return passes - last_wait + compute_fill_cycles(chain_length, weight_rows_per_cycle)


def compute_fill_cycles(chain_length: int, weight_rows_per_cycle: int) -> int:
    """Return the part of `compute_cycles` that is fill: a segment's stages, the adder tree and the pipeline."""
    segment_stages = chain_length // weight_rows_per_cycle
    return segment_stages + adder_levels(weight_rows_per_cycle) + COMPUTE_PIPELINE_CYCLES


def parameter_read_bytes(vector_lanes: int) -> int:
    """Return the bytes per read of the parameter buffer: a power of two, at least 16 and at least the lanes."""
    return 1 << (max(16, vector_lanes) - 1).bit_length()


def requantize_entries(vector_lanes: int) -> int:
    """Return the entries of 12 bytes that three reads bring: as many as fill them, if that divides the lanes."""
    return gcd(vector_lanes, parameter_read_bytes(vector_lanes) // 4)


def parameter_cycles(opcode: Opcode, *, nc: int, group_size: int, vector_lanes: int) -> int:
    """Return the cycles a VECTOR instruction reads its parameter block before its first operand.

    Header 2; entries to requantize with in groups of three reads; of a byte table the part that operands do not hide.
    """
    if opcode in (Opcode.MAXIMUM, Opcode.COPY):
        return 0
    cycles = 2
    if opcode in REQUANTIZING:
        cycles += 3 * ceil_div(nc * group_size, requantize_entries(vector_lanes))
    if opcode in (*REQUANTIZING, Opcode.TABLE):
        cycles += VECTOR_TABLE_LEAD_CYCLES
    return cycles


def vector_cycles(
    opcode: Opcode, *, ny: int, nx: int, nc: int, kh: int, kw: int, group_size: int, vector_lanes: int,
    window: int = 1,
) -> int:  # fmt: skip
    """Return busy cycles of one VECTOR instruction; `window` is the channel window of an LRN.

    VECTOR reads once per cycle, of the activation buffer or, to requantize, of the accumulator: a beat takes a cycle
    per tap, or one for each of the two sources of ADD and MULTIPLY; REQUANTIZE_ADD reads both buffers at once. SOFTMAX,
    LAYER_NORM and LRN take one element per cycle: SOFTMAX in three passes over each row, LAYER_NORM in two with a gap;
    the results of LRN lag by half a window.
    """
    row = nc * group_size
    rows = {
        Opcode.SOFTMAX: 3 * row, Opcode.LAYER_NORM: 2 * row + LAYER_NORM_GAP_CYCLES, Opcode.LRN: row + window // 2
    }  # fmt: skip
    beats = ny * nx * ceil_div(nc * group_size, vector_lanes)
    fill = parameter_cycles(opcode, nc=nc, group_size=group_size, vector_lanes=vector_lanes) + VECTOR_FILL_CYCLES
    if opcode is Opcode.REQUANTIZE_ADD:
        fill += VECTOR_SUM_CYCLES
    if opcode in rows:
        return fill + ROW_PIPELINE_CYCLES + ny * nx * rows[opcode]
    return fill + beats * (2 if opcode in (Opcode.ADD, Opcode.MULTIPLY) else kh * kw)
