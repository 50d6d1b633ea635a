"""From the measurements of the rounds to the one document that every table, plot and page is made of.

rounds -> measurements -> `summarise`: the median of each cell over its rounds -> results.json -> page
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from loadtests.bench.plan import HTTP_JSON
from loadtests.bench.statistics import median, spread

Results = dict[str, Any]
Cell = dict[str, Any]
KEY = ("server", "model", "face", "connections")
MEDIANS = ("rate", "p50", "p99", "cpu_us", "client_cpu_us", "client_share", "rss_bytes", "fds")
SUMS = ("requests", "errors", "wrong", "checked")


def summarise(measurements: Iterable[Mapping[str, Any]]) -> list[Cell]:
    """One entry for each server, model, face and number of connections, in the order of first appearance."""
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = defaultdict(list)
    for one in measurements:
        groups[tuple(one[name] for name in KEY)].append(one)
    return [_cell(dict(zip(KEY, key, strict=True)), group) for key, group in groups.items()]


def _cell(cell: Cell, group: list[Mapping[str, Any]]) -> Cell:
    rates = [one["rate"] for one in group]
    cell["rounds"] = [one["round"] for one in group]
    cell["rates"] = [round(rate, 2) for rate in rates]
    cell["spread"] = round(spread(rates), 3)
    for name in MEDIANS:
        cell[name] = _short(median([one[name] for one in group]))
    for name in SUMS:
        cell[name] = sum(one[name] for one in group)
    cell["first_error"] = next((one["first_error"] for one in group if one["first_error"]), "")
    return cell


def _short(value: float) -> float:
    return float(f"{value:.5g}")


def sessions(measured: Iterable[Mapping[str, Any]]) -> list[Cell]:
    """The bare sessions: the median rows a second of each model and number of threads."""
    groups: dict[tuple[str, int], list[Mapping[str, Any]]] = defaultdict(list)
    for one in measured:
        groups[one["model"], one["threads"]].append(one)
    return [
        {
            "model": model,
            "threads": threads,
            "rounds": [one["round"] for one in group],
            "rates": [round(one["rate"], 2) for one in group],
            "rate": _short(median([one["rate"] for one in group])),
            "p50": _short(median([one["p50"] for one in group])),
        }
        for (model, threads), group in groups.items()
    ]


def find(results: Results, server: str, model: str, face: str, connections: int) -> Cell | None:
    """One cell; `face` "json" stands for whichever JSON the server speaks."""
    wanted = HTTP_JSON if face == "json" else (face,)
    for cell in results["cells"]:
        if (cell["server"], cell["model"], cell["connections"]) == (server, model, connections) and (
            cell["face"] in wanted
        ):
            found: Cell = cell
            return found
    return None


def ratio(first: Mapping[str, Any] | None, second: Mapping[str, Any] | None, field: str = "rate") -> float | None:
    """first / second: the median of the ratios within a round, where both were measured as neighbours."""
    if first is None or second is None or not second[field]:
        return None
    if field != "rate":
        return float(first[field] / second[field])
    other = dict(zip(second["rounds"], second["rates"], strict=True))
    pairs = zip(first["rounds"], first["rates"], strict=True)
    ratios = [rate / other[number] for number, rate in pairs if other.get(number)]
    return median(ratios) if ratios else None


def save(results: Results, path: Path) -> None:
    """Write the document."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")


def load(path: Path) -> Results:
    """Read the document."""
    results: Results = json.loads(path.read_text())
    return results
