"""The end of a run: a table of what was asked, the thresholds, and which were broken; the same as JSON and as text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from loadtests.load.thresholds import Figures, Verdict

COLUMNS = ("requests", "answers", "wrong", "errors", "due", "a second", "p50 ms", "p95 ms", "p99 ms", "max ms")
MOST_REASONS = 8


@dataclass(frozen=True, slots=True)
class Kind:
    """How one kind of request fared. Times in milliseconds."""

    name: str
    good: int
    wrong: int
    errors: int
    due: float
    a_second: float
    p50: float
    p95: float
    p99: float
    longest: float


@dataclass(frozen=True, slots=True)
class Report:
    about: Mapping[str, Any]
    """The options of the run, without secrets."""
    kinds: Sequence[Kind]
    figures: Figures
    verdicts: Sequence[Verdict]
    notes: Sequence[str] = ()

    @property
    def broken(self) -> list[Verdict]:
        return [verdict for verdict in self.verdicts if not verdict.held]


def show(report: Report, console: Console) -> None:
    about = ", ".join(f"{name} {value}" for name, value in report.about.items())
    console.print(f"load test: {about}", markup=False, highlight=False, soft_wrap=True)
    console.print(_kinds(report))
    console.print(_verdicts(report))
    for note in report.notes:
        console.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
    reasons = report.figures.tally.reasons.most_common(MOST_REASONS)
    if reasons:
        console.print("what went wrong:")
        for reason, count in reasons:
            console.print(f"  {count:,} x {reason}", markup=False, highlight=False, soft_wrap=True)
    for verdict in report.broken:
        console.print(f"broken: {verdict}", markup=False, highlight=False, soft_wrap=True, style="bold red")
    if not report.broken:
        console.print("every threshold held", style="green")


def write(report: Report, folder: Path) -> None:
    """summary.json and summary.txt."""
    folder.mkdir(parents=True, exist_ok=True)
    document = {
        "held": not report.broken,
        "about": dict(report.about),
        "kinds": [asdict(kind) for kind in report.kinds],
        "thresholds": [asdict(verdict) for verdict in report.verdicts],
        "reasons": dict(report.figures.tally.reasons.most_common()),
        "notes": list(report.notes),
    }
    (folder / "summary.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    with (folder / "summary.txt").open("w", encoding="utf-8") as file:
        show(report, Console(file=file, width=160))


def _kinds(report: Report) -> Table:
    table = Table(box=None, header_style="bold")
    for index, column in enumerate(COLUMNS):
        table.add_column(column, justify="left" if index == 0 else "right")
    for kind in report.kinds:
        counts = (kind.good + kind.wrong, kind.wrong, kind.errors)
        times = (kind.p50, kind.p95, kind.p99, kind.longest)
        table.add_row(
            kind.name,
            *(f"{count:,}" for count in counts),
            f"{kind.due:,.0f}",
            f"{kind.a_second:,.1f}",
            *(f"{time:,.0f}" if time >= 10 else f"{time:.1f}" for time in times),
        )
    return table


def _verdicts(report: Report) -> Table:
    table = Table(box=None, header_style="bold")
    for column in ("threshold", "wanted", "measured", ""):
        table.add_column(column, overflow="fold")
    for verdict in report.verdicts:
        held = "[green]held[/]" if verdict.held else "[bold red]BROKEN[/]"
        table.add_row(verdict.threshold, verdict.wanted, verdict.measured, held)
    return table
