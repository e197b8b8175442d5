"""The hand-over to Vivado: project scripts, constraints and block designs, from the Tcl templates beside this file."""
