"""Hold the shipped YAML: devices, accelerators, sweeps, published designs."""

if __name__ == "configs":
    raise ImportError("import gossamer.configs, not configs: the rooms are sub-packages of gossamer")
