"""Sweep files: what they load to, and every mistake with its line, column and words."""

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from gossamer.arch.errors import ConfigError
from gossamer.explore.sweep_file import load_sweep, sweep_names, sweep_schema

SWEEP = """\
name: mine
base: ecp5-tiny
axes:
  model: [digits]
  sparsity: [dense, "2:4"]
  array.lanes: [1, 2]
set:
  vector.lanes: array.chains
where:
  - array.lanes <= 4
constraints: {latency_s: {max: 1}}
objectives: [latency_s, dsp]
strategy: {kind: grid}
"""


def place(text: str, piece: str) -> str:
    """Return "line:column" of the first `piece`."""
    at = text.index(piece)
    return f"{text.count(chr(10), 0, at) + 1}:{at - text.rfind(chr(10), 0, at)}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "my.yaml"


def refusal(path: Path, text: str) -> list[str]:
    """Return the lines of the error for a file, without the file's name."""
    path.write_text(text)
    with pytest.raises(ConfigError, match=re.escape(str(path))) as caught:
        load_sweep(path)
    return [line.removeprefix(f"{path}:") for line in str(caught.value).splitlines()]


def axes(path: Path, text: str) -> dict[str, tuple[Any, ...]]:
    """Return the values of the axes of a sweep with one more axis, given as YAML."""
    path.write_text(SWEEP.replace("  array.lanes: [1, 2]\n", f"  {text}\n"))
    return {axis.name: axis.values for axis in load_sweep(path).space.axes}


def test_a_sweep_loads(path: Path) -> None:
    path.write_text(SWEEP)
    sweep = load_sweep(path)
    assert [(axis.name, axis.values) for axis in sweep.space.axes] == [
        ("batch", (1,)), ("model", ("digits",)), ("sparsity", ("dense", "2:4")), ("array.lanes", (1, 2)),
    ]  # fmt: skip
    assert sweep.space.size == 4
    assert list(sweep.space.derived) == ["vector.lanes"]
    assert sweep.spec.objectives == ["latency_s", "dsp"]
    assert sweep.spec.strategy.kind == "grid"


@pytest.mark.parametrize("name", sweep_names())
def test_shipped_sweeps_load_and_obey_the_schema(name: str) -> None:
    sweep = load_sweep(name)
    assert sweep.spec.name == name
    assert sweep.spec.question.endswith("?")
    text = (Path(__file__).parents[2] / "configs" / "sweeps" / f"{name}.yaml").read_text()
    jsonschema.Draft202012Validator(sweep_schema()).validate(yaml.safe_load(text))


def test_the_schema_refuses_mistakes() -> None:
    validator = jsonschema.Draft202012Validator(sweep_schema())
    validator.check_schema(sweep_schema())
    data = yaml.safe_load(SWEEP)
    validator.validate(data)
    for change in ({"objectives": ["speed"]}, {"strategy": {"kind": "annealing"}}, {"bsae": "x"}, {"axes": {"m": 3}}):
        assert list(validator.iter_errors({**data, **change}))


@pytest.mark.parametrize(
    ("text", "name", "values"),
    [
        ("array.lanes: {powers_of_two: {from: 1, to: 8}}", "array.lanes", (1, 2, 4, 8)),
        ("array.lanes: {range: {from: 1, to: 16, step: 5}}", "array.lanes", (1, 6, 11, 16)),
        ("array.lanes: {range: {from: 3, to: 3, step: 5}}", "array.lanes", (3,)),
        (
            "clock_mhz: {range: {from: 100, to: 101, step: 0.1}}",
            "clock_mhz",
            tuple(round(100 + i / 10, 1) for i in range(11)),
        ),
        ("clock_mhz: [100, 250.5]", "clock_mhz", (100.0, 250.5)),
        ("device: [ecp5-85, kv260]", "device", ("ecp5-85", "kv260")),
        ("precision: [int8]", "precision", ("int8",)),
        ("batch: [1, 16]", "batch", (1, 16)),
        ('sparsity[res*]: ["1:4", dense]', "sparsity[res*]", ("1:4", "dense")),
        ("buffers.weight.memory: [dp16kd, lutram]", "buffers.weight.memory", ("dp16kd", "lutram")),
        ("array.group_size: [4, 8, 16]", "array.group_size", (4, 8, 16)),
    ],
)
def test_values_of_axes(path: Path, text: str, name: str, values: tuple[Any, ...]) -> None:
    assert axes(path, text)[name] == values


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("array.lanes: []", "array.lanes: must have at least one value, not none"),
        ("array.lanes: 4", "array.lanes: must be a list, {range: {from: A, to: B, step: S}} or {powers_of_two:"),
        ("array.lanes: [1, 17]", "array.lanes: must be a whole number from 1 to 16, not 17"),
        ("array.lanes: [1, 2.5]", "array.lanes: must be a whole number from 1 to 16, not 2.5"),
        ("array.lanes: [1, two]", "array.lanes: must be a whole number from 1 to 16, not the text `two`"),
        ("array.lanes: [1, [2]]", "array.lanes: must be a number or a text, not a list"),
        ("array.lanes: [1, null]", "array.lanes: must be a number or a text, not empty"),
        ("array.lanes: [1, true]", "array.lanes: must be a number or a text, not the truth value `true`"),
        ("array.lanes: [1, 2, 1]", "array.lanes: must hold each value once, not 1 again"),
        ("array.group_size: [4, 5]", "array.group_size: must be one of 4, 8, 16, not 5"),
        ("array.chains: {range: {from: 8, to: 20, step: 4}}", "a multiple of 8, not 12"),
        ("buffers.weight.memory: [uram]", "buffers.weight.memory: must be one of bram36, uram288, lutram, dp16kd"),
        ("clock_mhz: [.inf]", "must be a plain finite decimal number"),
        ("buffers.weight.capacity_bytes: [1e29]", "must be at most 2**53"),
        ("lanes: [1]", "lanes: unknown axis; did you mean `array.lanes`?"),
        ("array.lnaes: [1]", "array.lnaes: unknown axis; did you mean `array.lanes`?"),
        ("name: [a, b]", "name: cannot be swept: it is for the reader alone"),
        ("array.kind: [sparse_chain]", "array.kind: cannot be swept: it is always sparse_chain"),
        ("array: [1]", "array: unknown axis;"),
        ('sparsity[]: ["2:4"]', "sparsity[]: unknown axis; did you mean `sparsity`?"),
        ('sparsity[a]: ["4:2"]', 'must be dense or a pattern N:M in quotes, such as "2:4", M one of 2, 4, 8, 16'),
        ("sparsity[a]: [2:4]", "not `2:4`; put a pattern in quotes"),
        ("sparsity[a]: [keep]", "not the text `keep`"),
        ("sparsity[a]: [0.5]", 'such as "2:4", not 0.5'),
        ("device: [u28]", "device: must be a shipped device, not the text `u28`; did you mean `u280`?"),
        ("precision: [int4]", "precision: must be int8, the only one there is, not the text `int4`"),
        ("batch: [0]", "batch: must be a whole number from 1 to 4096, not 0"),
        ("batch: [8192]", "batch: must be a whole number from 1 to 4096, not 8192"),
        ("array.lanes: {rnge: 1}", "array.lanes.rnge: unknown key; did you mean `range`?"),
        ("array.lanes: {range: 1}", "array.lanes.range: must be a mapping with the keys from, to, step, not 1"),
        ("array.lanes: {range: {from: 1, to: 4}}", "array.lanes.range: `step` is missing"),
        ("array.lanes: {range: {from: 1, to: 4, step: 0}}", "must have from <= to and a step above 0, not 1, 4, 0"),
        ("array.lanes: {range: {from: 4, to: 1, step: 1}}", "must have from <= to and a step above 0, not 4, 1, 1"),
        (
            "array.lanes: {range: {from: a, to: 1, step: 1}}",
            "array.lanes.range.from: must be a number, not the text `a`",
        ),
        ("clock_mhz: {range: {from: 0, to: 1000, step: 0.001}}", "must have at most 10000 values, not 1000001"),
        ("array.lanes: {powers_of_two: {from: 3, to: 8}}", "must be a power of two, not 3; nearest are 2 and 4"),
        ("array.lanes: {powers_of_two: {from: 8, to: 4}}", "must have from <= to, not 8 > 4"),
        ("array.lanes: {powers_of_two: {from: 0, to: 4}}", "must be a power of two, not 0"),
        ("array.lanes: {powers_of_two: {from: 1, to: 4, step: 1}}", "powers_of_two.step: unknown key;"),
    ],
)
def test_wrong_axes(path: Path, text: str, message: str) -> None:
    lines = refusal(path, SWEEP.replace("  array.lanes: [1, 2]\n", f"  {text}\n"))
    assert len(lines) == 1
    assert message in lines[0]
    assert lines[0].startswith("6:")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("digit", "must be a shipped model, a one-liner or a file, not the text `digit`; did you mean `digits`?"),
        ("none.onnx", "must be a shipped model, a one-liner or a file, not the text `none.onnx`"),
        ("'gemm:1x2'", "expected gemm:MxKxN"),
        ("3", "must be the name or path of a network, not 3"),
    ],
)
def test_wrong_models(path: Path, model: str, message: str) -> None:
    (line,) = refusal(path, SWEEP.replace("[digits]", f"[{model}]"))
    assert line.startswith("4:11: axes.model: ")
    assert message in line


@pytest.mark.parametrize(
    ("old", "new", "where", "message"),
    [
        ("name: mine", "name: 3", "3", "name: must be text"),
        ("name: mine\n", "", "base", "name: is missing"),
        ("base: ecp5-tiny", "base: ecp5-tin", "ecp5-tin", "did you mean `ecp5-tiny`?"),
        ("base: ecp5-tiny", "base: systolic-32x32-ws", "systolic", "must be a sparse_chain config"),
        ("base: ecp5-tiny\n", "", "name", "base: is missing"),
        ("  model: [digits]\n", "", "axes", "axes: needs the axis `model`"),
        ("name: mine", "name: mine\nnmae: x", "nmae", "nmae: unknown key; did you mean `name`?"),
        ("name: mine", "name: mine\nname: x", "name: x", "name: must be given once"),
        ("set:\n  vector.lanes: array.chains\n", "set: 3\n", "3\nwhere", "set: must be a mapping of config fields"),
        ("vector.lanes: array", "vector.lane: array", "vector.lane", "did you mean `vector.lanes`?"),
        ("vector.lanes: array", "array.lanes: array", "array.lanes: array", "must not be both in `set` and an axis"),
        ("vector.lanes: array", "device.dsp: array", "device.dsp", "must be a field of the config that can vary"),
        ("vector.lanes: array.chains", "vector.lanes: array.chain", "array.chain\n", "has no `array.chain` to use"),
        ("vector.lanes: array.chains", "vector.lanes: a > 1", "a > 1", "has no `a` to use"),
        ("vector.lanes: array.chains", "vector.lanes: device", "device\n", "has no `device` to use"),
        ("vector.lanes: array.chains", "vector.lanes: '\"x\"'", "'\"x\"'", "must yield a number, not a text"),
        ("vector.lanes: array.chains", "vector.lanes: vector.lanes * 2", "vector.lanes * 2", "which `set` gives here"),
        ("vector.lanes: array.chains", "vector.lanes: [1]", "[1]\nwhere", "must be an expression"),
        ("- array.lanes <= 4", "- array.lanes", "array.lanes\nconstr", "must be a condition, such as array.lanes <= 4"),
        ("- array.lanes <= 4", "- lanes <= 4", "lanes <= 4", "did you mean `array.lanes`?"),
        ("- array.lanes <= 4", "- 4", "4\nconstr", "must be a condition, as text, not 4"),
        ("where:\n  - array.lanes <= 4", "where: array.lanes <= 4", "array.lanes <=", "must be a list of conditions"),
        ("{latency_s: {max: 1}}", "{latency: {max: 1}}", "latency:", "did you mean `latency_s`?"),
        ("{latency_s: {max: 1}}", "{latency_s: {}}", "latency_s: {}", "must have `min`, `max` or both, not neither"),
        ("{latency_s: {max: 1}}", "{latency_s: {max: x}}", "x}}", "latency_s.max: must be a number, not the text `x`"),
        ("{latency_s: {max: 1}}", "{latency_s: {most: 1, min: 1}}", "most", "most: unknown key; "),
        ("{latency_s: {max: 1}}", "{latency_s: 1}", "latency_s: 1", "must be a mapping with `min`, `max` or both"),
        (
            "{latency_s: {max: 1}}",
            "{latency_s: {min: 2, max: 1}}",
            "latency_s: {min",
            "must have min <= max, not 2 > 1",
        ),
        ("{latency_s: {max: 1}}", "[latency_s]", "[latency_s]", "must be a mapping of metrics"),
        ("[latency_s, dsp]", "[latency, dsp]", "latency, dsp", "did you mean `latency_s`?"),
        ("[latency_s, dsp]", "[dsp, latency_s, dsp]", "dsp]", "must name each metric once, not `dsp` again"),
        ("[latency_s, dsp]", "[]", "[]", "must be a list of one or more metrics"),
        ("[latency_s, dsp]", "dsp", "dsp", "must be a list of one or more metrics"),
        ("objectives: [latency_s, dsp]\n", "", "name", "objectives: is missing"),
        ("{kind: grid}", "{kind: gird}", "gird", "did you mean `grid`?"),
        ("{kind: grid}", "grid", "grid", "must be a mapping with the keys kind, points, seed"),
        ("{kind: grid}", "{kind: grid, points: 5}", "points", "has no effect on a grid"),
        ("{kind: grid}", "{kind: random}", "strategy:", "strategy.points: is missing; random needs the number"),
        ("{kind: grid}", "{kind: random, points: 0}", "0}", "strategy.points: must be a whole number from 1"),
        ("{kind: grid}", "{kind: random, points: 5, seed: -1}", "-1", "strategy.seed: must be a whole number from 0"),
        ("{kind: grid}", "{kind: random, points: 5, sed: 1}", "sed", "did you mean `seed`?"),
    ],
)
def test_wrong_rest(path: Path, old: str, new: str, where: str, message: str) -> None:
    assert old in SWEEP
    text = SWEEP.replace(old, new)
    lines = refusal(path, text)
    assert len(lines) == 1, lines
    assert message in lines[0]
    assert lines[0].startswith(place(text, where) + ": ")


def test_all_problems_at_once(path: Path) -> None:
    text = SWEEP.replace("[1, 2]", "[1, 99]").replace("ecp5-tiny", "no-such").replace("[latency_s, dsp]", "[speed]")
    assert len(refusal(path, text)) == 3


@pytest.mark.parametrize("text", ["", "- a\n", "a: [\n", "x", "\0"])
def test_no_mapping(path: Path, text: str) -> None:
    assert len(refusal(path, text)) == 1


def test_device_and_its_fields_exclude_each_other(path: Path) -> None:
    text = SWEEP.replace("  array.lanes: [1, 2]", "  device: [kv260]\n  device.dsp: [100]")
    (line,) = refusal(path, text)
    assert "must not be swept with `device`" in line


def test_a_grid_too_large_to_number(path: Path) -> None:
    huge = "".join(
        f"  buffers.{name}.capacity_bytes: {{range: {{from: 64, to: 640000, step: 64}}}}\n"
        for name in ("activation", "weight", "index", "accumulator", "parameter")
    )
    (line,) = refusal(path, SWEEP.replace("  array.lanes: [1, 2]\n", huge))
    assert "must span at most 2**62 points, not 2e+20" in line


def test_unknown_name() -> None:
    with pytest.raises(
        ConfigError, match="sweep must be a shipped name or the path of a YAML file, not `digits-ecp`; did"
    ):
        load_sweep("digits-ecp")


def test_the_documented_example_loads(path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "sweeps.md").read_text()
    example = re.search(r"```yaml[^\n]*\n(.*?)```", text, re.S)
    assert example is not None
    path.write_text(example[1])
    assert load_sweep(path).space.size == 1 * 1 * 2 * 1 * 2 * 1 * 3 * 3 * 4
