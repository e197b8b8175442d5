"""Every kind of mistake in a config, with the line, column and words of its message."""

import re
from importlib.resources import files
from pathlib import Path

import pytest

from gossamer.arch import yaml_source
from gossamer.arch.config import config_names, device_names, load_config
from gossamer.arch.errors import ConfigError

KV260 = (files("gossamer.configs") / "accelerators" / "kv260-edge.yaml").read_text(encoding="utf-8")
SYSTOLIC = "name: s\nclock_mhz: 100\nclock_source: x\narray: {kind: systolic, rows: 4, columns: 4, stationarity: ws}\n"


def place(text: str, piece: str, within: str = "") -> str:
    """Return "line:column" of the first `piece` after `within`."""
    at = text.index(piece, text.index(within) if within else 0)
    return f"{text.count(chr(10), 0, at) + 1}:{at - text.rfind(chr(10), 0, at)}"


def refusal(path: Path, text: str | bytes) -> list[str]:
    """Return the lines of the error for a file, without the file's name."""
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ConfigError, match=re.escape(str(path))) as caught:
        load_config(path)
    lines = str(caught.value).splitlines()
    assert all(line.startswith(f"{path}:") for line in lines)
    return [line.removeprefix(f"{path}:") for line in lines]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "my.yaml"


def test_unknown_key(path: Path) -> None:
    text = KV260.replace("lanes: 2 ", "lnaes: 2 ")
    assert refusal(path, text) == [
        f"{place(text, 'array:')}: array.lanes: is missing; must be a whole number from 1 to 16",
        f"{place(text, 'lnaes')}: array.lnaes: unknown key; did you mean `lanes`? valid keys: kind, chains, "
        "chain_length, lanes, group_size, weight_rows_per_cycle",
    ]


def test_unknown_key_with_nothing_near(path: Path) -> None:
    assert refusal(path, SYSTOLIC + "qqq: 1\n") == [
        "5:1: qqq: unknown key; valid keys: name, clock_mhz, clock_source, array"
    ]


def test_duplicate_key(path: Path) -> None:
    text = KV260.replace("  lanes: 2 ", "  chains: 48\n  lanes: 2 ")
    first, second = place(text, "chains: 64"), place(text, "chains: 48")
    assert refusal(path, text) == [f"{second}: array.chains: must be given once; it is already given at {path}:{first}"]


@pytest.mark.parametrize(
    ("old", "new", "key", "message"),
    [
        ("chains: 64", "chains: 12", "array.chains", "must be a whole number from 8 to 512, a multiple of 8, not 12"),
        ("chains: 64", "chains: 0", "array.chains", "must be a whole number from 8 to 512, a multiple of 8, not 0"),
        ("chains: 64", "chains: 32.5", "array.chains", "must be a whole number .*, not 32.5"),
        ("chains: 64", "chains: '32'", "array.chains", "must be a whole number .*, not the text `32`"),
        ("chains: 64", "chains: yes", "array.chains", "must be a whole number .*, not the truth value `true`"),
        ("chains: 64", "chains: ", "array.chains", "must be a whole number .*, not empty"),
        ("chains: 64", "chains: [32]", "array.chains", "must be a whole number .*, not a list"),
        ("chains: 64", "chains: {a: 1}", "array.chains", "must be a whole number .*, not a mapping"),
        ("chains: 64", "chains: 040", "array.chains", "must be a plain finite decimal number .*, not `040`"),
        ("chains: 64", "chains: 0:40", "array.chains", "must be a .*, not .*`0:40`"),
        ("chains: 64", f"chains: {'9' * 5000}", "array.chains", "must be a plain finite decimal number .*9\\.\\.\\.`"),
        ("clock_mhz: 250.0", "clock_mhz: 1e9", "clock_mhz", "must be a number above 0 and at most .*, not 10{9}"),
        ("clock_mhz: 250.0", "clock_mhz: .nan", "clock_mhz", "must be a plain finite decimal number .*, not `.nan`"),
        ("clock_mhz: 250.0", "clock_mhz: 1e999999999", "clock_mhz", "must be a plain finite .*, not `1e999999999`"),
        ("clock_mhz: 250.0", "clock_mhz: fast", "clock_mhz", "must be a number .*, not the text `fast`"),
        ("latency_ns: 150.0", "latency_ns: -1", "off_chip.latency_ns", "must be a number at least 0, not -1"),
        ("group_size: 8", "group_size: 5", "array.group_size", "must be one of 4, 8, 16, not 5"),
        ("data_bits: 128", "data_bits: 96", "axi.data_bits", "must be one of 32, 64, 128, 256, 512, 1024, not 96"),
        ("kind: ddr4", "kind: ddr44", "off_chip.kind", "one of .*, not the text `ddr44`; did you mean `ddr4`\\?"),
        ("memory: uram288", "memory: uram", "buffers.activation.memory", "one of .*; did you mean `uram288`\\?"),
        ("name: kv260-edge", "name: 1", "name", "must be text .*, not 1"),
        ("name: kv260-edge", "name: !!binary aGk=", "name", "must be plain text, .*, not `tag:yaml.org,2002:binary`"),
        ("name: kv260-edge", "name: !mine x", "name", "must be plain text, a number or a truth value, not `!mine`"),
        ("device: kv260", "device: kv26", "device", "must be a shipped device or a mapping, not `kv26`; did you mean "
         "`kv260`\\? shipped: " + ", ".join(device_names())),
        ("device: kv260", "device: 3", "device", "must be a mapping with the keys name, part, .*, not 3"),
        ("kind: sparse_chain", "kind: systolc", "array.kind", "must be one of sparse_chain, systolic, not the text "
         "`systolc`; did you mean `systolic`\\?"),
        ("kind: sparse_chain", "kind: [a]", "array.kind", "must be one of sparse_chain, systolic, not a list"),
    ],
)  # fmt: skip
def test_one_wrong_value(path: Path, old: str, new: str, key: str, message: str) -> None:
    """One mistake gives one line, at the value (an empty value: where it would be)."""
    assert old in KV260
    text = KV260.replace(old, new, 1)
    lines = refusal(path, text)
    assert len(lines) == 1, lines
    name, _, value = new.partition(": ")
    line, column = map(int, place(text, new).split(":"))
    shift = len(name) + (2 if value else 1)
    start = f"{line}:{column + shift}: {key}: "
    assert lines[0].startswith(start), (lines, start)
    assert re.fullmatch(f"(?s).*{message}", lines[0][len(start) :]), lines


def test_exponents_are_read_up_to_30(path: Path) -> None:
    """Larger ones would build integers of any length."""
    assert refusal(path, SYSTOLIC.replace("100", "1e30"))[0].endswith(f"at most 1000, not {10**30}")
    assert refusal(path, SYSTOLIC.replace("100", "1e31"))[0].endswith("or 1e6, not `1e31`")


def test_mistakes_in_merged_mappings_are_placed_where_they_are_written(path: Path) -> None:
    """An own key hides the merged one; a merged key is placed in the mapping it comes from."""
    end = KV260.split("vector:")[1]
    text = KV260.split("buffers:")[0] + (
        "buffers:\n  activation: &a {capacity_bytes: 1048576, memory: nope, odd: 1}\n"
        "  weight:\n    memory: neither\n    odd: 2\n    <<: *a\n"
        "  index: {<<: *a, memory: uram288}\n"
        "  accumulator: {<<: *a, memory: bram36}\n  parameter: {<<: *a, memory: bram36}\nvector:"
    ) + end  # fmt: skip
    assert [": ".join(line.split(": ")[:2]) for line in refusal(path, text)] == [
        f"{place(text, 'nope')}: buffers.activation.memory",
        *(f"{place(text, 'odd')}: buffers.{name}.odd" for name in ("accumulator", "activation", "index", "parameter")),
        f"{place(text, 'neither')}: buffers.weight.memory",
        f"{place(text, 'odd: 2')}: buffers.weight.odd",
    ]


def test_missing_keys_point_at_the_mapping(path: Path) -> None:
    text = KV260.replace("  channels: 1\n", "").replace("dispatch:\n  queue_depth: 8\n", "")
    assert refusal(path, text) == [
        f"{place(text, 'name')}: dispatch: is missing; must be a mapping with the keys queue_depth",
        f"{place(text, 'off_chip')}: off_chip.channels: is missing; must be a whole number from 1 to 64",
    ]


@pytest.mark.parametrize(
    ("array", "where", "message"),
    [
        ("", "1:1", "array: is missing; `kind` is one of sparse_chain, systolic"),
        ("array: 3\n", "4:8", "array: must be a mapping with `kind`, one of sparse_chain, systolic, not 3"),
        ("array: {rows: 4}\n", "4:1", "array.kind: is missing; must be one of sparse_chain, systolic"),
    ],
)
def test_array_without_kind(path: Path, array: str, where: str, message: str) -> None:
    lines = refusal(path, "name: s\nclock_mhz: 100\nclock_source: x\n" + array)
    assert f"{where}: {message}" in lines


def test_all_problems_together_in_file_order(path: Path) -> None:
    text = (
        KV260.replace("clock_mhz: 250.0", "clock_mhz: 0").replace("chains: 64", "chains: 33")
        .replace("ports: 2", "prots: 2").replace("burst_beats: 16\n", "burst_beats: 256\n  burst_beats: 2\n")
        .replace("  lanes: 16 ", "  lanes: 15 ").replace("capacity_bytes: 65536 ", "capacity_bytes: 100 ")
        .replace("lanes: 2 ", "lanes: 2.5 ").replace("interleave_bytes: 4096 ", "interleave_bytes: 100 ")
    )  # fmt: skip
    lines = refusal(path, text)
    numbers = [int(line.split(":")[0]) for line in lines]
    assert numbers == sorted(numbers)
    found = {line.split(": ")[1] for line in lines}
    assert found == {
        "clock_mhz", "array.chains", "array.lanes", "axi.prots", "axi.ports", "axi.burst_beats", "vector.lanes",
        "off_chip.interleave_bytes",
    }  # fmt: skip


def test_problems_of_an_inline_device_have_their_place(path: Path) -> None:
    text = KV260.replace(
        "device: kv260", "device: {name: a, part: b, family: ecp6, dsp: -1, bram36: 1, uram: 0, lut: 1}"
    )
    assert [line.split("; ")[0] for line in refusal(path, text)] == [
        "5:1: device.ff: is missing",
        "5:1: device.source: is missing",
        "5:36: device.family: must be one of ultrascale_plus, versal, series7, ecp5, not the text `ecp6`",
        "5:47: device.dsp: must be a whole number at least 0, not -1",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "1:1: is empty; expected a hardware config: see `gossamer configs`"),
        ("# only a comment\n", "1:1: is empty; expected a hardware config: see `gossamer configs`"),
        ("- a\n- b\n", "1:1: must be a mapping of `key: value` lines, not a list"),
        ("hello", "1:1: must be a mapping of `key: value` lines, not the text `hello`"),
        ("a: [1\nb: 2\n", "2:2: is not YAML: "),
        ("a: 1\n b: 2\n", "2:3: is not YAML: "),
        ("a: *nowhere\n", "1:4: is not YAML: found undefined alias"),
        ("a: 1\n---\nb: 1\n", "2:1: is not YAML: expected a single document in the stream but found another document"),
        (b"a: 1\nb: \xff\n", "2:4: must be UTF-8 text, not the byte 0xff: is this a YAML file?"),
        (b"\x7fELF\x02\x01\x01\0\0\0", "1:1: is not YAML: "),
        (b"PK\x03\x04\x14\0\xff\xfe", "1:7: must be UTF-8 text, not the byte 0xff"),
        ("a: " + "[" * 5000, f"1:{4 + 15}: must be nested at most 16 levels deep, not deeper"),
        ("&a a: *a\n", "1:1: a: unknown key; "),
        ("a: &x\n  b: *x\n", "2:3: a.b: must not contain itself: an alias refers to a mapping or list around it"),
        ("a: &x {<<: *x}\n", "1:8: a: must merge (`<<`) an alias of another mapping"),
        ("? [a]\n: b\n", "1:3: must have plain names as keys, not a list or mapping"),
        ("!mine\na: 1\n", "1:1: must not have the tag `!mine`: leave it out"),
    ],
)
def test_files_that_are_no_config(path: Path, text: str | bytes, message: str) -> None:
    lines = refusal(path, text)
    assert any(line.startswith(message) for line in lines), lines


def test_yaml_bomb(path: Path) -> None:
    rows = ["a0: &a0 [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    assert "must hold at most 2000 values once aliases are expanded, not more" in refusal(path, "\n".join(rows))[0]


def test_merge_bomb(path: Path) -> None:
    text = "a: &a {}\nb:\n  <<: [" + ", ".join(["*a"] * 5000) + "]\n"
    assert "must hold at most 2000 values" in refusal(path, text)[0]


def test_file_too_large(path: Path) -> None:
    lines = refusal(path, b"# " + b"x" * yaml_source.MAX_FILE_BYTES)
    assert lines == [" must be at most 262144 bytes, not more: is this a hardware config?"]


def test_folder_absent_and_unreadable_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r": is a folder; give a readable YAML file or the name of a shipped config$"):
        load_config(tmp_path)
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read: No such file or directory; give a readable"):
        load_config(tmp_path / "none.yaml")
    locked = tmp_path / "locked.yaml"
    locked.write_text(SYSTOLIC)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(yaml_source, "open", refuse, raising=False)
    with pytest.raises(ConfigError, match=r"locked\.yaml: cannot be read: Permission denied; give a readable"):
        load_config(locked)


def test_unknown_config_name() -> None:
    with pytest.raises(ConfigError, match=r"^config must be a shipped name") as caught:
        load_config("u280-spars")
    assert str(caught.value) == (
        "config must be a shipped name or the path of a YAML file, not `u280-spars`; did you mean `u280-sparse`? "
        f"shipped: {', '.join(config_names())}"
    )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("array.chains", "must be KEY=VALUE with a dotted key, such as off_chip.channels=2"),
        ("=3", "must be KEY=VALUE with a dotted key"),
        ("array..chains=3", "must be KEY=VALUE with a dotted key"),
        ("array.chains=3", "array.chains: must be a whole number from 8 to 512, a multiple of 8, not 3"),
        ("array.chians=8", "array.chians: unknown key; did you mean `chains`\\? valid keys: kind, chains"),
        ("aray.chains=8", "the config has no `aray`; did you mean `array`\\? it has name, clock_mhz"),
        ("name.x=8", "`name` must be a mapping to hold `x`, not a value"),
        ("array.chains=[1", "is not YAML: while parsing a flow sequence"),
        ("array.chains=8\nname: x", "must be printable text on one line"),
        ("device=u28", "device: must be a shipped device or a mapping, not `u28`; did you mean `u280`\\? shipped: "),
        ("device.dsp=-1", "device.dsp: must be a whole number at least 0, not -1"),
        ("vector={lanes: 8, lanes: 8}", "vector.lanes: must be given once; it is already given"),
    ],
)
def test_wrong_overrides(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"^override `array|{message}") as caught:
        load_config("kv260-edge", [override])
    assert re.search(message, str(caught.value))
    assert str(caught.value).startswith("override `")
