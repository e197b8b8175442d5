"""The energy table: complete, sourced, ordered as physics demands, and within reach of the published anchors."""

import math
from typing import get_args

import pytest
from pydantic import BaseModel, ValidationError

from gossamer.arch.config import load_config
from gossamer.arch.energy import EnergyEntry, energy_table
from gossamer.arch.spec import Family, MemoryKind, OffChipSpec, SparseAccelerator


def entries(model: object) -> list[BaseModel]:
    """Return every entry of the table, of whatever kind."""
    if isinstance(model, dict):
        return [entry for value in model.values() for entry in entries(value)]
    if isinstance(model, BaseModel) and "source" not in type(model).model_fields:
        return [entry for name in type(model).model_fields for entry in entries(getattr(model, name))]
    assert isinstance(model, BaseModel)
    return [model]


def test_every_choice_has_an_entry() -> None:
    table = energy_table()
    assert set(table.buffer_read) == set(table.buffer_write) == set(MemoryKind)
    assert set(table.off_chip) == set(get_args(OffChipSpec.model_fields["kind"].annotation))
    assert set(table.family) == set(Family)


def test_every_entry_has_a_source_that_names_a_publication_or_admits_an_estimate() -> None:
    found = entries(energy_table())
    assert len(found) == 5 + 2 * 4 + 4 + 4
    for entry in found:
        source = entry.model_dump()["source"]
        assert "engineering estimate" in source or "20" in source, source
        for name, value in entry.model_dump().items():
            if isinstance(value, float):
                assert math.isfinite(value), name
                assert value > 0, name


def test_published_anchors() -> None:
    """HBM2 3.9 pJ/bit (O'Connor, MICRO 2017); DRAM 1.3 to 2.6 nJ per 64 bits (Horowitz, ISSCC 2014)."""
    table = energy_table()
    assert table.off_chip["hbm2"].pj_per_byte == pytest.approx(3.9 * 8)
    assert 1300 <= table.off_chip["ddr3"].pj_per_byte * 8 <= 2600
    # one 64-bit access of the 8 and 32 KiB SRAMs, scaled as the source says
    assert table.buffer_read[MemoryKind.BRAM36].pj * 8 == pytest.approx(10 * 0.35 * 3, rel=0.02)
    assert table.buffer_read[MemoryKind.URAM288].pj * 8 == pytest.approx(20 * 0.35 * 3, rel=0.02)


def test_order_of_costs() -> None:
    """Registers, LUTRAM, block RAM, UltraRAM, HBM, DDR: each farther and dearer; newer processes cheaper."""
    table = energy_table()
    chain = [
        table.chain_hop.pj, table.buffer_read[MemoryKind.LUTRAM].pj, table.buffer_read[MemoryKind.BRAM36].pj,
        table.buffer_read[MemoryKind.URAM288].pj, table.off_chip["hbm2"].pj_per_byte,
        table.off_chip["ddr4"].pj_per_byte, table.off_chip["ddr3"].pj_per_byte,
    ]  # fmt: skip
    assert chain == sorted(chain)
    assert all(table.buffer_write[kind].pj > table.buffer_read[kind].pj for kind in MemoryKind)
    scales = [
        table.family[f].process_scale for f in (Family.VERSAL, Family.ULTRASCALE_PLUS, Family.SERIES7, Family.ECP5)
    ]
    assert scales == sorted(scales)
    assert table.family[Family.ULTRASCALE_PLUS].process_scale == 1


@pytest.mark.parametrize(
    ("name", "low_w", "high_w"), [("u280-sparse", 5.0, 25.0), ("kv260-edge", 0.5, 5.0), ("ecp5-tiny", 0.1, 1.0)]
)
def test_static_power_is_plausible(name: str, low_w: float, high_w: float) -> None:
    spec = load_config(name)
    assert isinstance(spec, SparseAccelerator)
    assert low_w < energy_table().static_w(spec) < high_w


def test_off_chip_energy_is_per_byte() -> None:
    spec = load_config("u280-sparse")
    assert isinstance(spec, SparseAccelerator)
    assert energy_table().off_chip_pj(spec.off_chip, 1000) == pytest.approx(31_200)


def test_table_is_frozen_and_checked() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        energy_table().mac_int8.pj = 1.0  # type: ignore[misc]
    with pytest.raises(ValidationError, match="greater than 0"):
        EnergyEntry(pj=0.0, per="x", source="y")
