"""Draw the pictures of the first page from run folders of `simulate`, on light and on dark ground.

    python docs/site/pictures.py dense sparse -o docs/pictures

They are the waterfall of `gossamer report dense sparse --plots DIR`, without background.
"""

import argparse
from pathlib import Path
from typing import Any

import vl_convert

import gossamer

PICTURES = {"light": False, "dark": True}


def drawn(chart: dict[str, Any], dark: bool) -> str:
    """Return a chart as SVG without background, in the colours for light or dark ground."""
    parameters = [each | {"value": dark} if each["name"] == "dark" else each for each in chart["params"]]
    svg: str = vl_convert.vegalite_to_svg(
        {**chart, "params": parameters, "config": {**chart["config"], "background": None}}
    )
    return svg


def main() -> None:
    """Draw and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="run folders")
    parser.add_argument("-o", dest="folder", type=Path, required=True, help="folder to write to")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    chart = gossamer.charts(*options.runs)["waterfall"].to_dict(validate=False)
    for name, dark in PICTURES.items():
        (options.folder / f"resnet50-{name}.svg").write_text(drawn(chart, dark) + "\n")


if __name__ == "__main__":
    main()
