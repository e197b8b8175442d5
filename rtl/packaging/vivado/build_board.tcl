# Build @TOP@ for @DEVICE@ (@PART@) at @CLOCK_MHZ@ MHz, from Verilog to bitstream:
#   vivado -mode batch -source path/to/vivado/build.tcl
# -tclargs STEP [JOBS] does less: package (as IP), core (synthesize the core alone, out of context), project (with the
# block design, to look at), synth, impl; default all.
# Written for Vivado @VIVADO@, not run with it.

source [file join [file dirname [file normalize [info script]]] steps.tcl]
source [file join $gossamer::scripts block_design.tcl]

# Make the project of the board, with the packaged core in a block design.
proc gossamer::board_project {} {
    variable top
    variable part
    variable scripts
    variable build
    set board [get_board_parts -quiet -latest_file_version {@BOARD@:*}]
    if {$board eq ""} {
        error "Vivado has no board files of @BOARD@; install them (Tools > Vivado Store > Boards) and start again"
    }
    create_project -force $top [file join $build project] -part $part
    set_property board_part $board [current_project]
    connect_board
    set_property ip_repo_paths [file join $build ${top}_ip] [current_project]
    update_ip_catalog
    create_block_design
    set design [get_files block_design.bd]
    generate_target all $design
    add_files -norecurse [make_wrapper -files $design -top]
    set_property top block_design_wrapper [current_fileset]
    update_compile_order -fileset sources_1
    add_files -fileset constrs_1 -norecurse [file join $scripts constraints.xdc]
}

# Stop if the clock that reaches the core is not the one of the config, to 1 %.
proc gossamer::check_clock {} {
    set hz [get_property CONFIG.FREQ_HZ [get_bd_pins core/clk]]
    if {abs($hz / (@CLOCK_MHZ@ * 1e6) - 1) > 0.01} {
        error "the core's clock is $hz Hz; the config says @CLOCK_MHZ@ MHz"
    }
}

proc gossamer::main {arguments} {
    variable jobs
    lassign $arguments step number
    if {$step eq ""} {set step all}
    if {$number ne ""} {set jobs $number}
    if {$step ni {package core project synth impl all}} {
        error "STEP must be one of package, core, project, synth, impl, all; not $step"
    }
    if {$step eq "core"} {
        core_project
        run synth_1
        report synth_1
        return
    }
    package_core
    if {$step eq "package"} {return}
    board_project
    if {$step eq "project"} {return}
    run synth_1
    report synth_1
    if {$step eq "synth"} {return}
    run impl_1
    report impl_1
    check_timing
    if {$step eq "impl"} {return}
    run impl_1 -to_step write_bitstream
    deliver
}

gossamer::main $argv
