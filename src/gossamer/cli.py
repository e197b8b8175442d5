"""Parse the command line. Results go to stdout, progress and errors to stderr; heavy imports stay inside commands."""

import gc
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from gossamer import completion
from gossamer.arch.errors import ConfigError, GossamerError, ModelError

app = typer.Typer(
    name="gossamer",
    help="Co-design workbench for sparse neural-network accelerators on FPGAs.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

ModelArgument = Annotated[
    str,
    typer.Argument(
        help="ONNX file, shipped name, one-liner, SCALE-Sim .csv; for simulate also Program .gsm",
        autocompletion=completion.models,
    ),
]
ConfigOption = Annotated[
    str,
    typer.Option("--config", "-c", help="Shipped config name or YAML path", autocompletion=completion.configs),
]
SparsityOption = Annotated[
    str,
    typer.Option(
        "--sparsity", "-s", help="N:M such as 2:4, dense or keep",
        autocompletion=completion.words(*completion.SPARSITIES),
    ),
]  # fmt: skip
OverridesOption = Annotated[
    Path | None, typer.Option("--sparsity-file", help="YAML of per-layer patterns: layer name or glob -> N:M or dense")
]
ShapeOption = Annotated[list[str], typer.Option("--shape", help="Bind an input's shape: name=1x3x48x192")]
CalibrationOption = Annotated[
    Path | None, typer.Option("--calibration", help=".npz with one array per model input, batch first")
]
RangeOption = Annotated[
    str,
    typer.Option(
        "--range", help="Activation range: min-max, percentile or mse",
        autocompletion=completion.words(*completion.RANGES),
    ),
]  # fmt: skip
BatchOption = Annotated[int, typer.Option("--batch", "-b", min=1, max=4096, help="Inputs processed together")]
TargetOption = Annotated[
    str | None,
    typer.Option(
        "--target", help="Whose DSPs to build from: generic, xcup, versal, ecp5; default: the device's",
        autocompletion=completion.words(*completion.TARGETS),
    ),
]  # fmt: skip
ObjectiveOption = Annotated[
    str,
    typer.Option(
        "--objective", help="What mappings are chosen for: latency, energy, edp or bytes (off chip)",
        autocompletion=completion.words(*completion.OBJECTIVES),
    ),
]  # fmt: skip
ExplainOption = Annotated[
    str | None,
    typer.Option(
        "--explain", help="Explain one layer, by name or number, instead of the table: its mapping and limits"
    ),
]
SetOption = Annotated[list[str], typer.Option("--set", help="Override a config value: off_chip.channels=2")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else there")]

ONE_BLAS_THREAD = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Settings of the BLAS libraries numpy may have, read when it is imported. Calibration multiplies small matrices, for
which threads that wait for each other cost several times the work; and one thread gives the same bits everywhere."""


def parse_shapes(texts: list[str]) -> dict[str, tuple[int, ...]]:
    """Return input shapes from `name=1x3x48x192` texts. Raises ModelError for a malformed one."""
    shapes = {}
    for text in texts:
        name, separator, body = text.rpartition("=")
        parts = body.split("x")
        if not separator or not name or not all(part.isdigit() and int(part) > 0 for part in parts):
            raise ModelError(f"--shape {text}: expected NAME=D0xD1x..., all positive, for example x=1x3x48x192")
        shapes[name] = tuple(int(part) for part in parts)
    return shapes


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[str], None]]:
    """Yield a function that shows the stage now running on stderr: a bar with the time; nothing when not a terminal."""
    from rich.console import Console

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield lambda stage: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(20), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("starting", total=None)
        yield lambda stage: progress.update(task, description=stage)


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2, sort_keys=False, allow_nan=False) + "\n")


@app.command()
def simulate(
    model: ModelArgument,
    config: ConfigOption,
    sparsity: SparsityOption = "dense",
    sparsity_file: OverridesOption = None,
    shape: ShapeOption = [],  # noqa: B006 - typer copies it
    calibration: CalibrationOption = None,
    activation_range: RangeOption = "min-max",
    batch: BatchOption = 1,
    overrides: SetOption = [],  # noqa: B006 - typer copies it
    objective: ObjectiveOption = "latency",
    explain: ExplainOption = None,
    advice: Annotated[bool, typer.Option(help="Re-simulate single changes and rank those that would help")] = True,
    output: Annotated[Path | None, typer.Option("-o", help="Run folder; default runs/NNNN, none with --json")] = None,
    trace: Annotated[bool, typer.Option("--trace", help="Add trace.pftrace to the run folder, for Perfetto")] = False,
    as_json: JsonOption = False,
) -> None:
    """Simulate a model on a config: where does every cycle go?"""
    from gossamer.render import print_report
    from gossamer.request import SimulationRequest
    from gossamer.runs import save_run
    from gossamer.simulation import run_simulation

    request = SimulationRequest(
        model=model, config=config, sparsity=sparsity, sparsity_file=sparsity_file, shapes=parse_shapes(shape),
        calibration=calibration, activation_range=activation_range, batch=batch, overrides=tuple(overrides),
        objective=objective, explain=explain, advice=advice and explain is None, trace=trace,
    )  # fmt: skip
    if trace and as_json and output is None:
        raise GossamerError("--trace writes into the run folder, and with --json there is none: name one with -o")
    with _progress(as_json) as stage:
        run = run_simulation(request, stage)
        folder = save_run(run, output) if output is not None or not as_json else None
    if as_json:
        _print_json(run.report.as_json())
    else:
        print_report(run.report, folder)


@app.command()
def compile(
    model: ModelArgument,
    config: ConfigOption,
    output: Annotated[Path, typer.Option("-o", help="Program file to write, for example program.gsm")],
    sparsity: SparsityOption = "dense",
    sparsity_file: OverridesOption = None,
    shape: ShapeOption = [],  # noqa: B006 - typer copies it
    calibration: CalibrationOption = None,
    activation_range: RangeOption = "min-max",
    batch: BatchOption = 1,
    overrides: SetOption = [],  # noqa: B006 - typer copies it
    objective: ObjectiveOption = "latency",
    listing: Annotated[bool, typer.Option("--listing", help="Print the disassembly on stdout")] = False,
    as_json: JsonOption = False,
) -> None:
    """Compile a model into a Program file for a config."""
    from gossamer.dataflow.program_file import save_program
    from gossamer.request import SimulationRequest
    from gossamer.simulation import compile_request

    request = SimulationRequest(
        model=model, config=config, sparsity=sparsity, sparsity_file=sparsity_file, shapes=parse_shapes(shape),
        calibration=calibration, activation_range=activation_range, batch=batch, overrides=tuple(overrides),
        objective=objective, advice=False,
    )  # fmt: skip
    if listing and as_json:
        raise GossamerError("--listing prints text and --json one object: choose one of the two")
    with _progress(as_json) as stage:
        program = compile_request(request, stage).program
        save_program(program, output)
    if as_json:
        _print_json({
            "file": str(output), "config": program.config_name, "config_fingerprint": program.config_fingerprint,
            "layers": len(program.layers), "instructions": len(program.instructions),
            "constant_bytes": program.image.size, "memory_bytes": program.memory_bytes,
        })  # fmt: skip
    elif listing:
        from gossamer.dataflow.assembly import disassemble

        sys.stdout.write(disassemble(program))
    else:
        sys.stdout.write(
            f"{output}: {len(program.instructions)} instructions, {program.image.size} constant bytes, "
            f"{program.memory_bytes} bytes of memory, for {program.config_name}\n"
        )


@app.command()
def verify(
    config: ConfigOption,
    model: Annotated[
        str | None,
        typer.Argument(help="Model as for simulate, or Program .gsm; or --random", autocompletion=completion.models),
    ] = None,
    random: Annotated[int, typer.Option("--random", min=0, help="Verify this many random networks instead")] = 0,
    seed: Annotated[int, typer.Option("--seed", min=0, help="First seed of random networks, values and stalls")] = 1,
    images: Annotated[int, typer.Option("--images", min=1, help="Inputs of the model to run")] = 1,
    layers: Annotated[str | None, typer.Option("--layers", help="Only layers FIRST:LAST, or one by name")] = None,
    stalls: Annotated[
        str,
        typer.Option(
            "--stalls",
            help="none: the config's memory; random: with pauses",
            autocompletion=completion.words(*completion.STALLS),
        ),
    ] = "none",
    sparsity: SparsityOption = "dense",
    sparsity_file: OverridesOption = None,
    shape: ShapeOption = [],  # noqa: B006 - typer copies it
    calibration: CalibrationOption = None,
    overrides: SetOption = [],  # noqa: B006 - typer copies it
    target: TargetOption = None,
    waves: Annotated[Path | None, typer.Option("--waves", help="Folder for waveforms and bench files")] = None,
    trace: Annotated[
        Path | None, typer.Option("--trace", help="Folder for a Perfetto trace of each program: simulator and RTL")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run Programs on the generated RTL and compare with golden model and simulator."""
    from gossamer.request import SimulationRequest
    from gossamer.verify_command import VerifyRequest, print_verification, run_verification

    request = None
    if model is not None:
        request = SimulationRequest(
            model=model, config=config, sparsity=sparsity, sparsity_file=sparsity_file, shapes=parse_shapes(shape),
            calibration=calibration, overrides=tuple(overrides), advice=False,
        )  # fmt: skip
    with _progress(as_json) as stage:
        report = run_verification(
            VerifyRequest(
                model=request, config=config, overrides=tuple(overrides), random=random, seed=seed, images=images,
                layers=layers, stalls=stalls, waves=waves, trace=trace, target=target,
            ),
            stage,
        )  # fmt: skip
    if as_json:
        _print_json(report.as_json())
    else:
        print_verification(report)
    if not report.bit_exact:
        raise typer.Exit(1)


@app.command()
def generate(
    config: ConfigOption,
    output: Annotated[Path, typer.Option("-o", help="Folder to write; may hold an earlier generation")],
    target: TargetOption = None,
    vivado: Annotated[
        bool,
        typer.Option("--vivado", help="Add Vivado projects for the config's device; U280, KV260: with block design"),
    ] = False,
    overrides: SetOption = [],  # noqa: B006 - typer copies it
    as_json: JsonOption = False,
) -> None:
    """Generate the Verilog of a config, with AXI ports, scripts and documentation."""
    from gossamer.generation import generate as generate_folder

    with _progress(as_json) as stage:
        report = generate_folder(config, output, settings=tuple(overrides), target=target, vivado=vivado, stage=stage)
    if as_json:
        _print_json(report.as_json())
    else:
        sys.stdout.write(report.text())


@app.command()
def synth(
    config: ConfigOption,
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            "-t",
            help="xcup (UltraScale+) or ecp5; by default that of the device",
            autocompletion=completion.words(*completion.SYNTHESIS_TARGETS),
        ),
    ] = None,
    overrides: SetOption = [],  # noqa: B006 - typer copies it
    seeds: Annotated[int, typer.Option("--seeds", help="ecp5: placements whose median clock counts, at least 3")] = 3,
    speed: Annotated[int, typer.Option("--speed", help="ecp5: speed grade, 6, 7 or 8")] = 6,
    place: Annotated[bool, typer.Option(help="ecp5: place and route, for the clock")] = True,
    output: Annotated[Path | None, typer.Option("-o", help="Run folder; default runs/synth-CONFIG-TARGET")] = None,
    as_json: JsonOption = False,
) -> None:
    """Synthesize the Verilog of a config: what does it take, and how fast is it?"""
    from gossamer.synthesis import SynthesisRequest, run_synthesis
    from gossamer.synthesis_table import print_synthesis

    request = SynthesisRequest(
        config=config, target=target, settings=tuple(overrides), folder=output, seeds=seeds, speed_grade=speed,
        place=place,
    )  # fmt: skip
    with _progress(as_json) as stage:
        report = run_synthesis(request, stage)
    if as_json:
        _print_json(report.as_json())
    else:
        print_synthesis(report)


@app.command()
def sweep(
    sweep_file: Annotated[
        str,
        typer.Argument(metavar="SWEEP", help="Sweep file (YAML) or shipped name", autocompletion=completion.sweeps),
    ],
    output: Annotated[Path, typer.Option("-o", help="Result store to write or go on with, for example results.db")],
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a store that must exist")] = False,
    workers: Annotated[int, typer.Option("--workers", help="Processes of this machine to evaluate in")] = 1,
    cluster: Annotated[
        str | None, typer.Option("--cluster", metavar="ADDRESS", help="Evaluate on a dask.distributed cluster instead")
    ] = None,
    confirm_count: Annotated[
        int,
        typer.Option("--confirm", metavar="K", help="Simulate K points of the front and K others; small ones on RTL"),
    ] = 0,
    as_json: JsonOption = False,
) -> None:
    """Explore a design space: evaluate the points of a sweep file and find their Pareto front."""
    from gossamer.sweep_command import print_sweep, run_sweep_command

    if confirm_count < 0:
        raise GossamerError(f"--confirm must be a number of points, not {confirm_count}")
    report = run_sweep_command(sweep_file, output, resume=resume, workers=workers, cluster=cluster, quiet=as_json)
    confirmation = None
    if confirm_count and report.pareto:
        from gossamer.confirmation import confirm
        from gossamer.explore.sweep_file import load_sweep

        with _progress(as_json) as stage:
            confirmation = confirm(load_sweep(sweep_file), output, confirm_count, stage)
    if as_json:
        _print_json(report.as_json() | ({} if confirmation is None else {"confirmation": confirmation.as_json()}))
    else:
        print_sweep(report)
        if confirmation is not None:
            from gossamer.confirmation import confirmation_text

            sys.stdout.write(confirmation_text(confirmation))
    if not report.pareto or (confirmation is not None and not confirmation.holds):
        raise typer.Exit(1)


@app.command()
def export(
    store: Annotated[Path, typer.Argument(help="Result store of a sweep")],
    output: Annotated[Path, typer.Option("-o", help="File to write: .csv or .parquet")],
    as_json: JsonOption = False,
) -> None:
    """Export the points of a result store, with their axis values, as CSV or Parquet."""
    from gossamer.explore.export import export_points

    count = export_points(store, output)
    if as_json:
        _print_json({"file": str(output), "points": count})
    else:
        sys.stdout.write(f"{output}: {count:,} points\n")


@app.command()
def report(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...|results.db", help="One to four run folders of simulate, or the results database of a sweep"
        ),
    ],
    output: Annotated[Path, typer.Option("-o", help="HTML file to write")] = Path("report.html"),
    plots: Annotated[Path | None, typer.Option("--plots", help="Folder for the charts as PNG and SVG too")] = None,
    as_json: JsonOption = False,
) -> None:
    """Write results as one offline HTML page with interactive charts."""
    from gossamer.pages.command import write_report

    with _progress(as_json) as stage:
        stage("drawing")
        written = write_report(sources, output, plots)
    if as_json:
        _print_json({"files": [str(path) for path in written]})
    else:
        sys.stdout.write("".join(f"{path}\n" for path in written))


@app.command()
def prune(
    model: ModelArgument,
    output: Annotated[Path, typer.Option("-o", help="ONNX file to write")],
    sparsity: SparsityOption = "2:4",
    sparsity_file: OverridesOption = None,
    shape: ShapeOption = [],  # noqa: B006 - typer copies it
    as_json: JsonOption = False,
) -> None:
    """Prune a model's weights to N:M and write it as ONNX."""
    from gossamer.onnx_files import prune_file

    with _progress(as_json) as stage:
        summary = prune_file(model, sparsity, sparsity_file, parse_shapes(shape), output, stage)
    if as_json:
        _print_json({"file": str(output), **summary.as_json()})
    else:
        sys.stdout.write(f"{output}: {summary}\n")


@app.command()
def quantize(
    model: ModelArgument,
    output: Annotated[Path, typer.Option("-o", help="ONNX file to write")],
    sparsity: SparsityOption = "dense",
    sparsity_file: OverridesOption = None,
    shape: ShapeOption = [],  # noqa: B006 - typer copies it
    calibration: CalibrationOption = None,
    activation_range: RangeOption = "min-max",
    as_json: JsonOption = False,
) -> None:
    """Prune and quantize a model as simulate does and write it as ONNX in QDQ form."""
    from gossamer.onnx_files import quantize_file
    from gossamer.request import SimulationRequest

    request = SimulationRequest(
        model=model, config="", sparsity=sparsity, sparsity_file=sparsity_file, shapes=parse_shapes(shape),
        calibration=calibration, activation_range=activation_range,
    )  # fmt: skip
    with _progress(as_json) as stage:
        written = quantize_file(request, output, stage)
    if as_json:
        _print_json(written.as_json())
    else:
        sys.stdout.write(str(written))


@app.command()
def models(as_json: JsonOption = False) -> None:
    """List the models that can be named."""
    from gossamer.shipped_models import shipped_models

    entries = shipped_models().values()
    if as_json:
        listed = [{"name": m.name, "available": bool(m.path and m.path.exists()), "about": m.about} for m in entries]
        _print_json({"models": listed})
        return
    for entry in entries:
        mark = (
            "" if entry.path is not None and entry.path.exists() else "  (not installed: pip install 'gossamer[ocr]')"
        )
        sys.stdout.write(f"{entry.name:14s} {entry.about}{mark}\n")


@app.command()
def configs(as_json: JsonOption = False) -> None:
    """List the shipped accelerator configs and sweeps."""
    from gossamer.arch.config import config_names, load_config
    from gossamer.explore.sweep_file import load_sweep, sweep_names
    from gossamer.render import describe_config

    specs = [load_config(name) for name in config_names()]
    sweeps = {name: load_sweep(name) for name in sweep_names()}
    if as_json:
        questions = [{"name": name, "points": loaded.space.size, "question": loaded.spec.question}
                     for name, loaded in sweeps.items()]  # fmt: skip
        _print_json({"configs": [spec.model_dump(mode="json") for spec in specs], "sweeps": questions})
        return
    for spec in specs:
        sys.stdout.write(f"{spec.name:20s} {describe_config(spec)}\n")
    sys.stdout.write("\nsweeps\n")
    for name, loaded in sweeps.items():
        sys.stdout.write(f"{name:20s} {loaded.space.size:,} points before conditions: {loaded.spec.question}\n")


@app.command(name="config")
def config_command(
    config: Annotated[str, typer.Argument(help="Shipped config name or YAML path", autocompletion=completion.configs)],
    kind: Annotated[
        str,
        typer.Option(
            "--format",
            help="gossamer (resolved YAML), zigzag (accelerator) or timeloop (architecture)",
            autocompletion=completion.words(*completion.FORMATS),
        ),
    ] = "gossamer",
    overrides: SetOption = [],  # noqa: B006 - typer copies it
    as_json: JsonOption = False,
) -> None:
    """Print a config with every default, or as another tool reads it."""
    from gossamer.exports.config_text import config_text

    text = config_text(config, kind, tuple(overrides))
    if as_json:
        _print_json({"format": kind, "text": text})
    else:
        sys.stdout.write(text)


@app.command()
def schema(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="[config|sweep]", help="Files it is of", autocompletion=completion.words(*completion.SCHEMAS)
        ),
    ] = "config",
) -> None:
    """Print the JSON Schema of config or sweep files, for completion in editors."""
    if kind == "config":
        from gossamer.arch.config import config_schema

        _print_json(config_schema())
    elif kind == "sweep":
        from gossamer.explore.sweep_file import sweep_schema

        _print_json(sweep_schema())
    else:
        raise ConfigError(f"schema must be of config or sweep, not `{kind}`")


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """Say what this machine has, what is missing and how to get it."""
    from gossamer.doctor import as_json as checks_json
    from gossamer.doctor import diagnose

    checks = diagnose()
    if as_json:
        _print_json(checks_json(checks))
    else:
        for check in checks:
            state = "ok" if check.ok else "MISSING" if check.required else "missing"
            tail = "" if check.ok else f"  needed for {check.needed_for}; fix: {check.fix}"
            sys.stdout.write(f"{state:8s}{check.name:22s}{check.found}{tail}\n")
    if not all(check.ok for check in checks if check.required):
        raise typer.Exit(1)


def main() -> None:
    """Run the command line; every expected failure is one message and an exit status, never a traceback."""
    from gossamer.exits import run

    for name in ONE_BLAS_THREAD:
        os.environ.setdefault(name, "1")
    gc.disable()  # a short process of many imports and few cycles: collecting costs a tenth of its time
    try:
        run(app, sys.argv[1:])
    finally:
        gc.freeze()  # nor does the interpreter search all of it for cycles when it ends
