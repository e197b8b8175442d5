"""State the energy of every access and operation once, each with its source. Energies in pJ, static power in W.

Dynamic entries are for a 16 nm FPGA (UltraScale+); `process_scale` converts them to other families. Off-chip entries
are for the memory itself and are not scaled. Where no published number exists for programmable fabric, the source says
"engineering estimate" and how it was made; docs/ compares the sums with published board powers.
"""

from pydantic import Field

from gossamer.arch.spec import Family, MemoryKind, OffChipSpec, SparseAccelerator, Spec


class EnergyEntry(Spec):
    """Energy of one event."""

    pj: float = Field(gt=0, description="Energy, pJ")
    per: str = Field(description="The event it is for")
    source: str


class FamilyEntry(Spec):
    """What depends on the FPGA family."""

    process_scale: float = Field(gt=0, description="Dynamic energy relative to 16 nm")
    static_w_per_thousand_luts: float = Field(gt=0, description="Static power of the chip per 1000 LUTs of its size")
    source: str


class OffChipEntry(Spec):
    """What depends on the off-chip memory."""

    pj_per_byte: float = Field(gt=0, description="Read or write, device, PHY and interface")
    static_w_per_channel: float = Field(ge=0, description="Refresh and standby")
    source: str


class EnergyTable(Spec):
    """Every energy the simulator charges."""

    mac_int8: EnergyEntry
    select_byte: EnergyEntry
    chain_hop: EnergyEntry
    vector_element: EnergyEntry
    instruction: EnergyEntry
    buffer_read: dict[MemoryKind, EnergyEntry]
    buffer_write: dict[MemoryKind, EnergyEntry]
    off_chip: dict[str, OffChipEntry]
    family: dict[Family, FamilyEntry]

    def off_chip_pj(self, off_chip: OffChipSpec, moved_bytes: int) -> float:
        """Return pJ for `moved_bytes` read or written off chip."""
        return self.off_chip[off_chip.kind].pj_per_byte * moved_bytes

    def static_w(self, spec: SparseAccelerator) -> float:
        """Return W drawn while nothing switches: the whole chip and its off-chip memory."""
        chip_w = self.family[spec.device.family].static_w_per_thousand_luts * spec.device.lut / 1000
        return chip_w + self.off_chip[spec.off_chip.kind].static_w_per_channel * spec.off_chip.channels


_SRAM_SOURCE = (
    "Horowitz, ISSCC 2014, figure 1.1.9: {array} at 45 nm, {pj_45nm} pJ per 64 bits; x 0.35 for 16 nm (Stillmaker and "
    "Baas, Integration 58, 2017) x 3 for programmable routing and port logic (engineering estimate)"
)
_BLOCK_RAM_SOURCE = _SRAM_SOURCE.format(array="an 8 KiB SRAM", pj_45nm=10)
_ULTRA_RAM_SOURCE = _SRAM_SOURCE.format(array="a 32 KiB SRAM", pj_45nm=20)
_LUTRAM_SOURCE = "engineering estimate: 64 words deep, about two thirds of a block RAM access"
_WRITE_SOURCE = "as the read of the same memory, + 10 % (engineering estimate)"

_READ = {
    MemoryKind.BRAM36: (1.3, _BLOCK_RAM_SOURCE),
    MemoryKind.DP16KD: (1.3, _BLOCK_RAM_SOURCE),
    MemoryKind.URAM288: (2.6, _ULTRA_RAM_SOURCE),
    MemoryKind.LUTRAM: (0.9, _LUTRAM_SOURCE),
}

_OFF_CHIP = {
    "hbm2": OffChipEntry(
        pj_per_byte=31.2,
        static_w_per_channel=0.12,
        source="O'Connor et al., MICRO 2017: 3.9 pJ/bit for HBM2; standby: engineering estimate, 4 W in all",
    ),
    "ddr4": OffChipEntry(
        pj_per_byte=144.0,
        static_w_per_channel=0.6,
        source="engineering estimate: 18 pJ/bit, below the 20 to 40 pJ/bit (1.3 to 2.6 nJ per 64 bits) "
        "of Horowitz, ISSCC 2014, for earlier DRAM",
    ),
    "ddr3": OffChipEntry(
        pj_per_byte=240.0,
        static_w_per_channel=0.2,
        source="Horowitz, ISSCC 2014, figure 1.1.9: DRAM 1.3 to 2.6 nJ per 64 bits, 20 to 40 pJ/bit; middle taken",
    ),
    "lpddr4": OffChipEntry(
        pj_per_byte=32.0,
        static_w_per_channel=0.1,
        source="engineering estimate: about 4 pJ/bit",
    ),
}

_SCALING_SOURCE = (
    "process: supply and feature scaling after Stillmaker and Baas, Integration 58, 2017, rounded (engineering "
    "estimate for FPGA fabric); static: engineering estimate, "
)
_FAMILY = {
    Family.ULTRASCALE_PLUS: FamilyEntry(
        process_scale=1.0,
        static_w_per_thousand_luts=0.004,
        source="reference process, 16 nm; static: engineering estimate, about 5 W for 1.3 M LUTs at 0.85 V",
    ),
    Family.VERSAL: FamilyEntry(
        process_scale=0.6,
        static_w_per_thousand_luts=0.005,
        source=f"7 nm; {_SCALING_SOURCE}about 9 W for 1.75 M LUTs with its network on chip",
    ),
    Family.SERIES7: FamilyEntry(
        process_scale=1.9,
        static_w_per_thousand_luts=0.0015,
        source=f"28 nm; {_SCALING_SOURCE}about 0.1 W for 63 k LUTs",
    ),
    Family.ECP5: FamilyEntry(
        process_scale=2.9,
        static_w_per_thousand_luts=0.0015,
        source=f"40 nm; {_SCALING_SOURCE}about 0.13 W for 84 k LUTs",
    ),
}

_TABLE = EnergyTable(
    mac_int8=EnergyEntry(
        pj=3.0,
        per="int8 multiply-accumulate that a DSP executes, zeros included",
        source="engineering estimate: Horowitz, ISSCC 2014 gives 0.2 + 0.1 pJ (8-bit multiply, 32-bit add) at 45 nm, "
        "0.1 pJ at 16 nm; x 30 for a 27x18 multiplier with 48-bit sum and registers, shared by two products",
    ),
    select_byte=EnergyEntry(
        pj=0.5,
        per="activation byte selected by an index in front of a DSP",
        source="engineering estimate: eight 8:1 selectors in LUTs with local routing",
    ),
    chain_hop=EnergyEntry(
        pj=0.3,
        per="activation byte forwarded from one chain to the next",
        source="engineering estimate: eight flip-flops with short routing",
    ),
    vector_element=EnergyEntry(
        pj=4.0,
        per="element through the VECTOR engine, one operation",
        source="Horowitz, ISSCC 2014: 32-bit multiply 3.1 pJ and add 0.1 pJ at 45 nm, x 0.35 for 16 nm x 3 for "
        "routing, + 20 % for the shifter (engineering estimate)",
    ),
    instruction=EnergyEntry(
        pj=200.0,
        per="instruction decoded, queued and sequenced; its 64 bytes from off chip are charged as such",
        source="engineering estimate: three LUTRAM accesses of 64 bytes and control",
    ),
    buffer_read={kind: EnergyEntry(pj=pj, per="byte read", source=source) for kind, (pj, source) in _READ.items()},
    buffer_write={
        kind: EnergyEntry(pj=round(1.1 * pj, 3), per="byte written", source=f"{_WRITE_SOURCE}: {source}")
        for kind, (pj, source) in _READ.items()
    },
    off_chip=_OFF_CHIP,
    family=_FAMILY,
)


def energy_table() -> EnergyTable:
    """Return the table; index bytes and accumulator words are charged as reads and writes of their buffer's memory."""
    return _TABLE
