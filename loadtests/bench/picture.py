"""A PNG of several axes, without a screen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

DPI = 110
BLUE, ORANGE, GREY = "#1f6feb", "#d0743c", "#9aa4b2"


@contextmanager
def drawn(path: Path, rows: int, columns: int, size: tuple[float, float], **options: Any) -> Iterator[Any]:
    """Axes by [row][column], each of `size` inches; written to `path` when the block ends."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    whole = (size[0] * columns, size[1] * rows)
    figure, axes = plt.subplots(rows, columns, figsize=whole, squeeze=False, **options)
    try:
        yield axes
        figure.tight_layout()
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=DPI)
    finally:
        plt.close(figure)
