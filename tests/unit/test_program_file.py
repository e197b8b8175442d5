"""Program files: round trip, layout, atomic writing, and damage of every kind."""

import json
import os
import random
import stat
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest
from hand_programs import binding, constants_address, layer, program_of, small_spec

from gossamer.arch.encoding import encode
from gossamer.arch.errors import ProgramError
from gossamer.arch.isa import Opcode
from gossamer.dataflow.program import Program, Region, RegionKind
from gossamer.dataflow.program_file import (
    HEADER,
    check_program,
    load_program,
    memory_image,
    parse_program,
    program_bytes,
    save_program,
)

SEED = 20261123


def sample() -> Program:
    """Return a program with two layers, an input, an output and constants that do not fill their last 64 bytes."""
    spec = small_spec()
    lines = [
        (Opcode.LOAD, {"run_bytes": 100, "ny": 1, "nx": 1, "dst_e": 1, "dram": constants_address(3)}),
        (Opcode.STORE, {"run_bytes": 64, "ny": 1, "nx": 1, "dram": constants_address(3) + 128}),
        (Opcode.STORE, {"run_bytes": 64, "ny": 1, "nx": 1, "dram": constants_address(3) + 192}),
    ]
    start = constants_address(3) + 128
    program = program_of(
        spec,
        lines,
        np.arange(100, dtype=np.uint8),
        working_bytes=256,
        inputs=(binding("image", start, (1, 2, 3, 5), 8, zero_point=-7),),
        outputs=(binding("scores", start + 64, (1, 1, 1, 10), 8),),
        intermediates=(binding("middle", start + 128, (1, 2, 2, 8), 8),),
        layers=(layer("first"), layer("zweite Lage ü")),
    )
    return replace(program, layer_of=np.array([0, 0, 1, -1], dtype=np.int32))


def assert_same(left: Program, right: Program) -> None:
    for name in Program.__dataclass_fields__:
        one, other = getattr(left, name), getattr(right, name)
        if isinstance(one, np.ndarray):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)
        else:
            assert one == other


def with_checksum(content: bytes) -> bytes:
    """Return a file with the checksum its bytes need."""
    start, body = content[: HEADER.size - 8], content[HEADER.size :]
    return start + blake2b(start + body, digest_size=8).digest() + body


def with_tail(program: Program, edit: str, value: object) -> bytes:
    """Return the program's file with one value of its tail replaced (dotted path), sizes and checksum right."""
    content = program_bytes(program)
    magic, version, fingerprint, image_bytes, _, _ = HEADER.unpack_from(content)
    tail = json.loads(content[HEADER.size + image_bytes :])
    *above, last = edit.split(".")
    node = tail
    for key in above:
        node = node[int(key)] if isinstance(node, list) else node[key]
    if isinstance(node, list):
        node[int(last)] = value
    else:
        node[last] = value
    text = json.dumps(tail).encode()
    header = HEADER.pack(magic, version, fingerprint, image_bytes, len(text), bytes(8))
    return with_checksum(header + content[HEADER.size : HEADER.size + image_bytes] + text)


def test_round_trip(tmp_path: Path) -> None:
    program = sample()
    save_program(program, tmp_path / "net.gsm")
    loaded = load_program(tmp_path / "net.gsm")
    assert_same(program, loaded)
    assert program_bytes(loaded) == (tmp_path / "net.gsm").read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["net.gsm"]


def test_image_is_what_the_hardware_fetches(tmp_path: Path) -> None:
    program = sample()
    content = program_bytes(program)
    fetched = content[HEADER.size :]
    assert HEADER.size == 64
    assert content[:4] == b"GSMR"
    assert fetched[: program.instructions.size] == program.instructions.tobytes()
    constants = next(region for region in program.regions if region.kind is RegionKind.CONSTANTS)
    assert fetched[constants.address : constants.address + 100] == bytes(range(100))
    assert memory_image(program).size == constants.address + 100


def test_replaces_an_older_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "net.gsm"
    path.write_bytes(b"old")
    save_program(sample(), path)
    assert load_program(path).name == "hand"


def test_unwritable_folder(tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match="cannot write the program: No such file or directory"):
        save_program(sample(), tmp_path / "missing" / "net.gsm")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ProgramError, match=r"cannot write the program: .*choose a folder you may write to"):
        save_program(sample(), tmp_path / "file" / "net.gsm")
    folder = tmp_path / "folder.gsm"
    folder.mkdir()
    with pytest.raises(ProgramError, match="cannot write the program: Is a directory"):
        save_program(sample(), folder)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(ProgramError, match="cannot write the program: Permission denied"):
        save_program(sample(), tmp_path / "net.gsm")


def test_interrupted_writing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: Path, target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_program(sample(), tmp_path / "net.gsm")
    assert list(tmp_path.iterdir()) == []


def test_missing_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match=r"net.gsm: cannot read the program: No such file"):
        load_program(tmp_path / "net.gsm")
    (tmp_path / "net.gsm").write_bytes(b"")
    with pytest.raises(ProgramError, match=r"net.gsm: a program must start with b'GSMR'"):
        load_program(tmp_path / "net.gsm")
    (tmp_path / "net.gsm").write_bytes(b"\x08\x07\x12\x00" * 100)
    with pytest.raises(ProgramError, match="no Program file"):
        load_program(tmp_path / "net.gsm")


def test_every_truncation_is_refused() -> None:
    content = program_bytes(sample())
    for length in range(len(content)):
        with pytest.raises(ProgramError, match=r"truncated|damaged"):
            parse_program(content[:length])
    with pytest.raises(ProgramError, match="damaged"):
        parse_program(content + b"\0")


def test_every_flipped_byte_is_refused() -> None:
    content = bytearray(program_bytes(sample()))
    generator = random.Random(SEED)
    for place in range(len(content)):
        before = content[place]
        content[place] ^= generator.randrange(1, 256)
        with pytest.raises(ProgramError, match=r"."):
            parse_program(bytes(content))
        content[place] = before
    parse_program(bytes(content))


def test_damage_below_a_right_checksum_is_refused_or_harmless() -> None:
    """A file made wrong on purpose raises ProgramError and nothing else, or is a program that passes its checks."""
    content = program_bytes(sample())
    generator = random.Random(SEED)
    refused = 0
    for _ in range(3000):
        damaged = bytearray(content)
        for _ in range(generator.randrange(1, 4)):
            damaged[generator.randrange(len(damaged))] = generator.choice([0, 1, 0x2D, 0x39, 0x7F, 0x80, 0xFF])
        try:
            check_program(parse_program(with_checksum(bytes(damaged))))
        except ProgramError:
            refused += 1
    assert refused > 1000


@pytest.mark.parametrize(
    ("edit", "value", "message"),
    [
        ("name", 3, "tail must hold .*; name: "),
        ("extra", 3, "tail must hold .*; extra: "),
        ("regions", [], "cover the 0 instructions"),
        ("regions.0.kind", "output", "must have an instructions region|whole words|cover"),
        ("regions.0.kind", "attic", "tail must hold .*; regions.0.kind"),
        ("regions.0.size_bytes", 192, "cover the 3 instructions"),
        ("regions.0.size_bytes", 250, "whole words"),
        ("regions.0.size_bytes", 2**70, "within the image"),
        ("regions.0.address", -64, "within the image"),
        ("regions.1.address", 192, "must not overlap"),
        ("regions.1.address", 257, "within the image|multiple of 64"),
        ("regions.2.kind", "constants", "within the image"),
        ("regions.2.address", 2**41, r"must lie in \[0, 2\*\*40\)"),
        ("regions.2.address", 128, "`tensors` must not overlap `instructions`"),
        ("regions.2.size_bytes", -1, "must lie in"),
        ("regions.2.size_bytes", 64, "must lie within the memory map"),
        ("inputs.0.shape", [1, 2, 3], "tail must hold .*; inputs.0.shape"),
        ("inputs.0.shape", [1, 2, 3, 0], "axes of at least 1"),
        ("inputs.0.shape", [1, 2, 3, 9], "channel pitch of at least its channels"),
        ("inputs.0.address", -1, "within the memory map"),
        ("inputs.0.quant", {"scale": 0.0, "zero_point": 0}, "positive scale"),
        ("inputs.0.quant", {"scale": float("nan"), "zero_point": 0}, "positive scale"),
        ("inputs.0.quant", {"scale": 1.0, "zero_point": 128}, "int8 zero point"),
        ("outputs.0.address", 2**39, "within the memory map"),
        ("layer_runs", [[0, 4], [0, 0]], "layer_runs must be positive"),
        ("layer_runs", [[0, 2**62]], "layer_runs must be positive and cover"),
        ("layer_runs", [[2, 4]], "layer_runs must name one of the 2 layers"),
        ("layer_runs", [[-2, 4]], "layer_runs must name"),
        ("layer_runs", [[0.5, 4]], "tail must hold .*; layer_runs"),
        ("layers", [], "layer_runs must name one of the 0 layers"),
    ],
)
def test_tails_made_wrong_on_purpose(edit: str, value: object, message: str) -> None:
    with pytest.raises(ProgramError, match=message):
        parse_program(with_tail(sample(), edit, value))


def test_a_deep_or_broken_tail() -> None:
    content = program_bytes(sample())
    magic, version, fingerprint, image_bytes, _, _ = HEADER.unpack_from(content)
    for text in (b"[" * 100_000, b"\xff\xfe", b"", b"null", b'{"name": 1' + b"0" * 5000 + b"}"):
        header = HEADER.pack(magic, version, fingerprint, image_bytes, len(text), bytes(8))
        damaged = with_checksum(header + content[HEADER.size : HEADER.size + image_bytes] + text)
        with pytest.raises(ProgramError, match="tail must hold"):
            parse_program(damaged)


def test_another_version() -> None:
    content = bytearray(program_bytes(sample()))
    content[4] = 99
    with pytest.raises(ProgramError, match="version must be 1, not 99: compile the model again"):
        parse_program(bytes(content))


def test_programs_that_must_not_be_saved() -> None:
    program = sample()
    with pytest.raises(ProgramError, match="64 lowercase hexadecimal digits, not 'abc'"):
        program_bytes(replace(program, config_fingerprint="abc"))
    with pytest.raises(ProgramError, match="64 lowercase hexadecimal digits"):
        program_bytes(replace(program, config_fingerprint="AB" * 32))
    with pytest.raises(ProgramError, match="last instruction, and only that, must be END"):
        program_bytes(replace(program, instructions=program.instructions[:3]))
    words = program.instructions.copy()
    words[1] = encode(Opcode.END, {})
    with pytest.raises(ProgramError, match=r"must be END; there are 4 instructions with END at \[1, 3\]"):
        program_bytes(replace(program, instructions=words))
    with pytest.raises(ProgramError, match=r"layer_of must be int32 \[4\], not int64"):
        program_bytes(replace(program, layer_of=program.layer_of.astype(np.int64)))
    with pytest.raises(ProgramError, match="layer_of must be -1 or one of the 2 layers"):
        program_bytes(replace(program, layer_of=program.layer_of + np.int32(2)))
    with pytest.raises(ProgramError, match=r"image must be uint8 \[bytes\], not int8"):
        program_bytes(replace(program, image=program.image.astype(np.int8)))
    with pytest.raises(ProgramError, match="constants region must have the image's 99 bytes, not 100"):
        program_bytes(replace(program, image=program.image[:99]))
    twice = Region(name="more", kind=RegionKind.CONSTANTS, address=1024, size_bytes=0)
    with pytest.raises(ProgramError, match="at most one constants region, not 2"):
        program_bytes(replace(program, regions=(*program.regions, twice)))
    with pytest.raises(ProgramError, match="input names must differ, not image, image"):
        program_bytes(replace(program, inputs=program.inputs * 2))
    region = Region(name="odd", kind=RegionKind.ACTIVATION, address=96, size_bytes=0)
    with pytest.raises(ProgramError, match="must start at a multiple of 64, not at 96"):
        program_bytes(replace(program, regions=(*program.regions, region)))


def test_a_program_without_constants(tmp_path: Path) -> None:
    program = program_of(small_spec(), [], np.zeros(0, dtype=np.uint8))
    save_program(program, tmp_path / "empty.gsm")
    assert_same(program, load_program(tmp_path / "empty.gsm"))
    program = replace(program, regions=program.regions[:1])
    assert_same(program, parse_program(program_bytes(program)))
