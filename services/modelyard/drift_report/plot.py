"""The picture of a report: for every feature, the answers and the confidence, bars of the reference beside the rows."""

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from modelyard.drift_report.summary import Compared

COLUMNS = 3
GREY, BLUE, RED = "#9aa0a6", "#1f77b4", "#d62728"


def draw(title: str, found: Sequence[Compared]) -> bytes:
    """A PNG. Figure draws by itself: no display, and no state that others share."""
    rows = -(-len(found) // COLUMNS)
    figure = Figure(figsize=(5 * COLUMNS, 2.9 * rows + 0.6), dpi=100, layout="constrained")
    places = np.atleast_1d(figure.subplots(rows, COLUMNS, squeeze=False)).ravel()
    for axes, each in zip(places, found, strict=False):
        _bars(axes, each)
    for axes in places[len(found) :]:
        axes.set_axis_off()
    figure.suptitle(title)
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()


def _bars(axes: Axes, each: Compared) -> None:
    places = np.arange(len(each.labels))
    shifted = each.verdict == "large shift"
    axes.bar(places - 0.2, each.reference, 0.4, color=GREY, label="reference")
    axes.bar(places + 0.2, each.observed, 0.4, color=RED if shifted else BLUE, label="observed")
    axes.set_xticks(places, each.labels, rotation=60, fontsize="x-small", ha="right", rotation_mode="anchor")
    axes.set_ylabel("share of rows")
    index = "no rows" if each.psi is None else f"PSI {each.psi:.3f}, {each.rows:,} rows"
    axes.set_title(f"{each.name}: {index}", fontsize="medium", color=RED if shifted else "black")
    axes.legend(fontsize="x-small")
