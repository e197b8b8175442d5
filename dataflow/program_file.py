"""Save a Program to one file and load it back; the middle of the file is byte for byte what the hardware fetches.

Layout, all numbers little-endian::

    0   magic `GSMR`, ISA version (u32), config fingerprint (32 bytes), image bytes (u64), tail bytes (u64),
        checksum (8 bytes: BLAKE2b of everything else)
    64  memory image: off-chip memory from the program base to the end of the last instruction or constant
    ..  tail: JSON in UTF-8 with sorted keys: names, memory map, bindings, layer records, runs of `layer_of`, and of
        several cores the segments of their streams

Equal Programs give equal bytes.
"""

import json
import math
import os
import struct
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from gossamer.arch.encoding import decode_columns
from gossamer.arch.errors import ProgramError
from gossamer.arch.isa import FIELDS, INSTRUCTION_BYTES, ISA_VERSION, PROGRAM_MAGIC, Opcode
from gossamer.dataflow.program import LayerRecord, Program, Region, RegionKind, Streams, TensorBinding
from gossamer.dataflow.streams import check_streams

HEADER = struct.Struct("<4sI32sQQ8s")
"""Magic, ISA version, config fingerprint, image bytes, tail bytes, checksum."""

ALIGNMENT_BYTES = 64
MAX_MEMORY_BYTES = 2 ** next(field.bits for field in FIELDS[Opcode.LOAD] if field.name == "dram")


class _Tail(BaseModel):
    """What the JSON tail holds."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    config_name: str
    regions: tuple[Region, ...]
    inputs: tuple[TensorBinding, ...]
    outputs: tuple[TensorBinding, ...]
    intermediates: tuple[TensorBinding, ...]
    layers: tuple[LayerRecord, ...]
    layer_runs: tuple[tuple[int, int], ...]
    """(layer, instructions) in program order."""
    streams: Streams | None = None


def _region(program: Program, kind: RegionKind) -> Region | None:
    """Return the only region of a kind, None if there is none. Raises ProgramError for several."""
    found = [region for region in program.regions if region.kind is kind]
    if len(found) > 1:
        raise ProgramError(f"{program.name}: the memory map must have at most one {kind} region, not {len(found)}")
    return found[0] if found else None


def _check_regions(program: Program) -> None:
    for region in program.regions:
        where = f"{program.name}: region `{region.name}`"
        if region.address < 0 or region.size_bytes < 0 or region.address + region.size_bytes > MAX_MEMORY_BYTES:
            raise ProgramError(
                f"{where} must lie in [0, 2**{MAX_MEMORY_BYTES.bit_length() - 1}), not "
                f"[{region.address}, {region.address + region.size_bytes})"
            )
        if region.address % ALIGNMENT_BYTES:
            raise ProgramError(f"{where} must start at a multiple of {ALIGNMENT_BYTES}, not at {region.address}")
    instructions = _region(program, RegionKind.INSTRUCTIONS)
    if instructions is None or instructions.address != 0 or instructions.size_bytes != program.instructions.size:
        raise ProgramError(
            f"{program.name}: the memory map must have an instructions region of {program.instructions.size} bytes at "
            f"address 0, not {instructions}"
        )
    constants = _region(program, RegionKind.CONSTANTS)
    size_bytes = 0 if constants is None else constants.size_bytes
    if size_bytes != program.image.size:
        raise ProgramError(
            f"{program.name}: the constants region must have the image's {program.image.size} bytes, not {size_bytes}"
        )
    for fixed in (instructions, constants):
        for other in program.regions:
            if fixed is not None and other is not fixed and _overlap(fixed, other):
                raise ProgramError(
                    f"{program.name}: region `{other.name}` must not overlap `{fixed.name}`, which is never written"
                )


def _overlap(one: Region, other: Region) -> bool:
    start = max(one.address, other.address)
    return start < min(one.address + one.size_bytes, other.address + other.size_bytes)


def _check_binding(program: Program, binding: TensorBinding) -> None:
    where = f"{program.name}: tensor `{binding.name}`"
    channels = binding.shape[3]
    if min(binding.shape) < 1 or binding.channel_pitch < channels:
        raise ProgramError(
            f"{where} must have axes of at least 1 and a channel pitch of at least its channels, not shape "
            f"{binding.shape} with pitch {binding.channel_pitch}"
        )
    stop = binding.address + binding.span_bytes
    if binding.address < 0 or stop > program.memory_bytes:
        raise ProgramError(
            f"{where} must lie within the memory map's {program.memory_bytes} bytes, not in [{binding.address}, {stop})"
        )
    scale, zero_point = binding.quant.scale, binding.quant.zero_point
    if not (math.isfinite(scale) and scale > 0) or not -128 <= zero_point <= 127:
        raise ProgramError(
            f"{where} must have a positive scale and an int8 zero point, not {scale} and {zero_point}"
        )  # fmt: skip


def check_program(program: Program) -> None:
    """Require what every user of a Program relies on; raises ProgramError.

    Array types and shapes, instructions that decode, one END and it is the last (on several cores: see
    `gossamer.dataflow.streams`), a memory map that holds instructions
    and constants and lets nothing else overlap them, tensors within the memory map, layer numbers that exist.
    """
    instructions, image, layer_of = program.instructions, program.image, program.layer_of
    opcodes = decode_columns(instructions)["opcode"]
    if program.streams is not None:
        check_streams(program, program.streams)
    elif not len(opcodes) or opcodes[-1] != Opcode.END or np.count_nonzero(opcodes == Opcode.END) != 1:
        raise ProgramError(
            f"{program.name}: the last instruction, and only that, must be END; there are {len(opcodes)} instructions "
            f"with END at {np.flatnonzero(opcodes == Opcode.END)[:3].tolist()}"
        )
    if image.dtype != np.uint8 or image.ndim != 1:
        raise ProgramError(f"{program.name}: the image must be uint8 [bytes], not {image.dtype} {list(image.shape)}")
    if layer_of.dtype != np.int32 or layer_of.shape != opcodes.shape:
        raise ProgramError(
            f"{program.name}: layer_of must be int32 [{len(opcodes)}], not {layer_of.dtype} {list(layer_of.shape)}"
        )
    if layer_of.min() < -1 or layer_of.max() >= len(program.layers):
        raise ProgramError(
            f"{program.name}: layer_of must be -1 or one of the {len(program.layers)} layers, not in "
            f"[{layer_of.min()}, {layer_of.max()}]"
        )
    _check_regions(program)
    for binding in (*program.inputs, *program.outputs, *program.intermediates):
        _check_binding(program, binding)
    for kind, bindings in (("input", program.inputs), ("output", program.outputs)):
        names = [binding.name for binding in bindings]
        if len(set(names)) != len(names):
            raise ProgramError(f"{program.name}: {kind} names must differ, not {', '.join(names)}")


def memory_image(program: Program) -> NDArray[np.uint8]:
    """Return off-chip memory from the program base to the end of instructions and constants, uint8; gaps are 0."""
    constants = _region(program, RegionKind.CONSTANTS)
    start = 0 if constants is None else constants.address
    image = np.zeros(max(program.instructions.size, start + program.image.size), dtype=np.uint8)
    image[: program.instructions.size] = program.instructions.reshape(-1)
    if constants is not None:
        image[start : start + program.image.size] = program.image
    return image


def _layer_runs(layer_of: NDArray[np.int32]) -> list[tuple[int, int]]:
    """Return (layer, length) of the runs of equal values."""
    starts = np.flatnonzero(np.diff(layer_of, prepend=layer_of[0] - 1))
    lengths = np.diff(starts, append=layer_of.size)
    return list(zip(layer_of[starts].tolist(), lengths.tolist(), strict=True))


def _checksum(header: bytes, body: bytes) -> bytes:
    digest = blake2b(header, digest_size=8)
    digest.update(body)
    return digest.digest()


def program_bytes(program: Program) -> bytes:
    """Return the bytes of the Program's file. Raises ProgramError for a Program that `check_program` refuses."""
    check_program(program)
    try:
        fingerprint = bytes.fromhex(program.config_fingerprint)
    except ValueError:
        fingerprint = b""
    if len(fingerprint) != 32 or fingerprint.hex() != program.config_fingerprint:
        raise ProgramError(
            f"{program.name}: config fingerprint must be 64 lowercase hexadecimal digits, not "
            f"{program.config_fingerprint!r}"
        )
    image = memory_image(program).tobytes()
    tail = {
        "name": program.name,
        "config_name": program.config_name,
        "regions": [asdict(region) for region in program.regions],
        "inputs": [asdict(binding) for binding in program.inputs],
        "outputs": [asdict(binding) for binding in program.outputs],
        "intermediates": [asdict(binding) for binding in program.intermediates],
        "layers": [asdict(layer) for layer in program.layers],
        "layer_runs": _layer_runs(program.layer_of),
        **({} if program.streams is None else {"streams": asdict(program.streams)}),
    }
    text = json.dumps(tail, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    header = HEADER.pack(PROGRAM_MAGIC, ISA_VERSION, fingerprint, len(image), len(text), bytes(8))[:-8]
    body = image + text
    return header + _checksum(header, body) + body


def save_program(program: Program, path: Path) -> None:
    """Write the Program's file: to a temporary name in the same folder, then renamed, so it is whole or absent.

    Raises ProgramError for a folder that cannot be written and for a Program that `check_program` refuses.
    """
    content = program_bytes(program)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        try:
            temporary.write_bytes(content)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise ProgramError(
            f"{path}: cannot write the program: {error.strerror or error}; choose a folder you may write to"
        ) from error


def load_program(path: Path) -> Program:
    """Return the Program in a file. Raises ProgramError if it cannot be read, is damaged or of another version."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ProgramError(f"{path}: cannot read the program: {error.strerror or error}") from error
    try:
        return parse_program(content)
    except ProgramError as error:
        raise ProgramError(f"{path}: {error}") from error


def parse_program(content: bytes) -> Program:
    """Return the Program in the bytes of a file. Raises ProgramError if they are damaged or of another version."""
    if len(content) < HEADER.size or not content.startswith(PROGRAM_MAGIC):
        raise ProgramError(
            f"a program must start with {PROGRAM_MAGIC!r} and a header of {HEADER.size} bytes, not {content[:4]!r} in "
            f"{len(content)} bytes: this is no Program file, or a truncated one"
        )
    _, version, fingerprint, image_bytes, tail_bytes, checksum = HEADER.unpack_from(content)
    if version != ISA_VERSION:
        raise ProgramError(f"instruction set version must be {ISA_VERSION}, not {version}: compile the model again")
    if HEADER.size + image_bytes + tail_bytes != len(content):
        raise ProgramError(
            f"the file must have {HEADER.size + image_bytes + tail_bytes} bytes, not {len(content)}: it is truncated "
            "or damaged, compile the model again"
        )
    body = content[HEADER.size :]
    if _checksum(content[: HEADER.size - 8], body) != checksum:
        raise ProgramError("the checksum does not match: the file is damaged, compile the model again")
    try:
        tail = _Tail.model_validate_json(body[image_bytes:], strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ProgramError(f"the tail must hold the memory map and layers; {place or 'it'}: {first['msg']}") from error
    program = _assemble(tail, np.frombuffer(body, np.uint8, image_bytes), fingerprint.hex())
    check_program(program)
    return program


def _assemble(tail: _Tail, image: NDArray[np.uint8], fingerprint: str) -> Program:
    """Return the Program of a tail and a memory image; only what is needed to build it is checked here."""
    parts: dict[RegionKind, NDArray[np.uint8]] = {}
    for region in tail.regions:
        if region.kind in (RegionKind.INSTRUCTIONS, RegionKind.CONSTANTS):
            if not 0 <= region.address <= region.address + region.size_bytes <= image.size:
                raise ProgramError(
                    f"region `{region.name}` must lie within the image's {image.size} bytes, not in "
                    f"[{region.address}, {region.address + region.size_bytes})"
                )
            parts[region.kind] = image[region.address : region.address + region.size_bytes].copy()
    words = parts.get(RegionKind.INSTRUCTIONS, image[:0])
    if words.size % INSTRUCTION_BYTES:
        raise ProgramError(f"instructions must be whole words of {INSTRUCTION_BYTES} bytes, not {words.size} bytes")
    layers = np.array([layer for layer, _ in tail.layer_runs], dtype=object)
    lengths = [length for _, length in tail.layer_runs]
    if any(length < 1 for length in lengths) or sum(lengths) * INSTRUCTION_BYTES != words.size:
        raise ProgramError(
            f"layer_runs must be positive and cover the {words.size // INSTRUCTION_BYTES} instructions, not "
            f"{sum(lengths)}"
        )
    if any(not -1 <= layer < len(tail.layers) for layer in layers):
        raise ProgramError(f"layer_runs must name one of the {len(tail.layers)} layers or -1, not {layers.tolist()}")
    return Program(
        name=tail.name,
        config_name=tail.config_name,
        config_fingerprint=fingerprint,
        instructions=words.reshape(-1, INSTRUCTION_BYTES),
        image=parts.get(RegionKind.CONSTANTS, image[:0].copy()),
        regions=tail.regions,
        inputs=tail.inputs,
        outputs=tail.outputs,
        intermediates=tail.intermediates,
        layers=tail.layers,
        streams=tail.streams,
        layer_of=np.repeat(layers.astype(np.int32), np.array(lengths, dtype=np.int64)),
    )
