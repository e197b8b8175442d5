"""Instruction words: against bit arithmetic on Python integers, and damaged words."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossamer.arch.encoding import FIELD_NAMES, decode, decode_columns, encode, encode_columns
from gossamer.arch.errors import ProgramError
from gossamer.arch.isa import FIELDS, INSTRUCTION_BYTES, Opcode

SEED = 20261123


def reference_word(opcode: Opcode, fields: dict[str, int]) -> bytes:
    """Pack one instruction as one 512-bit Python integer."""
    total, start = 0, 0
    for field in FIELDS[opcode]:
        total |= fields.get(field.name, 0) << start
        start += field.bits
    return total.to_bytes(INSTRUCTION_BYTES, "little")


@st.composite
def instructions(draw: st.DrawFn) -> tuple[Opcode, dict[str, int]]:
    opcode = draw(st.sampled_from(list(Opcode)))
    fields = {
        field.name: draw(st.one_of(st.sampled_from([0, 1, 2**field.bits - 1]), st.integers(0, 2**field.bits - 1)))
        for field in FIELDS[opcode]
    }
    fields["opcode"] = int(opcode)
    return opcode, fields


def random_columns(count: int, seed: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    random = np.random.default_rng(seed)
    opcodes = random.choice(np.array(list(Opcode), dtype=np.int64), count)
    columns = {name: np.zeros(count, dtype=np.int64) for name in FIELD_NAMES if name != "opcode"}
    for op in Opcode:
        rows = np.flatnonzero(opcodes == op)
        for field in FIELDS[op]:
            if field.name != "opcode":
                columns[field.name][rows] = random.integers(0, 2**field.bits, rows.size)
    return opcodes, columns


def test_every_opcode_fits_its_word() -> None:
    for op in Opcode:
        names = [field.name for field in FIELDS[op]]
        assert len(set(names)) == len(names)
        assert sum(field.bits for field in FIELDS[op]) <= 8 * INSTRUCTION_BYTES


@settings(deadline=None, max_examples=300)
@given(instructions())
def test_word_equals_integer_packing(instruction: tuple[Opcode, dict[str, int]]) -> None:
    opcode, fields = instruction
    word = encode(opcode, {name: value for name, value in fields.items() if name != "opcode"})
    assert word.tobytes() == reference_word(opcode, fields)
    assert decode(word) == fields


def test_columns_round_trip_and_rows_equal_single_words() -> None:
    opcodes, columns = random_columns(500, SEED)
    words = encode_columns(opcodes, columns)
    decoded = decode_columns(words)
    assert set(decoded) == set(FIELD_NAMES)
    np.testing.assert_array_equal(decoded.pop("opcode"), opcodes)
    for name, column in columns.items():
        np.testing.assert_array_equal(decoded[name], column, err_msg=name)
    for row in range(0, 500, 17):
        op = Opcode(int(opcodes[row]))
        fields = {field.name: int(columns[field.name][row]) for field in FIELDS[op] if field.name != "opcode"}
        assert words[row].tobytes() == reference_word(op, fields | {"opcode": int(op)})


@pytest.mark.parametrize("count", [0, 1, 2])
def test_small_programs(count: int) -> None:
    opcodes, columns = random_columns(count, SEED)
    words = encode_columns(opcodes, columns)
    assert words.shape == (count, INSTRUCTION_BYTES)
    np.testing.assert_array_equal(decode_columns(words)["opcode"], opcodes)


def test_a_column_left_out_is_zero() -> None:
    words = encode_columns(np.array([Opcode.LOAD, Opcode.END]), {"dram": np.array([5, 0])})
    assert decode(words[0])["dram"] == 5
    assert decode(words[0])["dst"] == 0


def test_hundred_thousand_instructions_are_quick() -> None:
    opcodes, columns = random_columns(100_000, SEED)
    start = time.process_time()
    words = encode_columns(opcodes, columns)
    decode_columns(words)
    assert time.process_time() - start < 1.5  # 0.2 s on the machine this was written on


def test_value_out_of_range() -> None:
    with pytest.raises(ProgramError, match=r"instruction 0 \(LOAD\): field `space` must be in \[0, 3\], not 4"):
        encode(Opcode.LOAD, {"space": 4})
    with pytest.raises(ProgramError, match="field `nx` must be in"):
        encode(Opcode.COMPUTE, {"nx": -1})


def test_field_of_another_opcode() -> None:
    with pytest.raises(ProgramError, match=r"instruction 1 \(END\): field `ny` does not exist there"):
        encode_columns(np.array([Opcode.LOAD, Opcode.END]), {"ny": np.array([1, 1])})


def test_unknown_field_and_shape() -> None:
    with pytest.raises(ProgramError, match="not `colour`"):
        encode(Opcode.END, {"colour": 1})
    with pytest.raises(ProgramError, match="must have shape"):
        encode_columns(np.array([Opcode.LOAD]), {"ny": np.array([1, 1])})
    with pytest.raises(ProgramError, match="must equal `opcodes`"):
        encode(Opcode.LOAD, {"opcode": int(Opcode.STORE)})


@pytest.mark.parametrize("opcode", [-1, 5, 19, 31, 32, 2**40])
def test_unknown_opcode(opcode: int) -> None:
    with pytest.raises(ProgramError, match="instruction 1: opcode must be one of"):
        encode_columns(np.array([0, opcode]), {})


def test_damaged_words() -> None:
    words = np.zeros((3, INSTRUCTION_BYTES), dtype=np.uint8)
    words[2, 0] = 31
    with pytest.raises(ProgramError, match="instruction 2: opcode must be one of"):
        decode_columns(words)
    words[2, 0] = Opcode.STORE
    words[2, 63] = 0x80
    with pytest.raises(ProgramError, match=r"instruction 2 \(STORE\): bits \d+ to 511 must be 0"):
        decode_columns(words)
    with pytest.raises(ProgramError, match="must be uint8"):
        decode_columns(np.zeros((1, 63), dtype=np.uint8))


@pytest.mark.parametrize("opcode", list(Opcode))
def test_every_unused_bit_is_refused(opcode: Opcode) -> None:
    used = sum(field.bits for field in FIELDS[opcode])
    for bit in range(8 * INSTRUCTION_BYTES):
        word = np.zeros(INSTRUCTION_BYTES, dtype=np.uint8)
        word[0] = int(opcode)
        word[bit // 8] |= np.uint8(1 << bit % 8)
        if bit >= used:
            with pytest.raises(ProgramError, match="must be 0"):
                decode(word)
        elif bit >= 5:
            assert sum(value != 0 for name, value in decode(word).items() if name != "opcode") == 1
