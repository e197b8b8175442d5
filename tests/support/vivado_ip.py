"""Pins, interfaces and properties of the IP that block designs use: what their product guides say of the cells we make.

Sources: PG201 (Zynq UltraScale+ processing system), PG276 (HBM), PG195 (XDMA), PG247 (SmartConnect), PG065 (Clocking
Wizard), PG164 (Processor System Reset), UG974 (XPM); checked against public block designs that use them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

Properties = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """An interface. `clocks`: pins of the cell, one of which must be its peer's; `kind`: what it may connect with."""

    is_master: bool
    kind: str = "axi"
    clocks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ip:
    """What a cell has once its properties are set. `optional`: inputs that may stay open.

    `segments`: address segments by interface, each with base and bytes where those are fixed.
    """

    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    interfaces: Mapping[str, Interface] = field(default_factory=dict)
    spaces: tuple[str, ...] = ()
    segments: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def _is_on(properties: Properties, name: str, default: str = "false") -> bool:
    return properties.get(name, default).lower() in ("1", "true")


def smartconnect(properties: Properties) -> Ip:
    """PG247: up to 16 masters and slaves, each on any of its clocks."""
    slaves, masters, clocks = (
        int(properties.get(name, default)) for name, default in (("NUM_SI", "2"), ("NUM_MI", "1"), ("NUM_CLKS", "1"))
    )
    assert 1 <= slaves <= 16, "a SmartConnect has 1 to 16 slave interfaces"
    assert 1 <= masters <= 16, "a SmartConnect has 1 to 16 master interfaces"
    names = ("aclk", *(f"aclk{index}" for index in range(1, clocks)))
    interfaces = {f"S{index:02d}_AXI": Interface(is_master=False, clocks=names) for index in range(slaves)}
    interfaces |= {f"M{index:02d}_AXI": Interface(is_master=True, clocks=names) for index in range(masters)}
    return Ip(inputs=(*names, "aresetn"), interfaces=interfaces)


def proc_sys_reset(properties: Properties) -> Ip:
    """PG164."""
    return Ip(
        inputs=("slowest_sync_clk", "ext_reset_in", "aux_reset_in", "mb_debug_sys_rst", "dcm_locked"),
        optional=("aux_reset_in", "mb_debug_sys_rst", "dcm_locked"),
        outputs=("mb_reset", "bus_struct_reset", "peripheral_reset", "interconnect_aresetn", "peripheral_aresetn"),
    )


def processing_system(properties: Properties) -> Ip:
    """PG201; M_AXI_GP0 and GP1 are on unless switched off."""
    inputs, interfaces, segments = [], {}, {}
    masters = (("M_AXI_GP0", "hpm0_fpd", "1"), ("M_AXI_GP1", "hpm1_fpd", "1"), ("M_AXI_GP2", "hpm0_lpd", "0"))
    for name, port, default in masters:
        if _is_on(properties, f"PSU__USE__{name}", default):
            inputs.append(f"maxi{port}_aclk")
            interfaces[f"M_AXI_{port.upper()}"] = Interface(is_master=True, clocks=(inputs[-1],))
    for index in range(4):
        if _is_on(properties, f"PSU__USE__S_AXI_GP{index + 2}"):
            assert properties.get(f"PSU__SAXIGP{index + 2}__DATA_WIDTH", "128") in ("32", "64", "128")
            inputs.append(f"saxihp{index}_fpd_aclk")
            interfaces[f"S_AXI_HP{index}_FPD"] = Interface(is_master=False, clocks=(inputs[-1],))
            segments[f"S_AXI_HP{index}_FPD"] = tuple(
                f"SAXIGP{index + 2}/HP{index}_{name}" for name in ("DDR_LOW", "DDR_HIGH", "LPS_OCM", "QSPI")
            )
    if _is_on(properties, "PSU__USE__IRQ0"):
        inputs.append("pl_ps_irq0")
    return Ip(
        inputs=tuple(inputs), outputs=("pl_clk0", "pl_resetn0"), interfaces=interfaces, spaces=("Data",),
        segments=segments,
    )  # fmt: skip


def clk_wiz(properties: Properties) -> Ip:
    """PG065."""
    assert properties["PRIM_SOURCE"] == "Differential_clock_capable_pin"
    second = ("clk_out2",) * _is_on(properties, "CLKOUT2_USED")
    return Ip(
        inputs=("reset",) * _is_on(properties, "USE_RESET", "true"),
        outputs=("clk_out1", *second, *("locked",) * _is_on(properties, "USE_LOCKED", "true")),
        interfaces={"CLK_IN1_D": Interface(is_master=False, kind="diff_clock")},
    )


def hbm(properties: Properties) -> Ip:
    """PG276: two stacks of 4 GiB; every port that is not switched off has clock, reset and 32 segments of 256 MiB."""
    assert (properties["USER_HBM_DENSITY"], properties["USER_HBM_STACK"]) == ("8GB", "2")
    used = [f"{index:02d}" for index in range(32) if _is_on(properties, f"USER_SAXI_{index:02d}", "true")]
    for stack, low in ((0, 0), (1, 16)):
        clock = properties[f"USER_CLK_SEL_LIST{stack}"].removeprefix("AXI_").removesuffix("_ACLK")
        assert clock in used, f"the switch of stack {stack} runs on the clock of a port that is off"
        assert low <= int(clock) < low + 16
    inputs = [f"AXI_{port}_{name}" for port in used for name in ("ACLK", "ARESET_N")]
    for stack in "01":
        inputs += [f"HBM_REF_CLK_{stack}", f"APB_{stack}_PCLK", f"APB_{stack}_PRESET_N"]
    return Ip(
        inputs=tuple(inputs),
        outputs=tuple(name for s in "01" for name in (f"apb_complete_{s}", f"DRAM_{s}_STAT_CATTRIP")),
        interfaces={f"SAXI_{port}": Interface(is_master=False, clocks=(f"AXI_{port}_ACLK",)) for port in used},
        segments={f"SAXI_{port}": tuple(f"SAXI_{port}/HBM_MEM{c:02d}" for c in range(32)) for port in used},
    )


def xdma(properties: Properties) -> Ip:
    """PG195, with DMA to memory-mapped AXI."""
    interfaces = {
        "pcie_mgt": Interface(is_master=True, kind="pcie"),
        "M_AXI": Interface(is_master=True, clocks=("axi_aclk",)),
    }
    if _is_on(properties, "axilite_master_en"):
        interfaces["M_AXI_LITE"] = Interface(is_master=True, clocks=("axi_aclk",))
    return Ip(
        inputs=("sys_clk", "sys_clk_gt", "sys_rst_n", "usr_irq_req"),
        outputs=("axi_aclk", "axi_aresetn", "usr_irq_ack", "user_lnk_up"),
        interfaces=interfaces, spaces=tuple(name for name in interfaces if name != "pcie_mgt"),
    )  # fmt: skip


def util_ds_buf(properties: Properties) -> Ip:
    """Buffer of the PCIe reference clock."""
    assert properties["C_BUF_TYPE"] == "IBUFDSGTE"
    return Ip(
        outputs=("IBUF_OUT", "IBUF_DS_ODIV2"),
        interfaces={"CLK_IN_D": Interface(is_master=False, kind="diff_clock")},
    )


def util_vector_logic(properties: Properties) -> Ip:
    """One gate of two inputs."""
    assert properties["C_OPERATION"] in ("and", "or")
    return Ip(inputs=("Op1", "Op2"), outputs=("Res",))


def xpm_cdc_gen(properties: Properties) -> Ip:
    """UG974, a synchronizer of one bit."""
    assert properties["CDC_TYPE"] == "xpm_cdc_single"
    return Ip(inputs=("src_clk", "src_in", "dest_clk"), outputs=("dest_out",))


CATALOG: Mapping[str, tuple[Callable[[Properties], Ip], frozenset[str]]] = {
    f"xilinx.com:ip:{name}": (ip, frozenset(properties.split()))
    for name, ip, properties in (
        ("smartconnect", smartconnect, "NUM_SI NUM_MI NUM_CLKS"),
        ("proc_sys_reset", proc_sys_reset, "C_AUX_RESET_HIGH C_EXT_RESET_HIGH"),
        (
            "zynq_ultra_ps_e", processing_system,
            "PSU__FPGA_PL0_ENABLE PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ PSU__USE__IRQ0 PSU__MAXIGP0__DATA_WIDTH "
            + " ".join(f"PSU__USE__M_AXI_GP{port}" for port in range(3))
            + "".join(f" PSU__USE__S_AXI_GP{port} PSU__SAXIGP{port}__DATA_WIDTH" for port in range(2, 6)),
        ),
        (
            "clk_wiz", clk_wiz,
            "CLK_IN1_BOARD_INTERFACE PRIM_SOURCE USE_BOARD_FLOW USE_RESET USE_LOCKED CLKOUT1_REQUESTED_OUT_FREQ "
            "CLKOUT2_USED CLKOUT2_REQUESTED_OUT_FREQ",
        ),
        (
            "hbm", hbm,
            "USER_HBM_DENSITY USER_HBM_STACK USER_APB_EN USER_AXI_CLK_FREQ USER_AXI_CLK1_FREQ USER_CLK_SEL_LIST0 "
            "USER_CLK_SEL_LIST1" + "".join(f" USER_SAXI_{port:02d}" for port in range(32)),
        ),
        (
            "xdma", xdma,
            "PCIE_BOARD_INTERFACE SYS_RST_N_BOARD_INTERFACE mode_selection en_gt_selection select_quad "
            "pl_link_cap_max_link_width "
            "pl_link_cap_max_link_speed axi_data_width axisten_freq axilite_master_en axilite_master_size "
            "axilite_master_scale xdma_num_usr_irq",
        ),
        ("util_ds_buf", util_ds_buf, "C_BUF_TYPE DIFF_CLK_IN_BOARD_INTERFACE USE_BOARD_FLOW"),
        ("util_vector_logic", util_vector_logic, "C_OPERATION C_SIZE"),
        ("xpm_cdc_gen", xpm_cdc_gen, "CDC_TYPE"),
    )
}  # fmt: skip
"""IP by vendor, library and name: what it has, and the properties it knows."""
