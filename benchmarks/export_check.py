"""Give the exported configs to the tools they are for, and print what these understood.

    python benchmarks/export_check.py --zigzag-python zigzag-venv/bin/python --timeloop-python timeloop-venv/bin/python

zigzag-dse is installed as `zigzag_comparison.py` says. For Timeloop its front end, timeloopfe 0.4 with accelergy 0.4
(https://github.com/Accelergy-Project), must be importable: it checks every node and attribute; the model itself is C++
and is not run.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from gossamer.arch.config import config_names, load_config
from gossamer.arch.spec import SparseAccelerator
from gossamer.exports.config_text import config_text

ZIGZAG = """
import sys
from zigzag.parser.accelerator_factory import AcceleratorFactory
from zigzag.parser.accelerator_validator import AcceleratorValidator
from zigzag.utils import open_yaml
checked = AcceleratorValidator(open_yaml(sys.argv[1]))
assert checked.validate(), "refused"
core = AcceleratorFactory(checked.normalized_data).create()
array = core.operational_array
print(array.total_unit_count, "units,", len(core.memory_hierarchy.nodes), "memories")
"""
PROBLEM = """
problem:
  version: 0.4
  instance: {C: 64, M: 64, R: 3, S: 3, N: 1, P: 56, Q: 56}
  shape:
    name: conv
    dimensions: [C, M, R, S, N, P, Q]
    data_spaces:
    - {name: Weights, projection: [[[C]], [[M]], [[R]], [[S]]]}
    - {name: Inputs, projection: [[[N]], [[C]], [[R], [P]], [[S], [Q]]]}
    - {name: Outputs, projection: [[[N]], [[M]], [[Q]], [[P]]], read_write: true}
"""
"""A layer, without which Timeloop's front end reads no architecture."""

TIMELOOP = """
import sys
import timeloopfe.v4 as timeloop
nodes = timeloop.Specification.from_yaml_files(sys.argv[1]).architecture.nodes
units = 1
for node in nodes:
    units *= node.spatial.get_fanout()
print(units, "units,", sum(type(node).__name__ == "Storage" for node in nodes), "memories")
"""


def main() -> None:
    """Print a line for each config and tool; exit 1 if a tool refuses one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zigzag-python", help="the python of zigzag-dse's environment")
    parser.add_argument("--timeloop-python", help="a python that imports timeloopfe")
    options = parser.parse_args()
    refused = 0
    for name in config_names():
        spec = load_config(name)
        if not isinstance(spec, SparseAccelerator) or spec.cores > 1:
            continue
        for kind, python, code in (
            ("zigzag", options.zigzag_python, ZIGZAG), ("timeloop", options.timeloop_python, TIMELOOP),
        ):  # fmt: skip
            if python is None:
                continue
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "config.yaml"
                path.write_text(config_text(name, kind) + PROBLEM * (kind == "timeloop"))
                process = subprocess.run([python, "-c", code, path], capture_output=True, text=True, check=False)
            refused += process.returncode != 0
            said = process.stdout if process.returncode == 0 else process.stderr
            print(f"{name:<16}{kind:<10}{said.strip().splitlines()[-1]}", flush=True)
    sys.exit(refused > 0)


if __name__ == "__main__":
    main()
