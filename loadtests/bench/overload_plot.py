"""The overload as a picture: one column a case; above the requests a second over time, below the server's memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from loadtests.bench.picture import BLUE, GREY, ORANGE, drawn

SHOWN = {
    "offered": ("offered", GREY),
    "ok": ("answered in time", "tab:green"),
    "refused": ("refused", ORANGE),
    "late": ("late", "tab:purple"),
    "unsent": ("no connection free", "tab:red"),
}


def draw_overload(result: dict[str, Any], path: Path) -> None:
    """Write the PNG."""
    cases = result["cases"]
    with drawn(path, 2, len(cases), (6.5, 3.2), height_ratios=(3, 1)) as axes:
        for column, case in enumerate(cases):
            above, below = axes[0][column], axes[1][column]
            _rates(above, case)
            _memory(below, case)
            above.set_title(f"{case['model']}: {case['saturates']} fills up")
            above.set_ylabel("requests/s")
            below.set_ylabel("memory, MiB")
            below.set_xlabel("seconds")
        axes[0][0].legend(loc="upper left", fontsize=8)


def _phases(case: dict[str, Any]) -> list[tuple[float, dict[str, Any]]]:
    """Each phase with the second at which it begins, set side by side without the pauses between them."""
    begin, placed = 0.0, []
    for phase in (case["before"], *case["loads"], case["after"]):
        placed.append((begin, phase))
        begin += phase["seconds"]
    return placed


def _rates(axis: Any, case: dict[str, Any]) -> None:
    for name, (label, colour) in SHOWN.items():
        times: list[float] = []
        values: list[float] = []
        for begin, phase in _phases(case):
            whole = [one for one in phase["windows"] if one["second"] < phase["seconds"] - 0.5]
            times += [begin + one["second"] for one in whole]
            values += [one.get(name, 0) for one in whole]
        axis.step(times, values, where="post", color=colour, label=label)
    axis.axhline(case["peak"]["rate"], color="black", linestyle=":", label="peak, closed loop")
    axis.set_yscale("symlog", linthresh=10)
    axis.set_ylim(bottom=0)


def _memory(axis: Any, case: dict[str, Any]) -> None:
    for begin, phase in _phases(case):
        rows = [row for row in phase["memory"]["rows"] if row["second"] <= phase["seconds"]]
        axis.plot([begin + row["second"] for row in rows], [row["rss_bytes"] / 2**20 for row in rows], color=BLUE)
    axis.margins(y=0.2)
    axis.set_ylim(bottom=0)
