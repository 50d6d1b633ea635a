"""The table, and the figures that the manifest keeps."""

from __future__ import annotations

import io

from rich.console import Console

from modelyard.optimizing import report
from modelyard.optimizing.gate import Quality, Speed, judge
from modelyard.spec import QualitySpec
from tests.unit.optimizing.figures import FAST, GOOD, SPEC, VECTORS


def shown(spec: QualitySpec, quality: Quality, speeds: list[Speed]) -> list[str]:
    """The lines of the table."""
    checks = judge(spec, quality, speeds, 1.1)
    text = io.StringIO()
    console = Console(width=130, file=text)
    console.print(report.table(("version 1 (fp32)", "int8"), spec, quality, speeds, (4_000_000, 1_000_000), checks))
    return [" ".join(line.split()) for line in text.getvalue().splitlines()]


def test_the_table_holds_every_figure_and_every_verdict() -> None:
    lines = shown(SPEC, GOOD, FAST)
    assert lines == [
        "version 1 (fp32) int8 variant / parent required",
        "top1, 400 rows 0.9700 0.9650 >= 0.9600 ok",
        "agreement (top1) 0.9950 >= 0.9900 ok",
        "rows/s in batches of 1 100 150 1.50 x >= 0.9500 ok",
        "rows/s in batches of 32 1,000 6,000 6.00 x >= 0.9500 ok",
        "geometric mean 3.00 x >= 1.1000 ok",
        "artifact 4.0 MB 1.0 MB 0.25 x",
    ]


def test_what_fails_is_marked() -> None:
    lines = shown(SPEC, GOOD, [Speed(1, 100.0, 50.0)])
    assert lines[-2].endswith("FAILS")
    assert lines[-3].endswith("FAILS")


def test_vectors_show_their_worst_row() -> None:
    lines = shown(VECTORS, Quality(rows=20, parent=None, variant=None, agreement=0.998, least=0.91), FAST)
    assert lines[1:3] == ["agreement (cosine) 0.9980 >= 0.9900 ok", "of the worst row 0.9100"]


def test_the_manifest_keeps_the_table() -> None:
    kept = report.comparison(GOOD, FAST, (400, 100))
    assert kept["quality"] == 0.965
    assert kept["quality_of_parent"] == 0.97
    assert kept["agreement"] == 0.995
    assert kept["speedup"] == 3.0
    assert kept["speedup_at_32"] == 6.0
    assert kept["rows_per_second_at_1_of_parent"] == 100.0
    assert kept["bytes"] == 100


def test_a_variant_has_its_own_metric_by_the_name_of_its_parents() -> None:
    assert report.metrics(SPEC, GOOD) == {"accuracy": 0.965}
    vectors = Quality(rows=20, parent=None, variant=None, agreement=0.998, least=0.91)
    assert report.metrics(VECTORS, vectors) == {"cosine": 0.998}
