"""Print every energy that is charged, with its source, as the tables of docs/explanation/energy.md.

python benchmarks/energy_table.py
"""

from collections.abc import Mapping

from markdown_table import table

from gossamer.arch.energy import EnergyEntry, energy_table

EVENTS = {
    "mac_int8": "multiply-accumulate", "select_byte": "selection", "chain_hop": "chain to chain",
    "vector_element": "VECTOR", "instruction": "instruction",
}  # fmt: skip


def text() -> str:
    """Return the tables."""
    entries = energy_table()
    named: Mapping[str, EnergyEntry] = {title: getattr(entries, name) for name, title in EVENTS.items()}
    named = {
        **named,
        **{f"{kind.value}, read": entry for kind, entry in entries.buffer_read.items()},
        **{f"{kind.value}, write": entry for kind, entry in entries.buffer_write.items()},
    }
    events = table(
        ("event", "pJ", "per", "source"),
        ((name, f"{each.pj:g}", each.per, each.source) for name, each in named.items()),
    )
    memories = table(
        ("memory", "pJ per byte", "static W per channel", "source"),
        (
            (name, f"{each.pj_per_byte:g}", f"{each.static_w_per_channel:g}", each.source)
            for name, each in entries.off_chip.items()
        ),
    )
    families = table(
        ("family", "dynamic, relative to 16 nm", "static W per 1,000 LUTs of the chip", "source"),
        (
            (family.value, f"{each.process_scale:g}", f"{each.static_w_per_thousand_luts:g}", each.source)
            for family, each in entries.family.items()
        ),
    )
    return f"{events}\n\n{memories}\n\n{families}"


if __name__ == "__main__":
    print(text())
