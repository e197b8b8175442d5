"""Cut a generated design into units: parts that are synthesized once and counted as often as they are there.

`gossamer.rtl.verilog` writes one module per distinct component and one line per array of instances, so that the tree of
instances is read from the text. Ours, checked by tests/unit/test_synthesis_hierarchy.py against Yosys's own count.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from gossamer.arch.errors import ToolError

CUT_BITS = 20_000
"""Declared signal bits that synthesizing a module once, not once per instance, must save for it to become a unit of its
own. Less is flattened into what contains it, which lets Yosys share and fold logic across the boundary."""

_MODULE = re.compile(r"^module\s+(\\\S+ |\w+)(.*?)^endmodule", re.M | re.S)
_INSTANCE = re.compile(r"^ +(\\\S+ |\w+) (?:#\(.*?\) )?(?:\\\S+ |\w+) *(?:\[(\d+):(\d+)\] *)?\(", re.M | re.S)
_DECLARATION = re.compile(
    r"^ +(?:input|output|wire|reg)[^;,(]*?(?:\[(\d+):(\d+)\] *)?(?:\\\S+ |\w+)(?= *[;,\n=])", re.M
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A part of the design that is synthesized by itself, flat.

    `name`: its top module. `files`: paths whose modules it contains. `cuts`: how many instances of each other unit it
    contains; those are black boxes in it. `count`: how often it is in the design. `component`: part of the accelerator
    it is reported under.
    """

    name: str
    files: tuple[str, ...]
    cuts: Mapping[str, int]
    count: int
    component: str


@dataclass(frozen=True, kw_only=True)
class Design:
    """Verilog text by path, and the module that contains all others."""

    top: str
    files: Mapping[str, str]
    path_of: dict[str, str] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        for path, text in self.files.items():
            for match in _MODULE.finditer(text):
                self.path_of[match[1].strip().lstrip("\\")] = path
        if self.top not in self.path_of:
            raise ToolError(f"the generated Verilog has no module {self.top}")

    @cached_property
    def instances(self) -> dict[str, Counter[str]]:
        """Return for each module how many instances of which modules it contains directly."""
        found: dict[str, Counter[str]] = {}
        for text in self.files.values():
            for match in _MODULE.finditer(text):
                counts: Counter[str] = Counter()
                for instance in _INSTANCE.finditer(match[2]):
                    name = instance[1].strip().lstrip("\\")
                    if name in self.path_of:
                        copies = abs(int(instance[2]) - int(instance[3])) + 1 if instance[2] else 1
                        counts[name] += copies
                found[match[1].strip().lstrip("\\")] = counts
        return found

    def units(self, components: Mapping[str, str]) -> tuple[Unit, ...]:
        """Return the units, the top first; `components` names the component of modules that begin one."""
        tops = self._unit_tops(components)
        cuts: dict[str, Counter[str]] = {}
        contained: dict[str, set[str]] = {}
        for name in tops:
            cuts[name], contained[name] = Counter(), set()
            self._descend(name, 1, tops, cuts[name], contained[name])
        counts: Counter[str] = Counter({self.top: 1})
        component = {self.top: components.get(self.top, self.top)}
        ordered = self._parents_first(tops, cuts)
        for name in ordered:
            for child, copies in cuts[name].items():
                counts[child] += counts[name] * copies
                component.setdefault(child, components.get(child, component[name]))
        return tuple(
            Unit(
                name=name, files=tuple(sorted({self.path_of[module] for module in contained[name]})),
                cuts=dict(sorted(cuts[name].items())), count=counts[name], component=component[name],
            )
            for name in ordered
        )  # fmt: skip

    @cached_property
    def bits(self) -> dict[str, int]:
        """Return for each module the signal bits it declares, with those of all instances below it."""
        own = {
            match[1].strip().lstrip("\\"): sum(
                abs(int(high) - int(low)) + 1 if high else 1 for high, low in _DECLARATION.findall(match[2])
            )
            for text in self.files.values()
            for match in _MODULE.finditer(text)
        }
        total: dict[str, int] = {}

        def visit(name: str) -> int:
            if name not in total:
                total[name] = own[name] + sum(n * visit(child) for child, n in self.instances[name].items())
            return total[name]

        for name in own:
            visit(name)
        return total

    def _unit_tops(self, components: Mapping[str, str]) -> set[str]:
        """Return the modules at which the design is cut: where components begin, and where enough is saved."""
        tops = {self.top, *(name for name in components if name in self.path_of)}
        pending = sorted(tops)
        while pending:
            unit = pending.pop()
            inside: Counter[str] = Counter()
            self._count(unit, 1, tops, inside)
            # The outermost first: what they contain is counted within them afterwards.
            for name in sorted(inside, key=lambda name: -self.bits[name]):
                if (inside[name] - 1) * self.bits[name] >= CUT_BITS and name not in tops:
                    tops.add(name)
                    pending += [unit, name]
                    break
        return tops

    def _count(self, name: str, copies: int, tops: set[str], counts: Counter[str]) -> None:
        for child, number in self.instances[name].items():
            if child not in tops:
                counts[child] += copies * number
                self._count(child, copies * number, tops, counts)

    def _descend(self, name: str, copies: int, tops: set[str], cuts: Counter[str], contained: set[str]) -> None:
        contained.add(name)
        for child, number in self.instances[name].items():
            if child in tops:
                cuts[child] += copies * number
            else:
                self._descend(child, copies * number, tops, cuts, contained)

    def _parents_first(self, tops: set[str], cuts: Mapping[str, Counter[str]]) -> list[str]:
        """Return the units that are there, each after all that contain it."""
        ordered: list[str] = []
        seen: set[str] = set()

        def visit(name: str) -> None:
            seen.add(name)
            for child in sorted(cuts[name]):
                if child not in seen:
                    visit(child)
            ordered.append(name)

        visit(self.top)
        return ordered[::-1]
