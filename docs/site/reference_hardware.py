"""Write the references of instructions and registers from the tables that the hardware itself comes from."""

from gossamer.rtl.packaging import readme


def pages() -> dict[str, str]:
    """Return both pages by their names."""
    instructions = (
        "# Instruction set\n\nWhat a Program is made of: golden executor, simulator and hardware run the same words. "
        "The README of every generated core has this page too.\n\n## Encoding\n\n" + readme.instructions()
    )
    registers = (
        "# Registers and starting a run\n\nHow software reaches a core, through AXI4-Lite; the README of every "
        f"generated core has this page too, with its ports.\n\n## Start a run\n\n"
        f"{readme.start(False)}\n## Registers\n\n"
        f"{readme.registers(False)}\n## Error causes\n\n{readme.error_causes()}\n"
        f"## Program file and memory map\n\n{readme.program_file()}"
    )
    return {"instructions.md": instructions, "registers.md": registers}
