# Block design of @TOP@ on @DEVICE@ (UG994): the processing system starts the core through M_AXI_HPM0_FPD; the
# core's masters reach its DDR memory through S_AXI_HP ports, which are not coherent with the processors' caches (UG1085).
# Names of the processing system's properties: PG201. M_AXI_GP0 is HPM0_FPD; S_AXI_GP2 to GP5 are HP0 to HP3.

@CONNECT@
# Connect the module with its carrier card, whose presets the processing system then takes.
proc gossamer::connect_board {} {
    set carrier {@CARRIER@}
    if {[catch {set_property board_connections $carrier [current_project]} problem]} {
        puts "WARNING: presets of the carrier card are not applied: $problem"
    }
}

proc gossamer::create_block_design {} {
    create_bd_design block_design
    cell ps xilinx.com:ip:zynq_ultra_ps_e
    apply_bd_automation -rule xilinx.com:bd_rule:zynq_ultra_ps_e -config {apply_board_preset 1} [get_bd_cells ps]
    set_property -dict {
        CONFIG.PSU__FPGA_PL0_ENABLE 1
        CONFIG.PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ @CLOCK_MHZ@
        CONFIG.PSU__USE__IRQ0 1
        CONFIG.PSU__USE__M_AXI_GP0 1
        CONFIG.PSU__USE__M_AXI_GP1 0
        CONFIG.PSU__USE__M_AXI_GP2 0
        CONFIG.PSU__MAXIGP0__DATA_WIDTH 32
@PORT_PROPERTIES@
    } [get_bd_cells ps]
    cell core gossamer:accelerators:@TOP@
    cell reset xilinx.com:ip:proc_sys_reset
    wire ps/pl_clk0 core/clk reset/slowest_sync_clk ps/maxihpm0_fpd_aclk
    wire ps/pl_resetn0 reset/ext_reset_in
    wire reset/peripheral_reset core/rst
    wire core/@INTERRUPT@ ps/pl_ps_irq0

    cell control xilinx.com:ip:smartconnect {NUM_SI 1 NUM_MI 1}
    wire ps/pl_clk0 control/aclk
    wire reset/interconnect_aresetn control/aresetn
    bus ps/M_AXI_HPM0_FPD control/S00_AXI
    bus control/M00_AXI core/@CONTROL@
    assign_bd_address -offset 0xA0000000 -target_address_space [get_bd_addr_spaces ps/Data] \
        [get_bd_addr_segs core/@CONTROL@/*]

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

# Connect masters of the core with one S_AXI_HP port, and map the DDR memory behind it and nothing else.
proc gossamer::connect_memory {port masters} {
    cell memory$port xilinx.com:ip:smartconnect [list NUM_SI [llength $masters] NUM_MI 1]
    wire ps/pl_clk0 memory$port/aclk ps/saxihp${port}_fpd_aclk
    wire reset/interconnect_aresetn memory$port/aresetn
    bus memory$port/M00_AXI ps/S_AXI_HP${port}_FPD
    set index 0
    foreach master $masters {
        bus core/$master memory$port/[format S%02d_AXI $index]
        incr index
        set space [get_bd_addr_spaces core/$master]
        foreach segment [get_bd_addr_segs ps/SAXIGP[expr {$port + 2}]/*] {
            if {[string match *_DDR_* $segment]} {
                assign_bd_address -target_address_space $space $segment
            } else {
                exclude_bd_addr_seg -target_address_space $space $segment
            }
        }
    }
}

# Write bitstream and hardware platform to the folder of the build.
proc gossamer::deliver {} {
    variable top
    variable build
    set run [get_runs impl_1]
    file copy -force [file join [get_property DIRECTORY $run] block_design_wrapper.bit] [file join $build $top.bit]
    write_hw_platform -fixed -include_bit -force -file [file join $build $top.xsa]
    puts "bitstream and hardware platform: [file join $build $top.bit] [file join $build $top.xsa]"
}
