"""Start the command line, as `gossamer` or `python -m gossamer`; an interrupt while it loads is one message too."""

import sys


def run() -> None:
    """Import the command line and run it."""
    try:
        from gossamer.cli import main

        main()
    except KeyboardInterrupt:
        sys.stderr.write("gossamer: interrupted; nothing was left half-written\n")
        sys.exit(2)


if __name__ == "__main__":
    run()
