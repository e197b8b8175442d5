"""The kernel cache folder, the threads that share kernels, and the vector code against its plain twins."""

import os
import subprocess
import sys

import numpy as np
import pytest

from gossamer.sim import kernels
from gossamer.sim.golden import threads, vectors
from gossamer.sim.kernels import kernel

SEED = int(os.environ.get("GOSSAMER_SEED", "11"))


@kernel
def run_turn(source, place, stride, panel, row, pitch):
    vectors.turn(source, place, stride, panel, row, pitch)


@kernel
def run_sparse(panel, offsets, weights, first, count, acc, place):
    vectors.add_sparse(panel, offsets, weights, first, count, acc, place)


@kernel
def run_dense(panel, offsets, weights, first_row, first, count, position, acc, place, pitch):
    vectors.add_dense(panel, offsets, weights, first_row, first, count, position, acc, place, pitch)


@pytest.mark.parametrize("count", [0, 1, 7])
def test_sparse_sums(count):
    """The extremes of int8, many times over, wrap like 32-bit registers."""
    rng = np.random.default_rng(SEED)
    panel = rng.choice(np.array([-128, 127, 0, 5], np.int16), 500)
    offsets = rng.integers(0, 500 - vectors.SPARSE_POSITIONS, 40).astype(np.uint16)
    weights = rng.choice(np.array([-128, 127, 1], np.int16), 40).view(np.int32)
    actual = rng.integers(-(2**31), 2**31, 100).astype(np.int32)
    expected = actual.copy()
    with np.errstate(over="ignore"):
        vectors.add_sparse_plainly(panel, offsets, weights, 3, count, expected, 17)
    run_sparse(panel, offsets, weights, 3, count, actual, 17)
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("count", [0, 1, 6])
def test_dense_sums(count):
    rng = np.random.default_rng(SEED)
    panel = rng.integers(-128, 128, 500).astype(np.int16)
    offsets = rng.integers(0, 400, 40).astype(np.uint16)
    weights = rng.integers(-128, 128, 2 * 80).astype(np.int16).view(np.int32)
    actual = rng.integers(-(2**31), 2**31, 200).astype(np.int32)
    expected = actual.copy()
    with np.errstate(over="ignore"):
        vectors.add_dense_plainly(panel, offsets, weights, 2, 5, count, 32, expected, 3, 33)
    run_dense(panel, offsets, weights, 2, 5, count, 32, actual, 3, 33)
    np.testing.assert_array_equal(actual, expected)


def test_turn():
    rng = np.random.default_rng(SEED)
    source = rng.integers(-128, 128, 16 * 11 + 8).astype(np.int8)
    actual = np.full(300, 999, np.int16)
    expected = actual.copy()
    vectors.turn_plainly(source, 5, 11, expected, 7, 33)
    run_turn(source, 5, 11, actual, 7, 33)
    np.testing.assert_array_equal(actual, expected)
    assert np.count_nonzero(actual != 999) == 16 * 8


@pytest.mark.parametrize("count", ["1", "3"])
@pytest.mark.parametrize("items", [0, 1, 2, 5, 100])
def test_share_covers_every_item_once(monkeypatch, count, items):
    monkeypatch.setenv("GOSSAMER_THREADS", count)
    seen = np.zeros(items, np.int64)

    def mark(array, begin, end):
        array[begin:end] += 1

    threads.share(mark, items, seen)
    assert (seen == 1).all()


def test_share_passes_errors_on(monkeypatch):
    monkeypatch.setenv("GOSSAMER_THREADS", "2")

    def fail(begin, end):
        raise ValueError(f"piece {begin}")

    with pytest.raises(ValueError, match="piece 0"):
        threads.share(fail, 10)


def test_thread_count_ignores_nonsense(monkeypatch):
    monkeypatch.setenv("GOSSAMER_THREADS", "5")
    assert threads.thread_count() == 5
    for nonsense in ("0", "-1", "many", ""):
        monkeypatch.setenv("GOSSAMER_THREADS", nonsense)
        assert threads.thread_count() >= 1


def test_sources_follow_imports():
    sources = kernels.kernel_sources()
    assert {"gossamer.sim.kernels", "gossamer.sim.golden.rows", "gossamer.dataflow.numerics"} <= set(sources)
    assert "gossamer.sim.golden.layers" not in sources, "it uses kernels but is not compiled into them"


SCRIPT = """
import numpy as np
from gossamer.sim import kernels
from gossamer.sim.golden import elementwise
print(kernels.cache_folder())
print(kernels.cache_is_cold())
out = np.zeros(3, np.int8)
elementwise.look_up(np.array([-128, 0, 127], np.int8), np.arange(-128, 128).astype(np.int8)[::-1].copy(), out)
print(out.tolist())
print(kernels.cache_is_cold())
"""


def run_script(**environment):
    """Return the script's lines in a fresh process with these variables on top of the present ones, None unset."""
    merged = {**os.environ, **environment}
    merged = {name: value for name, value in merged.items() if value is not None}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=merged, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_cache_is_cold_once(tmp_path):
    place = {"XDG_CACHE_HOME": str(tmp_path), "NUMBA_CACHE_DIR": None, "NUMBA_DISABLE_JIT": None}
    first, second = run_script(**place), run_script(**place)
    assert first[0].startswith(str(tmp_path / "gossamer" / "kernels-"))
    assert first[1:] == ["True", "[127, -1, -128]", "False"]
    assert second == [first[0], "False", "[127, -1, -128]", "False"]


def test_unwritable_cache_compiles_every_time(tmp_path):
    obstacle = tmp_path / "file"
    obstacle.write_text("not a folder")
    lines = run_script(NUMBA_CACHE_DIR=str(obstacle), NUMBA_DISABLE_JIT=None)
    assert lines[1:] == ["True", "[127, -1, -128]", "True"]


def test_plain_python_compiles_nothing(tmp_path):
    lines = run_script(NUMBA_CACHE_DIR=str(tmp_path / "cache"), NUMBA_DISABLE_JIT="1")
    assert lines[1:] == ["False", "[127, -1, -128]", "False"]
    assert not (tmp_path / "cache").exists()


def test_folder_changes_with_a_source(monkeypatch, tmp_path):
    kernels.cache_folder.cache_clear()
    before = kernels.cache_folder()
    real = kernels._room_sources()
    copy = tmp_path / "rows.py"
    copy.write_bytes(real["gossamer.sim.golden.rows"].read_bytes() + b"\n")
    monkeypatch.setattr(kernels, "_room_sources", lambda: {**real, "gossamer.sim.golden.rows": copy})
    kernels.cache_folder.cache_clear()
    try:
        assert kernels.cache_folder() != before
    finally:
        kernels.cache_folder.cache_clear()
