"""Make the Verilog that Yosys writes pleasant to read, without changing what it means.

Works on the text of one module; everything here keeps the order of statements and every named signal that is used.
"""

import re
import textwrap
from collections import Counter

_IDENTIFIER = re.compile(r"\\\S+ |\b[A-Za-z_][\w$]*")
_CONSTANT = re.compile(r"\d+'s?[bdh][0-9a-fxz?_]+")
_ATTRIBUTE = re.compile(r"^ *\(\*(?! keep = ).*\*\)\n", re.M)
_ZERO_MEMORY = re.compile(r"^  initial begin\n(?:    .*\[\d+\] = \d+'[hd]0+;\n)+  end\n", re.M)
_COMBINATIONAL = re.compile(r"^  always @\* begin\n.*?^  end\n", re.M | re.S)
_TRIGGER = re.compile(r"^    if \((\\\$auto\S+ )\) begin end\n", re.M)
_TARGET = re.compile(r"^ *(?:\\\S+ |\w[\w$]*) *(?:\[[^]]*\] *)?=", re.M)
_NEXT = re.compile(r"^  always @\(posedge clk\)\n    (\w+) <= (\\\$\d+ );$", re.M)
_ALIAS = re.compile(r"^  assign (\\\S+ |[A-Za-z_][\w$]*) = .*;\n", re.M)
_WIRE = re.compile(r"^  wire (?:\[-?\d+:\d+\] )?(\\\S+ |[A-Za-z_][\w$]*);\n", re.M)
_PORT = re.compile(
    r"^  (input|output) (\[\d+:\d+\] )?(\\\S+ |\w+);\n  (wire|reg) (?:\[\d+:\d+\] )?(?:\\\S+ |\w+)( = [^;]*)?;$", re.M
)
_PIN = re.compile(r"^    \.(?:\\\S+ |\w+)", re.M)
_HEADER = re.compile(r"^module (\\\S+ |\w+)\((.*?)\);$", re.M | re.S)
_KEYWORDS = frozenset({"begin", "end", "if", "else", "case", "casez", "endcase", "default"})


def tidy(text: str) -> str:
    """Return a module without attributes but `keep`, triggers, unused names and memories cleared to 0; names shorter.

    A memory keeps its initial value unless all of it is 0: hardware must not rely on it, since UltraRAM has none and a
    second run finds what the first left.
    """
    text = _ATTRIBUTE.sub("", text)
    text = _ZERO_MEMORY.sub("", text)
    text = _without_triggers(text)
    text = _without_unused(text)
    text = _with_next_names(text)
    text = re.sub(r"\\\$(\d+) ", r"_\1", text)
    text = _with_plain_names(text)
    text = _HEADER.sub(lambda match: _header(*match.groups()), text, count=1)
    return _PORT.sub(lambda match: _port(*match.groups()), text)


def _header(name: str, ports: str) -> str:
    """Return the module line with its ports on lines of bounded length."""
    names = textwrap.fill(" ".join(ports.split()), 112, initial_indent="    ", subsequent_indent="    ")
    return f"module {name}(\n{names}\n);"


def _port(way: str, width: str | None, name: str, kind: str, initial: str | None) -> str:
    """Return a port's two declarations as one."""
    declared = way if kind == "wire" else f"{way} reg"
    return f"  {declared} {width or ''}{name}{initial or ''};"


def _without_triggers(text: str) -> str:
    """Remove the registers by which Yosys makes combinational blocks run at time 0.

    A block that reads any signal runs then anyway, because signals leave their unknown value; only a block of constants
    keeps its trigger.
    """
    text = _COMBINATIONAL.sub(lambda match: _without_trigger(match[0]), text)
    for name in set(re.findall(r"^  reg (\\\$auto\S+ )", text, re.M)):
        if text.count(name) == 1:
            text = re.sub(rf"^  reg {re.escape(name)}.*\n", "", text, flags=re.M)
    return text


def _without_trigger(block: str) -> str:
    """Return an always block without its trigger if it reads a signal."""
    rest = _TRIGGER.sub("", block)
    read = _CONSTANT.sub("", _TARGET.sub("", rest.split("begin\n", 1)[1]))
    names = {name.strip() for name in _IDENTIFIER.findall(read)}
    return rest if names - _KEYWORDS else block


def _without_unused(text: str) -> str:
    """Remove wires that nothing reads, with what drives them; Amaranth names every port of an instance once more."""
    while True:
        uses = Counter(_IDENTIFIER.findall(_CONSTANT.sub("", _PIN.sub("", text))))
        wires = {match[1] for match in _WIRE.finditer(text)}
        ports = set(re.findall(r"^  (?:input|output) (?:\[\d+:\d+\] )?(\\\S+ |[A-Za-z_][\w$]*);", text, re.M))
        driven = Counter(match[1] for match in _ALIAS.finditer(text))
        unused = {name for name in wires - ports if uses[name] == 1 + driven[name] and driven[name] <= 1}
        if not unused:
            return text
        for line in [match for kind in (_ALIAS, _WIRE) for match in kind.finditer(text) if match[1] in unused]:
            text = text.replace(line[0], "", 1)


def _with_plain_names(text: str) -> str:
    """Write the names Amaranth made unique, such as `done$174`, without the need to escape them."""
    names = set(_IDENTIFIER.findall(text))
    for name in sorted(names):
        plain = name[1:-1].replace("$", "_") if re.fullmatch(r"\\[A-Za-z_]\w*\$\d+ ", name) else ""
        if plain and plain not in names:
            text = text.replace(name, plain)
    return text


def _with_next_names(text: str) -> str:
    """Name the value a register takes next after the register."""
    names = set(_IDENTIFIER.findall(text))
    for register, value in _NEXT.findall(text):
        if f"{register}_next" not in names:
            text = text.replace(value, f"{register}_next")
    return text
