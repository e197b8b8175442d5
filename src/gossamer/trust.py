"""Say how far the simulator was off wherever it could be compared with RTL: the trust table shipped with the configs.

`configs/trust.json` is written by `benchmarks/rtl_agreement.py --trust`; nothing else writes it.
"""

import json
from importlib.resources import files

from pydantic import BaseModel, ConfigDict, Field

from gossamer.arch.spec import SparseAccelerator

FILE = "trust.json"


class TrustTable(BaseModel):
    """The measured cycle errors of the timing simulator against RTL."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    command: str = Field(description="What measured it")
    config: str = Field(description="Config whose RTL ran")
    programs: int = Field(ge=1, description="Programs compared, every one bit-exact")
    exact: int = Field(ge=0, description="Programs whose cycles were equal")
    median_error_pct: float = Field(ge=0, description="Median of the absolute errors in percent")
    worst_error_pct: float = Field(ge=0, description="Largest absolute error in percent")


def trust_table() -> TrustTable:
    """Return the shipped table."""
    return TrustTable.model_validate(json.loads((files("gossamer.configs") / FILE).read_text(encoding="utf-8")))


def simulated_tier(spec: SparseAccelerator) -> str:
    """Return the tier of a simulation and its measured error band; say so where this config has no RTL to compare."""
    table = trust_table()
    band = (
        f"simulated; against RTL ({table.programs} programs, {table.config}): median error "
        f"{table.median_error_pct:.3f} %, worst {table.worst_error_pct:.3f} %"
    )
    return band if spec.axi.ports == 1 else f"{band}; several AXI ports: no RTL yet"
