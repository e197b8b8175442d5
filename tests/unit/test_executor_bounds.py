"""Refusals of the executor: addresses against enumeration by the slow machine, counts, alignment, parameter blocks."""

from dataclasses import replace

import numpy as np
import pytest
from hand_programs import binding, constants_address, program_of, small_spec
from random_programs import RandomProgram
from replay import initial_machine
from replay_twin import Geometry, ReplayError, decode_program

from gossamer.arch.activation import activation_banks
from gossamer.arch.encoding import decode_columns, encode
from gossamer.arch.errors import ProgramError
from gossamer.arch.isa import REQUANTIZING, TWO_SOURCES, VECTOR_OPCODES, Opcode, Space
from gossamer.dataflow.numerics import HEADER_DTYPE
from gossamer.dataflow.program import Program
from gossamer.sim.golden.executor import execute, execute_memory
from gossamer.sim.golden.executor_bounds import check_bounds

SEED = 3
SPEC = small_spec()
NO_IMAGE = np.zeros(0, dtype=np.uint8)

ADDRESSES = {
    Opcode.LOAD: ("dst", "dram"),
    Opcode.STORE: ("src", "dram"),
    Opcode.COMPUTE: ("a", "w", "i", "acc"),
    **{op: ("a", "d", "par", "b") for op in VECTOR_OPCODES},
}


def refused(program: Program, spec=SPEC) -> str:
    """Return the message of the refusal, or an empty text."""
    try:
        check_bounds(program, spec, decode_columns(program.instructions))
    except ProgramError as error:
        return str(error)
    return ""


def leaves(program: Program, number: int) -> bool:
    """Return whether the slow machine, running all before it, finds an access of an instruction out of range."""
    machine = initial_machine(program, Geometry.of(SPEC, program), {})
    for instruction in decode_program(program)[: number + 1]:
        try:
            machine.step(instruction)
        except ReplayError as error:
            return "is beyond" in str(error)
        except (IndexError, ValueError):  # numpy refuses a block or row that ends beyond its buffer
            return True
    return False


@pytest.mark.parametrize("opcode", [Opcode.LOAD, Opcode.COMPUTE, Opcode.STORE, *VECTOR_OPCODES])
def test_last_byte_is_exact(opcode: Opcode) -> None:
    """The highest address that check_bounds lets pass runs on the slow machine; the next one does not."""
    random = RandomProgram(SPEC, SEED)
    while random.lines[-1][0] is not opcode:
        if opcode is Opcode.STORE:
            random.lines.append((Opcode.STORE, {"run_bytes": 24, "ny": 2, "nx": 3, "src_y": 100, "src_x": 30,
                                                "dram_y": 80, "dram_x": 24}))  # fmt: skip
            break
        random.grow(opcode)
    program = random.program()
    number = len(random.lines) - 1
    fields = decode_program(program)[number].f | {"wait": 0, "release": 0}
    if opcode is Opcode.STORE:
        fields["dram"] = program.regions[2].address
    unit = {"a": 8, "d": 8, "b": 1 if fields.get("b_c") else 8, "w": 8, "i": 3, "acc": 2}
    if opcode in REQUANTIZING:
        unit["a"] = 1
    for name in ADDRESSES[opcode]:
        if name == "b" and opcode not in TWO_SOURCES:
            continue
        if name == "par" and opcode in (Opcode.COPY, Opcode.MAXIMUM, *REQUANTIZING):
            continue
        if name == "i" and not fields["index_bits"]:
            continue
        step = unit.get(name, 1)

        def moved(to: int, name: str = name) -> Program:
            words = program.instructions.copy()
            words[number] = encode(
                opcode, {key: value for key, value in (fields | {name: to}).items() if key != "opcode"}
            )
            return replace(program, instructions=words)

        low, high = 0, 2**16 // step
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (
                (low, middle) if f"`{name}` must stay within" in refused(moved(middle * step)) else (middle, high)
            )
        assert f"instruction {number} ({opcode.name}, layer hand): field `{name}` must stay within" in refused(
            moved(high * step)
        )
        assert not refused(moved(low * step)) or name == "dram"
        assert leaves(moved(high * step), number), name
        if name != "par":  # other parameters there need not be usable
            assert not leaves(moved(low * step), number), name


LEGAL = {
    Opcode.LOAD: {"run_bytes": 8, "ny": 1, "nx": 1, "dst_e": 1},
    Opcode.STORE: {"run_bytes": 8, "ny": 1, "nx": 1, "dram": 256},
    Opcode.COMPUTE: {
        "ny": 1,
        "nx": 1,
        "n_ry": 1,
        "n_rx": 1,
        "run_words": 1,
        "steps": 8,
        "clear": 1,
        "chains_active": 8,
    },
    Opcode.ADD: {"ny": 1, "nx": 1, "nc": 1, "kh": 1, "kw": 1},
    Opcode.MAXIMUM: {"ny": 1, "nx": 1, "nc": 1, "kh": 1, "kw": 1},
    Opcode.REQUANTIZE: {"ny": 1, "nx": 1, "nc": 1, "kh": 1, "kw": 1},
}


def one(opcode: Opcode, **fields: int) -> Program:
    """Return a program of one legal instruction with some fields changed."""
    return program_of(SPEC, [(opcode, LEGAL[opcode] | fields)], NO_IMAGE, working_bytes=512)


@pytest.mark.parametrize("opcode", list(LEGAL))
def test_legal_instructions_pass(opcode: Opcode) -> None:
    assert refused(one(opcode)) == ""


@pytest.mark.parametrize(
    ("opcode", "fields", "message"),
    [
        (Opcode.LOAD, {"nx": 0}, "`nx` must be at least 1, not 0"),
        (Opcode.LOAD, {"run_bytes": 0}, "`run_bytes` must be at least 1"),
        (Opcode.LOAD, {"dst_e": 0}, "`dst_e` must be at least 1"),
        (Opcode.LOAD, {"ny": 0}, "`ny` must be at least 1 unless there are lines of padding"),
        (Opcode.LOAD, {"dst_e": 2, "pad_left": 3}, "`pad_left` must be 0 in a scatter, not 3"),
        (Opcode.LOAD, {"dst_e": 2, "pad_bottom": 1}, "`pad_bottom` must be 0 in a scatter"),
        (Opcode.LOAD, {"nx": 1024, "run_bytes": 65536}, "`run_bytes` must be less, so that less than 64 MiB are moved"),
        (Opcode.STORE, {"ny": 0}, "`ny` must be at least 1"),
        (Opcode.STORE, {"ny": 2**9, "nx": 2**9, "run_bytes": 2**8}, "`run_bytes` must be less"),
        (Opcode.STORE, {"dram": 64}, "`dram` must be outside region `instructions`, which is never written, not 64"),
        (Opcode.COMPUTE, {"steps": 0}, "`steps` must be at least 1"),
        (Opcode.COMPUTE, {"steps": 9}, "`steps` must be at most slots"),
        (Opcode.COMPUTE, {"index_bits": 2, "slots": 2, "steps": 5}, "`steps` must be at most slots"),
        (Opcode.COMPUTE, {"index_bits": 2, "slots": 0}, "`slots` must be at least 1"),
        (Opcode.COMPUTE, {"index_bits": 4, "slots": 1, "steps": 1}, "`index_bits` must be at most 3"),
        (
            Opcode.COMPUTE,
            {"index_bits": 3, "slots": 1, "steps": 1, "i": 4},
            "`i` must be a multiple of the bytes of an",
        ),
        (Opcode.COMPUTE, {"a": 4}, "`a` must be a multiple of 8, not 4"),
        (Opcode.COMPUTE, {"r_y": 12}, "`r_y` must be a multiple of 8"),
        (Opcode.COMPUTE, {"w": 4}, "`w` must be a multiple of 8"),
        (Opcode.COMPUTE, {"acc": 1}, "`acc` must be a multiple of 2"),
        (Opcode.COMPUTE, {"chains_active": 9}, "`chains_active` must be at most 8"),
        (Opcode.COMPUTE, {"chains_active": 0}, "`chains_active` must be at least 1"),
        (Opcode.ADD, {"kh": 2}, "`kh` must be 1 without a window, not 2"),
        (Opcode.ADD, {"b": 1}, "`b` must be a multiple of 8, not 1"),
        (Opcode.ADD, {"d_x": 4}, "`d_x` must be a multiple of 8"),
        (Opcode.ADD, {"nc": 0}, "`nc` must be at least 1"),
        (Opcode.MAXIMUM, {"kw": 0}, "`kw` must be at least 1"),
        (Opcode.MAXIMUM, {"a_kx": 4}, "`a_kx` must be a multiple of 8"),
        (Opcode.REQUANTIZE, {"nc": 2}, "`nc` must stay within the 8 chains of an accumulator entry"),
    ],
)
def test_illegal_fields(opcode: Opcode, fields: dict[str, int], message: str) -> None:
    with pytest.raises(ProgramError, match=rf"instruction 0 \({opcode.name}, layer hand\): field {message}"):
        execute_memory(one(opcode, **fields), SPEC, {})


def test_a_load_of_nothing_but_padding() -> None:
    """ny = 0 reads nothing, so the off-chip address does not matter; two lines are filled."""
    store = (Opcode.STORE, {"run_bytes": 64, "ny": 1, "nx": 1, "dram": 192})
    fill = {"ny": 0, "nx": 1, "run_bytes": 8, "dst_e": 1, "dst_y": 16, "pad_top": 2, "fill": 7, "dram": 2**39}
    program = program_of(SPEC, [(Opcode.LOAD, fill), store], NO_IMAGE, working_bytes=64)
    expected = np.full(64, 0xA5, dtype=np.uint8)
    expected[:8] = expected[16:24] = 7
    np.testing.assert_array_equal(execute_memory(program, SPEC, {})[192:], expected)


def with_block(opcode: Opcode, body: bytes = b"", **header: int) -> Program:
    """Return a program whose VECTOR instruction has this parameter block, over one word of loaded activations."""
    content = np.zeros(1, HEADER_DTYPE)
    content["shift"], content["channels"], content["high"] = 1, 8, 127
    for name, value in header.items():
        content[name] = value
    image = np.frombuffer(content.tobytes() + body.ljust(2048, b"\0"), dtype=np.uint8)
    start = constants_address(4)
    lines = [
        (Opcode.LOAD, {"space": Space.PARAMETER, "dram": start, "run_bytes": image.size, "ny": 1, "nx": 1, "dst_e": 1}),
        (Opcode.LOAD, {"dram": start + 64, "run_bytes": 64, "ny": 1, "nx": 1, "dst_e": 1}),
        (Opcode.COMPUTE, LEGAL[Opcode.COMPUTE]),
        (opcode, LEGAL[Opcode.ADD]),
    ]
    return program_of(SPEC, lines, image)


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (with_block(Opcode.ADD, shift=0), r"shift must be in \[1, 62\], not 0"),
        (with_block(Opcode.MULTIPLY, shift=63), "shift must be in .*, not 63"),
        (with_block(Opcode.AVERAGE, shift=255), "shift must be in .*, not 255"),
        (with_block(Opcode.REQUANTIZE), "shift must be in .*, not 0"),
        (with_block(Opcode.SOFTMAX, channels=0), r"channels must be in \[1, 8\], .* not 0"),
        (with_block(Opcode.LRN, channels=9), "channels must be in .* not 9"),
        (with_block(Opcode.LAYER_NORM, channels=2**32 - 1), "channels must be in .* not 4294967295"),
        (with_block(Opcode.SOFTMAX), "exponentials of every row must have a positive sum"),
        (with_block(Opcode.LAYER_NORM, epsilon=2**46), "epsilon must be below"),
        (with_block(Opcode.LAYER_NORM, epsilon=-1), "variance of every row must be in"),
    ],
)
def test_unusable_parameter_blocks(program: Program, message: str) -> None:
    with pytest.raises(ProgramError, match=rf"instruction 3 \(\w+, layer hand\): parameter block at 0: .*{message}"):
        execute_memory(program, SPEC, {})


def test_table_beyond_the_parameter_buffer() -> None:
    spec = SPEC.model_copy(
        update={"buffers": SPEC.buffers.model_copy(
            update={"parameter": SPEC.buffers.parameter.model_copy(update={"capacity_bytes": 256})}
        )}
    )  # fmt: skip
    header = np.zeros(1, HEADER_DTYPE)
    header["has_table"] = 1
    entry = b"\0" * 8 + b"\1\0\0\0"
    image = np.frombuffer((header.tobytes() + entry * 8).ljust(256, b"\0"), dtype=np.uint8)
    lines = [
        (Opcode.LOAD, {"space": Space.PARAMETER, "dram": constants_address(2), "run_bytes": 256, "ny": 1, "nx": 1,
                       "dst_e": 1}),
        (Opcode.REQUANTIZE, LEGAL[Opcode.REQUANTIZE]),
    ]  # fmt: skip
    with pytest.raises(ProgramError, match="the table must end within the parameter buffer, not 128 beyond"):
        execute_memory(program_of(spec, lines, image), spec, {})


def test_inputs_must_be_the_programs() -> None:
    start = constants_address(0)
    program = program_of(SPEC, [], NO_IMAGE, working_bytes=64, inputs=(binding("x", start, (1, 1, 2, 3), 8, -5),),
                         outputs=(binding("x", start, (1, 1, 2, 3), 8, -5),))  # fmt: skip
    values = np.arange(6, dtype=np.int8).reshape(1, 1, 2, 3)
    np.testing.assert_array_equal(execute(program, SPEC, {"x": values})["x"], values)
    memory = execute_memory(program, SPEC, {"x": values}).view(np.int8)[start:]
    assert memory[:16].tolist() == [0, 1, 2, -5, -5, -5, -5, -5, 3, 4, 5, -5, -5, -5, -5, -5]
    with pytest.raises(ProgramError, match="inputs must be x; not y"):
        execute(program, SPEC, {"y": values})
    with pytest.raises(ProgramError, match="inputs must be x; not none"):
        execute(program, SPEC, {})
    with pytest.raises(ProgramError, match=r"`x` must be int8 of shape \(1, 1, 2, 3\), not uint8"):
        execute(program, SPEC, {"x": values.view(np.uint8)})
    with pytest.raises(ProgramError, match=r"not int8 of shape \(1, 2, 1, 3\)"):
        execute(program, SPEC, {"x": values.reshape(1, 2, 1, 3)})


def test_a_program_for_another_config() -> None:
    program = program_of(SPEC, [], NO_IMAGE)
    other = small_spec(chains=16)
    with pytest.raises(ProgramError, match=r"must be compiled for ecp5-tiny with fingerprint \w{12}, not for"):
        execute(program, other, {})


def banked_spec(ports: int):
    """Return a config with 4 banks of 8-byte words, and rows of `ports` x 8 bytes."""
    spec = small_spec()
    array = spec.array.model_copy(update={"chain_length": 4, "group_size": 8})
    axi = spec.axi.model_copy(update={"ports": ports, "data_bits": 64, "burst_beats": 8})
    vector = spec.vector.model_copy(update={"lanes": 8})
    return spec.model_copy(update={"array": array, "axi": axi, "vector": vector})


def rows_of(pairs: list[tuple[int, int]], row_bytes: int) -> list[list[int]]:
    """Return the on-chip bytes of each row: bytes of one off-chip row that follow each other on both sides."""
    rows: list[list[int]] = []
    before = None
    for dram, chip in pairs:
        if before is None or dram // row_bytes != before[0] // row_bytes or (dram - 1, chip - 1) != before:
            rows.append([])
        rows[-1].append(chip)
        before = (dram, chip)
    return rows


def moved_bytes(opcode: Opcode, fields: dict[str, int]) -> list[tuple[int, int]]:
    """Return the (off-chip, on-chip) bytes a LOAD or STORE moves, in order."""
    chip = "dst" if opcode is Opcode.LOAD else "src"
    first = fields[chip] + fields.get("pad_top", 0) * fields[f"{chip}_y"] + fields.get("pad_left", 0)
    return [
        (fields["dram"] + y * fields["dram_y"] + x * fields["dram_x"] + e,
         first + y * fields[f"{chip}_y"] + x * fields[f"{chip}_x"] + e)
        for y in range(fields["ny"]) for x in range(fields["nx"]) for e in range(fields["run_bytes"])
    ]  # fmt: skip


def filled_rows(fields: dict[str, int], row_bytes: int) -> list[list[int]]:
    """Return the on-chip bytes of each filled row: lines above and below, then both sides of every line."""
    right = fields["pad_left"] + (fields["nx"] - 1) * fields["dst_x"] + fields["run_bytes"]
    spans = []
    for line in range(fields["ny"] + fields["pad_top"] + fields["pad_bottom"]):
        start = fields["dst"] + line * fields["dst_y"]
        if fields["pad_top"] <= line < fields["pad_top"] + fields["ny"]:
            spans += [(start, fields["pad_left"]), (start + right, fields["pad_right"])]
        else:
            spans.append((start, right + fields["pad_right"]))
    return [
        list(range(start + at, start + min(size, at + row_bytes)))
        for start, size in spans for at in range(0, size, row_bytes)
    ]  # fmt: skip


def random_move(random: np.random.Generator) -> tuple[Opcode, dict[str, int]]:
    """Return a LOAD or STORE whose addresses and strides are mostly whole words."""
    opcode = Opcode(int(random.choice([Opcode.LOAD, Opcode.STORE])))
    chip = "dst" if opcode is Opcode.LOAD else "src"
    unit = int(random.choice([1, 8, 8]))

    def words(low: int, high: int) -> int:
        return unit * int(random.integers(low // unit, high // unit))

    run = int(random.choice([1, words(8, 64), int(random.integers(1, 64))]))
    nx, ny = int(random.integers(1, 5)), int(random.integers(1, 3))
    across, along = (run if random.random() < 0.5 else run + words(0, 64) for _ in range(2))
    fields = {
        "ny": ny, "nx": nx, "run_bytes": run, "dram": 4096 + words(0, 64), "dram_x": across,
        "dram_y": nx * across if random.random() < 0.5 else nx * across + words(0, 64), chip: words(0, 64),
        f"{chip}_x": along, f"{chip}_y": nx * along if random.random() < 0.5 else nx * along + words(0, 64),
    }  # fmt: skip
    if opcode is Opcode.LOAD:
        fields |= {"dst_e": 1, "space": 0, "pad_top": 0, "pad_bottom": 0, "pad_left": 0, "pad_right": 0}
        if random.random() < 0.4:
            fields |= {f"pad_{side}": words(0, 64) for side in ("left", "right")}
            fields |= {f"pad_{side}": int(random.integers(0, 2)) for side in ("top", "bottom")}
            fields["dst_y"] += fields["pad_left"] + fields["pad_right"]
    return opcode, fields


@pytest.mark.parametrize("ports", [1, 2, 4])
def test_no_row_that_passes_touches_a_bank_twice(ports: int) -> None:
    """Against every byte of random LOADs and STOREs; rows of one or two ports may lie anywhere."""
    spec, random, passed, stopped, shifted = banked_spec(ports), np.random.default_rng((SEED, ports)), 0, 0, 0
    banks, row_bytes = activation_banks(spec).banks, spec.axi.row_bytes
    assert banks == 4
    for _ in range(600):
        opcode, fields = random_move(random)
        rows = rows_of(moved_bytes(opcode, fields), row_bytes)
        if opcode is Opcode.LOAD:
            rows += filled_rows(fields, row_bytes)
        words = max(row[-1] // 8 - row[0] // 8 + 1 for row in rows)
        program = program_of(spec, [(opcode, fields)], NO_IMAGE, working_bytes=16384)
        message = refused(program, spec)
        assert not message or "same byte of a word" in message or "begins a word" in message
        assert words <= banks or message, f"{opcode.name} {fields}"
        passed, stopped = passed + (not message), stopped + bool(message)
        shifted += words > banks
    print(f"{ports} ports: {passed} pass, {stopped} do not, of which {shifted} touch a bank twice")
    assert passed > 200
    assert (shifted > 50 and stopped < 2 * shifted + 50) if ports == 4 else stopped == shifted == 0
