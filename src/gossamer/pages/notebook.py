"""Give the charts of simulated runs to a notebook."""

from pathlib import Path

import altair as alt

from gossamer.pages.run_folder import read_runs
from gossamer.pages.run_page import run_figures


def charts(*runs: str | Path) -> dict[str, alt.VConcatChart]:
    """Return the charts of one to four run folders of `simulate`, by name, for altair to draw in a notebook.

    They are those of `gossamer report`, in its order; several runs are in the same charts. Raises GossamerError for a
    folder that is no run.
    """
    figures = run_figures(read_runs([Path(run) for run in runs]))
    return {figure.name: alt.VConcatChart.from_dict(figure.whole(), validate=False) for figure in figures}
