"""Hold what is asked for and what it compiles to: the values the steps of the pipeline pass on."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gossamer.arch.spec import SparseAccelerator
from gossamer.dataflow.network import Network
from gossamer.dataflow.program import Program
from gossamer.mapper.compile import Compilation


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationRequest:
    """What to simulate, in the words of the command line."""

    model: str
    config: str
    sparsity: str = "dense"
    sparsity_file: Path | None = None
    shapes: Mapping[str, tuple[int, ...]]
    calibration: Path | None = None
    activation_range: str = "min-max"
    batch: int = 1
    overrides: tuple[str, ...] = ()
    objective: str = "latency"
    advice: bool = True
    explain: str | None = None
    trace: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """A quantized network, and what compiling it for a sparse chain core gave."""

    network: Network
    spec: SparseAccelerator
    compilation: Compilation

    @property
    def program(self) -> Program:
        """The Program that runs the network."""
        return self.compilation.program
