"""Build faults into Verilog that a register of the top switches on, so that all mutants of a design are one build."""

import re
from collections.abc import Sequence

from gossamer.rtl.verilog import VerilogModule

Change = tuple[str, str, str]
"""Module, pattern of its Verilog, replacement; the pattern must match once.

Its group `value` is the expression replaced; the replacement may name what that matches as VALUE.
"""


def with_mutants(modules: Sequence[VerilogModule], changes: Sequence[Change]) -> list[VerilogModule]:
    """Return the modules, top first, with all changes: number n (from 1) works while `mutant` of the top is n."""
    texts = {module.name: module.text for module in modules}
    top = modules[0].name
    for number, (name, pattern, replacement) in enumerate(changes, 1):
        matches = list(re.finditer(pattern, texts[name]))
        assert len(matches) == 1, f"{name}: {pattern} must match once, not {len(matches)} times"
        found = matches[0]
        value = f"({found['value']})"
        fault = replacement.replace("VALUE", value)
        start, end = found.span("value")
        chosen = f"(({top}.mutant == 8'd{number}) ? ({fault}) : {value})"
        texts[name] = texts[name][:start] + chosen + texts[name][end:]
    texts[top], count = re.subn(rf"(module {top}\([^;]*;)", r"\1\n  reg [7:0] mutant = 0;", texts[top])
    assert count == 1
    return [VerilogModule(name=name, text=text) for name, text in texts.items()]
