"""Damaged config files: whatever the bytes, load_config returns a spec or raises ConfigError, soon, and says where."""

import random
import time
from importlib.resources import files
from pathlib import Path

import pytest

from gossamer.arch.config import config_names, fingerprint, load_config, resolved_yaml
from gossamer.arch.errors import ConfigError
from gossamer.arch.spec import SparseAccelerator, SystolicAccelerator

SEED = 20261123
MUTATIONS = 2500

TOKENS = [
    b"&a ", b"*a", b"<<: *a", b"[", b"]", b"{", b"}", b"!!python/object:os.system ", b"!!binary ", b"!", b"? ", b"- ",
    b": ", b"%", b"---\n", b"...\n", b"|", b">", b'"', b"'", b"#", b",", b"\t", b"\0", b"\xff", b"\xef\xbb\xbf", b"\r",
    b"\xe2\x80\xa8", b"\x85", b"1e9", b"1e999999999", b".inf", b"-.nan", b"0x", b"017", b"1:30", b"9" * 60, b"-1", b"~",
    b"2024-01-01", b"yes", b"null", b"array: &a\n  array: *a\n", b"device: {", b"kind: systolic\n", b"@", b"`", b"\\",
    b'"\\ud800"', b'"\\U00110000"', b"[" * 40, b"{a: " * 40, b"? [a]\n: b\n", b"=", b"x: *nowhere\n", b"  ",
]  # fmt: skip


def mutate(raw: bytes, rng: random.Random) -> bytes:
    """Damage a file in one to four random places."""
    data = bytearray(raw)
    for _ in range(rng.randint(1, 4)):
        at, length = rng.randrange(len(data) + 1), rng.choice((1, 1, 2, 8, 40, 400))
        match rng.randrange(6):
            case 0:
                data[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                del data[at : at + length]
            case 2:
                data[at:at] = rng.choice(TOKENS)
            case 3:
                data[at : at + length] = rng.choice(TOKENS)
            case 4:
                start = rng.randrange(len(data) + 1)
                data[at:at] = data[start : start + length]
            case 5:
                lines = data.splitlines(keepends=True)
                if lines:
                    lines.insert(rng.randrange(len(lines)), rng.choice(lines))
                    data = bytearray(b"".join(lines))
    return bytes(data)


def outcome(path: Path) -> str:
    """Return "loaded" or "refused"; anything but a spec or a ConfigError with a place fails."""
    try:
        spec = load_config(path)
    except ConfigError as error:
        lines = str(error).splitlines()
        assert lines
        for line in lines:
            assert line.startswith(f"{path}:"), line
            assert line.isprintable(), line
        return "refused"
    assert isinstance(spec, SparseAccelerator | SystolicAccelerator)
    return "loaded"


def test_mutated_configs_load_or_are_refused(tmp_path: Path) -> None:
    rng = random.Random(SEED)
    print(f"seed {SEED}")
    originals = [(files("gossamer.configs") / "accelerators" / f"{name}.yaml").read_bytes() for name in config_names()]
    path = tmp_path / "m.yaml"
    counts = {"loaded": 0, "refused": 0}
    slowest_s = 0.0
    for _ in range(MUTATIONS):
        path.write_bytes(mutate(rng.choice(originals), rng))
        start = time.process_time()
        counts[outcome(path)] += 1
        slowest_s = max(slowest_s, time.process_time() - start)
    assert counts["loaded"] > MUTATIONS // 50, counts
    assert counts["refused"] > MUTATIONS // 2, counts
    assert slowest_s < 2.0


def test_random_bytes_are_refused(tmp_path: Path) -> None:
    rng = random.Random(SEED + 1)
    path = tmp_path / "r.yaml"
    for _ in range(500):
        path.write_bytes(rng.randbytes(rng.randrange(200)))
        assert outcome(path) == "refused"
    for _ in range(500):
        path.write_bytes(b"".join(rng.choice(TOKENS) for _ in range(rng.randrange(30))))
        assert outcome(path) == "refused"


def test_random_legal_overrides_survive_the_resolved_file(tmp_path: Path) -> None:
    """Any legal spec written by resolved_yaml loads back equal, with the same fingerprint."""
    rng = random.Random(SEED + 2)
    for case in range(60):
        segments = rng.choice((2, 4))
        overrides = [
            f"array.chains={8 * rng.randint(1, 4)}",
            f"array.chain_length={segments * rng.choice((1, 2, 4))}",
            f"array.weight_rows_per_cycle={segments}",
            f"array.lanes={rng.randint(1, 2)}",
            "buffers.weight.capacity_bytes=131072",
            "buffers.index.capacity_bytes=65536",
            "buffers.accumulator.capacity_bytes=65536",
            "device.uram=1000",
            "device.lut=1000000",
            f"clock_mhz={rng.choice(['1e2', '99.5', '1e-3', '333.3333333333333', '1000'])}",
            f"off_chip.latency_ns={rng.random() * 10 ** rng.randint(-20, 20)!r}",
            f"off_chip.efficiency={rng.random() or 1.0!r}",
            f"name={rng.choice(['a', '1e3', 'yes', '00', 'null', '~x', 'naïve', '日本', 'a: b', ' #'])!r}",
        ]
        spec = load_config("kv260-edge", overrides)
        path = tmp_path / f"{case}.yaml"
        path.write_text(resolved_yaml(spec), encoding="utf-8")
        again = load_config(path)
        assert again == spec
        assert fingerprint(again) == fingerprint(spec)


@pytest.mark.parametrize(
    "text",
    [
        "\udcff=1",
        "a=\udcff",
        "=",
        "a",
        "a..b=1",
        "=1",
        ".=1",
        "array=[",
        "array.chains=*x",
        "a=b=c",
        "array.chains=\x00",
        "array={kind: *a}",
        "array=&a [*a]",
        "name=\n",
        "array.chains.x.y=3",
        "device.dsp.x=3",
        "device=",
        "array=",
        "device=[u280]",
    ],
)
def test_odd_overrides_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"override|array"):
        load_config("kv260-edge", [text])


@pytest.mark.parametrize("name", ["", " ", "\0", "a" * 5000, "../" * 3000, "\udcff", "*", "u280-sparse/", "a\nb", "."])
def test_odd_names_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"must|cannot be read|is a folder") as caught:
        load_config(name)
    assert len(str(caught.value)) < 500
    str(caught.value).encode("utf-8")
