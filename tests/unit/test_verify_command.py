"""Check `gossamer verify` and `gossamer.verify`: bad input is one message, and a report without RTL has its keys."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from perfetto_reader import read_trace
from timing_programs import timing_program

import gossamer
from gossamer import verification
from gossamer.arch.errors import ToolError
from gossamer.arch.isa import ENGINES, Opcode
from gossamer.arch.registers import REGISTERS, Access, ErrorCause
from gossamer.arch.spec import SparseAccelerator
from gossamer.rtl_run import DONE_BIT, ERROR_BIT, RtlJob, RtlResult, instruction_times
from gossamer.sim.golden.executor_kernels import RUN_FIELDS  # noqa: F401 - compiles kernels before they are timed
from gossamer.sim.timing import simulate
from gossamer.traces.timelines import UNKNOWN, Timeline
from gossamer.verify_command import VCD_NOTE

Run = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-c", "ecp5-tiny"], "either a MODEL or --random COUNT"),
        (["-c", "ecp5-tiny", "digits", "--random", "2"], "either a MODEL or --random COUNT"),
        (["-c", "ecp5-tiny", "digits", "--stalls", "some"], "--stalls must be one of none, random"),
        (["-c", "systolic-32x32-ws", "digits"], "has no RTL"),
        (
            ["-c", "ecp5-tiny", "digits", "--set", "axi.burst_beats=4", "--set", "axi.ports=8"],
            "axi.burst_beats: must be at least axi.ports (8)",
        ),
        (["-c", "ecp5-tiny", "digits", "--layers", "nope"], "layers must be FIRST:LAST within 0:9"),
        (["-c", "ecp5-tiny", "digits", "--layers", "9:"], "layers must be FIRST:LAST within 0:9"),
        (["-c", "ecp5-tiny", "--random", "2", "--layers", "0:1"], "--layers takes layers out of a MODEL"),
        (["-c", "ecp5-tiny", "--random", "-1"], "--random"),
        (["-c", "ecp5-tiny", "digits", "--images", "0"], "--images"),
        (["-c", "ecp5-tiny", "digit"], "did you mean digits"),
        (["-c", "ecp5-tiny", "none.gsm"], "none.gsm"),
        (["digits"], "--config"),
    ],
)
def test_bad_input_is_one_message(run: Run, tmp_path: Path, arguments: list[str], message: str) -> None:
    status, out, err = run("verify", *arguments)
    assert (status, out) == (2, "")
    assert message in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ["--waves", "--trace"])
def test_folders_that_are_files_are_refused(run: Run, tmp_path: Path, option: str) -> None:
    (tmp_path / "file").write_text("text")
    status, out, err = run("verify", "digits", "-c", "ecp5-tiny", option, "file")
    assert (status, out) == (2, "")
    assert f"{option} file: must be a folder" in err


def test_a_program_of_another_config_is_refused(run: Run) -> None:
    assert run("compile", "gemm:8x16x8", "-c", "ecp5-tiny", "--set", "clock_mhz=90", "-o", "other.gsm")[0] == 0
    status, out, err = run("verify", "other.gsm", "-c", "ecp5-tiny")
    assert (status, out) == (2, "")
    assert "was compiled for ecp5-tiny" in err


@pytest.mark.parametrize("missing", ["g++", "make", "perl"])
def test_without_compiler_it_says_what_to_install(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, missing: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in {"g++", "make", "perl"} - {missing}:
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    status, out, err = run("verify", "digits", "-c", "ecp5-tiny")
    assert (status, out) == (1, "")
    assert f"needs {missing}: apt-get install g++ make perl" in err
    with pytest.raises(ToolError, match=f"needs {missing.replace('+', '.')}"):
        gossamer.verify("digits", "ecp5-tiny")


Change = Callable[[RtlJob, RtlResult], RtlResult]


@pytest.fixture
def no_rtl(monkeypatch: pytest.MonkeyPatch) -> Callable[[Change], None]:
    """Return a function that puts golden executor and simulator, with a change, in the place of the RTL."""

    def put(change: Change) -> None:
        def instead(spec: SparseAccelerator, jobs: Sequence[RtlJob], **_: Any) -> Mapping[str, RtlResult]:
            return {job.name: change(job, result_of(job, spec)) for job in jobs}

        monkeypatch.setattr(verification, "run_programs", instead)

    return put


def result_of(job: RtlJob, spec: SparseAccelerator) -> RtlResult:
    """Return what a core must leave, from the golden executor and the simulator."""
    program, cycles = job.program, simulate(job.program, spec, trace=True)
    assert cycles.trace is not None
    inputs = {
        binding.name: verification_inputs(job.memory, binding) for binding in program.inputs
    }  # fmt: skip
    registers = {name: 0 for name, register in REGISTERS.items() if register.access is Access.READ}
    registers |= {"CYCLES": cycles.total_cycles, "STATUS": DONE_BIT}
    for engine in ENGINES:
        prefix, counted = engine.value.upper(), cycles.engines[engine]
        registers |= {
            f"{prefix}_INSTRUCTIONS": counted.instructions, f"{prefix}_BUSY": counted.busy,
            f"{prefix}_WAITING_MEMORY": counted.waiting_memory, f"{prefix}_IDLE": counted.idle,
            **{f"{prefix}_WAITING_{giver.value.upper()}": counted.waiting_token[giver] for giver in ENGINES},
        }  # fmt: skip
    return RtlResult(
        memory=verification.execute_memory(program, spec, inputs), registers=registers,
        times=Timeline.of("RTL", cycles.trace),
    )  # fmt: skip


def verification_inputs(memory: np.ndarray, binding: Any) -> np.ndarray:
    from gossamer.sim.golden.executor import read_tensor

    return read_tensor(memory, binding)


def test_json_has_the_documented_keys(run: Run, no_rtl: Callable[[Change], None]) -> None:
    no_rtl(lambda job, result: result)
    status, out, _ = run("verify", "--random", "3", "--seed", "5", "-c", "ecp5-tiny", "--json")
    report = json.loads(out)
    assert status == 0
    assert report["bit_exact"] is True
    assert report["max_cycle_error_pct"] == 0
    assert (report["config"], report["stalls"], report["seed"], report["waves"]) == ("ecp5-tiny", "none", 5, None)
    assert [each["name"] for each in report["programs"]] == ["random5", "random6", "random7"]
    for each in report["programs"]:
        assert {"name", "bit_exact", "outputs_checked", "rtl_cycles", "sim_cycles", "cycle_error_pct"} <= set(each)
        assert each["outputs_checked"] > 0
        assert each["rtl_cycles"] == each["sim_cycles"] > 0
        assert each["instructions_off"] == 0
    assert report["trace"] is None


def one_byte_wrong(job: RtlJob, result: RtlResult) -> RtlResult:
    """Return a result with one wrong byte: the second channel of the last pixel of the first output."""
    memory, binding = result.memory.copy(), job.program.outputs[0]
    memory[binding.address + binding.span_bytes - binding.shape[3] + 1] ^= 1
    return replace(result, memory=memory)


def test_a_wrong_byte_is_named_and_exits_with_1(run: Run, no_rtl: Callable[[Change], None]) -> None:
    no_rtl(one_byte_wrong)
    status, out, _ = run("verify", "digits", "-c", "ecp5-tiny")
    assert status == 1
    assert "NOT bit-exact" in out
    assert "element [0, 0, 0, 1] is" in out
    assert "(1 bytes differ); written by instruction" in out
    status, out, _ = run("verify", "digits", "-c", "ecp5-tiny", "--json")
    assert status == 1
    assert json.loads(out)["bit_exact"] is False
    assert "(STORE, layer" in json.loads(out)["programs"][0]["mismatch"]


def test_more_cycles_than_simulated_are_an_error_of_the_simulator(no_rtl: Callable[[Change], None]) -> None:
    def slower(job: RtlJob, result: RtlResult) -> RtlResult:
        return replace(result, registers={**result.registers, "CYCLES": 2 * result.registers["CYCLES"]})

    no_rtl(slower)
    report = gossamer.verify("digits", "ecp5-tiny", images=2, layers="0:2")
    assert report.bit_exact
    assert len(report.programs) == 2
    assert [check.cycle_error_pct for check in report.programs] == [-50.0, -50.0]
    assert report.max_cycle_error_pct == 50.0


def test_a_failed_run_is_no_match(run: Run, no_rtl: Callable[[Change], None]) -> None:
    def stopped(job: RtlJob, result: RtlResult) -> RtlResult:
        changes = {"STATUS": ERROR_BIT, "ERROR_CAUSE": ErrorCause.READ_RESPONSE, "ERROR_ADDRESS_LOW": 0x1240}
        return replace(result, registers={**result.registers, **changes})

    no_rtl(stopped)
    status, out, _ = run("verify", "digits", "-c", "ecp5-tiny")
    assert status == 1
    assert "stopped with error READ_RESPONSE" in out
    assert "0x1240" in out


def test_a_program_that_did_not_run_is_no_match(run: Run, no_rtl: Callable[[Change], None]) -> None:
    no_rtl(lambda job, result: replace(result, registers={**result.registers, "STATUS": 1}))
    status, out, _ = run("verify", "digits", "-c", "ecp5-tiny")
    assert status == 1
    assert "timed out after" in out


def test_waveforms_are_announced(run: Run, no_rtl: Callable[[Change], None], monkeypatch: pytest.MonkeyPatch) -> None:
    no_rtl(lambda job, result: result)
    Path("traces").mkdir()  # what building the bench would do
    for name, note in (("vcd", VCD_NOTE), ("fst", "")):
        monkeypatch.setattr(verification, "wave_format", lambda name=name: name)
        status, out, _ = run("verify", "digits", "-c", "ecp5-tiny", "--layers", "0:1", "--waves", "traces")
        assert status == 0
        assert out.splitlines()[-1] == f"waveforms: {Path.cwd() / 'traces' / f'dump.{name}'}{note}"


def test_a_folder_of_traces_that_cannot_be_made_is_one_message(
    run: Run, no_rtl: Callable[[Change], None], tmp_path: Path
) -> None:
    no_rtl(lambda job, result: result)
    (tmp_path / "file").write_text("text")
    status, out, err = run("verify", "gemm:4x8x8", "-c", "ecp5-tiny", "--trace", "file/traces")
    assert (status, out) == (2, "")
    assert "--trace file/traces: cannot be made" in err
    assert "Traceback" not in err


def later(job: RtlJob, result: RtlResult) -> RtlResult:
    """Return a result whose last three instructions were dispatched a cycle later, and completed never."""
    assert result.times is not None
    dispatched, completed = result.times.dispatched.copy(), result.times.completed.copy()
    dispatched[-3:] += 1
    completed[-3:] = UNKNOWN
    return replace(result, times=replace(result.times, dispatched=dispatched, completed=completed))


def test_traces_show_simulator_and_rtl(run: Run, no_rtl: Callable[[Change], None], tmp_path: Path) -> None:
    no_rtl(later)
    status, out, _ = run("verify", "--random", "2", "-c", "ecp5-tiny", "--trace", "new/traces")
    assert status == 0
    assert out.splitlines()[-1] == f"traces: {tmp_path / 'new' / 'traces'}, for https://ui.perfetto.dev"
    assert out.count("  3 instructions at other times than simulated; --trace DIR shows which") == 2
    assert sorted(path.name for path in (tmp_path / "new" / "traces").iterdir()) == [
        "random1.pftrace", "random2.pftrace",
    ]  # fmt: skip
    for path in (tmp_path / "new" / "traces").iterdir():
        tracks = read_trace(path)
        programs = {process.partition(": ")[2] for process, _ in tracks}
        assert len(programs) == 1
        for name in ("dispatch", "LOAD", "COMPUTE", "VECTOR", "STORE"):
            mine, rtl = (
                next(track for (process, each), track in tracks.items() if each == name and process.startswith(run))
                for run in ("simulator", "RTL")
            )
            assert [each.name for each in mine.slices] == [each.name for each in rtl.slices]
        instructions = [each for (_, name), track in tracks.items() if name.isupper() for each in track.slices]
        assert {each.end_ns is None for each in instructions} == {True, False}


def test_times_of_a_run_that_stopped() -> None:
    """Events of a core that dispatched four of six instructions, started three and completed one."""
    program = timing_program([(Opcode.LOAD, {}), (Opcode.COMPUTE, {}), (Opcode.LOAD, {}), (Opcode.COPY, {}),
                              (Opcode.LOAD, {})])  # fmt: skip
    events = {f"{engine.value}_{event}": np.array([], dtype=np.int64) for engine in ENGINES
              for event in ("started", "completed")}  # fmt: skip
    events |= {"dispatched": np.array([30, 31, 32, 33]), "load_started": np.array([32, 50]),
               "load_completed": np.array([49]), "compute_started": np.array([33])}  # fmt: skip
    times = instruction_times(program, events)
    assert times.dispatched.tolist() == [30, 31, 32, 33, UNKNOWN, UNKNOWN]
    assert times.started.tolist() == [32, 33, 50, UNKNOWN, UNKNOWN, UNKNOWN]
    assert times.completed.tolist() == [49, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN]
