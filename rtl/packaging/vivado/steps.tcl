# Steps of a build with Vivado, for build.tcl. A step that fails raises an error: `vivado -mode batch` then ends with
# status 1. Commands follow UG835 (Tcl commands), packaging UG1118, runs of the core alone UG905 (out of context).

namespace eval gossamer {
    variable top @TOP@
    variable part @PART@
    variable scripts [file dirname [file normalize [info script]]]
    variable core_folder [file dirname $scripts]
    # Everything is written here, nothing beside the scripts.
    variable build [file join [pwd] @TOP@_vivado]
    variable jobs 4
}

# Package the Verilog as IP, in the folder of the build.
proc gossamer::package_core {} {
    variable top
    variable core_folder
    variable build
    file mkdir $build
    cd $build
    file delete -force [file join $build ${top}_ip]
    source [file join $core_folder package_ip.tcl]
}

# Make a project of the core alone: no board, no I/O buffers (UG905). Models in simulation/ stay out of it.
proc gossamer::core_project {} {
    variable top
    variable part
    variable scripts
    variable core_folder
    variable build
    file mkdir $build
    create_project -force ${top}_out_of_context [file join $build out_of_context] -part $part
    set list [open [file join $core_folder filelist.f]]
    set sources {}
    foreach path [split [string trim [read $list]] \n] {
        lappend sources [file join $core_folder $path]
    }
    close $list
    add_files -norecurse $sources
    set_property top $top [current_fileset]
    update_compile_order -fileset sources_1
    add_files -fileset constrs_1 -norecurse [file join $scripts out_of_context.xdc]
    set_property -name {STEPS.SYNTH_DESIGN.ARGS.MORE OPTIONS} -value {-mode out_of_context} -objects [get_runs synth_1]
}

# Launch a run, wait for its end and stop if it has failed.
proc gossamer::run {name args} {
    variable jobs
    launch_runs $name -jobs $jobs {*}$args
    wait_on_run $name
    set run [get_runs $name]
    if {[get_property PROGRESS $run] ne "100%"} {
        error "$name: [get_property STATUS $run]; see runme.log in [get_property DIRECTORY $run]"
    }
}

# Write what a finished run takes and how fast it is.
proc gossamer::report {name} {
    variable build
    set reports [file join $build reports]
    file mkdir $reports
    open_run $name
    report_utilization -hierarchical -file [file join $reports ${name}_utilization.txt]
    report_timing_summary -max_paths 10 -file [file join $reports ${name}_timing.txt]
    close_design
    puts "reports of $name: $reports"
}

# Stop if the routed design misses its clock; the reports are written by then.
proc gossamer::check_timing {} {
    set run [get_runs impl_1]
    foreach {statistic kind} {STATS.WNS setup STATS.WHS hold} {
        set slack_ns [get_property $statistic $run]
        if {$slack_ns < 0} {
            error "timing is not met: worst $kind slack is $slack_ns ns, see reports/impl_1_timing.txt"
        }
    }
}
