"""Say how far the simulator was off wherever it could be compared with RTL: the trust table shipped with the configs.

`configs/trust.json` is written by `benchmarks/rtl_agreement.py --trust`; nothing else writes it.
"""

import json
from importlib.resources import files

from pydantic import BaseModel, ConfigDict, Field

FILE = "trust.json"


class TrustTable(BaseModel):
    """The measured cycle errors of the timing simulator against RTL."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    command: str = Field(description="What measured it")
    cores: tuple[str, ...] = Field(description="Configs whose RTL ran, each with its settings behind commas")
    programs: int = Field(ge=1, description="Programs compared, every one bit-exact")
    exact: int = Field(ge=0, description="Programs whose cycles were equal")
    median_error_pct: float = Field(ge=0, description="Median of the absolute errors in percent")
    worst_error_pct: float = Field(ge=0, description="Largest absolute error in percent")


def trust_table() -> TrustTable:
    """Return the shipped table."""
    return TrustTable.model_validate(json.loads((files("gossamer.configs") / FILE).read_text(encoding="utf-8")))


def simulated_tier() -> str:
    """Return the tier of a simulation with its measured error band, in less than 80 columns."""
    table = trust_table()
    return (
        f"simulated; {table.programs:,} programs on RTL: median error {table.median_error_pct:.2f} %, "
        f"worst {table.worst_error_pct:.2f} %"
    )
