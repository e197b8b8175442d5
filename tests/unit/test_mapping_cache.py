"""The cache of mappings: the same answers as without it, whatever happens to its files."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from layer_programs import shape_of, sized_spec

from gossamer.dataflow.mapping import Objective
from gossamer.mapper import mapping_cache, tiling
from gossamer.mapper.mapping_cache import keep_numbers, mapping_folder, read_numbers
from gossamer.mapper.tiling import Search, search_mapping

WRITER = """
import sys
from gossamer.mapper.mapping_cache import keep_numbers
print("ready", flush=True)
while True:
    for key in range(8):
        keep_numbers(f"key{key}", list(range(key * 1000, key * 1000 + 500)))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give an empty cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    mapping_folder.cache_clear()
    tiling._search.cache_clear()
    place = mapping_folder()
    assert place is not None
    yield place
    mapping_folder.cache_clear()
    tiling._search.cache_clear()


def search(objective: Objective = Objective.LATENCY) -> Search:
    spec = sized_spec(group=8, chains=16, activation=1 << 15, weight=1 << 14, index=1 << 13, accumulator=1 << 14)
    tiling._search.cache_clear()  # what this process remembers
    return search_mapping(shape_of(spec, 14, 14, 64, 96, 3), spec, "layer", objective=objective)


def test_a_kept_search_is_the_search(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = search()
    assert len(list(folder.iterdir())) == 1
    monkeypatch.delattr(tiling, "branch_and_bound")  # nothing is searched again
    assert search() == first


@pytest.mark.parametrize("text", ["", "[1, 2", "{}", "[1, 2, 3]", "[" + ", ".join(['"a"'] * tiling.KEPT) + "]"])
def test_a_damaged_file_is_searched_again(folder: Path, text: str) -> None:
    first = search()
    (file,) = folder.iterdir()
    whole = file.read_text()
    file.write_text(text)
    assert search() == first
    assert file.read_text() == whole


def test_another_config_is_another_search(folder: Path) -> None:
    search()
    spec = sized_spec(group=8, chains=16, activation=1 << 14, weight=1 << 14, index=1 << 13, accumulator=1 << 14)
    search_mapping(shape_of(spec, 14, 14, 64, 96, 3), spec, "layer")
    assert len(list(folder.iterdir())) == 2


def test_another_objective_is_another_search(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {objective: search(objective) for objective in Objective}
    assert len(list(folder.iterdir())) == len(Objective)
    assert 0 < found[Objective.ENERGY].cost < 1
    monkeypatch.delattr(tiling, "branch_and_bound")  # nothing is searched again
    assert {objective: search(objective) for objective in Objective} == found  # to the last bit of every cost


def test_without_a_folder_nothing_is_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = search()
    monkeypatch.setattr(mapping_cache, "mapping_folder", lambda: None)
    assert search() == first


def test_a_folder_that_vanishes_is_no_error(folder: Path) -> None:
    folder.rmdir()
    keep_numbers("key", [1])
    assert read_numbers("key", 1) is None


def test_killed_writers_leave_whole_files(folder: Path) -> None:
    for _ in range(3):
        writers = [subprocess.Popen([sys.executable, "-c", WRITER], stdout=subprocess.PIPE) for _ in range(2)]
        for writer in writers:
            assert writer.stdout is not None
            writer.stdout.readline()
        time.sleep(0.3)
        for key in range(8):
            numbers = read_numbers(f"key{key}", 500)
            assert numbers is None or numbers[0] == key * 1000
        for writer in writers:
            writer.kill()
            writer.communicate()
    for key in range(8):
        assert read_numbers(f"key{key}", 500) == list(range(key * 1000, key * 1000 + 500))
