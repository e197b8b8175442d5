"""Our own behavioural models of the primitives the RTL instantiates, for simulation: synthesis has the real ones."""

import re
from collections.abc import Iterable
from importlib.resources import files

from gossamer.rtl.verilog import VerilogModule

PRIMITIVES = ("DCCA", "DSP48E2", "DSP58", "L6MUX21", "MULT18X18D", "MUXF7", "MUXF8", "PFUMX")
"""What there is a model of, `<name in lower case>.v` in this package. A model names what it covers."""


def primitive_models(modules: Iterable[VerilogModule]) -> tuple[VerilogModule, ...]:
    """Return models of the primitives these modules instantiate and do not define themselves, by name."""
    text = "\n".join(re.sub(r"//.*", "", module.text) for module in modules)
    defined = set(re.findall(r"^\s*module\s+(\w+)", text, re.M))
    used = set(re.findall(rf"^\s*({'|'.join(PRIMITIVES)})\b", text, re.M))
    return tuple(model(name) for name in sorted(used - defined))


def model(name: str) -> VerilogModule:
    """Return the model of one primitive."""
    return VerilogModule(name=name, text=(files(__package__) / f"{name.lower()}.v").read_text(encoding="utf-8"))
