"""The kinds of panel in matplotlib: lines (plain or stacked), a heatmap of a histogram's buckets, and big numbers."""

from __future__ import annotations

import math
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator

from monitoring.observe.units import axis_name, written

Series = tuple[str, list[float], list[float]]
"""Legend, minutes, values."""

COLORS = [mpl.color_sequences["tab20"][place] for place in (*range(0, 20, 2), *range(1, 20, 2))]
MOST_NAMES = 12
FEW_NAMES = 6
LEGEND_SIZE = 9
MOST_STATS = 8
STATS_IN_COLUMN = 2
CHARACTERS_IN_LEGEND = 105


def unit_of(panel: dict[str, Any]) -> str:
    """Of its numbers."""
    return str(panel["fieldConfig"]["defaults"]["unit"])


def draw_lines(axes: Axes, panel: dict[str, Any], series: list[Series]) -> None:
    """A line for each series; stacked where the panel is."""
    defaults, unit = panel["fieldConfig"]["defaults"], unit_of(panel)
    series = _busiest_last(series)
    if defaults.get("custom", {}).get("stacking", {}).get("mode") == "normal":
        _stack(axes, series)
    else:
        for place, (name, minutes, values) in enumerate(series):
            axes.plot(minutes, values, color=COLORS[place % 20], linewidth=1.5, label=name)
    _limits(axes, defaults)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: written(value, unit)))
    axes.set_ylabel(axis_name(unit), size=9.5, color="0.35")
    if unit == "bytes":
        axes.yaxis.set_major_locator(MultipleLocator(2 ** math.ceil(math.log2(max(axes.get_ylim()[1] / 6, 1)))))
    _finish(axes)
    _legend(axes, {name for name, _, values in series if not any(v for v in values if math.isfinite(v))}, panel)


def _busiest_last(series: list[Series]) -> list[Series]:
    """By name; those that are zero throughout at the end, where the legend may leave them out."""
    return sorted(series, key=lambda each: (not any(value for value in each[2] if math.isfinite(value)), each[0]))


def _stack(axes: Axes, series: list[Series]) -> None:
    times = sorted({minute for _, minutes, _ in series for minute in minutes})
    layers = []
    for _, minutes, values in series:
        known = dict(zip(minutes, values, strict=True))
        layers.append([known.get(time, 0.0) if math.isfinite(known.get(time, 0.0)) else 0.0 for time in times])
    if times:
        axes.stackplot(times, layers, labels=[name for name, _, _ in series], colors=COLORS, alpha=0.75, linewidth=0)


def _limits(axes: Axes, defaults: dict[str, Any]) -> None:
    """From the panel's own least value, to a little above the largest, or above the panel's most."""
    low, high = axes.get_ylim()
    if defaults.get("min") is not None:
        low = min(defaults["min"], low) if low < defaults["min"] - 0.2 * abs(high) else defaults["min"]
    if defaults.get("max") is not None:
        high = max(high, defaults["max"]) if high > defaults["max"] * 1.1 else defaults["max"]
        high += 0.03 * (high - low)
    elif high <= low or not _has_values(axes):
        high = low + 1
    axes.set_ylim(low, high)


def _has_values(axes: Axes) -> bool:
    lines = [value for line in axes.get_lines() for value in np.asarray(line.get_ydata(), float)]
    return bool(axes.collections) or any(value for value in lines if math.isfinite(value))


def draw_heatmap(axes: Axes, panel: dict[str, Any], series: list[Series]) -> None:
    """Cumulative buckets by `le` as legend; each cell is what lies between two edges."""
    buckets = sorted(((float(name), minutes, values) for name, minutes, values in series), key=lambda each: each[0])
    times = sorted({minute for _, minutes, _ in buckets for minute in minutes})
    counts = np.zeros((len(buckets), len(times)))
    for place, (_, minutes, values) in enumerate(buckets):
        known = dict(zip(minutes, values, strict=True))
        counts[place] = [known.get(time, 0.0) for time in times]
    cells = np.diff(counts, axis=0, prepend=0).clip(0)
    shown = np.where(cells > 0, cells, np.nan)
    norm = PowerNorm(0.4, vmin=0)  # a few slow requests are to be seen beside many quick ones
    mesh = axes.pcolormesh(times, np.arange(len(buckets)), shown, cmap="Oranges", shading="nearest", norm=norm)
    unit = unit_of(panel)
    names = [written(edge, unit) if math.isfinite(edge) else "more" for edge, _, _ in buckets]
    axes.set_yticks(range(len(buckets)), [f"to {name}" if name != "more" else name for name in names])
    bar = axes.figure.colorbar(mesh, ax=axes, pad=0.01, fraction=0.04)
    bar.set_label("requests", size=9)
    bar.ax.tick_params(labelsize=8)
    _finish(axes)


def _finish(axes: Axes) -> None:
    axes.grid(visible=True, axis="y", color="0.9", linewidth=0.8)
    axes.tick_params(labelsize=8.5, length=2)
    axes.xaxis.set_major_locator(MaxNLocator(8))
    axes.set_xlabel("minutes", size=8.5, color="0.35", labelpad=1)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _legend(axes: Axes, silent: set[str], panel: dict[str, Any]) -> None:
    """Where there are many names, those that are zero throughout are only counted."""
    handles, names = axes.get_legend_handles_labels()
    if not names:
        axes.text(0.5, 0.5, "no data", transform=axes.transAxes, ha="center", color="tab:red", size=14)
        return
    kept = [pair for pair in zip(names, handles, strict=True) if len(names) <= FEW_NAMES or pair[0] not in silent]
    kept = (kept or list(zip(names, handles, strict=True)))[:MOST_NAMES]
    if len(names) > len(kept):
        note = f"{len(names) - len(kept)} more at zero" if len(kept) < MOST_NAMES else f"{len(names) - len(kept)} more"
        axes.text(1, 1.03, note, transform=axes.transAxes, size=LEGEND_SIZE, color="0.35", ha="right")
    names, handles = [name for name, _ in kept], [handle for _, handle in kept]
    room = CHARACTERS_IN_LEGEND * panel["gridPos"]["w"] // 12
    columns = max(1, min(len(names), room // (max(map(len, names)) + 6)))
    axes.legend(
        handles,
        names,
        loc="upper left",
        bbox_to_anchor=(-0.03, -0.17),
        ncols=columns,
        fontsize=LEGEND_SIZE,
        frameon=False,
        handlelength=1.2,
        columnspacing=1.2,
        borderpad=0,
        labelspacing=0.25,
    )


def draw_stat(axes: Axes, panel: dict[str, Any], numbers: list[tuple[str, float]]) -> None:
    """Big numbers side by side, in the color of their threshold; small ones below each other where names are long."""
    axes.set_axis_off()
    unit, steps = unit_of(panel), panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", [])
    if not numbers:
        axes.text(0.5, 0.5, "no data", transform=axes.transAxes, ha="center", color="tab:red", size=14)
    numbers = sorted(numbers)[:MOST_STATS]
    if len(numbers) == 1:
        name, value = numbers[0]
        axes.text(
            0.0, 0.35, written(value, unit), transform=axes.transAxes, size=24, color=_color(value, steps), va="center"
        )
        axes.text(0.0, -0.25, name, transform=axes.transAxes, size=10, color="0.35", va="center")
        return
    columns = 1 if len(numbers) <= STATS_IN_COLUMN else 2
    rows = math.ceil(len(numbers) / columns)
    for place, (name, value) in enumerate(numbers):
        x, y = (place // rows) / columns, 0.72 - (place % rows) * 0.42
        big = axes.text(
            x, y, written(value, unit), transform=axes.transAxes, size=13, color=_color(value, steps), va="center"
        )
        axes.annotate(f"  {name}", (1, 0.5), xycoords=big, size=10, color="0.35", va="center")


def _color(value: float, steps: list[dict[str, Any]]) -> str:
    color = "blue"
    for step in steps:
        if step.get("value") is None or value >= step["value"]:
            color = step["color"]
    return {"green": "tab:green", "red": "tab:red"}.get(color, "tab:blue")
