"""locust's statistics as CSV, once the run is over. (Its own --csv goes on writing after it has closed its files.)

requests.csv    each kind of request with its percentiles
failures.csv    each kind of failure, and how often
history.csv     every five seconds: users, requests a second, failures, percentiles
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

from locust.env import Environment
from locust.stats import PERCENTILES_TO_REPORT, StatsCSV


def write_tables(environment: Environment, folder: Path) -> None:
    tables = StatsCSV(environment, PERCENTILES_TO_REPORT)
    _write(folder / "requests.csv", tables.requests_csv)
    _write(folder / "failures.csv", tables.failures_csv)
    _write(folder / "history.csv", lambda writer: _history(environment, writer))


def _history(environment: Environment, writer: Any) -> None:
    rows: list[dict[str, Any]] = [_flat(row) for row in environment.stats.history]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    writer.writerow(columns)
    writer.writerows([row.get(name, "") for name in columns] for row in rows)


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """locust keeps a pair of time and value where a chart wants one."""
    return {name: value[1] if isinstance(value, tuple | list) else value for name, value in row.items()}


def _write(path: Path, fill: Callable[[Any], None]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        fill(csv.writer(file))
