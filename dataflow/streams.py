"""Take a Program for several cores apart: what each core does between two barriers is a Program for one core."""

from dataclasses import replace
from itertools import product

import numpy as np

from gossamer.arch.encoding import decode_columns, encode
from gossamer.arch.errors import ProgramError
from gossamer.arch.isa import INSTRUCTION_BYTES, Opcode
from gossamer.dataflow.program import LayerRecord, Program, RegionKind, Segment, Streams


def segments_of(program: Program) -> tuple[Segment, ...]:
    """Return the segments of a Program, stage by stage, in each by core; one for all of it if it is for one core."""
    if program.streams is None:
        return (Segment(core=0, stage=0, first=0, count=len(program.instructions)),)
    return tuple(sorted(program.streams.segments, key=lambda segment: (segment.stage, segment.core)))


def part_of(program: Program, segment: Segment) -> Program:
    """Return a segment as a Program for one core: its BARRIER is an END, its records are the layers it works on.

    The region of its instructions is where they lie in the whole Program's. Weights of a layer may be loaded in a
    segment before the one that computes it.
    """
    if program.streams is None:
        return program
    rows = slice(segment.first, segment.first + segment.count)
    instructions, layer_of = program.instructions[rows].copy(), program.layer_of[rows]
    instructions[-1] = encode(Opcode.END, {})
    used, numbers = np.unique(layer_of, return_inverse=True)
    computed = set(layer_of[decode_columns(instructions)["opcode"] == Opcode.COMPUTE].tolist())
    own = [_record(program.layers[number], number in computed) for number in used.tolist() if number >= 0]
    regions = tuple(
        replace(region, address=segment.first * INSTRUCTION_BYTES, size_bytes=instructions.size)
        if region.kind is RegionKind.INSTRUCTIONS
        else region
        for region in program.regions
    )
    return replace(
        program, name=f"{program.name} on core {segment.core}, stage {segment.stage}", instructions=instructions,
        regions=regions, layers=tuple(own), streams=None,
        layer_of=(numbers.reshape(-1) - (len(used) - len(own))).astype(np.int32),
    )  # fmt: skip


def _record(record: LayerRecord, computed: bool) -> LayerRecord:
    """Return the record of a layer in a segment: without its multiplications if they are in a later one."""
    return record if computed else replace(record, macs=0, dense_macs=0)


def check_streams(program: Program, streams: Streams) -> None:
    """Require that every core has one segment in every stage, none of them overlap, and each ends where it must.

    Raises ProgramError. A segment ends with the BARRIER that leads to the core's next one, in the last stage with END.
    """
    where, count = f"{program.name}: streams", len(program.instructions)
    places = sorted((segment.stage, segment.core) for segment in streams.segments)
    if streams.cores < 2 or not places or places != list(product(range(streams.stages), range(streams.cores))):
        raise ProgramError(f"{where} must be one segment for each of at least 2 cores in every stage, not {places[:8]}")
    if len(streams.ways) != len(program.layers):
        raise ProgramError(f"{where} must say how each of {len(program.layers)} layers is cut, not {len(streams.ways)}")
    end = 0
    for segment in sorted(streams.segments, key=lambda segment: segment.first):
        if segment.first < end or segment.count < 1 or segment.first + segment.count > count:
            raise ProgramError(f"{where}: segments must lie apart in the {count} instructions, unlike {segment}")
        end = segment.first + segment.count
    columns = decode_columns(program.instructions)
    following = {(segment.core, segment.stage): segment for segment in streams.segments}
    for segment in streams.segments:
        last = segment.first + segment.count - 1
        opcodes = columns["opcode"][segment.first : last + 1]
        stops = np.flatnonzero((opcodes == Opcode.END) | (opcodes == Opcode.BARRIER))
        after = following.get((segment.core, segment.stage + 1))
        wanted = Opcode.END if after is None else Opcode.BARRIER
        if stops.tolist() != [segment.count - 1] or opcodes[-1] != wanted:
            raise ProgramError(f"{where}: the last instruction, and only that, must be {wanted.name} in {segment}")
        target = (0, 0) if after is None else (after.first * INSTRUCTION_BYTES, after.count)
        found = (int(columns["next"][last]), int(columns["count"][last]))
        if found != target:
            raise ProgramError(f"{where}: the BARRIER of {segment} must lead to {target}, not to {found}")
