"""Run instructions the slow way: the machine of arch/isa.py byte by byte, with who wrote what and where it came from.

Shares no code with executor, encoder or mapper; arithmetic is the Python specification in dataflow/numerics.py.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from gossamer.arch.isa import ENGINE_OF, ENGINES, FIELDS, Opcode
from gossamer.arch.spec import SparseAccelerator
from gossamer.dataflow import numerics
from gossamer.dataflow.program import Program

ACTIVATION, WEIGHT, INDEX, PARAMETER, ACCUMULATOR, MEMORY = range(6)
"""Spaces; the accumulator is counted in int32 sums (entry * chains + chain), all others in bytes."""

FILLED, COMPUTED = -1, -2
"""Origins of bytes on chip that were filled by a LOAD, or computed by VECTOR; all others are off-chip addresses."""


class ReplayError(AssertionError):
    """A promise of the Program does not hold."""


@dataclass
class Geometry:
    """Sizes of a config and a program."""

    chains: int
    chain_length: int
    lanes: int
    group: int
    sizes: list[int]

    @classmethod
    def of(cls, spec: SparseAccelerator, program: Program) -> "Geometry":
        array, buffers = spec.array, spec.buffers
        entries = buffers.accumulator.capacity_bytes // 4 // array.chains
        on_chip = [buffers.activation, buffers.weight, buffers.index, buffers.parameter]
        memory = max(region.address + region.size_bytes for region in program.regions)
        sizes = [*(buffer.capacity_bytes for buffer in on_chip), entries * array.chains, memory]
        return cls(array.chains, array.chain_length, array.lanes, array.group_size, sizes)


@dataclass
class Instruction:
    """One decoded word."""

    index: int
    opcode: Opcode
    layer: int
    f: dict[str, int]

    @property
    def engine(self) -> int:
        return ENGINES.index(ENGINE_OF[self.opcode])

    @property
    def waits(self) -> list[int]:
        return [engine for engine in range(len(ENGINES)) if self.f["wait"] >> engine & 1]

    @property
    def releases(self) -> list[int]:
        return [engine for engine in range(len(ENGINES)) if self.f["release"] >> engine & 1]

    def __str__(self) -> str:
        return f"instruction {self.index} ({self.opcode.name}, layer {self.layer}, {self.f})"


@dataclass
class Accesses:
    """Addresses an instruction reads and writes: (space, sorted unique addresses)."""

    reads: list[tuple[int, np.ndarray]] = field(default_factory=list)
    writes: list[tuple[int, np.ndarray]] = field(default_factory=list)


def decode_word(word: bytes) -> tuple[Opcode, dict[str, int]]:
    """Decode one word as one big integer; every bit beyond the fields must be 0."""
    bits = int.from_bytes(word, "little")
    opcode = Opcode(bits & 31)
    fields = {}
    for item in FIELDS[opcode]:
        fields[item.name] = bits & (1 << item.bits) - 1
        bits >>= item.bits
    if bits:
        raise ReplayError(f"{opcode.name}: bits beyond the fields are set")
    return opcode, fields


def decode_program(program: Program) -> list[Instruction]:
    """Decode every word; END must be last and only last."""
    result = []
    for index, (word, layer) in enumerate(zip(program.instructions, program.layer_of, strict=True)):
        opcode, fields = decode_word(word.tobytes())
        result.append(Instruction(index, opcode, int(layer), fields))
    ends = [item.index for item in result if item.opcode is Opcode.END]
    if ends != [len(result) - 1]:
        raise ReplayError(f"END must be the last of {len(result)} instructions, not {ends}")
    return result


def affine(start: int, *axes: tuple[int, int]) -> np.ndarray:
    """Return start + sum of counter * stride for all counters, int64 [count, count, ...]."""
    result = np.array(start, dtype=np.int64)
    for count, stride in axes:
        result = result[..., None] + np.arange(count, dtype=np.int64) * stride
    return result


class Machine:
    """Off-chip memory and buffers with values, definedness and origins; runs instructions in the order it is given."""

    def __init__(
        self, geometry: Geometry, memory: np.ndarray, defined: np.ndarray, fixed: np.ndarray, pads: np.ndarray
    ) -> None:
        """Begin with `memory`; `defined` bytes count as written, `fixed` must not be, `pads` are in no tensor."""
        self.g = geometry
        self.fixed = fixed
        self.elements = ~(fixed | pads)
        self.spaces = [np.full(size, 0x5A, dtype=np.uint8) for size in geometry.sizes]
        self.spaces[ACCUMULATOR] = np.full(geometry.sizes[ACCUMULATOR], 0x5A5A5A5A, dtype=np.int64)
        self.spaces[MEMORY] = memory
        self.defined = [np.zeros(size, dtype=bool) for size in geometry.sizes]
        self.defined[MEMORY] = defined
        self.origin = [np.full(size, FILLED, dtype=np.int64) for size in geometry.sizes[:MEMORY]]
        self.sum_id = np.full(geometry.sizes[ACCUMULATOR], -1, dtype=np.int64)
        self.next_sum = 0
        self.macs: Counter[int] = Counter()
        self.tensor_macs: Counter[int] = Counter()
        self._products: list[np.ndarray] = []
        self._product_layer = -1

    def step(self, instruction: Instruction) -> Accesses:
        """Run one instruction and return what it touched."""
        if instruction.opcode is Opcode.LOAD:
            return self._load(instruction)
        if instruction.opcode is Opcode.STORE:
            return self._store(instruction)
        if instruction.opcode is Opcode.COMPUTE:
            return self._compute(instruction)
        return self._vector(instruction)

    def _touch(self, instruction: Instruction, space: int, at: np.ndarray, *, reads: bool) -> tuple[int, np.ndarray]:
        """Check addresses and return them unique; reads must be defined, writes become defined."""
        if at.size and (at.min() < 0 or at.max() >= self.g.sizes[space]):
            raise ReplayError(f"{instruction}: address {at.max()} of space {space} is beyond {self.g.sizes[space]}")
        mask = np.zeros(self.g.sizes[space], dtype=bool)
        mask[at.reshape(-1)] = True
        unique = np.flatnonzero(mask)
        if reads and not self.defined[space][unique].all():
            where = unique[~self.defined[space][unique]][0]
            raise ReplayError(f"{instruction}: reads {where} of space {space}, which was never written")
        if not reads:
            self.defined[space][unique] = True
        return space, unique

    def _load(self, instruction: Instruction) -> Accesses:
        f = instruction.f
        space = f["space"]
        lines = f["pad_top"] + f["ny"] + f["pad_bottom"]
        source = affine(f["dram"], (f["ny"], f["dram_y"]), (f["nx"], f["dram_x"]), (f["run_bytes"], 1))
        first = f["dst"] + f["pad_top"] * f["dst_y"] + f["pad_left"]
        target = affine(first, (f["ny"], f["dst_y"]), (f["nx"], f["dst_x"]), (f["run_bytes"], f["dst_e"]))
        fills = []
        if f["dst_e"] == 1:
            line_bytes = f["pad_left"] + (f["nx"] - 1) * f["dst_x"] + f["run_bytes"] + f["pad_right"]
            for line in range(lines):
                start = f["dst"] + line * f["dst_y"]
                if line < f["pad_top"] or line >= f["pad_top"] + f["ny"]:
                    fills.append(affine(start, (line_bytes, 1)))
                else:
                    fills.append(affine(start, (f["pad_left"], 1)))
                    fills.append(affine(start + line_bytes - f["pad_right"], (f["pad_right"], 1)))
        elif f["pad_top"] + f["pad_bottom"] + f["pad_left"] + f["pad_right"]:
            raise ReplayError(f"{instruction}: a scatter must not pad")
        filled = np.concatenate([*fills, np.zeros(0, dtype=np.int64)])
        written = np.concatenate([filled, target.reshape(-1)])
        if np.unique(written).size != written.size:
            raise ReplayError(f"{instruction}: writes a byte twice")
        touched = Accesses()
        touched.reads.append(self._touch(instruction, MEMORY, source, reads=True))
        touched.writes.append(self._touch(instruction, space, written, reads=False))
        self.spaces[space][filled] = f["fill"]
        self.origin[space][filled] = FILLED
        self.spaces[space][target] = self.spaces[MEMORY][source]
        self.origin[space][target] = source
        return touched

    def _store(self, instruction: Instruction) -> Accesses:
        f = instruction.f
        target = affine(f["dram"], (f["ny"], f["dram_y"]), (f["nx"], f["dram_x"]), (f["run_bytes"], 1))
        source = affine(f["src"], (f["ny"], f["src_y"]), (f["nx"], f["src_x"]), (f["run_bytes"], 1))
        if np.unique(target).size != target.size:
            raise ReplayError(f"{instruction}: writes a byte twice")
        touched = Accesses()
        touched.reads.append(self._touch(instruction, ACTIVATION, source, reads=True))
        touched.writes.append(self._touch(instruction, MEMORY, target, reads=False))
        if self.fixed[target].any():
            raise ReplayError(f"{instruction}: writes instructions or constants")
        self.spaces[MEMORY][target] = self.spaces[ACTIVATION][source]
        return touched

    def _rows(self, f: dict[str, int]) -> Iterator[tuple[int, int, int, np.ndarray]]:
        """Yield (run row ry, run column rx, step, words j of the fold) in the order weights are stored."""
        for ry in range(f["n_ry"]):
            for rx in range(f["n_rx"]):
                for fold in range(0, f["run_words"], self.g.chain_length):
                    words = np.arange(fold, min(fold + self.g.chain_length, f["run_words"]))
                    for step in range(f["steps"]):
                        yield ry, rx, step, words

    def _indices(self, f: dict[str, int], rows: np.ndarray) -> np.ndarray:
        """Return the stored index of each (row, active chain)."""
        row_bytes = self.g.chains * f["index_bits"] // 8
        at = affine(f["i"], (1, 0))[0] + rows[:, None] * row_bytes + np.arange(row_bytes)
        bits = np.unpackbits(self.spaces[INDEX][at], axis=1, bitorder="little")
        bits = bits[:, : f["chains_active"] * f["index_bits"]].reshape(len(rows), f["chains_active"], f["index_bits"])
        return (bits.astype(np.int64) << np.arange(f["index_bits"])).sum(axis=2)

    def _compute(self, instruction: Instruction) -> Accesses:
        f, chains = instruction.f, self.g.chains
        active = f["chains_active"]
        positions = affine(f["a"], (f["ny"], f["a_y"]), (f["nx"], f["a_x"])).reshape(-1)
        sums_at = affine(f["acc"] * chains, (positions.size, chains), (active, 1))
        total_rows = f["n_ry"] * f["n_rx"] * f["run_words"] * f["steps"]
        touched = Accesses()
        if f["acc"] % self.g.lanes or active > chains:
            raise ReplayError(f"{instruction}: accumulator entry or chains do not fit the array")
        weights_at = affine(f["w"], (total_rows, chains), (active, 1))
        touched.reads.append(self._touch(instruction, WEIGHT, weights_at, reads=True))
        if f["index_bits"]:
            row_bytes = -(-active * f["index_bits"] // 8)
            at = affine(f["i"], (total_rows, chains * f["index_bits"] // 8), (row_bytes, 1))
            touched.reads.append(self._touch(instruction, INDEX, at, reads=True))
        if f["clear"]:
            sums = np.zeros(sums_at.shape, dtype=np.int64)
            self.sum_id[sums_at] = self.next_sum + np.arange(sums.size).reshape(sums.shape)
            self.next_sum += sums.size
        else:
            touched.reads.append(self._touch(instruction, ACCUMULATOR, sums_at, reads=True))
            sums = self.spaces[ACCUMULATOR][sums_at]
        selected = []
        row = 0
        for ry, rx, step, words in self._rows(f):
            rows = row + np.arange(words.size)
            row += words.size
            address = positions[:, None] + ry * f["r_y"] + rx * f["r_x"] + words * self.g.group
            index = np.full((words.size, active), step)
            if f["index_bits"]:
                index = (step // f["slots"] << f["index_bits"]) + self._indices(f, rows)
            if index.max() >= self.g.group:
                raise ReplayError(f"{instruction}: selects byte {index.max()} of a word of {self.g.group}")
            at = address[:, :, None] + index
            selected.append(np.unique(at))
            weights = self.spaces[WEIGHT][weights_at[rows]].view(np.int8).astype(np.int64)
            sums = sums + (self._bytes(ACTIVATION, at) * weights).sum(axis=1)
            self._multiply(instruction.layer, sums_at, at, weights_at[rows], weights)
        touched.reads.append(self._touch(instruction, ACTIVATION, np.concatenate(selected), reads=True))
        touched.writes.append(self._touch(instruction, ACCUMULATOR, sums_at, reads=False))
        self.spaces[ACCUMULATOR][sums_at] = (sums + 2**31) % 2**32 - 2**31
        return touched

    def _bytes(self, space: int, at: np.ndarray) -> np.ndarray:
        """Return int8 values as int64."""
        if at.max() >= self.g.sizes[space]:
            raise ReplayError(f"address {at.max()} of space {space} is beyond {self.g.sizes[space]}")
        return self.spaces[space].view(np.int8)[at].astype(np.int64)

    def _multiply(
        self, layer: int, sums_at: np.ndarray, at: np.ndarray, weights_at: np.ndarray, weights: np.ndarray
    ) -> None:
        """Note the products of a step: at [positions, words, chains], weights [words, chains], nonzero weights only."""
        if layer != self._product_layer:
            self.finish_sums()
            self._product_layer = layer
        words, chains = np.nonzero(weights)
        keys = np.empty((at.shape[0], words.size, 3), dtype=np.int64)
        keys[..., 0] = self.sum_id[sums_at][:, chains]
        keys[..., 1] = self.origin[ACTIVATION][at[:, words, chains]]
        keys[..., 2] = self.origin[WEIGHT][weights_at[words, chains]]
        # A filled activation has no origin of its own; its weight tells its place in the sum. But a constant times an
        # element of a tensor corrects the zero point of a product of two tensors, and may be added in several parts.
        # Whether a byte was computed, not whether it is in a known tensor: bytes of one that has gaps may be another's
        # pad channels at another time.
        source = keys[..., 2]
        computed = (source == COMPUTED) | (source >= 0) & ~self.fixed[np.maximum(source, 0)]
        correction = ~self._of_tensor(keys[..., 1]) & computed
        self._products.append(_hashed(keys[~correction]))
        words, chains = np.nonzero((weights != 0) | self._of_tensor(self.origin[WEIGHT][weights_at]))
        source = self.origin[ACTIVATION][at[:, words, chains]]
        self.tensor_macs[layer] += int(np.count_nonzero(self._of_tensor(source)))

    def _of_tensor(self, origin: np.ndarray) -> np.ndarray:
        """Return which origins are elements of tensors: not filled, not constants, not pad channels."""
        return (origin == COMPUTED) | (origin >= 0) & self.elements[np.maximum(origin, 0)]

    def finish_sums(self) -> None:
        """Require that no product of the layer was added to a sum twice; count them."""
        if self._products:
            products = np.concatenate(self._products)
            twice = products.size - np.unique(products).size
            if twice:
                raise ReplayError(f"layer {self._product_layer}: {twice} products were added to a sum twice")
            self.macs[self._product_layer] += products.size
        self._products = []

    def _vector(self, instruction: Instruction) -> Accesses:
        f, opcode = instruction.f, instruction.opcode
        width = f["nc"] * self.g.group
        shape = ((f["ny"], f["d_y"]), (f["nx"], f["d_x"]), (width, 1))
        target = affine(f["d"], *shape).reshape(-1, width)
        block, touched = self._parameters(instruction, width)
        result = np.empty(target.shape, dtype=np.int64)
        if opcode in (Opcode.REQUANTIZE, Opcode.REQUANTIZE_ADD):
            at = affine(f["a"] * self.g.chains, (target.shape[0], self.g.chains), (width, 1))
            if width > self.g.chains:
                raise ReplayError(f"{instruction}: more channels than chains")
            used = at[:, block.multipliers(width) != 0]  # a zero multiplier selects nothing: pad channels
            touched.reads.append(self._touch(instruction, ACCUMULATOR, used, reads=True))
            for q, row in enumerate(self.spaces[ACCUMULATOR][at]):
                result[q] = block.requantize(row.tolist())
            if opcode is Opcode.REQUANTIZE_ADD:
                other = self._second(f, width)
                touched.reads.append(self._touch(instruction, ACTIVATION, other, reads=True))
                for q, row in enumerate(self._bytes(ACTIVATION, other)):
                    result[q] = block.apply(opcode, [result[q].tolist()], row.tolist())
        else:
            windows = ((f["ny"], f["a_y"]), (f["nx"], f["a_x"]), (f["kh"], f["a_ky"]), (f["kw"], f["a_kx"]))
            at = affine(f["a"], *windows, (width, 1)).reshape(target.shape[0], -1, width)
            touched.reads.append(self._touch(instruction, ACTIVATION, at, reads=True))
            other = at
            if opcode in (Opcode.ADD, Opcode.MULTIPLY):
                other = self._second(f, width)
                touched.reads.append(self._touch(instruction, ACTIVATION, other, reads=True))
            rows, others = self._bytes(ACTIVATION, at), self._bytes(ACTIVATION, other)
            for q in range(target.shape[0]):
                result[q] = block.apply(opcode, rows[q].tolist(), others[q].tolist())
        if np.unique(target).size != target.size:
            raise ReplayError(f"{instruction}: writes a byte twice")
        touched.writes.append(self._touch(instruction, ACTIVATION, target, reads=False))
        self.spaces[ACTIVATION][target] = result & 255
        self.origin[ACTIVATION][target] = COMPUTED
        return touched

    @staticmethod
    def _second(f: dict[str, int], width: int) -> np.ndarray:
        """Return the addresses of source B, [positions][1][channels]."""
        step = 0 if f["b_c"] else 1
        return affine(f["b"], (f["ny"], f["b_y"]), (f["nx"], f["b_x"]), (width, step)).reshape(-1, 1, width)

    def _parameters(self, instruction: Instruction, width: int) -> "tuple[Block, Accesses]":
        """Return the parameter block and the reading of its bytes."""
        touched = Accesses()
        if instruction.opcode in (Opcode.COPY, Opcode.MAXIMUM):
            return Block(b"", width), touched
        start = instruction.f["par"]
        header = self.spaces[PARAMETER][start : start + 32]
        requantize = 12 * width + (256 if header[6] else 0)
        length = 32 + {
            Opcode.REQUANTIZE: requantize,
            Opcode.REQUANTIZE_ADD: requantize,
            Opcode.LAYER_NORM: 16 * width,
            Opcode.TABLE: 256,
            Opcode.SOFTMAX: 1024,
            Opcode.LRN: 1024,
        }.get(instruction.opcode, 0)
        touched.reads.append(self._touch(instruction, PARAMETER, affine(start, (length, 1)), reads=True))
        return Block(self.spaces[PARAMETER][start : start + length].tobytes(), width), touched


def _hashed(keys: np.ndarray) -> np.ndarray:
    """Return a 64-bit hash of each row of three int64; equal hashes of different rows are as likely as 2**-64."""
    result = np.zeros(len(keys), dtype=np.uint64)
    for column, odd in enumerate((0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9)):
        result ^= keys[:, column].astype(np.uint64) + np.uint64(column + 1)
        result *= np.uint64(odd)
        result ^= result >> np.uint64(29)
    return result


class Block:
    """A parameter block and the arithmetic it stands for, one position at a time."""

    def __init__(self, content: bytes, width: int) -> None:
        self.h = np.frombuffer(content[:32].ljust(32, b"\0"), numerics.HEADER_DTYPE)[0]
        self.body = content[32:]
        self.width = width

    def multipliers(self, width: int) -> np.ndarray:
        return np.frombuffer(self.body[: 12 * width], numerics.REQUANTIZE_DTYPE)["multiplier"]

    def _of(self, *names: str) -> dict[str, int]:
        return {name: int(self.h[name]) for name in names}

    def requantize(self, sums: list[int]) -> list[int]:
        entries = np.frombuffer(self.body[: 12 * self.width], numerics.REQUANTIZE_DTYPE)
        table = np.frombuffer(self.body[12 * self.width :], np.int8)
        result = []
        for total, entry in zip(sums, entries.tolist(), strict=True):
            biased = (total + entry[0] + 2**31) % 2**32 - 2**31
            h = self._of("low", "high")
            value = numerics.requantize(biased, entry[1], entry[2], int(self.h["zero_out"]), **h)
            result.append(int(table[value + 128]) if self.h["has_table"] else value)
        return result

    def apply(self, opcode: Opcode, window: list[list[int]], other: list[list[int]]) -> list[int]:
        """Return the word bytes of one position; window [kernel elements][channels], other [1][channels]."""
        row, real = window[0], int(self.h["channels"])
        pads = [int(self.h["zero_out"])] * (self.width - real)  # channels beyond the real ones become zero_out
        match opcode:
            case Opcode.COPY:
                return row
            case Opcode.MAXIMUM:
                return [max(values) for values in zip(*window, strict=True)]
            case Opcode.TABLE:
                table = np.frombuffer(self.body, np.int8)
                return [int(table[q + 128]) for q in row]
            case Opcode.ADD:
                names = ("zero_a", "zero_b", "mult_a", "mult_b", "shift", "zero_out", "low", "high")
                return [numerics.add(a, b, **self._of(*names)) for a, b in zip(row, other[0], strict=True)]
            case Opcode.REQUANTIZE_ADD:
                names = ("zero_a", "zero_b", "mult_a", "mult_b", "shift", "extra")
                return [numerics.requantize_add(q, b, **self._of(*names)) for q, b in zip(row, other[0], strict=True)]
            case Opcode.MULTIPLY:
                names = ("zero_a", "zero_b", "mult_a", "shift", "zero_out", "low", "high")
                return [numerics.multiply(a, b, **self._of(*names)) for a, b in zip(row, other[0], strict=True)]
            case Opcode.AVERAGE:
                names = ("zero_a", "mult_a", "shift", "zero_out", "low", "high")
                return [numerics.average(list(values), **self._of(*names)) for values in zip(*window, strict=True)]
            case Opcode.SOFTMAX:
                exponentials = np.frombuffer(self.body, "<u4").tolist()
                return numerics.softmax(row[:real], exponentials, int(self.h["zero_out"])) + pads
            case Opcode.LAYER_NORM:
                entries = np.frombuffer(self.body, numerics.LAYER_NORM_DTYPE)[:real]
                names = ("epsilon", "shift", "zero_out", "low", "high")
                gamma, beta = entries["gamma"].tolist(), entries["beta"].tolist()
                return numerics.layer_norm(row[:real], gamma, beta, **self._of(*names)) + pads
        factors = np.frombuffer(self.body, "<i4").tolist()
        extra = {"window": int(self.h["extra"]) & 255, "index_shift": int(self.h["extra"]) >> 8}
        return numerics.lrn(row[:real], factors, **extra, **self._of("zero_a", "shift", "zero_out")) + pads
