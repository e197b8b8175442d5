"""The folder of what is kept between runs: old entries go when a new one is made, never one in use."""

import os
import threading
import time
from pathlib import Path

import pytest

from gossamer.arch import user_cache
from gossamer.arch.user_cache import UNUSED_DAYS, bytes_of, claim, entries


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an empty cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "gossamer"


def _entry(root: Path, name: str, days: float, size: int = 100) -> Path:
    """Return an entry with two files, last used that many days ago."""
    path = root / name
    (path / "inner").mkdir(parents=True)
    (path / "file").write_bytes(bytes(size // 2))
    (path / "inner" / "file").write_bytes(bytes(size - size // 2))
    os.utime(path, (time.time() - days * 86_400,) * 2)
    return path


def test_a_new_entry_removes_what_was_not_used_for_long(root: Path) -> None:
    names = ("kernels-a", "mappings-a", "cores/core-a", "cores/runtime-a")
    old = [_entry(root, name, UNUSED_DAYS + 1) for name in names]
    young = [_entry(root, name.replace("-a", "-b"), UNUSED_DAYS - 1) for name in names]
    left = _entry(root, "cores/.removed-1-core-c", 0)
    foreign = _entry(root, "something-else", 999)
    claim(young[0])
    assert all(path.exists() for path in (*old, *young, left, foreign))
    claim(root / "kernels-new")
    assert not any(path.exists() for path in (*old, left))
    assert all((path / "inner" / "file").exists() for path in (*young, foreign))
    assert set(entries(root)) == {*young, root / "kernels-new"}


def test_a_claim_is_a_use(root: Path) -> None:
    old = _entry(root, "kernels-a", UNUSED_DAYS + 1)
    claim(old)
    claim(root / "kernels-new")
    assert bytes_of(old) == 100


def test_beyond_the_largest_size_the_least_recently_used_go(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_cache, "MOST_BYTES", 250)
    paths = [_entry(root, f"cores/core-{days}", days) for days in (5, 3, 4, 2)]
    claim(root / "mappings-new")
    assert [path.exists() for path in paths] == [False, True, False, True]


def test_what_was_used_today_stays_whatever_its_size(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_cache, "MOST_BYTES", 10)
    today, before = _entry(root, "kernels-a", 0.5), _entry(root, "kernels-b", 1.5)
    claim(root / "kernels-new")
    assert (today.exists(), before.exists()) == (True, False)


def test_elsewhere_nothing_is_removed(root: Path, tmp_path: Path) -> None:
    old = _entry(root, "kernels-a", UNUSED_DAYS + 1)
    claim(tmp_path / "builds" / "kernels-new")
    assert (tmp_path / "builds" / "kernels-new").is_dir()
    assert old.exists()
    assert not (root / "lock").exists()


def test_an_entry_is_claimed_or_removed_but_never_both(root: Path) -> None:
    seen = set()
    for turn in range(60):
        old = _entry(root, f"kernels-{turn}", UNUSED_DAYS + 1)
        start = threading.Barrier(2)

        def remove(number: int = turn, start: threading.Barrier = start) -> None:
            start.wait()
            claim(root / f"mappings-{number}")

        remover = threading.Thread(target=remove)
        remover.start()
        start.wait()
        claim(old)
        whole = bytes_of(old)
        remover.join()
        assert bytes_of(old) == whole
        seen.add(whole)
    assert seen <= {0, 100}
