"""Check what a report of simulated runs says against brute force and the simulator, its bad inputs, its pictures."""

import json
import shutil
import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from saved_runs import save

import gossamer
from gossamer import cli
from gossamer.arch.encoding import decode_columns
from gossamer.arch.errors import GossamerError
from gossamer.arch.isa import ENGINE_OF, ENGINES, Opcode
from gossamer.pages.command import write_report
from gossamer.pages.execution import busy_shares, issued_slots, spans, unit_slots
from gossamer.pages.layer_charts import cycle_rows, kept_rows, macs_rows, traffic_rows
from gossamer.pages.network_charts import area_rows, unit_rows, waterfall_rows
from gossamer.pages.notebook import VEGA_LITE_TYPE
from gossamer.pages.occupancy_chart import (
    BUFFERS,
    KINDS,
    buffer_accesses,
    capacity_units,
    owned_shares,
    owner_rows,
)
from gossamer.pages.roofline_chart import layer_dots, roof_lines
from gossamer.pages.run_folder import Execution, Run, read_runs
from gossamer.pages.run_page import run_figures, run_page
from gossamer.pages.timeline_chart import timeline_figure

CHARTS = (
    "roofline", "cycles", "waterfall", "timeline", "occupancy", "traffic", "energy", "utilization", "array", "sparsity",
    "area",
)  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Return run folders: a network dense and at 2:4 on one core, and one layer on a systolic reference."""
    base = tmp_path_factory.mktemp("runs")
    return (
        save(base / "dense", "digits", "ecp5-tiny"),
        save(base / "sparse", "digits", "ecp5-tiny", "2:4"),
        save(base / "systolic", "gemm:64x784x512", "systolic-32x32-ws"),
    )


@pytest.fixture(scope="module")
def runs(folders: tuple[Path, Path, Path]) -> tuple[Run, ...]:
    """Return all three, read."""
    return read_runs(folders)


def _execution(run: Run) -> Execution:
    assert run.execution is not None
    return run.execution


def test_labels_tell_runs_apart(runs: tuple[Run, ...], folders: tuple[Path, ...]) -> None:
    assert [run.label for run in runs[:2]] == ["digits dense on ecp5-tiny", "digits 2:4 on ecp5-tiny"]
    assert runs[0].title == "digits dense on ecp5-tiny (simulated)"
    assert len({run.label for run in read_runs([folders[0], folders[1], folders[0]])}) == 3


def test_classes_sum_to_the_run(runs: tuple[Run, ...]) -> None:
    for run in runs:
        total = run.result.total_cycles
        assert sum(row["cycles"] for row in cycle_rows(run)) == pytest.approx(total, rel=1e-12)
        *steps, measured = waterfall_rows(run)
        assert sum(row["share"] for row in steps) == pytest.approx(100.0, abs=1e-9)
        assert [row["from"] for row in steps[1:]] == [row["to"] for row in steps[:-1]]
        assert steps[0]["from"] == 0
        assert steps[-1]["to"] == pytest.approx(total, rel=1e-12)
        assert measured["to"] == total


def test_traffic_sums_to_what_moved(runs: tuple[Run, ...]) -> None:
    for run in runs[:2]:
        rows = traffic_rows(run)
        by_layer: Counter[str] = Counter()
        for row in rows:
            by_layer[row["layer"]] += row["bytes"]
        assert by_layer == Counter({layer.name: layer.dram_bytes for layer in run.result.layers if layer.dram_bytes})
        assert len({row["part"] for row in rows}) >= 5


def test_macs_are_kept_skipped_or_wasted(runs: tuple[Run, ...]) -> None:
    for run in runs[:2]:
        parts: Counter[str] = Counter()
        for row in macs_rows(run):
            parts[row["part"]] += row["macs"]
        assert parts["kept"] == run.result.macs
        assert parts["kept"] + parts["skipped zeros"] == run.result.dense_macs
        assert parts["kept"] + parts["wasted slots"] == sum(issued_slots(_execution(run)))
    assert any(row["part"] == "skipped zeros" for row in macs_rows(runs[1]))


def test_dots_lie_where_arithmetic_puts_them(runs: tuple[Run, ...]) -> None:
    run = runs[1]
    roofs = run.result.roofline
    assert roofs is not None
    *dots, whole = layer_dots(run, roofs)
    layers = {layer.name: layer for layer in run.result.layers if layer.macs}
    assert {dot["layer"] for dot in dots} == set(layers)
    for dot in dots:
        layer = layers[dot["layer"]]
        assert dot["intensity"] * layer.dram_bytes == pytest.approx(layer.macs)
        assert 0 < dot["rate"] <= roofs.peak_macs_per_s
    assert whole["rate"] * run.result.latency_s == pytest.approx(run.result.macs)
    lines = roof_lines(run, roofs, 0.01, 1000.0)
    bound = [line for line in lines if line["binds"]]
    ridge = next(line for line in bound if line["ridge"])
    assert ridge["intensity"] == pytest.approx(roofs.peak_macs_per_s / roofs.memory_bytes_per_s)
    assert ridge["rate"] == pytest.approx(roofs.peak_macs_per_s)
    for line in bound:
        limit = min(roofs.peak_macs_per_s, line["intensity"] * roofs.memory_bytes_per_s)
        assert line["rate"] == pytest.approx(limit)


def test_unit_slots_equal_a_walk_over_the_instructions(runs: tuple[Run, ...]) -> None:
    for run in runs[:2]:
        execution = _execution(run)
        array, columns = execution.spec.array, decode_columns(execution.program.instructions)
        walked = np.zeros((array.chains, array.chain_length), dtype=np.int64)
        for at in np.flatnonzero(columns["opcode"] == Opcode.COMPUTE):
            names = ("ny", "nx", "n_ry", "n_rx", "steps", "run_words", "chains_active")
            ny, nx, n_ry, n_rx, steps, words, chains = (int(columns[name][at]) for name in names)
            for word in range(words):
                walked[:chains, word % array.chain_length] += ny * nx * n_ry * n_rx * steps
        assert (unit_slots(execution) == walked).all()
        assert walked.sum() == sum(issued_slots(execution))
        rows, _ = unit_rows(run)
        assert all(0 <= row["busy"] <= 100 for row in rows)


def test_busy_shares_equal_cycles_counted_one_by_one(runs: tuple[Run, ...]) -> None:
    execution = _execution(runs[1])
    trace, total = execution.simulation.trace, execution.simulation.total_cycles
    assert trace is not None
    opcodes = decode_columns(execution.program.instructions)["opcode"]
    busy = np.zeros((len(ENGINES), total))
    for at, opcode in enumerate(opcodes.tolist()):
        if Opcode(opcode) in ENGINE_OF:
            busy[ENGINES.index(ENGINE_OF[Opcode(opcode)]), trace.started[at] : trace.completed[at]] = 1
    edges = np.linspace(0, total, 8)
    expected = np.diff(
        [[np.interp(edge, np.arange(total + 1), np.append(0, row.cumsum())) for edge in edges] for row in busy]
    )
    assert busy_shares(execution, 7) == pytest.approx(expected / (total / 7), abs=1e-9)


@pytest.mark.parametrize("buffer", ["activation", "weight", "index", "accumulator"])
def test_shares_of_tensors_equal_a_look_at_every_cell(runs: tuple[Run, ...], buffer: str) -> None:
    execution = _execution(runs[1])
    total, cells, samples = execution.simulation.total_cycles, 64, 40
    limit = capacity_units(execution, buffer)
    size = -(-limit // cells)
    accesses = list(zip(*(column.tolist() for column in buffer_accesses(execution, buffer)), strict=True))
    assert any(tensor >= 0 for *_, tensor in accesses)
    assert any(tensor < 0 for *_, tensor in accesses)
    accesses.sort(key=lambda access: (access[2], access[4] >= 0))
    moments = (np.arange(samples) + 0.5) * total / samples
    live = np.zeros((len(KINDS) * len(execution.program.layers), samples))
    for cell in range(-(-limit // size)):
        mine = [access for access in accesses if access[0] // size <= cell < -(-access[1] // size)]
        lives: list[list[int]] = []  # [written, last read or -1, tensor]
        for _, _, begin, end, tensor in mine:
            if tensor < 0 and lives:
                lives[-1][1] = max(lives[-1][1], end)
            elif tensor >= 0 and lives and lives[-1][1] < 0:
                lives[-1][2] = tensor
            elif tensor >= 0:
                lives.append([begin, -1, tensor])
        for begin, end, tensor in lives:
            live[tensor] += (begin <= moments) & (moments < end)
    assert (live.max(axis=1) > 0).sum() > 1
    expected = live * size / limit
    assert expected.sum(axis=0).max() <= 1
    shares = owned_shares(execution, buffer, cells, samples)
    assert shares == pytest.approx(expected, abs=1e-12)
    rows = owner_rows(shares, 2.0)
    for at in range(samples):
        drawn = [row for row in rows if row["s"] <= 2 * at < row["f"]]
        assert [row["a"] for row in drawn] == [0.0, *(row["b"] for row in drawn)][: len(drawn)]
        assert sum(row["b"] - row["a"] for row in drawn) == pytest.approx(100 * shares[:, at].sum(), abs=0.01)
        for row in drawn:
            tensor = len(KINDS) * row["l"] + row["k"]
            assert row["b"] - row["a"] == pytest.approx(100 * shares[tensor, at], abs=0.02)


def test_tensors_are_named_after_who_writes_them(runs: tuple[Run, ...]) -> None:
    execution = _execution(runs[1])
    held = {buffer: owned_shares(execution, buffer).max(axis=1) > 0 for buffer in BUFFERS}
    kinds = {buffer: {KINDS[at % len(KINDS)] for at in np.flatnonzero(which)} for buffer, which in held.items()}
    assert kinds == {"activation": {"inputs", "results"}, "weight": {"weights"}, "index": {"indices"},
                     "accumulator": {"sums"}}  # fmt: skip
    weighted = {at // len(KINDS) for at in np.flatnonzero(held["weight"])}
    assert weighted == {at for at, record in enumerate(execution.program.layers) if record.weight_bytes}


@pytest.mark.parametrize("most", [10**6, 60, 12])
def test_spans_lose_no_instruction_and_no_cycle(runs: tuple[Run, ...], most: int) -> None:
    execution = _execution(runs[0])
    trace = execution.simulation.trace
    assert trace is not None
    count = len(execution.program.instructions) - 1  # END is of no engine
    found = spans(execution, most)
    assert found.start.size <= most
    assert (found.count == 1).all() == (most > count)
    assert found.count.sum() == count
    assert found.busy.sum() == (trace.completed - trace.started)[:-1].sum()
    assert (found.busy <= found.end - found.start).all()
    for engine in range(len(ENGINES)):
        mine = found.engine == engine
        assert mine.any()
        assert (found.start[mine][1:] >= found.end[mine][:-1]).all()
    if most > count:
        assert (found.others == 0).all()
        assert (found.layer == execution.program.layer_of[found.number]).all()
    figure = timeline_figure(runs[:1], most)
    assert figure is not None
    assert ("a mark stands for" in figure.text) == (most < count)


def test_kept_energy_of_layers_is_drawn_with_their_pattern(folders: tuple[Path, ...], runs: tuple[Run, ...]) -> None:
    stored = json.loads((folders[1] / "result.json").read_text())["layers"]
    rows = {row["layer"]: (row["pattern"], row["kept"]) for row in kept_rows(runs[1])}
    assert rows == {each["name"]: (each["pattern"], 100 * each["kept_energy"]) for each in stored if each["pattern"]}
    assert all(kept == 100 if pattern == "dense" else 80 < kept < 100 for pattern, kept in rows.values())
    assert {pattern for pattern, _ in rows.values()} == {"dense", "2:4"}
    assert all(row["kept"] == 100 for run in (runs[0], runs[2]) for row in kept_rows(run))


def test_area_sums_to_the_estimate(runs: tuple[Run, ...], folders: tuple[Path, ...]) -> None:
    spec = _execution(runs[0]).spec
    used: Counter[str] = Counter()
    for row in area_rows(spec):
        used[row["resource"].lower()] += row["used"]
    stored = json.loads((folders[0] / "result.json").read_text())["area"]
    assert used == Counter({use["resource"]: use["used"] for use in stored if use["used"]})


def test_specifications_are_valid(runs: tuple[Run, ...]) -> None:
    for chosen in (runs[:1], runs, runs[2:]):
        for figure in run_figures(chosen):
            assert figure.chart.to_dict()["$schema"].startswith("https://vega.github.io/schema/vega-lite/")


def test_every_chart_is_there_where_there_is_data(runs: tuple[Run, ...]) -> None:
    assert tuple(figure.name for figure in run_figures(runs[:2])) == CHARTS
    assert [figure.name for figure in run_figures(runs[2:])] == ["cycles", "waterfall", "utilization", "sparsity"]


def test_several_cores_have_the_charts_of_their_layers(folders: tuple[Path, ...], tmp_path: Path) -> None:
    room = ("device.dsp=300", "device.bram36=300", "device.lut=100000", "cores=2")
    page = run_page([save(tmp_path / "two", "gemm:32x64x64", "ecp5-tiny", overrides=room)])
    drawn = [figure.name for figure in page.figures]
    assert drawn == ["roofline", "cycles", "waterfall", "energy", "utilization", "sparsity", "area"]
    assert "are drawn of one core only" in page.notes[0]
    both = run_page([folders[0], tmp_path / "two"])
    assert tuple(figure.name for figure in both.figures) == CHARTS


def test_page_says_what_changed_and_how_sure_it_is(folders: tuple[Path, ...], runs: tuple[Run, ...]) -> None:
    page = run_page(folders[:2])
    changes, settings = page.summary
    cycles = {row[0]: row[1:] for row in changes.rows}["cycles"]
    before, after = (run.result.total_cycles for run in runs[:2])
    assert cycles == [f"{before:,}", f"{after:,}", f"{100 * (after / before - 1):+.1f} %"]
    assert settings.rows == [["--sparsity", "dense", "2:4"]]
    layers = page.tables[0].rows
    assert sum(int(row[3].replace(",", "")) for row in layers) == after - before
    for tier in {run.result.tier for run in runs[:2]}:
        assert sum(tier in text for text in (*page.notes, changes.text, *(figure.text for figure in page.figures))) >= 3
    single = run_page(folders[:1]).tables[0]
    assert sum(int(row[6].replace(",", "")) for row in single.rows) == before
    for row in single.rows:
        assert sum(float(cell) for cell in row[-6:]) == pytest.approx(100 if row[6] != "0" else 0, abs=1e-9)


def test_hints_are_shown(folders: tuple[Path, ...], tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(folders[0], run)
    hint = {"change": "", "setting": "vector.lanes=64", "saved_cycles": 1200, "saved_share": 0.055, "cost": "8 DSP"}
    _edit(run / "result.json", hints=[hint])
    (table,) = run_page([run]).summary
    assert table.rows == [["--set vector.lanes=64", "1,200", "12.0", "5.5", "8 DSP"]]
    assert not run_page(folders[:1]).summary


def test_pictures(folders: tuple[Path, ...], tmp_path: Path) -> None:
    written = write_report(folders[:2], tmp_path / "page.html", tmp_path / "plots")
    assert {path.name for path in written} == {"page.html"} | {f"{n}.{kind}" for n in CHARTS for kind in ("png", "svg")}
    for name in CHARTS:
        assert (tmp_path / "plots" / f"{name}.png").read_bytes().startswith(b"\x89PNG\r\n")
        texts = [
            "".join(node.itertext())
            for node in ElementTree.parse(tmp_path / "plots" / f"{name}.svg").iter("{http://www.w3.org/2000/svg}text")
        ]
        assert any("simulated" in text or "estimated" in text for text in texts), name


def test_notebook_gets_the_same_charts(folders: tuple[Path, ...]) -> None:
    charts = gossamer.charts(*folders[:2])
    assert tuple(charts) == CHARTS
    bundle = charts["timeline"].to_dict()
    assert len(bundle["datasets"]["spans0"]) > 100
    assert bundle["config"]["background"] == "white"
    shown = charts["waterfall"]._repr_mimebundle_(None, None)
    assert shown[VEGA_LITE_TYPE] == charts["waterfall"].to_dict(validate=False)
    assert ElementTree.fromstring(shown["image/svg+xml"]).tag == "{http://www.w3.org/2000/svg}svg"


def _edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        ("not a run", "{run}: has no run.json; give a run folder"),
        ("no program", "{run}/program.gsm: cannot read the program"),
        ("no result", "{run}/result.json: cannot be read as JSON"),
        ("half a result", "{run}/result.json: cannot be read as JSON"),
        ("other result", "{run}/result.json: macs: Field required; simulate again"),
        ("other cycles", "{run}: result.json has 1 cycles, but its Program takes"),
        ("other config", "{run}/program.gsm: was compiled for"),
        ("other command", "{run}/run.json: must have the command of the run"),
        ("store too", "results.db: give run folders"),
        ("five", "a report must be of one to 4 run folders, not 5"),
    ],
)
def test_bad_runs_are_one_error_and_no_file(
    folders: tuple[Path, ...], damage: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    run = tmp_path / "run"
    shutil.copytree(folders[0], run)
    sources = [run]
    result = run / "result.json"
    if damage == "not a run":
        (run / "run.json").unlink()
    elif damage == "no program":
        (run / "program.gsm").unlink()
    elif damage == "no result":
        result.unlink()
    elif damage == "half a result":
        result.write_text(result.read_text()[:500])
    elif damage == "other result":
        result.write_text(result.read_text().replace('"macs"', '"mac"'))
    elif damage == "other cycles":
        _edit(result, total_cycles=1)
    elif damage == "other config":
        shutil.copy(save(tmp_path / "kv260", "gemm:8x8x8", "kv260-edge") / "config.resolved.yaml", run)
    elif damage == "other command":
        _edit(run / "run.json", command=None)
    elif damage == "store too":
        (tmp_path / "results.db").touch()
        sources.append(tmp_path / "results.db")
    elif damage == "five":
        sources *= 5
    page = tmp_path / "page.html"
    monkeypatch.setattr(sys, "argv", ["gossamer", "report", *map(str, sources), "-o", str(page)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    message = capfd.readouterr().err
    assert stop.value.code == 2
    assert message.startswith("gossamer: ")
    assert expected.format(run=run) in message
    assert message.count("\n") == 1
    assert not page.exists()


def test_no_source_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(GossamerError, match="no source: give run folders"):
        write_report([], tmp_path / "page.html")
