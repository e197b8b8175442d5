"""State the closed forms of every engine's cycles once; RTL, timing simulator and analytic model all meet them.

Ours, checked by tests/: the RTL counters and the simulator against these forms, these forms against brute-force loops.
"""

from gossamer.arch.isa import Opcode

COMPUTE_PIPELINE_CYCLES = 8
"""Registers from a weight swap to its first sum at the chain's head: read, rotate, select, A/D, AD, M, P, add."""

VECTOR_PIPELINE_CYCLES = 12
"""Registers from a VECTOR operand read to its result's write."""

DIVIDE_CYCLES = 40
"""Cycles per position of the serial divider and square root of SOFTMAX and LAYER_NORM, hidden by nothing."""

AXI_BOUNDARY_BYTES = 4096
"""No AXI burst crosses this boundary (AMBA AXI4, A3.4.1)."""

LOAD_SETUP_CYCLES = 6
"""From the start of a LOAD to its first read request: two products, joins, first run, first burst."""

STORE_SETUP_CYCLES = 11
"""From the start of a STORE to its first write beat: the same, and a read of the activation buffer."""

FETCH_BUFFER_BYTES = 2048
"""Instructions FETCH holds or has requested ahead of dispatch."""

FETCH_BURST_BYTES = 1024
"""Longest burst of FETCH, so that one can be on its way while the other is dispatched."""


def ceil_div(numerator: int, denominator: int) -> int:
    """Return ceil(numerator / denominator) of non-negative integers."""
    return -(-numerator // denominator)


def weight_load_cycles(stages: int, weight_rows_per_cycle: int) -> int:
    """Return the cycles to bring one weight per chain into the shadow registers of `stages` stages."""
    return ceil_div(stages, weight_rows_per_cycle)


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
    the requests are. Exact if fill_beats <= latency_cycles or the window never closes (bursts <= max_outstanding).
    """
    if bursts == 0:
        return LOAD_SETUP_CYCLES + fill_beats
    rounds, rest = divmod(bursts - 1, max_outstanding)
    round_cycles = max(max_outstanding * burst_beats, latency_cycles + burst_beats)
    return LOAD_SETUP_CYCLES + max(latency_cycles, fill_beats) + rounds * round_cycles + (rest + 1) * burst_beats


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
    ceil(positions / lanes) cycles. The weights of the next pass load during this one; a pass shorter than that load
    waits for it. The first load, the chain and the pipeline are the fill. For one fold of a full chain with
    ceil(positions / lanes) >= weight load: steps * ceil(positions / lanes) + fill (DESIGN section 4).
    """
    pass_cycles = ceil_div(positions, lanes)
    full_folds, ragged_words = divmod(run_words, chain_length)
    full_load = weight_load_cycles(chain_length, weight_rows_per_cycle)
    ragged_load = weight_load_cycles(ragged_words, weight_rows_per_cycle)
    passes = runs * steps * (full_folds * max(pass_cycles, full_load))
    if ragged_words:
        passes += runs * steps * max(pass_cycles, ragged_load)
    first_load = full_load if full_folds else ragged_load
    first_wait = max(pass_cycles, first_load) - pass_cycles  # the first pass waits for no successor's load
    return first_load + passes - first_wait + chain_length + COMPUTE_PIPELINE_CYCLES


def compute_fill_cycles(*, run_words: int, chain_length: int, weight_rows_per_cycle: int) -> int:
    """Return the part of `compute_cycles` that is fill: first weight load, chain and pipeline."""
    first_load = weight_load_cycles(min(run_words, chain_length), weight_rows_per_cycle)
    return first_load + chain_length + COMPUTE_PIPELINE_CYCLES


def vector_cycles(
    opcode: Opcode, *, ny: int, nx: int, nc: int, kh: int, kw: int, group_size: int, vector_lanes: int, window: int = 1
) -> int:
    """Return busy cycles of one VECTOR instruction; `window` is the channel window of an LRN."""
    positions = ny * nx
    beats = ceil_div(nc * group_size, vector_lanes)
    if opcode in (Opcode.MAXIMUM, Opcode.AVERAGE):
        work = positions * beats * kh * kw
    elif opcode in (Opcode.SOFTMAX, Opcode.LAYER_NORM):
        work = positions * (3 * beats + DIVIDE_CYCLES)
    elif opcode is Opcode.LRN:
        work = positions * beats * window
    else:
        work = positions * beats
    return work + VECTOR_PIPELINE_CYCLES
