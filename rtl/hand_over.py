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
        m.d.sync += [first.eq(Mux(waits, second, payload)), shown.eq(waits | valid), waits.eq(0), room.eq(1)]
    with m.Elif(valid & room):
        m.d.sync += [waits.eq(1), room.eq(0)]
    return room, shown, first
