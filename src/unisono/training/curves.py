"""A journal, drawn: what a person would rather look at than read."""

import logging
from pathlib import Path
from typing import Any

from unisono.training.journal import read_journal

_LOG = logging.getLogger(__name__)
_MOST_POINTS = 4000


def draw_curves(journal: Path, picture: Path) -> bool:
    """Loss, its terms, learning rate and gradient norm over the steps, as PNG.

    Returns:
        Whether it was drawn: not without lines; nor without matplotlib or room on the disk, which
        is logged.
    """
    lines = list(read_journal(journal))
    if not lines:
        return False
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        _LOG.warning("no curves are drawn: pip install 'unisono[train]' brings matplotlib")
        return False
    lines = lines[:: -(-len(lines) // _MOST_POINTS)]
    panels = _panels(lines)
    figure = Figure(figsize=(10, 2.2 * len(panels)), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (name, values) in zip(
        figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0], panels.items(), strict=True
    ):
        axes.plot([line["step"] for line in lines], values, linewidth=0.8)
        axes.set_ylabel(name)
        axes.grid(alpha=0.3)
    figure.axes[-1].set_xlabel("step")
    try:
        figure.savefig(picture, dpi=120)
    except OSError as error:  # no reason to stop a run
        _LOG.warning("the curves cannot be written to '%s': %s", picture, error.strerror)
        return False
    return True


def _panels(lines: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Name -> a value a line, NaN where there is none."""
    terms = dict.fromkeys(name for line in lines for name in line["terms"])
    panels = {"loss": [line["loss"] for line in lines]}
    panels |= {name: [line["terms"].get(name) for line in lines] for name in terms}
    panels |= {name: [line[name] for line in lines] for name in ("lr", "gradient_norm")}
    return {
        name: [float("nan") if value is None else value for value in values]
        for name, values in panels.items()
    }
