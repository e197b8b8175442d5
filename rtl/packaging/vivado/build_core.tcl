# Synthesize and implement @TOP@ for @DEVICE@ (@PART@) out of context, at @CLOCK_MHZ@ MHz:
#   vivado -mode batch -source path/to/vivado/build.tcl
# There is no block design for this device: this shows area and timing of the core alone and makes no bitstream.
# -tclargs STEP [JOBS] stops earlier: package (as IP), synth, impl; default all, which is impl.
# Written for Vivado @VIVADO@, not run with it.

source [file join [file dirname [file normalize [info script]]] steps.tcl]

proc gossamer::main {arguments} {
    variable jobs
    lassign $arguments step number
    if {$step eq ""} {set step all}
    if {$number ne ""} {set jobs $number}
    if {$step ni {package synth impl all}} {
        error "STEP must be one of package, synth, impl, all; not $step"
    }
    package_core
    if {$step eq "package"} {return}
    core_project
    run synth_1
    report synth_1
    if {$step eq "synth"} {return}
    run impl_1
    report impl_1
    check_timing
}

gossamer::main $argv
