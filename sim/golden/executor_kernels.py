"""Run LOAD, STORE and COMPUTE.

All take one decoded instruction, int64 in the order of RUN_FIELDS. Slow twins are in tests/support/replay_twin.py.
Callers have checked every address and count with `check_bounds`, so no kernel checks one again.

COMPUTE is done as matrix products in float32, by our own kernel: a BLAS spins up threads that cost more than they give
for products this small. Each block covers at most 1024 weight rows; a product of two int8 is at
most 2**14 in size, so every partial sum is an integer of at most 2**24 and float32 is exact in any order of addition.
Sparse rows are first scattered (added) into the dense panel, which the same bound covers.
"""

import numpy as np
from numpy.typing import NDArray

from gossamer.sim.kernels import kernel

PANEL_ROWS = 1024
"""Weight rows per float32 block: 2**24 / 2**14."""

PANEL_POSITIONS = 256
"""Output positions per float32 block, so that both panels stay in a core's cache."""

DEPTH_BLOCK = 64
"""Weight rows multiplied before going on to the next positions: 32 KiB of 128 chains."""

RUN_FIELDS = (
    "dram", "dram_y", "dram_x", "ny", "nx", "run_bytes", "dst", "dst_y", "dst_x", "dst_e", "pad_top", "pad_bottom",
    "pad_left", "pad_right", "fill", "src", "src_y", "src_x", "a", "a_y", "a_x", "n_ry", "n_rx", "r_y", "r_x",
    "run_words", "w", "i", "steps", "slots", "index_bits", "acc", "clear", "chains_active",
)  # fmt: skip
"""Order of the fields in the array that the kernels take."""

(
    DRAM, DRAM_Y, DRAM_X, NY, NX, RUN_BYTES, DST, DST_Y, DST_X, DST_E, PAD_TOP, PAD_BOTTOM,
    PAD_LEFT, PAD_RIGHT, FILL, SRC, SRC_Y, SRC_X, A, A_Y, A_X, N_RY, N_RX, R_Y, R_X,
    RUN_WORDS, W, IDX, STEPS, SLOTS, INDEX_BITS, ACC, CLEAR, CHAINS_ACTIVE,
) = range(len(RUN_FIELDS))  # fmt: skip

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]
Int = int | np.int64


@kernel
def load(f: Ints, memory: Bytes, buffer: Bytes) -> None:
    """Run one LOAD: f int64 [fields], off-chip memory and the buffer it writes, uint8."""
    fill = np.uint8(f[FILL])
    line_bytes = f[PAD_LEFT] + (f[NX] - 1) * f[DST_X] + f[RUN_BYTES] + f[PAD_RIGHT]
    for y in range(f[PAD_TOP] + f[NY] + f[PAD_BOTTOM]):
        line = f[DST] + y * f[DST_Y]
        data = y - f[PAD_TOP]
        if data < 0 or data >= f[NY]:
            for e in range(line_bytes):
                buffer[line + e] = fill
            continue
        for e in range(f[PAD_LEFT]):
            buffer[line + e] = fill
        for x in range(f[NX]):
            source = f[DRAM] + data * f[DRAM_Y] + x * f[DRAM_X]
            target = line + f[PAD_LEFT] + x * f[DST_X]
            if f[DST_E] == 1:
                for e in range(f[RUN_BYTES]):
                    buffer[target + e] = memory[source + e]
            else:
                for e in range(f[RUN_BYTES]):
                    buffer[target + e * f[DST_E]] = memory[source + e]
        for e in range(line_bytes - f[PAD_RIGHT], line_bytes):
            buffer[line + e] = fill


@kernel
def store(f: Ints, memory: Bytes, act: Bytes) -> None:
    """Run one STORE: f int64 [fields], off-chip memory and activation buffer, uint8."""
    for y in range(f[NY]):
        for x in range(f[NX]):
            target = f[DRAM] + y * f[DRAM_Y] + x * f[DRAM_X]
            source = f[SRC] + y * f[SRC_Y] + x * f[SRC_X]
            for e in range(f[RUN_BYTES]):
                memory[target + e] = act[source + e]


@kernel
def _weight_panel(
    f: Ints,
    first: Int,
    count: Int,
    wgt: NDArray[np.int8],
    idx: Bytes,
    chains: Int,
    chain_length: Int,
    group: Int,
    pitch: Int,
    offsets: Ints,
    panel: NDArray[np.float32],
) -> None:
    """Write panel[k, c], the weights of reduction words first .. first + count - 1, and their address offsets."""
    steps, run_words, active = f[STEPS], f[RUN_WORDS], f[CHAINS_ACTIVE]
    bits, slots = f[INDEX_BITS], f[SLOTS]
    width = steps if bits == 0 else group
    mask = (1 << bits) - 1
    if bits != 0:
        for k in range(panel.shape[0]):
            for c in range(active):
                panel[k, c] = 0
    for t in range(count):
        run, at = (first + t) // run_words, (first + t) % run_words
        fold = at // chain_length
        stage = at - fold * chain_length
        stages = min(chain_length, run_words - fold * chain_length)
        row = (run * run_words + fold * chain_length) * steps + stage
        offsets[t] = (run // f[N_RX]) * f[R_Y] + (run % f[N_RX]) * f[R_X] + at * group
        for step in range(steps):
            weights = f[W] + (row + step * stages) * chains
            if bits == 0:
                for c in range(active):
                    panel[t * width + step, c] = wgt[weights + c]
                continue
            indices = f[IDX] + (row + step * stages) * pitch
            base = t * width + ((step // slots) << bits)
            for c in range(active):
                bit = c * bits
                value = np.int64(idx[indices + (bit >> 3)]) >> (bit & 7)
                if (bit & 7) + bits > 8:
                    value |= np.int64(idx[indices + (bit >> 3) + 1]) << (8 - (bit & 7))
                panel[base + (value & mask), c] += wgt[weights + c]


@kernel
def _activation_panel(
    f: Ints, start: Int, count: Int, words: Int, width: Int, act: NDArray[np.int8], offsets: Ints,
    panel: NDArray[np.float32],
) -> None:  # fmt: skip
    """Write panel[q, k], the activations of positions start .. start + count - 1 under `words` reduction words."""
    for q in range(count):
        y, x = (start + q) // f[NX], (start + q) % f[NX]
        base = f[A] + y * f[A_Y] + x * f[A_X]
        for t in range(words):
            source = base + offsets[t]
            for e in range(width):
                panel[q, t * width + e] = act[source + e]


@kernel(contract=True)
def _multiply(inputs: NDArray[np.float32], weights: NDArray[np.float32], sums: NDArray[np.float32], count: int) -> None:
    """Write sums[q, c], the product of inputs [count, depth] and weights [depth, chains]; row `count` must exist too.

    Two positions by four weight rows at a time keeps the sums of a position in registers; blocks of rows stay in cache.
    """
    depth, active = weights.shape
    for q in range(count):
        for c in range(active):
            sums[q, c] = 0
    for first in range(0, depth, DEPTH_BLOCK):
        last = min(depth, first + DEPTH_BLOCK)
        whole = first + (last - first) // 4 * 4
        for q in range(0, count, 2):
            s, t = sums[q], sums[q + 1]
            for k in range(first, whole, 4):
                a0, a1, a2, a3 = inputs[q, k], inputs[q, k + 1], inputs[q, k + 2], inputs[q, k + 3]
                b0, b1, b2, b3 = inputs[q + 1, k], inputs[q + 1, k + 1], inputs[q + 1, k + 2], inputs[q + 1, k + 3]
                w0, w1, w2, w3 = weights[k], weights[k + 1], weights[k + 2], weights[k + 3]
                for c in range(active):
                    s[c] += a0 * w0[c] + a1 * w1[c] + a2 * w2[c] + a3 * w3[c]
                    t[c] += b0 * w0[c] + b1 * w1[c] + b2 * w2[c] + b3 * w3[c]
            for k in range(whole, last):
                a0, b0 = inputs[q, k], inputs[q + 1, k]
                for c in range(active):
                    s[c] += a0 * weights[k, c]
                    t[c] += b0 * weights[k, c]


@kernel
def compute(
    f: Ints,
    act: NDArray[np.int8],
    wgt: NDArray[np.int8],
    idx: Bytes,
    acc: NDArray[np.int32],
    chain_length: Int,
    group: Int,
    pitch: Int,
    scratch_a: NDArray[np.float32],
    scratch_w: NDArray[np.float32],
    scratch_s: NDArray[np.float32],
) -> None:
    """Run one COMPUTE. acc int32 [entries, chains]; scratch float32: see `panel_sizes`."""
    chains = acc.shape[1]
    positions, active = f[NY] * f[NX], f[CHAINS_ACTIVE]
    width = f[STEPS] if f[INDEX_BITS] == 0 else group
    words = f[N_RY] * f[N_RX] * f[RUN_WORDS]
    block = max(1, PANEL_ROWS // max(width, f[STEPS]))
    offsets = np.empty(min(block, words), np.int64)
    if f[CLEAR] == 1:
        for q in range(positions):
            for c in range(active):
                acc[f[ACC] + q, c] = 0
    for first in range(0, words, block):
        count = min(block, words - first)
        weights = scratch_w[: count * width * active].reshape((count * width, active))
        _weight_panel(f, first, count, wgt, idx, chains, chain_length, group, pitch, offsets, weights)
        for start in range(0, positions, PANEL_POSITIONS):
            many = min(PANEL_POSITIONS, positions - start)
            inputs = scratch_a[: (many + 1) * count * width].reshape((many + 1, count * width))
            sums = scratch_s[: (many + 1) * active].reshape((many + 1, active))
            _activation_panel(f, start, many, count, width, act, offsets, inputs)
            _multiply(inputs, weights, sums, many)
            for q in range(many):
                entry = f[ACC] + start + q
                for c in range(active):
                    acc[entry, c] += np.int32(sums[q, c])


def panel_sizes(chains: int) -> tuple[int, int, int]:
    """Return the float32 elements of compute's scratch, finite at first: activations, weights, sums."""
    return (PANEL_POSITIONS + 1) * PANEL_ROWS, PANEL_ROWS * chains, (PANEL_POSITIONS + 1) * chains
