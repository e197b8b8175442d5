"""Name the fields of a COMPUTE instruction and their widths, from the table in `gossamer.arch.isa`."""

from gossamer.arch.isa import FIELDS, Opcode

FIELD_BITS: dict[str, int] = {field.name: field.bits for field in FIELDS[Opcode.COMPUTE]}
"""Width of each field."""

ADDRESS_BITS = FIELD_BITS["a"]
"""Bits of an on-chip byte address; arithmetic on addresses wraps."""

COUNTS = ("ny", "nx", "n_ry", "n_rx", "run_words", "steps", "chains_active")
"""Fields that must be at least 1."""
