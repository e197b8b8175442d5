# Make a cell of the newest version of an IP, with properties without their `CONFIG.`.
proc gossamer::cell {name ip {properties {}}} {
    create_bd_cell -type ip -vlnv $ip $name
    foreach {property value} $properties {
        lappend settings CONFIG.$property $value
    }
    if {[llength $properties]} {
        set_property -dict $settings [get_bd_cells $name]
    }
}

# Connect one output pin with input pins.
proc gossamer::wire {source args} {
    foreach pin $args {
        connect_bd_net [get_bd_pins $source] [get_bd_pins $pin]
    }
}

# Connect a master's interface with a slave's.
proc gossamer::bus {master slave} {
    connect_bd_intf_net [get_bd_intf_pins $master] [get_bd_intf_pins $slave]
}
