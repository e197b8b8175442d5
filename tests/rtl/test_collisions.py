"""No engine uses what it reads from a row in the cycle it is written: synthesis need not care (`no_rw_check`)."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from core_runs import BuiltCore, core_spec

from gossamer.rtl.core import Core
from gossamer.rtl.verilog import verilog_modules
from gossamer.rtl_run import build_core
from gossamer.verify_candidates import random_candidate

COUNT = 60
CYCLE = "  always @(posedge clk) begin\n"
WRITTEN = "(|write_enable) && read_row == write_row"


def corrupted(condition: str, extra: str = "") -> BuiltCore:
    """Return a core whose block memories answer with inverted words under a condition."""
    spec = core_spec()
    modules, changed = [], 0
    for module in verilog_modules(Core(spec)):
        text = module.text
        if "no_rw_check" in text:
            assert text.count(CYCLE) == 1
            text = text.replace(CYCLE, f"{CYCLE}    collided <= {condition};\n{extra}")
            text = text.replace("  integer part;\n", "  integer part;\n  reg collided, wrote; reg [31:0] wrote_row;\n")
            text, ways = re.subn(r"assign read_data = (.+);", r"assign read_data = collided ? ~\1 : \1;", text)
            assert ways == 1
            changed += 1
        modules.append(replace(module, text=text))
    assert changed == 8  # two halves of activations and accumulators, weights, indices, parameters, LRN's history
    return BuiltCore(spec, build_core(modules))


def test_words_read_while_they_are_written_are_not_used(tmp_path: Path) -> None:
    core = corrupted(WRITTEN)
    checks, _ = core.verify([random_candidate(core.spec, 9000 + number) for number in range(COUNT)], tmp_path)
    assert len(checks) == COUNT
    assert all(check.bit_exact and check.outputs_checked > 0 for check in checks)


@pytest.mark.slow
def test_words_read_one_cycle_later_are(tmp_path: Path) -> None:
    """The same inversion for a row written in the cycle before, which engines may read: the values must be wrong."""
    core = corrupted(
        "wrote && wrote_row == read_row", "    wrote <= |write_enable; wrote_row <= write_row;\n"
    )  # fmt: skip
    checks, _ = core.verify([random_candidate(core.spec, 9000 + number) for number in range(COUNT)], tmp_path)
    assert not all(check.bit_exact for check in checks)
