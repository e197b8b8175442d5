"""Assembler and disassembler: exact round trips, readable text, errors that name the line."""

from dataclasses import replace

import numpy as np
import pytest
from hand_programs import program_of, small_spec
from hypothesis import given, settings
from hypothesis import strategies as st

from gossamer.arch.encoding import decode, encode
from gossamer.arch.errors import ProgramError
from gossamer.arch.isa import FIELDS, Opcode
from gossamer.dataflow.assembly import DEFAULTS, assemble, disassemble
from gossamer.dataflow.program import Program

NO_IMAGE = np.zeros(0, dtype=np.uint8)


def program_with(lines: list[tuple[Opcode, dict[str, int]]]) -> Program:
    return program_of(small_spec(), lines, NO_IMAGE)


@st.composite
def lines(draw: st.DrawFn) -> tuple[Opcode, dict[str, int]]:
    opcode = draw(st.sampled_from([op for op in Opcode if op is not Opcode.END]))
    edges = {field.name: [0, 1, 2**field.bits - 1] for field in FIELDS[opcode][1:]}
    return opcode, {name: draw(st.sampled_from(values)) for name, values in edges.items()}


@settings(deadline=None, max_examples=100)
@given(st.lists(lines(), max_size=6))
def test_round_trip(instructions: list[tuple[Opcode, dict[str, int]]]) -> None:
    program = program_with(instructions)
    np.testing.assert_array_equal(assemble(disassemble(program)), program.instructions)


def test_text_is_what_it_should_be() -> None:
    program = program_with(
        [
            (Opcode.LOAD, {"space": 1, "dram": 0x1C00, "run_bytes": 1152, "ny": 1, "nx": 1, "dst_e": 1, "release": 2}),
            (Opcode.COMPUTE, {"wait": 9, "a_x": 8, "ny": 7, "nx": 7, "n_ry": 3, "n_rx": 1, "run_words": 3, "steps": 8,
                              "clear": 1, "chains_active": 8}),
        ]
    )  # fmt: skip
    assert disassemble(program) == (
        "; program hand for ecp5-tiny\n"
        "; layer 0: hand (conv)\n"
        "     0: LOAD       release=compute space=WEIGHT dram=0x1c00 run_bytes=1152\n"
        "     1: COMPUTE    wait=load,store a_x=8 ny=7 nx=7 n_ry=3 run_words=3 steps=8 chains_active=8\n"
        "     2: END\n"
    )


def test_comments_blank_lines_and_numbers_are_for_the_reader() -> None:
    text = "\n  ; nothing here\nCOPY a=8 d=0X20 nc=3 ; a comment\n77: END\n"
    words = assemble(text)
    assert len(words) == 2
    assert decode(words[0]) == dict.fromkeys([field.name for field in FIELDS[Opcode.COPY]], 0) | {
        "opcode": 14, "a": 8, "d": 32, "nc": 3, "ny": 1, "nx": 1, "kh": 1, "kw": 1,
    }  # fmt: skip
    np.testing.assert_array_equal(words[1], encode(Opcode.END, {}))


def test_nothing_assembles_to_nothing() -> None:
    assert assemble("; empty\n").shape == (0, 64)


def test_defaults_are_real_fields() -> None:
    assert set(DEFAULTS) <= {field.name for fields in FIELDS.values() for field in fields}


def test_names_cannot_break_the_text() -> None:
    program = program_with([(Opcode.STORE, {"ny": 1})])
    layer = replace(program.layers[0], name="two\nEND lines ; x")
    program = replace(program, layers=(layer,), name="a\nb")
    np.testing.assert_array_equal(assemble(disassemble(program)), program.instructions)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("END\nMOVE a=1", "line 2: opcode must be one of .*; not 'MOVE'"),
        ("COPY a", "line 1: COPY has fields .*; not 'a'"),
        ("COPY dram=1", "line 1: COPY has fields .*; not 'dram=1'"),
        ("COPY opcode=1", "line 1: COPY has fields .*; not 'opcode=1'"),
        ("COPY a=1 a=1", "line 1: `a` must be given once"),
        ("COPY a=-1", "`a` must be a decimal or 0x number, not '-1'"),
        ("COPY a=", "`a` must be a decimal or 0x number, not ''"),
        ("COPY a=0x", "`a` must be a decimal or 0x number, not '0x'"),
        ("LOAD space=CACHE", "`space` must be one of ACTIVATION, WEIGHT, INDEX, PARAMETER; not 'CACHE'"),
        ("LOAD space=4", r"`space` must be below 2\*\*2, not 4"),
        ("LOAD wait=dma", "`wait` must be engines of load, compute, vector, store; not 'dma'"),
        ("= =", "line 1: expected `OPCODE field=value ...`, not '= ='"),
    ],
)
def test_bad_text(text: str, message: str) -> None:
    with pytest.raises(ProgramError, match=message):
        assemble(text)


@settings(deadline=None, max_examples=200)
@given(st.text(alphabet="LOADEN =:;,0x19 \nspacewit", max_size=60))
def test_any_text_assembles_or_is_refused(text: str) -> None:
    try:
        words = assemble(text)
    except ProgramError:
        return
    assert words.shape[1] == 64
