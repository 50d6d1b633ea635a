"""A contact sheet: every panel of a dashboard with the data of one drive, as a PNG that a person can read.

dashboard JSON + Prometheus -> found (the series of each panel) -> one figure, laid out on Grafana's own grid
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec

from monitoring.observe.draw import draw_heatmap, draw_lines, draw_stat
from monitoring.observe.prometheus import Prometheus
from monitoring.queries import Window, panels, panels_of

mpl.use("Agg")
GRID = 24
WIDTH_INCHES = 19.0
UNIT_INCHES = 0.37
"""Of one step of Grafana's grid, downwards."""
DPI = 80
POINTS = 240
TOP_INCHES, BOTTOM_INCHES = 1.6, 0.5


@dataclass(frozen=True)
class Line:
    """One series: its legend, and times (unix seconds) with values."""

    legend: str
    times: list[float]
    values: list[float]


@dataclass(frozen=True)
class Stage:
    """A part of the drive."""

    start: float
    text: str


def draw_board(
    board: dict[str, Any], prometheus: Prometheus, stages: Sequence[Stage], end: float, window: Window, path: Path
) -> None:
    """Write the sheet of one dashboard."""
    shown = panels_of(board)
    height = max(p["gridPos"]["y"] + p["gridPos"]["h"] for p in shown)
    figure = Figure(figsize=(WIDTH_INCHES, height * UNIT_INCHES + TOP_INCHES + BOTTOM_INCHES), dpi=DPI)
    tall = figure.get_figheight()
    grid = GridSpec(
        height,
        GRID,
        figure,
        left=0.045,
        right=0.985,
        top=1 - TOP_INCHES / tall,
        bottom=BOTTOM_INCHES / tall,
        wspace=0,
        hspace=0,
    )
    _head(figure, board, stages)
    for row in [each for each in board["panels"] if each["type"] == "row"]:
        _heading(figure, grid, row)
    lines = _found(board, prometheus, stages[0].start, end, window)
    for panel in shown:
        _draw(figure, grid, panel, lines[panel["id"]], stages, end)
    figure.savefig(path, dpi=DPI, metadata={"Software": None})


def _head(figure: Figure, board: dict[str, Any], stages: Sequence[Stage]) -> None:
    tall = figure.get_figheight()
    figure.text(0.012, 1 - 0.18 / tall, board["title"], size=20, weight="bold", va="top")
    figure.text(0.012, 1 - 0.58 / tall, board["description"], size=12, color="0.35", va="top")
    key = [f"{number} {stage.text}" for number, stage in enumerate(stages, 1)]
    half = (len(key) + 1) // 2
    for place, part in enumerate((key[:half], key[half:])):
        figure.text(0.012, 1 - (0.86 + 0.2 * place) / tall, "   ".join(part), size=10.5, color="tab:blue", va="top")


def _heading(figure: Figure, grid: GridSpec, row: dict[str, Any]) -> None:
    axes = figure.add_subplot(grid[row["gridPos"]["y"] : row["gridPos"]["y"] + 1, :])
    axes.set_axis_off()
    axes.text(-0.033, 0.45, row["title"], size=14, weight="bold", color="0.25", va="center")
    axes.axhline(0.02, color="0.8", linewidth=0.8)


def _found(
    board: dict[str, Any], prometheus: Prometheus, start: float, end: float, window: Window
) -> dict[int, list[Line]]:
    """The series of each panel, by its id."""
    step = max(1.0, (end - start) / POINTS)
    found: dict[int, list[Line]] = {panel["id"]: [] for panel in panels_of(board)}
    for query in panels(board, window):
        if query.instant:
            answers = prometheus.ask("query", query=query.expr, time=end)["result"]
            series = [answer | {"values": [answer["value"]]} for answer in answers]
        else:
            series = prometheus.between(query.expr, start, end, step)
        found[query.panel["id"]] += [_line(query.legend, each, step) for each in series]
    return found


def _line(legend: str, series: dict[str, Any], step: float) -> Line:
    """A series that pauses is broken there, as Grafana breaks it."""
    name = re.sub(r"\{\{(\w+)\}\}", lambda label: series["metric"].get(label[1], ""), legend)
    times: list[float] = []
    values: list[float] = []
    for at, text in series["values"]:
        if times and at - times[-1] > 1.5 * step:
            times.append(at - step)
            values.append(math.nan)
        times.append(float(at))
        values.append(float(text))
    return Line(re.sub(r"\s+", " ", name).strip(), times, values)


def _draw(
    figure: Figure, grid: GridSpec, panel: dict[str, Any], lines: list[Line], stages: Sequence[Stage], end: float
) -> None:
    place = panel["gridPos"]
    cell = grid[place["y"] : place["y"] + place["h"], place["x"] : place["x"] + place["w"]]
    axes: Axes = figure.add_subplot(_inset(cell, panel["type"]))
    axes.set_title(panel["title"], loc="left", size=12.5, weight="bold", pad=5)
    if panel["type"] == "stat":
        draw_stat(axes, panel, [(line.legend, line.values[-1]) for line in lines])
        return
    start = stages[0].start
    minutes = [(line.legend, [(t - start) / 60 for t in line.times], line.values) for line in lines]
    (draw_heatmap if panel["type"] == "heatmap" else draw_lines)(axes, panel, minutes)
    for number, stage in enumerate(stages, 1):
        at = (stage.start - start) / 60
        axes.axvline(at, color="tab:blue", linewidth=0.7, linestyle=":", zorder=1)
        axes.text(at, 0.98, f" {number}", transform=axes.get_xaxis_transform(), size=8.5, color="tab:blue", va="top")
    axes.set_xlim(0, (end - start) / 60)


def _inset(cell: Any, kind: str) -> Any:
    """Room for titles, axes and the legend around a panel."""
    wide, tall = (
        ((0.02, 0.96, 0.02), (0.3, 0.62, 0.08)) if kind == "stat" else ((0.075, 0.9, 0.025), (0.13, 0.55, 0.32))
    )
    return cell.subgridspec(3, 3, width_ratios=wide, height_ratios=tall, wspace=0, hspace=0)[1, 1]
