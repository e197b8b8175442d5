"""Random Programs for timing alone: any fields, tokens that are consistent in program order."""

import numpy as np
from hand_programs import small_spec

from gossamer.arch.encoding import encode
from gossamer.arch.isa import ENGINE_OF, ENGINES, Opcode
from gossamer.arch.spec import SparseAccelerator
from gossamer.dataflow.program import LayerRecord, Program, Region, RegionKind

Line = tuple[Opcode, dict[str, int]]


def timing_program(
    lines: list[Line], *, layers: tuple[LayerRecord, ...] = (), layer_of: list[int] | None = None
) -> Program:
    """Return a Program of these instructions and END, with 4 KiB of constants behind them."""
    words = [encode(op, {"dst_e": 1, **fields} if op is Opcode.LOAD else fields) for op, fields in lines]
    words.append(encode(Opcode.END, {}))
    size = -(-len(words) // 64) * 4096
    regions = (
        Region(name="instructions", kind=RegionKind.INSTRUCTIONS, address=0, size_bytes=size),
        Region(name="constants", kind=RegionKind.CONSTANTS, address=size, size_bytes=4096),
    )
    owners = [-1] * len(words) if layer_of is None else [*layer_of, -1]
    return Program(
        name="timing", config_name="small", config_fingerprint="", instructions=np.stack(words),
        image=np.zeros(4096, dtype=np.uint8), regions=regions, inputs=(), outputs=(), intermediates=(), layers=layers,
        layer_of=np.array(owners, dtype=np.int32),
    )  # fmt: skip


def timing_spec(random: np.random.Generator) -> SparseAccelerator:
    """Return a small config with random off-chip memory, ports, queues and array timing."""
    spec = small_spec(group=8, chains=8)
    pick = random.choice
    rows = int(pick([1, 2, 3]))
    array = spec.array.model_copy(
        update={"lanes": int(pick([1, 2, 3])), "chain_length": rows * int(pick([1, 3, 4])),
                "weight_rows_per_cycle": rows}
    )  # fmt: skip
    off_chip = spec.off_chip.model_copy(
        update={"channels": int(pick([1, 2, 3])), "channel_bandwidth_gb_s": float(pick([0.11, 0.8, 3.7])),
                "efficiency": float(pick([0.5, 0.9])), "latency_ns": float(pick([0.0, 33.0, 400.0])),
                "interleave_bytes": int(pick([64, 256, 4096]))}
    )  # fmt: skip
    ports, data_bits = int(pick([1, 1, 2, 4])), int(pick([32, 64, 128]))
    beats = [count for count in (1, 2, 4, 6, 64) if count >= ports]  # a burst holds a beat of every port
    axi = spec.axi.model_copy(
        update={"ports": ports, "data_bits": data_bits, "burst_beats": int(pick(beats)),
                "max_outstanding": int(pick([1, 2, 5]))}
    )  # fmt: skip
    dispatch = spec.dispatch.model_copy(update={"queue_depth": int(pick([1, 2, 4]))})
    return spec.model_copy(update={"array": array, "off_chip": off_chip, "axi": axi, "dispatch": dispatch})


def _transfer(random: np.random.Generator, chip: str) -> dict[str, int]:
    """Return random fields of a LOAD or STORE, contiguous or not on either side."""
    ny, nx, run = (int(random.integers(1, high)) for high in (5, 5, 40))
    if random.random() < 0.2:
        run = int(random.integers(200, 900))
    dram_x = run if random.random() < 0.5 else run + int(random.integers(1, 50))
    dram_y = nx * dram_x if random.random() < 0.5 else nx * dram_x + int(random.integers(1, 5000))
    chip_x = run if random.random() < 0.5 else run + int(random.integers(1, 9))
    chip_y = nx * chip_x if random.random() < 0.5 else nx * chip_x + int(random.integers(1, 99))
    return {
        "ny": ny, "nx": nx, "run_bytes": run, "dram": int(random.integers(8192, 20000)), "dram_x": dram_x,
        "dram_y": dram_y, chip: int(random.integers(0, 4096)), f"{chip}_x": chip_x, f"{chip}_y": chip_y,
    }  # fmt: skip


def random_line(random: np.random.Generator) -> Line:
    """Return one random instruction without tokens."""
    kind = random.integers(0, 6)
    if kind in (0, 1):
        fields = _transfer(random, "dst")
        if random.random() < 0.2:
            fields |= {"dst_e": int(random.integers(2, 5)), "run_bytes": int(random.integers(1, 20))}
        elif random.random() < 0.5:
            pads = {f"pad_{side}": int(random.integers(0, 30)) for side in ("top", "bottom", "left", "right")}
            fields |= pads
            fields["dst_y"] += pads["pad_left"] + pads["pad_right"]
            if random.random() < 0.2:
                fields["ny"] = 0
        return Opcode.LOAD, fields
    if kind == 2:
        return Opcode.STORE, _transfer(random, "src")
    if kind == 3:
        names = {"ny": 5, "nx": 9, "n_ry": 3, "n_rx": 3, "run_words": 9, "steps": 4, "chains_active": 8}
        return Opcode.COMPUTE, {name: int(random.integers(1, high + 1)) for name, high in names.items()}
    opcode = random.choice([op for op in ENGINE_OF if op >= Opcode.REQUANTIZE and op is not Opcode.LRN])
    names = {"ny": 4, "nx": 6, "nc": 5, "kh": 3, "kw": 2}
    return Opcode(int(opcode)), {name: int(random.integers(1, high + 1)) for name, high in names.items()}


def random_lines(random: np.random.Generator, count: int) -> list[Line]:
    """Return random instructions; each waits only for tokens that earlier ones have given."""
    balance = dict.fromkeys(((giver, taker) for giver in ENGINES for taker in ENGINES), 0)
    lines = []
    for _ in range(count):
        opcode, fields = random_line(random)
        own = ENGINE_OF[opcode]
        wait = release = 0
        for bit, other in enumerate(ENGINES):
            if balance[other, own] and random.random() < 0.6:
                balance[other, own] -= 1
                wait |= 1 << bit
            if random.random() < 0.4:
                release |= 1 << bit
        for bit, other in enumerate(ENGINES):
            balance[own, other] += release >> bit & 1
        lines.append((opcode, {**fields, "wait": wait, "release": release}))
    return lines
