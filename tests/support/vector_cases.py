"""Random VECTOR instructions with memories, and what they give: golden bytes, cycles by the closed form."""

from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator

from gossamer.arch.encoding import encode
from gossamer.arch.isa import REQUANTIZING, TWO_SOURCES, Opcode
from gossamer.arch.registers import ErrorCause
from gossamer.arch.timing import vector_cycles
from gossamer.dataflow.numerics import HEADER_DTYPE, LAYER_NORM_DTYPE, REQUANTIZE_DTYPE, pack_limits
from gossamer.sim.golden.executor_blocks import run_vector

WINDOWED = (Opcode.MAXIMUM, Opcode.AVERAGE)
ROWS = (Opcode.SOFTMAX, Opcode.LAYER_NORM, Opcode.LRN)
A_END, B_END, ACT_BYTES = 12288, 18432, 32768
"""A below A_END, B from there to B_END, destinations above; nothing is read where it is written."""

PAR_BYTES = 2**17
ENTRIES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What of a config the VECTOR engine depends on."""

    group_size: int
    vector_lanes: int
    chains: int


@dataclass(slots=True)
class Cases:
    """A run of instructions on shared memories, in order."""

    shape: Shape
    rng: Generator
    act: np.ndarray = field(init=False)
    par: np.ndarray = field(init=False)
    sums: np.ndarray = field(init=False)
    start: np.ndarray = field(init=False)
    par_end: int = 0
    rows: list[dict[str, object]] = field(default_factory=list)

    def __post_init__(self) -> None:
        rng = self.rng
        self.act = rng.integers(-128, 128, ACT_BYTES).astype(np.int8)
        self.act[rng.integers(0, ACT_BYTES, 2000)] = -128
        self.act[rng.integers(0, ACT_BYTES, 2000)] = 127
        self.par = rng.integers(0, 256, PAR_BYTES).astype(np.uint8)
        size = (ENTRIES, self.shape.chains)
        sums = rng.integers(-(2**31), 2**31, size) >> rng.integers(0, 24, size)
        self.sums = np.where(rng.random(size) < 0.05, np.where(rng.random(size) < 0.5, -(2**31), 2**31 - 1), sums)
        self.sums = self.sums.astype(np.int32)
        self.start = self.act.copy()

    def _pick(self, *values: int) -> int:
        return int(self.rng.choice(values))

    def words(self, total: int) -> int:
        """Return a count of words around the edges of a beat."""
        beat = self.shape.vector_lanes // self.shape.group_size
        choices = [1, 2, beat - 1, beat, beat + 1, 2 * beat, 2 * beat + 1, 3, 5]
        return min(total, max(1, self._pick(*choices)))

    def fields(self, opcode: Opcode) -> dict[str, int]:
        """Return random legal fields."""
        rng, g = self.rng, self.shape.group_size
        limit = self.shape.chains // g if opcode in REQUANTIZING else 9
        nc = self.words(limit)
        ny, nx = self._pick(1, 1, 2, 3, 5), self._pick(1, 2, 3, 4, 7)
        kh, kw = (self._pick(1, 2, 3), self._pick(1, 1, 2, 3, 5)) if opcode in WINDOWED else (1, 1)
        f = {"ny": ny, "nx": nx, "nc": nc, "kh": kh, "kw": kw}
        for name, top in (("a_y", 40), ("a_x", 20), ("a_ky", 40), ("a_kx", 20), ("b_y", 20), ("b_x", 12),
                          ("d_y", 60), ("d_x", 24)):  # fmt: skip
            f[name] = g * int(rng.integers(0, top))
        f["b_c"] = int(rng.random() < 0.4) if opcode in TWO_SOURCES else 0
        if f["b_c"]:
            f["b_y"], f["b_x"] = int(rng.integers(0, 50)), int(rng.integers(0, 20))
        f["a"] = g * int(rng.integers(0, 400))
        f["b"] = A_END + (int(rng.integers(0, 3000)) if f["b_c"] else g * int(rng.integers(0, 3000 // g)))
        f["d"] = B_END + g * int(rng.integers(0, 300))
        f["par"] = 4 * int(rng.integers(0, 9)) + self.par_end
        if opcode in REQUANTIZING:
            f["a"] = int(rng.integers(0, ENTRIES - ny * nx + 1))
        return f

    def header(self, opcode: Opcode, f: dict[str, int], **values: int) -> bytes:
        """Return a random header, some fields given."""
        rng = self.rng
        h = np.zeros(1, HEADER_DTYPE)
        for name in ("zero_a", "zero_b", "zero_out"):
            h[name] = self._pick(-128, 127, 0, -1, int(rng.integers(-128, 128)))
        h["low"], h["high"] = self._pick(-128, -128, 0, -5, 127), self._pick(127, 127, 100, 6, -128)
        h["shift"] = self._pick(1, 2, 7, 8, 9, 30, 31, 40, 62, int(rng.integers(1, 63)))
        scale = 2 ** self._pick(4, 12, 20, 31)
        for name in ("mult_a", "mult_b"):
            h[name] = self._pick(-(2**31), 2**31 - 1, 0, *rng.integers(-scale, scale, 4))
        h["channels"], h["extra"], h["epsilon"] = rng.integers(1, 2 + f["nc"]), 0, 0
        h["reserved"] = 7
        for name, value in values.items():
            h[name] = value
        return h.tobytes()

    def block(self, opcode: Opcode, f: dict[str, int]) -> bytes:
        """Return a random parameter block."""
        rng, channels = self.rng, f["nc"] * self.shape.group_size
        if opcode in REQUANTIZING:
            entries = np.zeros(channels, REQUANTIZE_DTYPE)
            entries["bias"] = rng.integers(-(2**31), 2**31, channels) >> rng.integers(0, 32, channels)
            entries["multiplier"] = rng.integers(2**30, 2**31, channels) >> rng.integers(0, 31, channels)
            entries["shift"] = np.clip(rng.integers(20, 64, channels) - rng.integers(0, 30, channels), 1, 62)
            entries["multiplier"][rng.random(channels) < 0.1] = 2**31 - 1
            entries["reserved"] = 9
            table = rng.integers(-128, 128, 256).astype(np.int8).tobytes()
            limits = (self._pick(-128, 0, 5), self._pick(-128, -128, 0, 127), self._pick(127, 127, 100, -128))
            extra = pack_limits(*limits) | self._pick(0, 255) << 24
            head = self.header(opcode, f, has_table=int(rng.integers(0, 3)), extra=extra, **self._sum())
            return head + entries.tobytes() + table
        if opcode in ROWS:
            return self._row_block(opcode, f, channels)
        head = self.header(opcode, f)
        if opcode is Opcode.TABLE:
            return head + rng.integers(-128, 128, 256).astype(np.int8).tobytes()
        return head

    def _sum(self) -> dict[str, int]:
        """Return factors and a shift; of most the sum is neither 0 nor beyond its limits."""
        bits = self._pick(3, 12, 17, 17, 17)
        factors = {name: self._pick(-(2**bits), *self.rng.integers(-(2**bits), 2**bits, 5), 2**bits - 1)
                   for name in ("mult_a", "mult_b")}  # fmt: skip
        return {**factors, "shift": self._pick(*range(bits, bits + 4), 1, 7, 8, 25, 26, 27, 62)}

    def _row_block(self, opcode: Opcode, f: dict[str, int], channels: int) -> bytes:
        """Return a random block of an operation on rows: header, and table or entries."""
        rng = self.rng
        real = self._pick(1, channels, channels, max(1, channels - 1), int(rng.integers(1, channels + 1)))
        if opcode is Opcode.SOFTMAX:
            table = rng.integers(0, 2**32, 256, np.int64) >> np.minimum(31, np.arange(256) // self._pick(1, 4, 16, 300))
            table[0] = self._pick(1, 2**20, 2**32 - 1)
            return self.header(opcode, f, channels=real) + table.astype("<u4").tobytes()
        if opcode is Opcode.LRN:
            window, index_shift = self._pick(1, 2, 3, 5, 8, 100, 255), self._pick(0, 4, 9, 11, 16, 31, 32, 70)
            table = rng.integers(-(2**31), 2**31, 256) >> rng.integers(0, 31, 256)
            head = self.header(opcode, f, channels=real, extra=window | index_shift << 8)
            return head + table.astype("<i4").tobytes()
        entries = np.zeros(channels, LAYER_NORM_DTYPE)
        entries["gamma"] = rng.integers(-(2**31), 2**31, channels) >> rng.integers(0, 31, channels)
        entries["beta"] = rng.integers(-(2**61), 2**61, channels) >> rng.integers(0, 61, channels)
        epsilon = self._pick(0, 0, 1, 100, 10**6, 2**44)
        return self.header(opcode, f, channels=real, epsilon=epsilon) + entries.tobytes()

    def add(self, opcode: Opcode, **changes: int) -> None:
        """Append a random instruction and run it on the golden model; `changes` fix some of its fields."""
        f = self.fields(opcode) | changes
        block = self.block(opcode, f)
        self._place(f["par"], block)
        extra = np.frombuffer(block[:32], HEADER_DTYPE)["extra"][0] if block else 0
        self.run(opcode, f, window=int(extra) & 255)

    def run(self, opcode: Opcode, f: dict[str, int], window: int = 1) -> None:
        """Append an instruction whose block is in place."""
        g = self.shape.group_size
        top = f["d"] + (f["ny"] - 1) * f["d_y"] + (f["nx"] - 1) * f["d_x"] + f["nc"] * g
        assert top <= ACT_BYTES, f
        run_vector(opcode, f, g, self.act, self.par, self.sums)
        cycles = vector_cycles(
            opcode, ny=f["ny"], nx=f["nx"], nc=f["nc"], kh=f["kh"], kw=f["kw"], group_size=g,
            vector_lanes=self.shape.vector_lanes, window=window,
        )  # fmt: skip
        self._append(opcode, f, cycles)

    def add_fault(
        self, opcode: Opcode, cause: ErrorCause, *, header: dict[str, int] | None = None, conflict: bool = False,
        block: bytes | None = None, **changes: int,
    ) -> None:  # fmt: skip
        """Append an instruction that must stop with a fault because of its fields or block."""
        f = self.fields(opcode) | changes
        if block is None:
            block = self.header(opcode, f, **{"shift": 1, "channels": 1, "extra": 1, **(header or {})}) + bytes(1280)
        self._place(f["par"], block)
        self._append(opcode, f, 1000, cause, conflict)

    def _place(self, at: int, block: bytes) -> None:
        self.par_end = at + len(block) + -len(block) % 4
        self.par[at : at + len(block)] = np.frombuffer(block, np.uint8)

    def _append(
        self,
        opcode: Opcode,
        f: dict[str, int],
        cycles: int,
        cause: ErrorCause = ErrorCause.NONE,
        conflict: bool = False,
    ) -> None:
        word = encode(opcode, {"wait": 0, "release": 0, **f})
        self.rows.append({
            "instructions": word, "cycles": cycles, "expected": self.act.copy(),
            "causes": int(cause), "conflicts": conflict,
        })  # fmt: skip

    def save(self, path) -> None:
        """Write what the bench reads; every instruction has a block of its own, so the buffer is filled once."""
        columns = {name: np.array([row[name] for row in self.rows]) for name in self.rows[0]}
        np.savez(
            path, activation=self.start, parameter=self.par, sums=self.sums, group_size=self.shape.group_size,
            **columns,
        )  # fmt: skip
