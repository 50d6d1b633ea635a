"""The pictures of the rounds: throughput and CPU of each server over each way, and latency over connections.

`names(results)` says which pictures a document gives, so that the page can name them without drawing; `draw` draws.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from loadtests.bench.plan import CONNECTIONS, MAIN
from loadtests.bench.results import Cell, Results, find
from loadtests.bench.tables import WAYS, kind, label, servers

COLOURS = {"ours": "#1f6feb", "floor": "#9aa4b2", "peer": "#d0743c"}
# of the peers: the blue is ours
CYCLE = ["#d0743c", "#3c9d5b", "#8d5fc2", "#b8394b", "#8a6d3b", "#1c8f94", "#c25fa3", "#7a8a1f", "#555555"]
DPI = 110
Way = tuple[str, str, str]


def names(results: Results) -> list[tuple[str, str]]:
    """File name and title of each picture."""
    ways = _drawn(results)
    bars = [(f"throughput-{model}-{face}.png", f"Throughput: {title}") for model, face, title in ways]
    crowded = [way for way in ways if _several(results, way[0], way[1])]
    lines = [(f"latency-{model}-{face}.png", f"Latency: {title}") for model, face, title in crowded]
    return bars + lines


def draw(results: Results, folder: Path) -> list[Path]:
    """Write every picture into `folder`."""
    import matplotlib as mpl

    mpl.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for model, face, title in _drawn(results):
        written.append(_throughput(results, (model, face, title), folder / f"throughput-{model}-{face}.png"))
        if _several(results, model, face):
            written.append(_latency(results, (model, face, title), folder / f"latency-{model}-{face}.png"))
    return written


def _drawn(results: Results) -> list[Way]:
    """The ways over which more than one server was measured."""
    return [way for way in WAYS if len(_cells(results, way[0], way[1], MAIN[way[0]])) > 1]


def _several(results: Results, model: str, face: str) -> bool:
    return any(_cells(results, model, face, count) for count in CONNECTIONS if count != MAIN[model])


def _cells(results: Results, model: str, face: str, connections: int) -> list[Cell]:
    found = (find(results, name, model, face, connections) for name in servers(results))
    return sorted((cell for cell in found if cell is not None), key=lambda cell: float(cell["rate"]))


def _throughput(results: Results, way: Way, path: Path) -> Path:
    from matplotlib import pyplot as plt

    model, face, title = way
    cells = _cells(results, model, face, MAIN[model])
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 1.2 + 0.36 * len(cells)), sharey=True)
    texts = [label(results, cell["server"]) for cell in cells]
    colours = [COLOURS[kind(cell["server"])] for cell in cells]
    unit = "requests/s" if model == "mlp" else "rows/s"
    for axes, field, words in ((left, "rate", unit), (right, "cpu_us", "CPU us a request, log scale")):
        drawn = axes.barh(texts, [cell[field] for cell in cells], color=colours)
        axes.bar_label(drawn, [f"{cell[field]:,.0f}" for cell in cells], padding=3, fontsize=8)
        axes.set_xlabel(words)
        axes.margins(x=0.18)
    right.set_xscale("log")
    _errors(left, cells)
    return _finish(figure, f"{title}, {MAIN[model]} connections", path)


def _errors(axes: Any, cells: list[Cell]) -> None:
    """From the slowest to the fastest round."""
    for index, cell in enumerate(cells):
        axes.plot([min(cell["rates"]), max(cell["rates"])], [index, index], color="black", linewidth=1)


def _latency(results: Results, way: Way, path: Path) -> Path:
    from matplotlib import pyplot as plt

    model, face, title = way
    figure, axes = plt.subplots(figsize=(11, 5))
    axes.set_prop_cycle(color=CYCLE)
    for name in servers(results):
        cells = [cell for count in CONNECTIONS if (cell := find(results, name, model, face, count))]
        cells = [cell for cell in cells if cell["requests"]]
        if cells:
            _latency_lines(axes, label(results, name), kind(name), cells)
    axes.set(xscale="log", yscale="log", xlabel="connections", ylabel="ms: p50 solid, p99 dotted")
    axes.set_xticks(CONNECTIONS, [str(count) for count in CONNECTIONS])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return _finish(figure, title, path)


def _latency_lines(axes: Any, text: str, sort: str, cells: list[Cell]) -> None:
    counts = [cell["connections"] for cell in cells]
    colour = None if sort == "peer" else COLOURS[sort]
    width = 2.6 if sort == "ours" else 1.2
    (line,) = axes.plot(counts, [cell["p50"] * 1e3 for cell in cells], "o-", color=colour, linewidth=width, label=text)
    axes.plot(counts, [cell["p99"] * 1e3 for cell in cells], ":", color=line.get_color(), linewidth=width / 1.5)


def _finish(figure: Any, title: str, path: Path) -> Path:
    from matplotlib import pyplot as plt

    figure.suptitle(title)
    figure.tight_layout()
    # no software version in the file: the same figures give the same bytes
    figure.savefig(path, dpi=DPI, metadata={"Software": None})
    plt.close(figure)
    return path
