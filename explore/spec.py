"""Specify a sweep as it is written in YAML: axes, conditions, constraints, objectives, strategy."""

from typing import Literal, get_args

from pydantic import Field

from gossamer.arch.spec import Spec

Metric = Literal[
    "cycles", "latency_s", "throughput_per_s", "energy_j", "power_w", "edp_js", "dram_bytes", "utilization",
    "kept_energy", "dsp", "bram36", "uram", "lut", "ff",
]  # fmt: skip
METRICS: tuple[Metric, ...] = get_args(Metric)
"""What is known of a point, in the order of every table of metrics."""

MAXIMISED: frozenset[Metric] = frozenset({"throughput_per_s", "utilization", "kept_energy"})
"""Metrics of which more is better; of all others less."""

Value = int | float | str
"""A value of an axis."""


class RangeBounds(Spec):
    """Bounds of a range, inclusive."""

    first: int | float = Field(alias="from", description="First value")
    last: int | float = Field(alias="to", description="Largest value allowed")
    step: int | float = Field(gt=0, description="Distance of values")


class PowerBounds(Spec):
    """Bounds of powers of two, inclusive."""

    first: int = Field(alias="from", ge=1, description="First value, a power of two")
    last: int = Field(alias="to", ge=1, description="Last value, a power of two")


class RangeAxis(Spec):
    """Values at equal distances."""

    range: RangeBounds = Field(description="Values at equal distances")


class PowersAxis(Spec):
    """Powers of two."""

    powers_of_two: PowerBounds = Field(description="Powers of two")


class Bounds(Spec):
    """Bounds of a metric, inclusive; at least one."""

    min: int | float | None = Field(default=None, description="Least value allowed")
    max: int | float | None = Field(default=None, description="Largest value allowed")


class Strategy(Spec):
    """Which points of the grid are evaluated, in which order."""

    kind: Literal["grid", "random", "nsga2", "tpe"] = Field(
        description="All points; random ones; a search by Optuna's NSGA-II or TPE"
    )
    points: int | None = Field(default=None, ge=1, le=100_000_000, description="Points to evaluate; grid: all")
    seed: int = Field(default=1, ge=0, le=4_294_967_295, description="Seed of random and search")


class SweepSpec(Spec):
    """A sweep over designs and workloads, as written in YAML."""

    name: str = Field(description="Name in reports")
    question: str = Field(default="", description="What the sweep answers, shown in reports")
    base: str = Field(description="Shipped config or path of a YAML file: fields not swept keep its values")
    axes: dict[str, list[Value] | RangeAxis | PowersAxis] = Field(
        description="Values of model (required), batch, sparsity, sparsity[GLOB], precision, device, config fields"
    )
    set: dict[str, Value] = Field(default={}, description="Config fields that follow from others, as expressions")
    where: list[str] = Field(default=[], description="Conditions: a point is in the space only if all hold")
    constraints: dict[Metric, Bounds] = Field(default={}, description="Bounds of metrics of feasible points")
    objectives: list[Metric] = Field(min_length=1, max_length=len(METRICS), description="Metrics of the front")
    strategy: Strategy = Field(default=Strategy(kind="grid"), description="Which points are evaluated")
