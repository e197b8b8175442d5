"""Generate everything that is delivered for a config: Verilog, scripts for other tools, and a README."""

import re
from dataclasses import dataclass

from amaranth.lib import wiring

from gossamer.arch.spec import SparseAccelerator
from gossamer.arch.target import Target
from gossamer.rtl.copies import module_name
from gossamer.rtl.packaging.interfaces import axi_buses, top_ports
from gossamer.rtl.packaging.readme import readme
from gossamer.rtl.packaging.scripts import WAIVERS_FILE, file_list, fusesoc_core, vivado_script, waivers
from gossamer.rtl.packaging.vivado.handover import packaging_part, vivado_files
from gossamer.rtl.primitives import primitive_models
from gossamer.rtl.verilog import verilog_modules


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedCore:
    """Files by path, and what is in them.

    `files`: text by path relative to the folder; `modules`, `lines`: of the Verilog alone, without models.
    """

    top: str
    files: dict[str, str]
    modules: int
    lines: int


def generate_core(
    core: wiring.Component, spec: SparseAccelerator, target: Target, version: str, vivado: bool = False
) -> GeneratedCore:
    """Return the files of a core; equal specs, targets and versions give equal bytes. `vivado`: with its projects."""
    top = module_name(core)
    modules = verilog_modules(core)
    verilog = {f"verilog/{module.name}.v": module.text for module in modules}
    models = {f"simulation/{model.name}.v": model.text for model in primitive_models(modules)}
    paths, model_paths = tuple(verilog), tuple(models)
    ports = top_ports(core)
    buses = axi_buses(ports)
    array = spec.array
    # The name is free text, and the scripts quote it for YAML and Tcl.
    name = re.sub(r"[^A-Za-z0-9 ._-]", "_", spec.name)
    about = (
        f"Sparse accelerator {name}: {array.chains} chains of {array.chain_length} stages, {array.lanes} lanes, "
        f"N:M with M up to {array.group_size}"
    )
    files = {
        **verilog,
        **models,
        "filelist.f": file_list(paths),
        "simulation.f": file_list(model_paths),
        WAIVERS_FILE: waivers(),
        "gossamer_core.core": fusesoc_core(top, version, about, paths, model_paths),
        "package_ip.tcl": vivado_script(top, version, about, packaging_part(spec.device), paths, ports, buses),
        "README.md": readme(spec, target, top, version, paths, model_paths, ports, buses, vivado),
        **(vivado_files(top, spec, buses) if vivado else {}),
    }
    return GeneratedCore(
        top=top,
        files=files,
        modules=sum(len(re.findall(r"^module ", text, re.M)) for text in verilog.values()),
        lines=sum(text.count("\n") for text in verilog.values()),
    )
