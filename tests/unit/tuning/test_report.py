"""What people and programs are told."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from modelyard.tuning.choose import Choice
from modelyard.tuning.grid import Setting
from modelyard.tuning.plot import plot
from modelyard.tuning.report import Report, document, table, verdict, width
from modelyard.tuning.tally import Tally
from tests.unit.tuning.figures import tally

NOW, NEW, THIRD = Setting(0.0, 2, 64), Setting(0.0, 1, 8), Setting(2.0, 1, 8)
REPORT = Report(
    model="m",
    version="3",
    backend="onnxruntime-cpu",
    inputs={"x": [1, 4]},
    grid=[NEW, NOW, THIRD],
    levels=[1, 32],
    seconds=1.0,
    p99_limit_ms=7.0,
    current=NOW,
    results={
        (NOW, 1): tally(1000, 0.5),
        (NOW, 32): tally(20_000, 4),
        (NEW, 1): tally(1100, 0.4),
        (NEW, 32): tally(30_000, 2),
        (THIRD, 1): Tally(errors=3, seconds=1.0),
    },
    again=frozenset({(NEW, 1), (NEW, 32)}),
    choice=Choice(NEW, "the most requests a second"),
)


def printed(report: Report) -> list[str]:
    console = Console(width=width(report), record=True, file=io.StringIO())
    console.print(table(report))
    return [line.rstrip() for line in console.export_text().splitlines()]


def test_the_table_has_a_line_for_each_setting() -> None:
    lines = printed(REPORT)
    assert lines[1].split()[:2] == ["batch", "threads"]
    rows = [line.split() for line in lines[2:]]
    assert [row[:3] for row in rows] == [["8", "1", "0"], ["8", "1", "2"], ["64", "2", "0"]]
    assert [(row[3], row[6]) for row in rows] == [("1,100", "30,000"), ("-", "-"), ("1,000", "20,000")]
    assert [row[9:] for row in rows] == [["chosen"], ["3", "errors"], ["now"]]
    assert [float(ms) for ms in rows[0][4:6] + rows[0][7:9]] == pytest.approx([0.4, 0.4, 2, 2], rel=0.02)
    assert "…" not in "".join(lines)


def test_what_was_not_measured_has_no_line() -> None:
    partial = replace(
        REPORT, results={(NOW, 1): tally(10)}, choice=None, interrupted=True, refusal="it was interrupted"
    )
    assert len(printed(partial)) == 3
    assert verdict(partial) == ["nothing is chosen: it was interrupted"]
    assert document(partial)["complete"] is False


def test_a_model_without_batches_has_threads_alone() -> None:
    alone = Setting(0.0, 2, 0)
    report = replace(REPORT, grid=[alone], current=alone, results={(alone, 1): tally(10)}, choice=None)
    assert printed(report)[2].split()[:2] == ["2", "10"]


def test_the_gain_is_told_at_every_number_of_connections() -> None:
    lines = verdict(REPORT)
    assert "batches of up to 8, 1 thread, no delay" in lines[0]
    assert "now" in lines[2]
    assert lines[3:] == [
        "  at 32 connections: +50% requests/s, -50% p50, -50% p99",
        "  at 1 connection: +10% requests/s, -20% p50, -20% p99",
    ]
    assert verdict(replace(REPORT, choice=Choice(NOW, "because")))[0].startswith("stay with")


def test_the_document_is_json_and_says_all() -> None:
    made = json.loads(json.dumps(document(REPORT), allow_nan=False))
    assert made["complete"] is True
    assert made["chosen"] == {"merge_rows": 8, "executors": 1, "max_queue_delay_ms": 0.0}
    assert made["current"]["merge_rows"] == 64
    assert [gain["concurrency"] for gain in made["gain"]] == [1, 32]
    assert made["gain"][1]["rate"] == 1.5
    assert len(made["cells"]) == 5
    again = [cell for cell in made["cells"] if cell["measured_again"]]
    assert {cell["merge_rows"] for cell in again} == {8}
    (failed,) = [cell for cell in made["cells"] if cell["errors"]]
    assert failed["p99_ms"] is None


def test_the_curves_are_a_png_whatever_was_measured(tmp_path: Path) -> None:
    alone = Setting(0.0, 2, 0)
    reports = [
        REPORT,
        replace(REPORT, choice=None, results={}, p99_limit_ms=None),
        replace(REPORT, grid=[alone], current=alone, results={(alone, 32): tally(10)}, choice=None),
    ]
    for number, report in enumerate(reports):
        path = tmp_path / f"{number}.png"
        plot(report, path)
        assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
