# Block design of @TOP@ on @DEVICE@ (UG994): the host starts the core and reads and writes memory through PCIe (XDMA,
# PG195); the core's masters reach the HBM (PG276) through an AXI port each, spread over its switches.
# All 8 GiB lie at address 0 for host and core alike: 256 MiB of every pseudo-channel after those of the one before.

@CONNECT@
# Nothing to connect: the card is one board.
proc gossamer::connect_board {} {
}

proc gossamer::create_block_design {} {
    create_bd_design block_design
    create_ports
    create_clocks
    create_memory
    create_host
    cell core gossamer:accelerators:@TOP@
    wire clocks/clk_out1 core/clk
    wire core_reset/peripheral_reset core/rst

    cell control xilinx.com:ip:smartconnect {NUM_SI 1 NUM_MI 1 NUM_CLKS 2}
    wire pcie/axi_aclk control/aclk
    wire clocks/clk_out1 control/aclk1
    wire pcie/axi_aresetn control/aresetn
    bus pcie/M_AXI_LITE control/S00_AXI
    bus control/M00_AXI core/@CONTROL@
    assign_bd_address -offset 0x0 -target_address_space [get_bd_addr_spaces pcie/M_AXI_LITE] \
        [get_bd_addr_segs core/@CONTROL@/*]

    # The interrupt stays high until the host clears it; it crosses to the clock of PCIe (UG974, xpm_cdc_single).
    cell interrupt_crossing xilinx.com:ip:xpm_cdc_gen {CDC_TYPE xpm_cdc_single}
    wire clocks/clk_out1 interrupt_crossing/src_clk
    wire pcie/axi_aclk interrupt_crossing/dest_clk
    wire core/@INTERRUPT@ interrupt_crossing/src_in
    wire interrupt_crossing/dest_out pcie/usr_irq_req

    foreach {port masters} {
@MEMORY_PORTS@
    } {
        connect_memory $port $masters
    }
    regenerate_bd_layout
    validate_bd_design
    check_clock
    save_bd_design
}

# Names of the ports, and of the interfaces below, are those of the board files: they bring the pins.
proc gossamer::create_ports {} {
    create_bd_intf_port -mode Slave -vlnv xilinx.com:interface:diff_clock_rtl:1.0 sysclk0
    create_bd_intf_port -mode Slave -vlnv xilinx.com:interface:diff_clock_rtl:1.0 pcie_refclk
    foreach port {sysclk0 pcie_refclk} {
        set_property CONFIG.FREQ_HZ 100000000 [get_bd_intf_ports $port]
    }
    create_bd_intf_port -mode Master -vlnv xilinx.com:interface:pcie_7x_mgt_rtl:1.0 pci_express_x16
    create_bd_port -dir I -type rst pcie_perstn
    set_property CONFIG.POLARITY ACTIVE_LOW [get_bd_ports pcie_perstn]
    create_bd_port -dir O hbm_cattrip
}

# clk_out1 is the core's clock, clk_out2 the reference of the HBM and its APB clock (PG065, PG164).
proc gossamer::create_clocks {} {
    cell clocks xilinx.com:ip:clk_wiz {
        CLK_IN1_BOARD_INTERFACE sysclk0
        PRIM_SOURCE Differential_clock_capable_pin
        USE_BOARD_FLOW true
        USE_RESET false
        USE_LOCKED true
        CLKOUT1_REQUESTED_OUT_FREQ @CLOCK_MHZ@
        CLKOUT2_USED true
        CLKOUT2_REQUESTED_OUT_FREQ 100
    }
    connect_bd_intf_net [get_bd_intf_ports sysclk0] [get_bd_intf_pins clocks/CLK_IN1_D]
    # Low until both stacks of the HBM are initialized, the auxiliary reset holds the core.
    cell core_reset xilinx.com:ip:proc_sys_reset {C_AUX_RESET_HIGH 0}
    cell memory_reset xilinx.com:ip:proc_sys_reset
    cell apb_reset xilinx.com:ip:proc_sys_reset
    wire clocks/clk_out1 core_reset/slowest_sync_clk memory_reset/slowest_sync_clk
    wire clocks/clk_out2 apb_reset/slowest_sync_clk
    wire clocks/locked core_reset/dcm_locked memory_reset/dcm_locked apb_reset/dcm_locked
    foreach reset {memory_reset apb_reset} {
        connect_bd_net [get_bd_ports pcie_perstn] [get_bd_pins $reset/ext_reset_in]
    }
}

# Both stacks, with the AXI ports that are used (PG276).
proc gossamer::create_memory {} {
    cell hbm xilinx.com:ip:hbm {
        USER_HBM_DENSITY 8GB
        USER_HBM_STACK 2
        USER_APB_EN false
        USER_AXI_CLK_FREQ @HBM_AXI_MHZ@
        USER_AXI_CLK1_FREQ @HBM_AXI_MHZ@
        USER_CLK_SEL_LIST0 AXI_00_ACLK
        USER_CLK_SEL_LIST1 AXI_31_ACLK
@PORT_PROPERTIES@
    }
    cell hbm_ready xilinx.com:ip:util_vector_logic {C_OPERATION and C_SIZE 1}
    cell hbm_hot xilinx.com:ip:util_vector_logic {C_OPERATION or C_SIZE 1}
    foreach {stack operand} {0 Op1 1 Op2} {
        wire clocks/clk_out2 hbm/HBM_REF_CLK_$stack hbm/APB_${stack}_PCLK
        wire apb_reset/peripheral_aresetn hbm/APB_${stack}_PRESET_N
        wire hbm/apb_complete_$stack hbm_ready/$operand
        wire hbm/DRAM_${stack}_STAT_CATTRIP hbm_hot/$operand
    }
    wire hbm_ready/Res core_reset/aux_reset_in
    connect_bd_net [get_bd_pins hbm_hot/Res] [get_bd_ports hbm_cattrip]
}

# PCIe gen 3 x16 (PG195), as the board files preset it: DMA between host and HBM, AXI4-Lite for the core's registers, one interrupt.
proc gossamer::create_host {} {
    cell pcie_clock xilinx.com:ip:util_ds_buf {
        C_BUF_TYPE IBUFDSGTE
        DIFF_CLK_IN_BOARD_INTERFACE pcie_refclk
        USE_BOARD_FLOW true
    }
    cell pcie xilinx.com:ip:xdma {
        PCIE_BOARD_INTERFACE pci_express_x16
        SYS_RST_N_BOARD_INTERFACE pcie_perstn
        mode_selection Advanced
        en_gt_selection true
        select_quad GTY_Quad_227
        pl_link_cap_max_link_width X16
        pl_link_cap_max_link_speed 8.0_GT/s
        axi_data_width 512_bit
        axisten_freq 250
        axilite_master_en true
        axilite_master_size 1
        axilite_master_scale Megabytes
        xdma_num_usr_irq 1
    }
    connect_bd_intf_net [get_bd_intf_ports pcie_refclk] [get_bd_intf_pins pcie_clock/CLK_IN_D]
    connect_bd_intf_net [get_bd_intf_pins pcie/pcie_mgt] [get_bd_intf_ports pci_express_x16]
    connect_bd_net [get_bd_ports pcie_perstn] [get_bd_pins pcie/sys_rst_n]
    wire pcie_clock/IBUF_DS_ODIV2 pcie/sys_clk
    wire pcie_clock/IBUF_OUT pcie/sys_clk_gt
    wire pcie/axi_aresetn core_reset/ext_reset_in
}

# Connect masters with one AXI port of the HBM: SmartConnect makes AXI3 of AXI4, bursts of 16 beats (PG247, PG276).
proc gossamer::connect_memory {port masters} {
    set host [expr {"pcie/M_AXI" in $masters}]
    cell memory$port xilinx.com:ip:smartconnect [list NUM_SI [llength $masters] NUM_MI 1 NUM_CLKS [expr {1 + $host}]]
    wire clocks/clk_out1 memory$port/aclk hbm/AXI_${port}_ACLK
    wire memory_reset/peripheral_aresetn memory$port/aresetn hbm/AXI_${port}_ARESET_N
    if {$host} {
        wire pcie/axi_aclk memory$port/aclk1
    }
    bus memory$port/M00_AXI hbm/SAXI_$port
    set index 0
    foreach master $masters {
        bus $master memory$port/[format S%02d_AXI $index]
        incr index
        for {set channel 0} {$channel < 32} {incr channel} {
            assign_bd_address -offset [format 0x%X [expr {$channel << 28}]] -range 256M \
                -target_address_space [get_bd_addr_spaces $master] \
                [get_bd_addr_segs hbm/SAXI_$port/[format HBM_MEM%02d $channel]]
        }
    }
}

# Copy the bitstream to the folder of the build.
proc gossamer::deliver {} {
    variable top
    variable build
    set run [get_runs impl_1]
    file copy -force [file join [get_property DIRECTORY $run] block_design_wrapper.bit] [file join $build $top.bit]
    puts "bitstream: [file join $build $top.bit]"
}
