"""Define the instruction set: one table from which encoder, decoder, disassembler, executor and RTL are derived.

An instruction is 64 bytes, fields packed from bit 0 upwards in table order, unused high bits zero. All numbers are
unsigned. On-chip addresses are byte addresses within their buffer; off-chip addresses are byte offsets from the
program base register. G is `array.group_size`, L is `array.chain_length`; one activation word is G bytes.

Every instruction starts with `opcode`, `wait` and `release`. `wait` and `release` have one bit per engine in the order
of `ENGINES`: before it starts, an instruction takes one token from the semaphore (E -> its own engine) for each engine
E in `wait`; when it has completed (its last byte written, for STORE: acknowledged), it adds one token to the semaphore
(own engine -> E) for each E in `release`. Each engine runs its queue strictly in order, one instruction at a time.
A semaphore holds at most 2**SEMAPHORE_BITS - 1 tokens; giving one more stops the run with an error.

LOAD copies strided rows from off-chip memory into a buffer, with padding::

    line_bytes = pad_left + (nx - 1) * dst_x + run_bytes + pad_right          (dst_e == 1)
    lines 0 .. pad_top-1, and the pad_bottom lines after the ny data lines, are filled with `fill` over line_bytes
    data line y (y < ny) starts at line = dst + (pad_top + y) * dst_y:
        line[0 : pad_left] = fill; the pad_right bytes at the end of the line = fill
        for x < nx, e < run_bytes:
            buffer[line + pad_left + x * dst_x + e * dst_e] = dram[dram + y * dram_y + x * dram_x + e]

  With dst_e != 1 (a byte scatter: one byte per cycle) all pads must be 0. Buffers by `space`: see `Space`.

STORE is the mirror image out of the activation buffer, without padding; it writes no byte twice, since bursts through
several ports have no order::

    dram[dram + y * dram_y + x * dram_x + e] = act[src + y * src_y + x * src_x + e]

COMPUTE runs the array on one block of output channels and ny * nx output positions, q = y * nx + x::

    for q, for chain c < chains_active:
        s = 0 if clear else acc[acc_base + q][c];  row = 0
        for ry < n_ry, for rx < n_rx, for fold < ceil(run_words / L):
            nw = min(L, run_words - fold * L)
            for step < steps, for j < nw:                                     (stage j of the chain)
                word  = act[a + y*a_y + x*a_x + ry*r_y + rx*r_x + (fold*L + j)*G : ... + G]
                index = step                                                  if index_bits == 0
                      = (step // slots) << index_bits | idx[row][c]           otherwise
                s += int8(word[index]) * int8(wgt[row][c]);  row += 1
        acc[acc_base + q][c] = s                                              (int32, wraps)

  `wgt[row][c]` is the byte at w + row * chains + c of the weight buffer; `idx[row][c]` the bits
  [c * index_bits, (c+1) * index_bits) (least significant bit first) of the row at i + row * index_pitch of the index
  buffer, index_pitch = chains * index_bits / 8. An N:M pattern with M = 2**index_bits < G has G/M sub-groups per word
  and runs slots = N, steps = N * G/M; dense is index_bits = 0 and steps = G (fewer when the last channels of a word do
  not exist). Entry q of the accumulator is held by lane q mod lanes. acc_base is a multiple of lanes.

VECTOR instructions produce a (ny, nx, nc words) block, word (y, x, k) at d + y*d_y + x*d_x + k*G, from source A word
(y, x, k) at a + y*a_y + x*a_x + k*G (and for windows at + ky*a_ky + kx*a_kx), source B word at b + y*b_y + x*b_x + k*G
(b_c = 1: B has one channel, byte b + y*b_y + x*b_x is used for every channel), and a parameter block at `par` of the
parameter buffer. Their arithmetic is in `gossamer.dataflow.numerics`; the opcode table below names it. `REQUANTIZE`
reads A from the accumulator: entry a + y*nx + x, channel k*G + i; it adds the bias in 32 bits, wrapping.
`REQUANTIZE_ADD` does the same, and adds B to the result before it is written, as ADD would.
SOFTMAX, LAYER_NORM and LRN write the output's zero point to every channel beyond the block's `channels`.

Contiguous bytes that LOAD or STORE moves between memory and activations, and filled bytes, lie at the same byte of a
word on both sides (filled ones: begin a word), unless there are at most `gossamer.arch.activation.shifted_bytes` of
them or no row of the memory ports is longer than that.

Counts are at least 1, except that ny of a LOAD with filled lines may be 0. A LOAD or STORE moves ny * nx * run_bytes,
less than TRANSFER_BYTES_LIMIT. Padding is written before data: they must not overlap. Activation addresses and strides
of COMPUTE and VECTOR are multiples of G (b, b_y and b_x need not be if b_c = 1), w of `chains`, i of index_pitch.

END completes when every earlier instruction has; then `done` is set and the interrupt raised.

BARRIER, of a core among several, completes when every earlier instruction has, and so has the BARRIER (in the same
place of its stream) of every other core. No token is left then. The core goes on with `count` instructions at `next`.
"""

from dataclasses import dataclass
from enum import IntEnum, StrEnum

INSTRUCTION_BYTES = 64
TRANSFER_BYTES_LIMIT = 2**26
"""What a LOAD or STORE moves is less: no buffer can be larger."""

PROGRAM_MAGIC = b"GSMR"
ISA_VERSION = 1

SEMAPHORE_BITS = 16
"""Width of a semaphore. Tokens pile up when a giver is dispatched far ahead of its taker, or when nobody takes them:
the bound is what a program gives without taking, not the queues' depth."""

MOST_TOKENS = 2**SEMAPHORE_BITS - 1
"""What a semaphore holds; the RTL stops with TOKEN_OVERFLOW at one more."""


class Engine(StrEnum):
    """Engines that run queues of instructions."""

    LOAD = "load"
    COMPUTE = "compute"
    VECTOR = "vector"
    STORE = "store"


ENGINES: tuple[Engine, ...] = (Engine.LOAD, Engine.COMPUTE, Engine.VECTOR, Engine.STORE)


class Space(IntEnum):
    """On-chip buffers a LOAD can write."""

    ACTIVATION = 0
    WEIGHT = 1
    INDEX = 2
    PARAMETER = 3


class Opcode(IntEnum):
    """Operation of an instruction; the values are the hardware's encoding."""

    END = 0
    LOAD = 1
    STORE = 2
    COMPUTE = 3
    BARRIER = 4
    REQUANTIZE = 8
    ADD = 9
    MULTIPLY = 10
    TABLE = 11
    MAXIMUM = 12
    AVERAGE = 13
    COPY = 14
    SOFTMAX = 15
    LAYER_NORM = 16
    LRN = 17
    REQUANTIZE_ADD = 18


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an instruction: its name, width in bits and meaning."""

    name: str
    bits: int
    meaning: str


_HEADER = (
    Field("opcode", 5, "operation"),
    Field("wait", 4, "engines a token is taken from before the start"),
    Field("release", 4, "engines a token is given to after completion"),
)

_BARRIER = (
    Field("next", 32, "off-chip byte address of the instruction to go on with"),
    Field("count", 32, "instructions from there to the next BARRIER or END, which is one of them"),
)

_LOAD = (
    Field("space", 2, "buffer written"),
    Field("dram", 40, "off-chip byte address of the first run"),
    Field("dram_y", 32, "off-chip bytes from line to line"),
    Field("dram_x", 32, "off-chip bytes from run to run"),
    Field("ny", 16, "data lines"),
    Field("nx", 16, "runs per line"),
    Field("run_bytes", 20, "contiguous off-chip bytes per run"),
    Field("dst", 26, "buffer address of the first (padded) line"),
    Field("dst_y", 26, "buffer bytes from line to line"),
    Field("dst_x", 24, "buffer bytes from run to run"),
    Field("dst_e", 20, "buffer bytes from byte to byte of a run; 1 but for a scatter"),
    Field("pad_top", 8, "filled lines before the data"),
    Field("pad_bottom", 8, "filled lines after the data"),
    Field("pad_left", 16, "filled bytes before each line's data"),
    Field("pad_right", 16, "filled bytes after each line's data"),
    Field("fill", 8, "fill byte"),
)

_STORE = (
    Field("dram", 40, "off-chip byte address of the first run"),
    Field("dram_y", 32, "off-chip bytes from line to line"),
    Field("dram_x", 32, "off-chip bytes from run to run"),
    Field("ny", 16, "lines"),
    Field("nx", 16, "runs per line"),
    Field("run_bytes", 20, "contiguous off-chip bytes per run"),
    Field("src", 26, "activation buffer address of the first line"),
    Field("src_y", 26, "buffer bytes from line to line"),
    Field("src_x", 24, "buffer bytes from run to run"),
)

_COMPUTE = (
    Field("a", 26, "activation address of position 0, reduction word 0"),
    Field("a_y", 26, "bytes between output rows"),
    Field("a_x", 24, "bytes between output columns"),
    Field("ny", 16, "output rows"),
    Field("nx", 16, "output columns"),
    Field("n_ry", 8, "reduction runs, outer (kernel rows)"),
    Field("n_rx", 8, "reduction runs, inner (kernel columns when they are not contiguous)"),
    Field("r_y", 26, "bytes between outer runs"),
    Field("r_x", 24, "bytes between inner runs"),
    Field("run_words", 16, "contiguous words per run"),
    Field("w", 26, "weight buffer address of row 0"),
    Field("i", 26, "index buffer address of row 0"),
    Field("steps", 5, "kept weights per word: passes over the positions per fold"),
    Field("slots", 5, "N of the N:M pattern (sparse only)"),
    Field("index_bits", 3, "log2(M) of the N:M pattern, 0 for dense"),
    Field("acc", 20, "first accumulator entry"),
    Field("clear", 1, "1: start from zero, 0: add to the accumulator"),
    Field("chains_active", 10, "output channels produced"),
)

_VECTOR = (
    Field("a", 26, "source A: activation address, or accumulator entry to requantize"),
    Field("a_y", 26, "A bytes between rows"),
    Field("a_x", 24, "A bytes between columns"),
    Field("a_ky", 26, "A bytes between window rows"),
    Field("a_kx", 24, "A bytes between window columns"),
    Field("kh", 10, "window rows (1 without a window)"),
    Field("kw", 10, "window columns (1 without a window)"),
    Field("b", 26, "source B address"),
    Field("b_y", 26, "B bytes between rows (0 broadcasts)"),
    Field("b_x", 24, "B bytes between columns (0 broadcasts)"),
    Field("b_c", 1, "1: B has one channel, used for all"),
    Field("d", 26, "destination address"),
    Field("d_y", 26, "destination bytes between rows"),
    Field("d_x", 24, "destination bytes between columns"),
    Field("ny", 16, "rows"),
    Field("nx", 16, "columns"),
    Field("nc", 14, "words per position"),
    Field("par", 22, "parameter block address"),
)


def index_pitch_bytes(chains: int, index_bits: int) -> int:
    """Return the bytes from row to row of the index buffer; `chains` is a multiple of 8, so rows are whole bytes.

    Rows of one pattern follow each other without gaps, on chip as off chip: one LOAD is one run, and the array reads
    them in order through a width converter.
    """
    return chains * index_bits // 8


VECTOR_OPCODES: tuple[Opcode, ...] = tuple(op for op in Opcode if op >= Opcode.REQUANTIZE)

REQUANTIZING: tuple[Opcode, ...] = (Opcode.REQUANTIZE, Opcode.REQUANTIZE_ADD)
"""Those whose source A is the accumulator."""

TWO_SOURCES: tuple[Opcode, ...] = (Opcode.ADD, Opcode.MULTIPLY, Opcode.REQUANTIZE_ADD)
"""Those that have a source B."""

FIELDS: dict[Opcode, tuple[Field, ...]] = {
    Opcode.END: _HEADER,
    Opcode.BARRIER: _HEADER + _BARRIER,
    Opcode.LOAD: _HEADER + _LOAD,
    Opcode.STORE: _HEADER + _STORE,
    Opcode.COMPUTE: _HEADER + _COMPUTE,
    **{op: _HEADER + _VECTOR for op in VECTOR_OPCODES},
}

ENGINE_OF: dict[Opcode, Engine] = {
    Opcode.LOAD: Engine.LOAD,
    Opcode.STORE: Engine.STORE,
    Opcode.COMPUTE: Engine.COMPUTE,
    **{op: Engine.VECTOR for op in VECTOR_OPCODES},
}
"""Engine that runs an opcode. END and BARRIER belong to none: the dispatcher itself waits for all engines."""
