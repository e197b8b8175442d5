"""Random instructions that stay within their buffers, in Programs that first fill and at last store buffers."""

import numpy as np
from hand_programs import Line, constants_address, program_of

from gossamer.arch.accumulator import accumulator_entries
from gossamer.arch.isa import REQUANTIZING, TWO_SOURCES, VECTOR_OPCODES, Opcode, Space
from gossamer.arch.spec import SparseAccelerator
from gossamer.dataflow.numerics import HEADER_DTYPE, LAYER_NORM_DTYPE, REQUANTIZE_DTYPE, pack_limits
from gossamer.dataflow.program import Program


class RandomProgram:
    """Grows instructions and the constants they load; `program` closes it."""

    def __init__(self, spec: SparseAccelerator, seed: int) -> None:
        self.spec = spec
        self.random = np.random.default_rng(seed)
        self.group = spec.array.group_size
        self.lines: list[Line] = []
        self.image: list[bytes] = []
        buffers = spec.buffers
        self.capacity = {
            Space.ACTIVATION: buffers.activation.capacity_bytes,
            Space.WEIGHT: buffers.weight.capacity_bytes,
            Space.INDEX: buffers.index.capacity_bytes,
            Space.PARAMETER: buffers.parameter.capacity_bytes,
        }
        self.entries = accumulator_entries(spec)
        self._fill()

    def _fill(self) -> None:
        """Fill all buffers, and the accumulator from COMPUTEs over all entries."""
        for space, capacity in self.capacity.items():
            self.load_constant(space, 0, self.random.integers(0, 256, capacity, dtype=np.uint8).tobytes())
        for entry in range(0, self.entries, 64):
            nx = min(64, self.entries - entry)
            fields = {"a": 0, "a_x": self.group, "ny": 1, "nx": nx, "n_ry": 1, "n_rx": 1, "run_words": 3, "acc": entry,
                      "clear": 1, "steps": self.group, "chains_active": self.spec.array.chains}  # fmt: skip
            self.lines.append((Opcode.COMPUTE, fields))

    def load_constant(self, space: Space, address: int, content: bytes) -> None:
        """Append a LOAD of bytes that become part of the image; its address is filled in at the end."""
        offset = sum(len(part) for part in self.image)
        self.image.append(content)
        self.lines.append(
            (Opcode.LOAD, {"space": space, "dram": offset, "run_bytes": len(content), "ny": 1, "nx": 1, "dst": address,
                           "dst_e": 1})
        )  # fmt: skip

    def count(self, limit: int) -> int:
        return int(self.random.integers(1, limit + 1))

    def place(self, length: int, limit: int, unit: int) -> int:
        """Return a random address, a multiple of unit, with `length` free up to `limit`."""
        return int(self.random.integers(0, (limit - length) // unit + 1)) * unit

    def load(self) -> None:
        space = Space(int(self.random.integers(0, 4)))
        ny, nx, run = self.count(4), self.count(4), self.count(12)
        fields = {"space": space, "ny": ny, "nx": nx, "run_bytes": run, "fill": int(self.random.integers(0, 256))}
        fields |= {"dram_x": int(self.random.integers(0, 20)), "dram_y": int(self.random.integers(0, 90))}
        if self.random.random() < 0.3:
            fields |= {"dst_e": int(self.random.integers(2, 9)), "dst_x": 1, "dst_y": nx}
            fields["run_bytes"] = run = 1 if fields["dst_e"] < nx * ny else run
            line = (nx - 1) + (run - 1) * fields["dst_e"] + 1
            fields["dst_y"] = line
        else:
            pads = {
                name: int(self.random.integers(0, 4)) for name in ("pad_top", "pad_bottom", "pad_left", "pad_right")
            }
            fields |= pads | {"dst_e": 1, "dst_x": run + int(self.random.integers(0, 5))}
            line = pads["pad_left"] + (nx - 1) * fields["dst_x"] + run + pads["pad_right"]
            fields["dst_y"] = line + int(self.random.integers(0, 9))
        lines = fields.get("pad_top", 0) + ny + fields.get("pad_bottom", 0)
        fields["dst"] = self.place((lines - 1) * fields["dst_y"] + line, self.capacity[space], 1)
        fields["dram"] = self.place((ny - 1) * fields["dram_y"] + (nx - 1) * fields["dram_x"] + run, 4096, 1)
        self.lines.append((Opcode.LOAD, fields))

    def compute(self) -> None:
        array = self.spec.array
        fields = {name: self.count(limit) for name, limit in (("ny", 4), ("nx", 5), ("n_ry", 3), ("n_rx", 2))}
        fields |= {name: int(self.random.integers(0, 12)) * self.group for name in ("a_y", "a_x", "r_y", "r_x")}
        fields["run_words"] = self.count(2 * array.chain_length + 1)
        index_bits = int(self.random.integers(0, self.group.bit_length()))
        slots = self.count(1 << index_bits)
        sub_groups = self.group >> index_bits
        most = self.group if index_bits == 0 else slots * sub_groups
        fields |= {"index_bits": index_bits, "slots": slots, "steps": self.count(most), "clear": self.count(2) - 1}
        fields["chains_active"] = self.count(array.chains)
        reach = fields["run_words"] * self.group
        for count, stride in (("ny", "a_y"), ("nx", "a_x"), ("n_ry", "r_y"), ("n_rx", "r_x")):
            reach += (fields[count] - 1) * fields[stride]
        row_bytes = array.chains * max(1, index_bits) // 8
        limit = min(self.capacity[Space.WEIGHT] // array.chains, self.capacity[Space.INDEX] // row_bytes)
        runs = fields["n_ry"] * fields["n_rx"] * fields["run_words"]
        fields["steps"] = max(1, min(fields["steps"], limit // runs))
        rows = runs * fields["steps"]
        if reach > self.capacity[Space.ACTIVATION] or rows > limit:
            return
        fields["a"] = self.place(reach, self.capacity[Space.ACTIVATION], self.group)
        fields["w"] = self.place(rows * array.chains, self.capacity[Space.WEIGHT], array.chains)
        fields["i"] = self.place(rows * row_bytes, self.capacity[Space.INDEX], row_bytes)
        fields["acc"] = self.place(fields["ny"] * fields["nx"], self.entries, array.lanes)
        self.lines.append((Opcode.COMPUTE, fields))

    def header(self, channels: int) -> np.ndarray:
        header = np.zeros(1, HEADER_DTYPE)
        for name in ("zero_a", "zero_b", "zero_out"):
            header[name] = self.random.integers(-128, 128)
        low, high = sorted(self.random.integers(-128, 128, 2).tolist())
        header["low"], header["high"] = (low, high) if self.random.random() < 0.5 else (-128, 127)
        header["shift"] = self.random.integers(20, 40)
        header["mult_a"] = self.random.integers(0, 2**31)
        header["mult_b"] = self.random.integers(-(2**31) + 1, 2**31)
        header["channels"] = channels
        header["epsilon"] = self.random.integers(0, 2**12)
        return header

    def block(self, opcode: Opcode, width: int) -> bytes:
        """Return a parameter block with random constants of sensible sizes."""
        header = self.header(int(self.random.integers(max(1, width - self.group + 1), width + 1)))
        if opcode in REQUANTIZING:
            low, high = sorted(self.random.integers(-128, 128, 2).tolist())
            limits = (low, high) if self.random.random() < 0.3 else (-128, 127)
            header["extra"] = pack_limits(int(self.random.integers(-128, 128)), *limits)
            header["mult_a"], header["mult_b"] = self.random.integers(-(2**17), 2**17, 2)
            header["shift"] = self.random.integers(14, 21)
            header["has_table"] = self.random.integers(0, 2)
            entries = np.zeros(width, REQUANTIZE_DTYPE)
            entries["bias"] = self.random.integers(-(2**31), 2**31, width) >> int(self.random.integers(0, 24))
            entries["multiplier"] = self.random.integers(0, 2**31, width)
            entries["shift"] = self.random.integers(1, 63, width) if self.random.random() < 0.3 else 42
            table = self.random.integers(0, 256, 256 * int(header["has_table"][0]), dtype=np.uint8)
            return header.tobytes() + entries.tobytes() + table.tobytes()
        if opcode is Opcode.MULTIPLY:
            header["shift"] = self.random.integers(28, 45)
        if opcode is Opcode.TABLE:
            return header.tobytes() + self.random.integers(0, 256, 256, dtype=np.uint8).tobytes()
        if opcode is Opcode.SOFTMAX:
            exponentials = (2.0**31 * np.exp(-np.arange(256) / self.random.integers(5, 60))).astype("<u4")
            return header.tobytes() + exponentials.tobytes()
        if opcode is Opcode.LRN:
            window = self.count(7)
            header["extra"] = window | int(self.random.integers(0, 10)) << 8
            header["shift"] = self.random.integers(8, 20)
            return header.tobytes() + self.random.integers(-(2**16), 2**16, 256).astype("<i4").tobytes()
        if opcode is Opcode.LAYER_NORM:
            entries = np.zeros(width, LAYER_NORM_DTYPE)
            entries["gamma"] = self.random.integers(-(2**20), 2**20, width)
            entries["beta"] = self.random.integers(-(2**38), 2**38, width)
            header["shift"] = self.random.integers(28, 33)
            return header.tobytes() + entries.tobytes()
        return header.tobytes()

    def vector(self, opcode: Opcode) -> None:
        group, capacity = self.group, self.capacity[Space.ACTIVATION]
        fields = {"ny": self.count(4), "nx": self.count(4), "nc": self.count(3), "kh": 1, "kw": 1}
        if opcode in REQUANTIZING:
            fields["nc"] = self.count(self.spec.array.chains // group)
        if opcode in (Opcode.MAXIMUM, Opcode.AVERAGE):
            fields |= {"kh": self.count(3), "kw": self.count(3)}
        width = fields["nc"] * group
        for name in ("a_y", "a_x", "a_ky", "a_kx", "b_y", "b_x"):
            fields[name] = int(self.random.integers(0, 8)) * group
        fields["d_x"] = width + int(self.random.integers(0, 2)) * group
        fields["d_y"] = fields["nx"] * fields["d_x"]
        if opcode in REQUANTIZING:
            fields["a"] = self.place(fields["ny"] * fields["nx"], self.entries, 1)
        else:
            reach = width + sum(
                (fields[count] - 1) * fields[stride]
                for count, stride in (("ny", "a_y"), ("nx", "a_x"), ("kh", "a_ky"), ("kw", "a_kx"))
            )
            fields["a"] = self.place(reach, capacity // 2, group)
        if opcode in TWO_SOURCES:
            fields["b_c"] = self.count(2) - 1
            unit = 1 if fields["b_c"] else group
            reach = (fields["ny"] - 1) * fields["b_y"] + (fields["nx"] - 1) * fields["b_x"] + width
            fields["b"] = self.place(reach, capacity // 2, unit)
        # Sources in the lower half, destination in the upper one: neither twin promises an order within an instruction.
        reach = (fields["ny"] - 1) * fields["d_y"] + (fields["nx"] - 1) * fields["d_x"] + width
        fields["d"] = capacity // 2 + self.place(reach, capacity // 2, group)
        block = self.block(opcode, width)
        fields["par"] = self.place(len(block), self.capacity[Space.PARAMETER], 1)
        self.load_constant(Space.PARAMETER, fields["par"], block)
        self.lines.append((opcode, fields))

    def copy_down(self) -> None:
        """Copy a part of the upper half to the lower one, so that results become sources."""
        half = self.capacity[Space.ACTIVATION] // 2
        words = min(half // self.group, 2**14 - 1)
        self.lines.append((Opcode.COPY, {"a": half, "d": 0, "ny": 1, "nx": 1, "nc": words, "kh": 1, "kw": 1}))

    def grow(self, opcode: Opcode) -> None:
        """Append a random instruction of an opcode."""
        if opcode is Opcode.LOAD:
            self.load()
        elif opcode is Opcode.COMPUTE:
            self.compute()
        elif opcode in VECTOR_OPCODES:
            self.vector(opcode)

    def program(self) -> Program:
        """Store what can be seen of all buffers, and return the Program."""
        capacity = self.capacity[Space.ACTIVATION]
        chains, group = self.spec.array.chains, self.group
        lines = list(self.lines)
        stores: list[Line] = [(Opcode.STORE, {"run_bytes": capacity, "ny": 1, "nx": 1, "src": 0})]
        image = np.frombuffer(b"".join(self.image), dtype=np.uint8)
        start = constants_address(len(lines) + len(stores))
        lines = [
            (op, fields | {"dram": fields["dram"] + start}) if op is Opcode.LOAD else (op, fields)
            for op, fields in lines
        ]
        after = start + -(-image.size // 64) * 64
        assert chains >= group
        stores[0][1]["dram"] = after
        return program_of(self.spec, [*lines, *stores], image, working_bytes=capacity)
