"""Write Verilog: one file per distinct component, with its ports documented in a header comment.

All components become RTLIL first and go through one run of Yosys, since starting Yosys costs more than its work.
"""

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from amaranth._toolchain.yosys import find_yosys
from amaranth.back import rtlil
from amaranth.hdl import Fragment
from amaranth.hdl._ir import PortDirection
from amaranth.lib import wiring

from gossamer.rtl.copies import CLOCK, RESET, Copies, flat_ports, has_clock, has_reset, module_name
from gossamer.rtl.leaf import Leaf
from gossamer.rtl.tidy import tidy

_MODULE = re.compile(r"^module\s+(\\\S+ |\w+)", re.M)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerilogModule:
    """One file: the module's name and its text, with the modules that only it uses after it."""

    name: str
    text: str


class DuplicateModule(ValueError):
    """Two different components share a module name."""


def verilog_modules(top: wiring.Component) -> tuple[VerilogModule, ...]:
    """Return the Verilog of a component and of everything it instantiates through `Copies`, the top first.

    The same component gives the same bytes. Raises DuplicateModule if two components of one name differ.
    """
    components: dict[str, wiring.Component] = {}
    arrays: dict[str, str] = {}
    texts: dict[str, str] = {}
    pending = [top]
    while pending:
        component = pending.pop()
        name = module_name(component)
        fragment = None if isinstance(component, Leaf) else Fragment.get(component, platform=None)
        text = component.verilog() if isinstance(component, Leaf) else _rtlil(component, name, fragment)
        if name in components:
            if texts[name] != text:
                raise DuplicateModule(f"module {name}: two components of this name differ in hardware")
            continue
        components[name], texts[name] = component, text
        for copies in () if fragment is None else _instances(fragment):
            pending.append(copies.component)
            if copies.count > 1:
                arrays[copies.wrapper_name] = copies.array_text()
    written = {name: text for name, text in texts.items() if isinstance(components[name], Leaf)}
    amaranth = {name: text for name, text in texts.items() if name not in written}
    files = written | _split(_yosys("\n".join(amaranth.values())), tuple(amaranth))
    modules = [VerilogModule(name=name, text=_header(components[name]) + files[name]) for name in components]
    return (*modules, *(VerilogModule(name=name, text=text) for name, text in sorted(arrays.items())))


def _rtlil(component: wiring.Component, name: str, fragment: Fragment) -> str:
    """Return the RTLIL of one component without what it instantiates."""
    ports = {
        port: (value, PortDirection.Input if is_input else PortDirection.Output)
        for port, (value, is_input) in flat_ports(component).items()
    }
    text, _ = rtlil.convert_fragment(fragment, ports, name, emit_src=False)
    return str(text)


def _instances(fragment: Fragment) -> Iterator[Copies]:
    """Yield the wrapped components below a fragment."""
    copies = getattr(fragment, "copies", None)
    if copies is not None:
        yield copies
    for below, *_ in fragment.subfragments:
        yield from _instances(below)


def _yosys(rtlil_text: str) -> str:
    """Return RTLIL as Verilog, by the Yosys that Amaranth brings."""
    script = "\n".join(
        (
            f"read_rtlil <<rtlil\n{rtlil_text}\nrtlil",
            "proc -nomux -norom",
            "memory_collect",
            "attrmap -remove generator -remove top -remove src -remove amaranth.hierarchy -remove amaranth.decoding",
            "attrmap -modattr -remove generator -remove top -remove src -remove amaranth.hierarchy "
            "-remove amaranth.decoding",
            "write_verilog -norename",
        )
    )
    yosys = find_yosys(lambda version: version >= (0, 40))
    return str(yosys.run(["-q", "-"], script, ignore_warnings=True))


def _split(text: str, names: tuple[str, ...]) -> dict[str, str]:
    """Return the text of each component: its module and the submodules `name.below` that Amaranth made for it."""
    starts = [*(match.start() for match in _MODULE.finditer(text)), len(text)]
    parts: dict[str, list[str]] = {name: [] for name in names}
    for start, end in pairwise(starts):
        block = text[start:end].rstrip() + "\n"
        match = _MODULE.match(block)
        assert match is not None
        owner = match.group(1).strip().lstrip("\\").split(".")[0]
        parts[owner].append(tidy(block))
    return {
        name: "\n".join(sorted(blocks, key=lambda block: len(_MODULE.findall(block)[0])))
        for name, blocks in parts.items()
    }


def _header(component: wiring.Component) -> str:
    """Return the comment above a module: its docstring and one line per port."""
    text = inspect.cleandoc(vars(type(component)).get("__doc__") or module_name(component))
    lines = [f"// {line}".rstrip() for line in text.splitlines()]
    lines += ["//", "// Ports:"]
    if has_clock(component):
        lines.append(f"//   input  {CLOCK:28s}    1")
    if has_reset(component):
        lines.append(f"//   input  {RESET:28s}    1  synchronous, active high")
    for name, (value, is_input) in flat_ports(component).items():
        lines.append(f"//   {'input ' if is_input else 'output'} {name:28s} {len(value):4d}")
    return "\n".join(lines) + "\n"
