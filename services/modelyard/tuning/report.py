"""What was measured, for people and for programs: a rich table, lines about the choice, a JSON document. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from modelyard.tuning.choose import Choice
from modelyard.tuning.grid import Setting
from modelyard.tuning.sweep import Cell, Results
from modelyard.tuning.tally import Tally


@dataclass(frozen=True, slots=True)
class Report:
    """One tuning, whole or interrupted."""

    model: str
    version: str
    backend: str
    inputs: dict[str, list[int]]
    grid: list[Setting]
    levels: list[int]
    seconds: float
    p99_limit_ms: float | None
    current: Setting
    results: Results
    again: frozenset[Cell] = frozenset()
    """What was measured a second time; `results` holds that measurement."""
    choice: Choice | None = None
    refusal: str = ""
    """Why there is no choice."""
    interrupted: bool = False

    @property
    def target(self) -> int:
        """The number of connections that the choice is made for."""
        return self.levels[-1]

    def at(self, concurrency: int) -> dict[Setting, Tally]:
        return {setting: tally for (setting, level), tally in self.results.items() if level == concurrency}


def table(report: Report) -> Table:
    """A line for each setting, three columns for each number of connections."""
    made = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    batched = report.current.rows > 0
    for name in ["batch", "threads", "delay ms"] if batched else ["threads"]:
        made.add_column(f"\n{name}", justify="right", no_wrap=True)
    for level in report.levels:
        for over, name in ((f"at {level}", "req/s"), ("", "p50 ms"), ("", "p99 ms")):
            made.add_column(f"{over}\n{name}", justify="right", no_wrap=True)
    made.add_column("", no_wrap=True)
    for setting in sorted(report.grid, key=lambda setting: (setting.rows, setting.executors, setting.delay_ms)):
        place = (
            [str(setting.rows), str(setting.executors), f"{setting.delay_ms:g}"]
            if batched
            else [str(setting.executors)]
        )
        tallies = [report.results.get((setting, level)) for level in report.levels]
        if any(tallies):
            figures = [text for tally in tallies for text in _figures(tally)]
            made.add_row(*place, *figures, _marks(report, setting, tallies), style=_style(report, setting))
    return made


def heading(report: Report) -> str:
    levels = ", ".join(map(str, report.levels))
    return f"requests/s and milliseconds, at {levels} connections:"


def connections(count: int) -> str:
    return f"{count} connection{'s' if count > 1 else ''}"


def width(report: Report) -> int:
    """At least the columns that the table takes: it is not to be cut, whatever it is written to."""
    return 80 + 30 * len(report.levels)


def verdict(report: Report) -> list[str]:
    """The choice in words, and what it gains over the current setting at every number of connections."""
    choice = report.choice
    if choice is None:
        return [f"nothing is chosen: {report.refusal}"]
    if choice.setting == report.current:
        return [f"stay with {choice.setting}: {choice.reason}"]
    lines = [f"chosen: {choice.setting}", f"  it is {choice.reason}, at {connections(report.target)}"]
    lines += [f"now:    {report.current}"]
    return lines + [_gain_line(report, level, choice.setting) for level in reversed(report.levels)]


def document(report: Report) -> dict[str, Any]:
    """The JSON document. Times are milliseconds."""
    choice = report.choice
    return {
        "model": report.model,
        "version": report.version,
        "backend": report.backend,
        "inputs": report.inputs,
        "seconds_per_cell": report.seconds,
        "target_concurrency": report.target,
        "p99_limit_ms": report.p99_limit_ms,
        "complete": not report.interrupted,
        "current": _point(report.current),
        "chosen": _point(choice.setting) if choice else None,
        "reason": choice.reason if choice else report.refusal,
        "gain": [gain(report, level, choice.setting) for level in report.levels] if choice else [],
        "cells": [_cell(report, cell) for cell in sorted(report.results)],
    }


def gain(report: Report, level: int, setting: Setting) -> dict[str, float | int | None]:
    """`setting` against the current one, as ratios: above 1 is more requests a second, below 1 a shorter wait."""
    new, old = report.results.get((setting, level)), report.results.get((report.current, level))
    known = new is not None and old is not None and new.requests > 0 and old.requests > 0
    if new is None or old is None or not known:
        return {"concurrency": level, "rate": None, "p50": None, "p99": None}
    ratios = {"rate": new.rate / old.rate, "p50": new.p50_ms / old.p50_ms, "p99": new.p99_ms / old.p99_ms}
    return {"concurrency": level, **{name: round(ratio, 4) for name, ratio in ratios.items()}}


def _gain_line(report: Report, level: int, setting: Setting) -> str:
    ratios = gain(report, level, setting)
    if ratios["rate"] is None:
        return f"  at {connections(level)}: not measured"
    parts = [
        f"{_percent(ratios[key])} {text}" for key, text in (("rate", "requests/s"), ("p50", "p50"), ("p99", "p99"))
    ]
    return f"  at {connections(level)}: {', '.join(parts)}"


def _percent(ratio: float | None) -> str:
    return "?" if ratio is None else f"{ratio - 1:+.0%}"


def _figures(tally: Tally | None) -> list[str]:
    if tally is None or not tally.requests:
        return ["-", "-", "-"]
    return [f"{tally.rate:,.0f}" if tally.rate >= 100 else f"{tally.rate:.3g}", _ms(tally.p50_ms), _ms(tally.p99_ms)]


def _ms(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _marks(report: Report, setting: Setting, tallies: Sequence[Tally | None]) -> str:
    marks = ["now"] if setting == report.current else []
    marks += ["chosen"] if report.choice and setting == report.choice.setting else []
    errors = sum(tally.errors for tally in tallies if tally)
    marks += [f"{errors} errors"] if errors else []
    return ", ".join(marks)


def _style(report: Report, setting: Setting) -> str:
    return "bold" if report.choice and setting == report.choice.setting else ""


def _point(setting: Setting) -> dict[str, float | int]:
    """In the words of model.yaml."""
    return {"merge_rows": setting.rows, "executors": setting.executors, "max_queue_delay_ms": setting.delay_ms}


def _cell(report: Report, cell: Cell) -> dict[str, Any]:
    setting, concurrency = cell
    tally = report.results[cell]
    return {
        **_point(setting),
        "concurrency": concurrency,
        "requests": tally.requests,
        "errors": tally.errors,
        "requests_per_second": round(tally.rate, 3),
        "p50_ms": _or_null(tally.p50_ms),
        "p99_ms": _or_null(tally.p99_ms),
        "measured_again": cell in report.again,
    }


def _or_null(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 5)
