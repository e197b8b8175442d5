"""Check the terminal text: it fits 80 columns where it must, and shares sum to exactly 100.0 %."""

import random
from dataclasses import replace

import pytest

from gossamer.render import percentages, quantity, simulation_text
from gossamer.request import SimulationRequest
from gossamer.simulation import run_simulation


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 s"), (1.9579e-3, "1.958 ms"), (61.94, "61.94 s"), (5.7e7, "57 Ms"), (3.1e-10, "3.1e-10 s")],
)
def test_quantity(value: float, text: str) -> None:
    assert quantity(value, "s") == text


def test_percentages_sum_to_one_hundred() -> None:
    generator = random.Random(5)
    for _ in range(500):
        classes = {str(i): float(generator.choice((0, 1, 3, generator.randrange(10**9)))) for i in range(6)}
        total = sum(classes.values())
        if total:
            shares = percentages(classes, total)
            assert round(10 * sum(shares.values())) == 1000
            assert all(abs(shares[name] - 100 * classes[name] / total) < 0.1 + 1e-9 for name in classes)


def test_layer_table_fits_eighty_columns() -> None:
    request = SimulationRequest(model="digits", config="ecp5-tiny", sparsity="2:4", shapes={}, advice=False)
    report = run_simulation(request).report
    long = replace(
        report, layers=tuple(replace(layer, name="a.very.long.layer.name" + layer.name) for layer in report.layers)
    )
    lines = simulation_text(long).splitlines()
    start = next(i for i, line in enumerate(lines) if line.lstrip().startswith("#"))
    assert all(len(line) <= 80 for line in lines[start:])
    assert "= 100.0 %" in simulation_text(report)
    assert str(report) == simulation_text(report)
