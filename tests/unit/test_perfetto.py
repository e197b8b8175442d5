"""Check traces against Perfetto's own protobuf definitions: packets, strings, order, nesting, and what they say."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hand_programs import layer
from perfetto_reader import read_trace
from timing_programs import random_lines, timing_program, timing_spec

from gossamer.arch.encoding import decode_columns
from gossamer.arch.errors import GossamerError
from gossamer.arch.isa import ENGINE_OF, ENGINES, FIELDS, Engine, Opcode
from gossamer.dataflow.assembly import DEFAULTS
from gossamer.dataflow.program import Program
from gossamer.sim import engine as columns_of
from gossamer.sim.timing import run_program
from gossamer.traces.perfetto import perfetto_writer
from gossamer.traces.timelines import UNKNOWN, Timeline, write_timelines

NAMED = ("opcode", "wait", "release", "space")
"""Fields that are not shown as numbers."""


def test_everything_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "trace.pftrace"
    with perfetto_writer(path) as writer:
        assert list(tmp_path.glob("*.pftrace")) == [], "a trace appears when it is complete"
        first, second = writer.process("one"), writer.process("zwei ÄÖ")
        slices, counter, other = (
            writer.track(first, "b"),
            writer.counter(first, "a", "bytes"),
            writer.track(second, "b"),
        )
        writer.begin(slices, 0, "x", {"n": 0, "big": 2**64 - 1, "share": -0.25, "text": "t"}, flows_out=(1, 2**64 - 1))
        writer.count(counter, 0, 1.5)
        writer.end(slices, 127)
        writer.begin(other, 128, "x", {"text": "t"}, flows_in=(1,))
        writer.begin(slices, 128, "y", {"text": "x"})
        writer.end(other, 2**63)
    assert [each.name for each in tmp_path.iterdir()] == ["trace.pftrace"]
    tracks = read_trace(path)
    assert list(tracks) == [("one", "b"), ("one", "a"), ("zwei ÄÖ", "b")]
    x, y = tracks["one", "b"].slices
    assert (x.name, x.begin_ns, x.end_ns, x.flows_out, x.flows_in) == ("x", 0, 127, [1, 2**64 - 1], [])
    assert x.annotations == {"n": 0, "big": 2**64 - 1, "share": -0.25, "text": "t"}
    assert (y.name, y.begin_ns, y.end_ns, y.annotations) == ("y", 128, None, {"text": "x"})
    z = tracks["zwei ÄÖ", "b"].slices[0]
    assert (z.name, z.begin_ns, z.end_ns, z.annotations, z.flows_in) == ("x", 128, 2**63, {"text": "t"}, [1])
    assert tracks["one", "a"].counts == [(0, 1.5)]


def test_what_goes_wrong_leaves_the_old_trace(tmp_path: Path) -> None:
    path = tmp_path / "trace.pftrace"
    path.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError):
        stop_while_writing(path)
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["trace.pftrace"]
    message = r"none/trace\.pftrace: cannot write the trace: No such file"
    with pytest.raises(GossamerError, match=message), perfetto_writer(tmp_path / "none" / "trace.pftrace"):
        pass


def stop_while_writing(path: Path) -> None:
    with perfetto_writer(path) as writer:
        writer.process("one")
        raise ZeroDivisionError


def traced_program(seed: int) -> tuple[Program, float, Timeline]:
    random = np.random.default_rng(seed)
    spec = timing_spec(random)
    lines = random_lines(random, 60)
    owners = random.integers(-1, 2, len(lines)).tolist()
    program = timing_program(lines, layers=(layer("first"), layer("second")), layer_of=owners)
    times = run_program(program, spec).times
    timeline = Timeline(name="simulator", dispatched=times[:, columns_of.DISPATCHED],
                        started=times[:, columns_of.STARTED], completed=times[:, columns_of.COMPLETED])  # fmt: skip
    return program, spec.clock_mhz, timeline


@pytest.mark.parametrize("seed", range(1, 9))
def test_a_slice_for_every_instruction(seed: int, tmp_path: Path) -> None:
    program, clock_mhz, timeline = traced_program(seed)
    later = Timeline(name="RTL", dispatched=timeline.dispatched, started=timeline.started + 1,
                     completed=timeline.completed + 1)  # fmt: skip
    write_timelines(tmp_path / "t", program, clock_mhz, (timeline, later))
    tracks = read_trace(tmp_path / "t")
    columns = decode_columns(program.instructions)
    opcodes = [Opcode(code) for code in columns["opcode"].tolist()]
    names = ["dispatch", *(engine.value.upper() for engine in ENGINES), "LOAD bytes per cycle", "STORE bytes per cycle"]
    assert list(tracks) == [(f"{run}: {program.name}", name) for run in ("simulator", "RTL") for name in names]

    def time_ns(cycle: int) -> int:
        return round(cycle * 1000 / clock_mhz)

    for run in (timeline, later):
        group = {name: track for (process, name), track in tracks.items() if process.startswith(run.name)}
        assert [each.name for each in group["dispatch"].slices] == [opcode.name for opcode in opcodes]
        assert [(each.begin_ns, each.end_ns) for each in group["dispatch"].slices] == [
            (time_ns(cycle), time_ns(cycle + 1)) for cycle in run.dispatched.tolist()
        ]
        for engine in ENGINES:
            members = [at for at, opcode in enumerate(opcodes) if ENGINE_OF.get(opcode) is engine]
            slices = group[engine.value.upper()].slices
            assert [each.annotations["instruction"] for each in slices] == members
            for at, each in zip(members, slices, strict=True):
                start, end = int(run.started[at]), int(run.completed[at])
                assert (each.name, each.begin_ns, each.end_ns) == (opcodes[at].name, time_ns(start), time_ns(end))
                assert (each.annotations["cycle"], each.annotations["cycles"]) == (start, end - start)
                owner = int(program.layer_of[at])
                assert each.annotations.get("layer", "") == ("" if owner < 0 else program.layers[owner].name)
                numbers = [each.name for each in FIELDS[opcodes[at]] if each.name not in NAMED]
                assert {name: each.annotations.get(name, DEFAULTS.get(name, 0)) for name in numbers} == {
                    name: int(columns[name][at]) for name in numbers
                }
                for bits, name in ((columns["wait"][at], "wait"), (columns["release"][at], "release")):
                    named = [other for bit, other in enumerate(ENGINES) if int(bits) >> bit & 1]
                    assert each.annotations.get(name, "") == ",".join(named)
        for engine in (Engine.LOAD, Engine.STORE):
            members = [at for at, opcode in enumerate(opcodes) if ENGINE_OF.get(opcode) is engine]
            moved = (columns["ny"] * columns["nx"] * columns["run_bytes"])[members]
            counts = group[f"{engine.value.upper()} bytes per cycle"].counts
            spans = (run.completed - run.started)[members]
            assert [value for _, value in counts[::2]] == pytest.approx((moved / spans).tolist())
            assert {value for _, value in counts[1::2]} <= {0.0}


@pytest.mark.parametrize("seed", range(1, 9))
def test_arrows_lead_from_givers_to_takers(seed: int, tmp_path: Path) -> None:
    """In order of time: a token is given before it is taken; no two arrows share a number, in all groups together."""
    program, clock_mhz, timeline = traced_program(seed)
    write_timelines(tmp_path / "t", program, clock_mhz, (timeline, replace(timeline, name="RTL")))
    slices = [each for track in read_trace(tmp_path / "t").values() for each in track.slices]
    givers = {flow: each for each in slices for flow in each.flows_out}
    takers = {flow: each for each in slices for flow in each.flows_in}
    columns = decode_columns(program.instructions)
    assert sum(len(each.flows_out) for each in slices) == len(givers) == len(takers)
    assert len(takers) == 2 * sum(int(wait).bit_count() for wait in columns["wait"])
    assert givers.keys() == takers.keys()
    assert all((givers[flow].end_ns or 0) <= takers[flow].begin_ns for flow in givers)


def test_what_did_not_happen_is_not_drawn(tmp_path: Path) -> None:
    program, clock_mhz, timeline = traced_program(1)
    stuck = int(np.flatnonzero(timeline.started > np.median(timeline.started))[0])
    started, completed, dispatched = timeline.started.copy(), timeline.completed.copy(), timeline.dispatched.copy()
    completed[stuck:] = started[stuck + 1 :] = dispatched[stuck + 1 :] = UNKNOWN
    run = Timeline(name="RTL", dispatched=dispatched, started=started, completed=completed, core=1)
    write_timelines(tmp_path / "t", program, clock_mhz, (timeline, run))
    tracks = read_trace(tmp_path / "t")
    assert {process for process, _ in tracks} == {f"{name}: {program.name}" for name in
                                                  ("simulator, core 0", "RTL, core 1")}  # fmt: skip
    mine = {name: track for (process, name), track in tracks.items() if process.startswith("RTL")}
    assert len(mine["dispatch"].slices) == stuck + 1
    drawn = {each.annotations["instruction"]: each for name, track in mine.items() if name != "dispatch"
             for each in track.slices}  # fmt: skip
    assert sorted(drawn) == list(range(stuck + 1))
    assert [at for at, each in drawn.items() if each.end_ns is None] == [stuck]
    assert "cycles" not in drawn[stuck].annotations
