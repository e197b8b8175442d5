"""Write the README that goes with generated Verilog, from the tables that the hardware itself comes from."""

from collections.abc import Iterable, Sequence

from gossamer.arch import isa
from gossamer.arch.config import fingerprint
from gossamer.arch.isa import FIELDS, INSTRUCTION_BYTES, ISA_VERSION, PROGRAM_MAGIC, VECTOR_OPCODES, Field, Opcode
from gossamer.arch.registers import CORE_ID, REGISTERS, STREAM_REGISTER, Access, ErrorCause
from gossamer.arch.resources import BAND, RESOURCE_NAMES, TIER, estimate_resources
from gossamer.arch.spec import SparseAccelerator
from gossamer.arch.target import Target
from gossamer.rtl.copies import CLOCK, RESET
from gossamer.rtl.packaging.interfaces import Bus, Port
from gossamer.rtl.packaging.vivado.handover import vivado_guide

_CAUSES = {
    ErrorCause.NONE: "no error",
    ErrorCause.FINGERPRINT: "the program was compiled for another config",
    ErrorCause.OPCODE: "an instruction has an unknown opcode",
    ErrorCause.RESERVED_BITS: "unused bits of an instruction are not zero",
    ErrorCause.FIELD: "a field of an instruction has a value that cannot be executed",
    ErrorCause.READ_RESPONSE: "the memory answered a read with an error",
    ErrorCause.WRITE_RESPONSE: "the memory answered a write with an error",
    ErrorCause.ACCUMULATOR_CONFLICT: "REQUANTIZE read the half of the accumulator that COMPUTE was adding in",
    ErrorCause.NO_END: "the instruction stream ended without END",
    ErrorCause.TOKEN_OVERFLOW: "a semaphore held as many tokens as it can when another was given",
}
"""Meaning of every cause; docstrings of enumeration members do not exist at run time."""

_START = """1. Load the Program file: bytes 0 to 63 are its header, then comes the memory image (below). Write the image
   to memory at an address that is a multiple of 64, and the inputs to where the tail of the file says.
2. Check that ID reads 0x{core_id:08x} and that ISA_VERSION is the header's version.
3. Write the address to PROGRAM_LOW and PROGRAM_HIGH, the number of instructions, END included, to PROGRAM_COUNT, and
   bytes 8 to 15 of the file, little-endian, to PROGRAM_CONFIG_LOW and PROGRAM_CONFIG_HIGH.
4. Write 1 to INTERRUPT_ENABLE if you wait for the interrupt, then 1 to CONTROL.
5. Wait for the interrupt, or until bit 0 of STATUS is 0. Bit 1: done, the outputs are in memory. Bit 2: error, see
   ERROR_CAUSE. Write 1 to INTERRUPT_CLEAR. Every start resets what the run before left.

The counters are exact when bit 0 of STATUS is 0. Those of each engine sum to CYCLES, modulo 2**32.
"""

_START_CORES = (
    _START.replace(
        "the number of instructions, END included, to PROGRAM_COUNT, and\n   bytes 8 to 15",
        "to PROGRAM_STREAM and PROGRAM_COUNT where the\n   core's segment of stage 0 begins (64 times its `first`) and "
        "its `count` (`streams` in the tail), and bytes 8 to 15",
    )
    + """
All of this for every core, through its own AXI4-Lite slave; PROGRAM_STREAM cannot be read. Cycle 0 is the same in all
cores, once the last one is started. The interrupt is raised when every core is done and has it enabled, or one that has
it enabled has failed; the others then wait at their next BARRIER: reset all of them. CYCLES of a core counts what it
waits at BARRIERs, as idle cycles of its engines; ERROR_INSTRUCTION counts from its latest BARRIER.
"""
)

_HEADER_ROWS = (
    ("0", "4", f"magic `{PROGRAM_MAGIC.decode()}`"),
    ("4", "4", f"version of the instruction set, {ISA_VERSION}"),
    ("8", "32", "fingerprint of the config; the first 8 bytes go to PROGRAM_CONFIG_LOW and PROGRAM_CONFIG_HIGH"),
    ("40", "8", "bytes of the memory image"),
    ("48", "8", "bytes of the tail"),
    ("56", "8", "checksum"),
    ("64", "", "memory image: instructions at offset 0, constants behind them"),
    ("", "", "tail: JSON with the memory map and where inputs and outputs lie, offsets from the program's address"),
)


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def _ports(ports: Sequence[Port], buses: Sequence[Bus]) -> str:
    """Return the port table and one line per bus."""
    rows: list[tuple[object, ...]] = [(f"`{CLOCK}`", "input", 1), (f"`{RESET}`", "input", 1)]
    rows += [(f"`{port.name}`", "input" if port.is_input else "output", port.bits) for port in ports]
    text = (
        "All ports are synchronous to the rising edge of `clk`; `rst` is synchronous and active high. It reaches "
        "thousands of\nregisters: bring it over a global net.\n\n"
    )
    for bus in buses:
        kind = "AXI4-Lite" if bus.is_lite else "AXI4"
        role = "master: instructions, weights, activations" if bus.is_master else "slave: the registers below"
        text += f"- `{bus.name}`: {kind} {role}; {bus.bits('rdata')} data bits, {bus.bits('araddr')} address bits\n"
    return text + "\n" + _table(("port", "direction", "bits"), rows)


def registers(several: bool) -> str:
    """Return the register map; `several`: of a core among several."""
    shown = [*REGISTERS.values(), *([STREAM_REGISTER] if several else [])]
    access = {Access.READ: "read", Access.WRITE: "read, write"}
    rows = [
        (f"0x{register.address:03x}", register.name, access[register.access], register.meaning) for register in shown
    ]
    rules = (
        "32 bits each. Reading an address beyond the last register, or writing one that is read-only, is answered with "
        "SLVERR and changes nothing.\n\n"
    )
    return rules + _table(("address", "name", "access", "meaning"), rows)


def start(several: bool) -> str:
    """Return how software starts a run; `several`: of more than one core."""
    return (_START_CORES if several else _START).format(core_id=CORE_ID)


def error_causes() -> str:
    """Return the values of ERROR_CAUSE."""
    return _table(("cause", "name", "meaning"), [(cause.value, cause.name, _CAUSES[cause]) for cause in ErrorCause])


def program_file() -> str:
    """Return where what is in a Program file."""
    return _table(("offset", "bytes", "what"), _HEADER_ROWS)


def _fields(fields: Sequence[Field]) -> str:
    low, rows = 0, []
    for field in fields:
        rows.append((f"{low + field.bits - 1}:{low}", f"`{field.name}`", field.meaning))
        low += field.bits
    return _table(("bits", "field", "meaning"), rows)


def instructions() -> str:
    """Return encoding and meaning of every instruction."""
    vector = ", ".join(f"{op.value} {op.name}" for op in VECTOR_OPCODES)
    parts = [f"{INSTRUCTION_BYTES} bytes each, little-endian; bits above the last field are 0.\n"]
    for title, op in (
        (f"{Opcode.END.value} END", Opcode.END),
        (f"{Opcode.BARRIER.value} BARRIER (an unknown opcode to a single core)", Opcode.BARRIER),
        (f"{Opcode.LOAD.value} LOAD", Opcode.LOAD),
        (f"{Opcode.STORE.value} STORE", Opcode.STORE), (f"{Opcode.COMPUTE.value} COMPUTE", Opcode.COMPUTE),
        (f"VECTOR: {vector}", VECTOR_OPCODES[0]),
    ):  # fmt: skip
        parts += [f"### {title}\n", _fields(FIELDS[op])]
    parts += ["### What they do\n", "```text\n" + (isa.__doc__ or "").strip() + "\n```\n"]
    return "\n".join(parts)


def _resources(spec: SparseAccelerator) -> str:
    estimate = estimate_resources(spec)
    parts = {**estimate.components, "total": estimate.total}
    rows: list[tuple[object, ...]] = [
        (name, *(getattr(part, resource) for resource in RESOURCE_NAMES)) for name, part in parts.items()
    ]
    rows.append((spec.device.name, *(getattr(spec.device, resource) for resource in RESOURCE_NAMES)))
    return f"Tier: {TIER}, from formulas, not from synthesis; {BAND}.\n\n" + _table(("part", *RESOURCE_NAMES), rows)


_BUILT = {
    Target.GENERIC: "plain Verilog; synthesis chooses the multipliers",
    Target.XCUP: "cascades of DSP48E2 that take two lanes each",
    Target.VERSAL: "cascades of DSP58 that take up to three segments of a chain, or two lanes, each",
    Target.ECP5: "MULT18X18D with their registers, one per lane and stage",
}


def _models(target: Target, models: Sequence[str]) -> str:
    """Return what the array is built from and which files only simulation needs."""
    text = f"\nTarget `{target}`: the array is {_BUILT[target]}."
    if not models:
        return text + "\n"
    return text + (
        f" Synthesis knows these primitives. `simulation.f` names {len(models)} models of them for simulation and "
        "lint, to be read after `filelist.f`; they say which uses they cover, and stop at others.\n"
    )


def readme(
    spec: SparseAccelerator, target: Target, top: str, version: str, verilog: Sequence[str], models: Sequence[str],
    ports: Sequence[Port], buses: Sequence[Bus], vivado: bool,
) -> str:  # fmt: skip
    """Return the README of a generated core; `vivado`: there are projects for Vivado."""
    array = spec.array
    cores = "" if spec.cores == 1 else f"{spec.cores} cores of "
    sections = {
        "Files": (
            f"`filelist.f` names the {len(verilog)} Verilog files, `verilog/{top}.v` is the top; every file begins "
            "with what its module does. `gossamer_core.core` is for FuseSoC, `package_ip.tcl` for Vivado, "
            "`waivers.vlt` for `verilator --lint-only -Wall`. `config.resolved.yaml` makes the same hardware again.\n"
            + _models(target, models)
        ),
        **({"Vivado": vivado_guide(top, spec, buses)} if vivado else {}),
        "Start a run": start(spec.cores > 1),
        "Ports": _ports(ports, buses),
        "Registers": registers(spec.cores > 1),
        "Error causes": error_causes(),
        "Program file and memory map": program_file(),
        "Resources": _resources(spec),
        "Instructions": instructions(),
    }
    text = (
        f"# {top}: {spec.name}\n\n"
        f"Sparse neural-network accelerator generated by Gossamer {version}: {cores}{array.chains} chains of "
        f"{array.chain_length} stages, {array.lanes} lanes, N:M with M <= {array.group_size}.\n"
        f"Config fingerprint `{fingerprint(spec)}`: it runs Programs compiled for that config only.\n"
    )
    return text + "".join(f"\n## {title}\n\n{body}" for title, body in sections.items())
