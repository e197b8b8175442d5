"""Cut a handshake by two registers."""

from amaranth.hdl import Module, Mux, Signal, Value


def hand_over(m: Module, name: str, *, valid: Value, payload: Value, ready: Value) -> tuple[Signal, Signal, Signal]:
    """Add two registers for what is given; return whether there is room for another, and what the first one shows.

    What is given while there is room, in cycle t, is shown from t + 1 on until `ready`: one in a cycle. There is room
    if the second register is empty, so that nobody waits for the answer of who takes.
    """
    first, second = Signal(len(payload), name=name), Signal(len(payload), name=f"{name}_second")
    shown, waits = Signal(name=f"{name}_valid"), Signal(name=f"{name}_waits")
    room = Signal(name=f"{name}_room", init=1)  # as ~waits, which has many wires to drive
    with m.If(room):
        m.d.sync += second.eq(payload)
    with m.If(~shown | ready):
        m.d.sync += first.eq(Mux(waits, second, payload))
    enters = valid & room
    with m.If(enters ^ (shown & ready)):
        m.d.sync += [shown.eq(enters | waits), waits.eq(enters & shown), room.eq(~(enters & shown))]
    return room, shown, first
