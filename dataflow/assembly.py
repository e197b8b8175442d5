"""Write a Program's instructions as text and read them back; mnemonics and fields come from the table in arch/isa.

One instruction per line: an optional number and colon (for the reader), the opcode, then `field=value` for every field
that is not at its default (1 for counts and byte steps, else 0). Values are decimal or 0x hexadecimal; `space` takes a
buffer's name, `wait` and `release` take engines joined by commas. `;` starts a comment::

    ; layer 3: stem (conv)
        17: LOAD     wait=compute  space=WEIGHT dram=0x4c00 run_bytes=1152 dst=0x900
        18: COMPUTE  wait=load release=vector  a=0x40 a_y=0x240 a_x=0x8 ny=7 nx=7 ...

Assembling what `disassemble` wrote gives back exactly the same words.
"""

import re
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gossamer.arch.encoding import decode_columns, encode_columns
from gossamer.arch.errors import ProgramError
from gossamer.arch.isa import ENGINES, FIELDS, Opcode, Space
from gossamer.dataflow.program import Program

DEFAULTS: dict[str, int] = dict.fromkeys(
    ("ny", "nx", "nc", "n_ry", "n_rx", "kh", "kw", "run_words", "run_bytes", "dst_e", "clear"), 1
)
"""Value of a field that is not written; 0 for every field not named here."""

_ADDRESS_BITS = 22
"""Fields at least this wide are addresses and strides, shown in hexadecimal."""

_ENGINE_FIELDS = ("wait", "release")
_LINE = re.compile(r"\s*(?:(?P<number>\d+)\s*:)?\s*(?P<opcode>\w+)(?P<fields>(?:\s+\S+)*)\s*")
_NUMBER = re.compile(r"[0-9]{1,20}|0[xX][0-9a-fA-F]{1,16}")


def _decimal(value: int) -> str:
    return str(value)


def _address(value: int) -> str:
    return hex(value) if value > 9 else str(value)


def _engines(value: int) -> str:
    return ",".join(engine for bit, engine in enumerate(ENGINES) if value >> bit & 1)


def _space(value: int) -> str:
    return Space(value).name


def _format_of(name: str, bits: int) -> Callable[[int], str]:
    """Return how the values of a field are written."""
    if name in _ENGINE_FIELDS:
        return _engines
    if name == "space":
        return _space
    return _address if bits >= _ADDRESS_BITS else _decimal


_SHOWN = {
    op: [(field.name, DEFAULTS.get(field.name, 0), _format_of(field.name, field.bits)) for field in fields[1:]]
    for op, fields in FIELDS.items()
}


def disassemble(program: Program) -> str:
    """Return the text of a Program's instructions, a comment line before each layer. Raises ProgramError."""
    columns = {name: column.tolist() for name, column in decode_columns(program.instructions).items()}
    lines = [f"; program {_comment(program.name)} for {_comment(program.config_name)}"]
    heads = {} if program.streams is None else {segment.first: segment for segment in program.streams.segments}
    before = -1
    for number, (code, layer) in enumerate(zip(columns["opcode"], program.layer_of.tolist(), strict=True)):
        if number in heads:
            lines.append(
                f"; core {heads[number].core}, stage {heads[number].stage}: {heads[number].count} instructions"
            )
        if layer != before and layer >= 0:
            record = program.layers[layer]
            lines.append(f"; layer {layer}: {_comment(record.name)} ({_comment(record.op)})")
        before = layer
        opcode = Opcode(code)
        words = [
            f"{name}={write(columns[name][number])}"
            for name, default, write in _SHOWN[opcode]
            if columns[name][number] != default
        ]
        lines.append(f"{number:6}: {opcode.name:<10} {' '.join(words)}".rstrip())
    return "\n".join(lines) + "\n"


def _comment(text: str) -> str:
    """Return text that stays on one line."""
    return " ".join(text.split())


def _value(name: str, text: str, where: str) -> int:
    """Return the number a field's text stands for. Raises ProgramError."""
    if name in _ENGINE_FIELDS:
        unknown = [part for part in text.split(",") if part not in list(ENGINES)]
        if unknown:
            raise ProgramError(f"{where}: `{name}` must be engines of {', '.join(ENGINES)}; not {unknown[0]!r}")
        return sum(1 << bit for bit, engine in enumerate(ENGINES) if engine in text.split(","))
    if name == "space" and not _NUMBER.fullmatch(text):
        if text not in Space.__members__:
            raise ProgramError(f"{where}: `space` must be one of {', '.join(Space.__members__)}; not {text!r}")
        return Space[text].value
    if not _NUMBER.fullmatch(text):
        raise ProgramError(f"{where}: `{name}` must be a decimal or 0x number, not {text!r}")
    return int(text, 0) if text[:2].lower() == "0x" else int(text)


def _parse(line: str, where: str) -> tuple[Opcode, dict[str, int]]:
    """Return opcode and all fields of one line. Raises ProgramError."""
    match = _LINE.fullmatch(line)
    if match is None:
        raise ProgramError(f"{where}: expected `OPCODE field=value ...`, not {line.strip()!r}")
    if match["opcode"] not in Opcode.__members__:
        raise ProgramError(f"{where}: opcode must be one of {', '.join(Opcode.__members__)}; not {match['opcode']!r}")
    opcode = Opcode[match["opcode"]]
    bits = {field.name: field.bits for field in FIELDS[opcode][1:]}
    values: dict[str, int] = {}
    for part in match["fields"].split():
        name, equals, text = part.partition("=")
        if name not in bits or not equals:
            raise ProgramError(f"{where}: {opcode.name} has fields {', '.join(bits)}; not {part!r}")
        if name in values:
            raise ProgramError(f"{where}: `{name}` must be given once, not twice")
        values[name] = _value(name, text, where)
        if values[name] >> bits[name]:
            raise ProgramError(f"{where}: `{name}` must be below 2**{bits[name]}, not {text}")
    return opcode, {name: DEFAULTS.get(name, 0) for name in bits} | values


def assemble(text: str) -> NDArray[np.uint8]:
    """Return the instruction words uint8 [n, 64] of a text. Raises ProgramError naming the line."""
    opcodes: list[int] = []
    rows: list[dict[str, int]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        code = line.partition(";")[0]
        if code.strip():
            opcode, fields = _parse(code, f"line {number}")
            opcodes.append(opcode)
            rows.append(fields)
    names = dict.fromkeys(name for fields in rows for name in fields)
    columns = {name: np.array([fields.get(name, 0) for fields in rows], dtype=np.int64) for name in names}
    return encode_columns(np.array(opcodes, dtype=np.int64), columns)
