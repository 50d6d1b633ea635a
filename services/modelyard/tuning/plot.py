"""The curves as PNG: requests a second and p99 over the batch size (over the threads, for a model without batches).

Of a tuning, one line for each combination of the other two settings, at the target concurrency; rings mark the current
setting and the chosen one. Of a model card, one line for each figure.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from modelyard.tuning.grid import Setting
from modelyard.tuning.report import Report, connections


def plot(report: Report, path: Path) -> None:
    """Write the PNG. Figure draws by itself: no display, and no state that others share."""
    figure = Figure(figsize=(11, 4.6), dpi=130, layout="constrained")
    rate, wait = figure.subplots(1, 2)
    tallies = {setting: tally for setting, tally in report.at(report.target).items() if tally.requests}
    _draw(rate, report, {setting: tally.rate for setting, tally in tallies.items()})
    _draw(wait, report, {setting: tally.p99_ms for setting, tally in tallies.items()})
    rate.set_ylabel("requests per second")
    wait.set_ylabel("p99, milliseconds")
    if report.p99_limit_ms is not None:
        wait.axhline(report.p99_limit_ms, color="grey", linestyle=":", label=f"limit {report.p99_limit_ms:g} ms")
    if tallies:
        wait.legend(fontsize="small")
    figure.suptitle(
        f"{report.model} version {report.version} on {report.backend}, {connections(report.target)}, closed loop"
    )
    figure.savefig(path, format="png")


def plot_sizes(title: str, points: Sequence[tuple[int, float, float, float]], path: Path) -> None:
    """Write the PNG of a model card: (rows of a run, median ms, p99 ms, rows a second) of each batch size."""
    rows, median, p99, rate = zip(*points, strict=True)
    figure = Figure(figsize=(9, 3.6), dpi=130, layout="constrained")
    wait, speed = figure.subplots(1, 2)
    wait.plot(rows, median, marker="o", label="median")
    wait.plot(rows, p99, marker="o", linestyle=":", label="p99")
    wait.set_ylabel("milliseconds a run")
    wait.legend(fontsize="small")
    speed.plot(rows, rate, marker="o")
    speed.set_ylabel("rows per second")
    for axes in (wait, speed):
        _by_rows(axes, rows)
        axes.set_xlabel("rows of a run")
    wait.set_yscale("log")  # on a busy machine p99 may be a hundred medians
    speed.set_ylim(bottom=0)
    figure.suptitle(title)
    figure.savefig(path, format="png")


def _by_rows(axes: Axes, places: Sequence[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(places, [str(place) for place in places])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(alpha=0.3)


def _draw(axes: Axes, report: Report, values: dict[Setting, float]) -> None:
    lines: dict[tuple[int, float] | None, list[tuple[int, float]]] = defaultdict(list)
    for setting, value in values.items():
        key = (setting.executors, setting.delay_ms) if setting.rows else None
        lines[key].append((_place(setting), value))
    for key, points in sorted(lines.items(), key=lambda item: item[0] or (0, 0.0)):
        xs, ys = zip(*sorted(points), strict=True)
        axes.plot(xs, ys, marker=".", linewidth=1.2, label=_label(key))
    _ring(axes, values, report.current, "now", 11)
    if report.choice:
        _ring(axes, values, report.choice.setting, "chosen", 16)
    _by_rows(axes, sorted({_place(setting) for setting in values}))
    axes.set_ylim(bottom=0)
    axes.set_xlabel("rows merged into one run, at most" if report.current.rows else "threads")


def _place(setting: Setting) -> int:
    return setting.rows or setting.executors


def _label(key: tuple[int, float] | None) -> str | None:
    if key is None:
        return None
    executors, delay = key
    threads = f"{executors} thread{'s' if executors > 1 else ''}"
    return f"{threads}, {delay:g} ms delay" if delay else threads


def _ring(axes: Axes, values: dict[Setting, float], setting: Setting, label: str, size: float) -> None:
    if setting in values:
        colour = "black" if label == "now" else "crimson"
        axes.plot(
            [_place(setting)],
            [values[setting]],
            linestyle="none",
            marker="o",
            markerfacecolor="none",
            markersize=size,
            color=colour,
            label=label,
        )
