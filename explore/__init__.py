"""Explore design spaces: sweep files, strategies, result store, Pareto fronts, workers."""

if __name__ == "explore":
    raise ImportError("import gossamer.explore, not explore: the rooms are sub-packages of gossamer")
