"""Run the command line with `python -m gossamer`."""

from gossamer.cli import main

main()
