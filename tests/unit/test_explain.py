"""The explanation of a layer: against the Program, the simulation and the report it explains; its text."""

import json
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gossamer
from gossamer.arch.encoding import decode_columns
from gossamer.arch.isa import Opcode
from gossamer.dataflow.mapping import Objective
from gossamer.explain_text import explanation_text
from gossamer.mapper import compile as compiler
from gossamer.mapper.holding import NOTHING_HELD
from gossamer.mapper.shares import WHOLE
from gossamer.mapper.tiling import search_again
from gossamer.report import SimulationReport
from gossamer.request import SimulationRequest
from gossamer.sim.layer_events import layer_events
from gossamer.simulation import compile_request

CONV = "conv:14x14x40:3x3x72:s=1:p=1"


def explained(model: str, layer: str, config: str = "ecp5-tiny", **options: Any) -> SimulationReport:
    """Return a report with an explanation."""
    return gossamer.simulate(model, config, explain=layer, **options)


def check_text(report: SimulationReport) -> str:
    """Return the text, which fits a terminal, and is what the report prints."""
    assert report.explain is not None
    text = explanation_text(report, report.explain)
    assert str(report) == text
    assert max(map(len, text.splitlines())) <= 80, [line for line in text.splitlines() if len(line) > 80]
    return text


@pytest.mark.parametrize("number", range(1, 10))
def test_every_layer_of_a_network_is_explained_as_reported(number: int) -> None:
    report = explained("digits", str(number))
    explanation = report.explain
    assert explanation is not None
    assert number in explanation.numbers
    check_text(report)
    rows = [report.layers[each - 1] for each in explanation.numbers]
    assert explanation.layers == tuple(row.name for row in rows)
    assert explanation.cycles == sum(row.cycles for row in rows)
    assert sum(explanation.class_cycles.values()) == explanation.cycles
    off_chip = explanation.levels[0]
    moved = sum(row.dram_bytes for row in rows)
    assert off_chip.read_bytes + off_chip.written_bytes == moved == sum(explanation.off_chip_bytes.values())
    assert explanation.roofline_cycles == max(roof.cycles for roof in explanation.roofs)
    if explanation.alone_cycles is not None:
        assert explanation.alone_cycles >= explanation.roofline_cycles
    for level in explanation.levels[1:]:
        assert level.capacity_bytes is not None
        assert (level.held_bytes or 0) <= level.capacity_bytes


def test_bytes_of_the_layers_are_those_of_the_program() -> None:
    compiled = compile_request(SimulationRequest(model="digits", config="ecp5-tiny", shapes={}))
    count = len(compiled.program.layers)
    each = [layer_events(compiled.program, compiled.spec, [number]) for number in range(count)]
    whole = layer_events(compiled.program, compiled.spec, range(count))
    for name, (read, written) in whole.activity.buffer_bytes.items():
        assert sum(one.activity.buffer_bytes[name][0] for one in each) == read
        assert sum(one.activity.buffer_bytes[name][1] for one in each) == written
    assert sum(one.streaming_cycles for one in each) == whole.streaming_cycles


@pytest.mark.parametrize("objective", Objective)
def test_loops_and_search_are_those_of_the_mapping(objective: Objective) -> None:
    request = SimulationRequest(model=CONV, config="ecp5-tiny", shapes={}, objective=str(objective))
    program = compile_request(request).program
    report = explained(CONV, "1", objective=str(objective))
    assert report.explain is not None
    (part,) = report.explain.parts
    computes = int((decode_columns(program.instructions)["opcode"] == Opcode.COMPUTE).sum())
    groups = next(loop for loop in part.loops if loop.axis == "group of channels")
    blocks = next(loop for loop in part.loops if loop.axis == "block")
    rest = [loop.count for loop in part.loops if not loop.on_array and loop not in (groups, blocks)]
    assert prod(rest) * 9 == computes  # 72 channels are 9 blocks of 8 chains
    assert (groups.count - 1) * blocks.count < 9 <= groups.count * blocks.count
    search = part.search
    assert search.proved
    assert 1 <= search.costed <= search.tilings - sum(search.illegal.values())
    assert part.runner_up is not None
    assert (part.runner_up.cost, part.runner_up.cycles) > (search.cost, part.cycles)
    assert part.runner_up.differs
    expected = {
        Objective.LATENCY: report.total_cycles, Objective.ENERGY: report.energy_j, Objective.BYTES: report.dram_bytes,
        Objective.EDP: (report.energy_j or 0) * report.latency_s,
    }  # fmt: skip
    assert search.cost == pytest.approx(expected[objective], rel=1e-12)
    assert part.cycles == report.total_cycles
    assert f"search for least {objective}" in check_text(report)


COSTS: dict[Objective, Callable[[SimulationReport], float]] = {
    Objective.LATENCY: lambda report: report.total_cycles, Objective.ENERGY: lambda report: report.energy_j or 0,
    Objective.EDP: lambda report: (report.energy_j or 0) * report.latency_s,
    Objective.BYTES: lambda report: report.dram_bytes,
}  # fmt: skip


def test_objectives_choose_the_least() -> None:
    reports = {one: gossamer.simulate(CONV, "ecp5-tiny", objective=str(one)) for one in Objective}
    for one, report in reports.items():
        assert report.mappings is not None
        assert (report.mappings.objective, report.mappings.shapes, report.mappings.proved) == (one, 1, 1)
        assert f"search least {one}; layer shapes 1, proved best 1; tilings" in str(report)
    for objective, cost in COSTS.items():
        assert all(cost(reports[objective]) <= cost(report) * (1 + 1e-12) for report in reports.values())
    assert reports[Objective.BYTES].dram_bytes < reports[Objective.LATENCY].dram_bytes


def test_objectives_choose_the_least_for_networks_too() -> None:
    """Layers take turns for the sake of energy times delay as well. The least latency is not promised of a network."""
    reports = {
        one: gossamer.simulate("mobilenet-v2", "kv260-edge", sparsity="2:4", objective=str(one)) for one in Objective
    }
    for objective in (Objective.ENERGY, Objective.EDP, Objective.BYTES):
        cost = COSTS[objective]
        assert all(cost(reports[objective]) < cost(report) for one, report in reports.items() if one is not objective)


def test_layers_that_share_tiles_are_explained_together() -> None:
    first, second = (explained("digits", name) for name in ("residual_b", "sum"))
    assert first.explain == second.explain
    assert first.explain is not None
    assert first.explain.joined == "sum"
    assert "sum runs in the tiles of residual_b" in check_text(first)


def test_layers_that_take_turns_say_what_is_assumed(monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing on chip, which is better for this network."""
    monkeypatch.setattr(compiler, "hold_tensors", lambda *_: NOTHING_HELD)
    report = explained("digits", "sum")
    assert report.explain is not None
    assert report.explain.partner is not None
    assert "\nsearch for least latency, with what waits for its first results\n" in check_text(report)


@pytest.mark.parametrize("objective", [Objective.LATENCY, Objective.EDP])
def test_what_is_explained_is_the_mapping_that_was_emitted(objective: Objective) -> None:
    """Of layers that take turns that is one of least latency, whatever the objective."""
    request = SimulationRequest(
        model="mobilenet-v2", config="kv260-edge", sparsity="2:4", shapes={}, objective=str(objective)
    )
    compiled = compile_request(request)
    mapped = compiled.compilation.mapped
    for part in mapped:
        given = part.reserved_bytes, part.share, part.searched_for(objective)
        assert search_again(part.mapping.shape, compiled.spec, *given).mapping == part.mapping
    assert any(part.share != WHOLE for part in mapped)


def test_a_layer_off_the_array_says_what_limits_it() -> None:
    report = explained("digits", "pool")
    assert report.explain is not None
    assert report.explain.parts == ()
    text = check_text(report)
    assert "not mapped" in text
    assert f"limited by {report.explain.limit}"[:70] in text


def test_json_holds_the_explanation(tmp_path: Path) -> None:
    report = explained("digits", "stem")
    found = json.loads(json.dumps(report.as_json(), allow_nan=False))["explain"]
    assert found["layers"] == ["stem"]
    assert {"loops", "reuse", "search", "runner_up"} <= found["parts"][0].keys()
    assert "explain" not in gossamer.simulate("digits", "ecp5-tiny").as_json()
    assert np.isclose(found["above_roof"], found["alone_cycles"] / found["roofline_cycles"] - 1)
