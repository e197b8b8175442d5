"""Synthesize the units of a design, several at a time, and keep every result: what is there is not run again."""

import hashlib
import json
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from gossamer.arch.errors import ToolError
from gossamer.arch.target import Target
from gossamer.rtl.synthesis.hierarchy import Design, Unit
from gossamer.rtl.synthesis.scripts import NETLIST, STATISTICS, preparation_script, synthesis_script
from gossamer.rtl.synthesis.tools import YOSYS, Tool, run_tool

LOG = "yosys.log"
SCRIPT = "synthesis.ys"
KEY = "key.txt"
"""Hash of script, Verilog and Yosys of a finished run; written last, so that a run cut short counts for nothing."""

REGISTER_FILE_BITS = 256
"""Largest memory that may become flip-flops on purpose; registers that are not declared as memories do not count."""

_FF_MEMORY = re.compile(
    r"^Mapping memory (\S+) in module \S+:\n  created (\d+) \$dff cells and \d+ static cells of width (\d+)\.", re.M
)
_NUMBER = re.compile(r"\$\d+")
_PLACE = re.compile(r"^(?: *attribute \\src .*|autoidx .*|# Generated .*)\n", re.M)
_TABLE = re.compile(r"\$auto\$proc_rom|\$auto\$rom")


@dataclass(frozen=True, slots=True, kw_only=True)
class FlipFlopMemory:
    """A memory that synthesis made of flip-flops."""

    name: str
    words: int
    bits: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitResult:
    """What one unit became. `cells`: its primitives by type, without those of the units it contains."""

    unit: Unit
    cells: Mapping[str, int]
    register_memories: tuple[FlipFlopMemory, ...]
    folder: Path
    seconds: float
    kept: bool
    """It had been synthesized before."""

    @property
    def netlist(self) -> Path:
        """Path of its netlist as Yosys's JSON."""
        return self.folder / NETLIST


def read_cells(text: str, top: str) -> Counter[str]:
    """Return cells by type from `stat -json`. Raises ToolError if the text is not that."""
    try:
        modules = json.loads(text)["modules"]
        return Counter(modules[f"\\{top}"]["num_cells_by_type"])
    except (ValueError, KeyError, TypeError) as error:
        raise ToolError(f"Yosys's statistics of {top} cannot be read: {error!r}") from error


def register_memories(log: str) -> Iterator[FlipFlopMemory]:
    """Yield the memories that a Yosys log says became flip-flops; constant tables, which become LUTs, are none."""
    for name, words, width in _FF_MEMORY.findall(log):
        if not _TABLE.search(name):
            yield FlipFlopMemory(name=name.lstrip("\\"), words=int(words), bits=int(words) * int(width))


def accidental(memories: Sequence[FlipFlopMemory]) -> list[FlipFlopMemory]:
    """Return the memories that are too large to be flip-flops on purpose."""
    return [memory for memory in memories if memory.bits > REGISTER_FILE_BITS]


def prepare_units(
    target: Target, units: Sequence[Unit], design: Design, folder: Path, *, tool: Tool = YOSYS
) -> dict[str, str]:
    """Return the RTLIL of every unit, cut out of the whole design. Raises ToolError if Yosys fails."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {_file(path): text for path, text in design.files.items()}
    names = [unit.name for unit in units]
    script = preparation_script(target, design.top, list(files), names)
    key = _hash(script, files, tool)
    if not _is_kept(folder, key):
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
        _run(tool, script, folder, f"cutting {design.top} into units")
    try:
        texts = {name: (folder / f"{name}.il").read_text(encoding="utf-8") for name in names}
    except OSError as error:
        raise ToolError(f"{tool.command} (cutting {design.top} into units): no {error.filename}") from error
    (folder / KEY).write_text(key)
    return texts


def synthesize_unit(
    target: Target, unit: Unit, rtlil: Mapping[str, str], folder: Path, *, shared: bool = False, tool: Tool = YOSYS
) -> UnitResult:
    """Synthesize one unit in a folder of its name below `folder`. Raises ToolError if Yosys fails or leaves no result.

    `rtlil`: of this unit and those it contains. `shared`: several designs use `folder`, and the hash of what is
    synthesized becomes part of the name.
    """
    begin = time.perf_counter()
    script = synthesis_script(target, unit.name, sorted(unit.cuts))
    texts = {f"{name}.il": rtlil[name] for name in (unit.name, *unit.cuts)}
    if shared:
        texts = {name: numbered_afresh(text) for name, text in texts.items()}
    key = _hash(script, texts, tool)
    place = folder / (f"{unit.name}-{key[:16]}" if shared else unit.name)
    place.mkdir(parents=True, exist_ok=True)
    kept = _is_kept(place, key)
    if not kept:
        for name, text in texts.items():
            (place / name).write_text(text, encoding="utf-8")
        _run(tool, script, place, f"synthesis of {unit.name}")
    statistics = place / STATISTICS
    if not statistics.is_file():
        raise ToolError(f"{tool.command} (synthesis of {unit.name}): wrote no statistics; log: {place / LOG}")
    cells = read_cells(statistics.read_text(encoding="utf-8"), unit.name)
    log = (place / LOG).read_text(encoding="utf-8", errors="replace")
    (place / KEY).write_text(key)
    return UnitResult(
        unit=unit, cells=_primitives(unit, cells, place / LOG), register_memories=tuple(register_memories(log)),
        folder=place, seconds=time.perf_counter() - begin, kept=kept,
    )  # fmt: skip


def numbered_afresh(rtlil: str) -> str:
    """Return RTLIL with Yosys's numbers in names counted from 1, in order, and without places in the Verilog.

    Both depend on the rest of the design; without them equal modules of two designs have equal text.
    """
    numbers: dict[str, str] = {}
    text = _NUMBER.sub(lambda match: numbers.setdefault(match[0], f"${len(numbers) + 1}"), _PLACE.sub("", rtlil))
    return f"autoidx {len(numbers) + 1}\n{text}"


def _file(path: str) -> str:
    """Return the name under which a file of the design is read."""
    return f"{Path(path).stem}.v"


def _hash(script: str, texts: Mapping[str, str], tool: Tool) -> str:
    return hashlib.sha256(repr((script, sorted(texts.items()), tool.version)).encode()).hexdigest()


def _is_kept(folder: Path, key: str) -> bool:
    """Return whether a folder has the result of a run; if not, make sure that it does not look as if."""
    if (folder / KEY).is_file() and (folder / KEY).read_text() == key:
        return True
    (folder / KEY).unlink(missing_ok=True)
    return False


def _run(tool: Tool, script: str, folder: Path, step: str) -> None:
    (folder / SCRIPT).write_text(script, encoding="utf-8")
    run_tool(tool, ["-q", "-l", LOG, SCRIPT], folder=folder, log=folder / LOG, step=step)


def _primitives(unit: Unit, cells: Counter[str], log: Path) -> Counter[str]:
    """Return the cells without black boxes. Raises ToolError if those are not the instances the text has."""
    boxes = {name: cells.pop(name, 0) for name in unit.cuts}
    if boxes != dict(unit.cuts):
        raise ToolError(f"{unit.name}: instances of {boxes} are left, not {dict(unit.cuts)}; log: {log}")
    return cells


def synthesize_units(
    target: Target, units: Sequence[Unit], design: Design, folder: Path, stage: Callable[[str], None],
    *, shared: bool = False, workers: int | None = None,
) -> tuple[UnitResult, ...]:  # fmt: skip
    """Return the results in the order of `units`.

    `workers`: how many run at a time; None: as many as this process may use processors.
    """
    stage(f"cutting the design into {len(units)} units (Yosys's first start on a machine takes half a minute)")
    rtlil = prepare_units(target, units, design, folder / f"{design.top}-units" if shared else folder)
    done: list[str] = []

    def one(unit: Unit) -> UnitResult:
        result = synthesize_unit(target, unit, rtlil, folder, shared=shared)
        done.append(unit.name)
        stage(f"synthesized {len(done)} of {len(units)} units: {unit.name}")
        return result

    # The largest first, so that none of them runs alone at the end.
    order = sorted(units, key=lambda unit: -len(rtlil[unit.name]))
    pool = ThreadPoolExecutor(workers or len(os.sched_getaffinity(0)))
    try:
        results = {result.unit.name: result for result in pool.map(one, order)}
    finally:
        pool.shutdown(cancel_futures=True)
    return tuple(results[unit.name] for unit in units)
