"""Simulate: golden models, timing engine, memory model, energy, analytic model."""

if __name__ == "sim":
    raise ImportError("import gossamer.sim, not sim: the rooms are sub-packages of gossamer")
