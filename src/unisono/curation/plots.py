"""The funnel, drawn."""

import logging
from collections.abc import Sequence
from pathlib import Path

from unisono.curation.funnel import Step

_LOG = logging.getLogger(__name__)
_BINS = 30
_COLUMNS = 3


def draw_funnel(steps: Sequence[Step], folder: Path) -> bool:
    """Write `funnel.png` (what is left after each stage, and what was left out) and `metrics.png`.

    Returns:
        Whether it was drawn: not without matplotlib, which is logged.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        _LOG.warning("no plots are drawn: pip install 'unisono[curate]' brings matplotlib")
        return False
    figure = Figure(figsize=(9, 1 + 0.4 * len(steps)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    names = [f"{step.name} ({step.kind}s)" for step in steps]
    places = range(len(steps))
    axes.barh(places, [step.left for step in steps], color="#3c5a8c", label="left")
    begin = [step.left for step in steps]
    reasons = list(dict.fromkeys(reason for step in steps for reason in step.rejected))
    for reason in reasons:
        counts = [step.rejected.get(reason, 0) for step in steps]
        axes.barh(places, counts, left=begin, label=reason)
        begin = [a + b for a, b in zip(begin, counts, strict=True)]
    axes.set_yticks(list(places), names)
    axes.invert_yaxis()
    axes.legend(fontsize="x-small", ncols=2)
    figure.savefig(folder / "funnel.png", dpi=110)
    panels = [
        (f"{step.name}: {name}", values)
        for step in steps
        for name, values in step.metrics.items()
        if values
    ]
    if panels:
        rows = -(-len(panels) // _COLUMNS)
        figure = Figure(figsize=(10, 2.2 * rows), layout="constrained")
        FigureCanvasAgg(figure)
        grid = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
        for axes, (title, values) in zip(grid, panels, strict=False):
            axes.hist(values, bins=_BINS, color="#3c5a8c")
            axes.set_title(title, fontsize="small")
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        figure.savefig(folder / "metrics.png", dpi=110)
    return True
