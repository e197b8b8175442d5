"""Give the charts of simulated runs to a notebook."""

from pathlib import Path
from typing import Any

import altair as alt

from gossamer.pages.run_folder import read_runs
from gossamer.pages.run_page import run_figures

VEGA_LITE_TYPE = f"application/vnd.vegalite.v{alt.SCHEMA_VERSION.removeprefix('v').partition('.')[0]}+json"
"""What front ends that bring Vega along draw interactively."""


class NotebookChart(alt.VConcatChart):
    """A chart that a notebook shows without a network: interactive where the front end knows Vega-Lite, else as SVG.

    altair's own default is HTML that loads its libraries from the web.
    """

    def _repr_mimebundle_(self, *_: Any, **__: Any) -> dict[str, Any]:
        import vl_convert

        specification = self.to_dict(validate=False)
        return {VEGA_LITE_TYPE: specification, "image/svg+xml": vl_convert.vegalite_to_svg(specification)}


def charts(*runs: str | Path) -> dict[str, NotebookChart]:
    """Return the charts of one to four run folders of `simulate`, by name, for a notebook to show.

    They are those of `gossamer report`, in its order; several runs are in the same charts. Raises GossamerError for a
    folder that is no run.
    """
    figures = run_figures(read_runs([Path(run) for run in runs]))
    return {figure.name: NotebookChart.from_dict(figure.whole(), validate=False) for figure in figures}
