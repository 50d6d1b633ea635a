"""The gate: quality, agreement and speed must all hold, and what does not is named."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from modelyard.optimizing.gate import Check, Quality, Speed, judge, overall, refusal
from tests.unit.optimizing.figures import FAST, GOOD, SPEC, VECTORS


def failed(quality: Quality, speeds: list[Speed], speedup: float = 1.1) -> list[str]:
    """Names of the checks that do not hold."""
    return [check.name for check in judge(SPEC, quality, speeds, speedup) if not check.passed]


def test_a_good_and_fast_variant_passes() -> None:
    assert failed(GOOD, FAST) == []
    assert refusal(judge(SPEC, GOOD, FAST, 1.1)) == ""


@pytest.mark.parametrize(
    ("quality", "name"),
    [
        (replace(GOOD, variant=0.9599), "quality (top1)"),
        (replace(GOOD, variant=math.nan), "quality (top1)"),
        (replace(GOOD, agreement=0.9899), "agreement (top1)"),
        (replace(GOOD, agreement=math.nan), "agreement (top1)"),
    ],
)
def test_quality_alone_is_enough_to_fail(quality: Quality, name: str) -> None:
    assert failed(quality, FAST) == [name]
    assert name in refusal(judge(SPEC, quality, FAST, 1.1))


def test_the_bounds_themselves_pass() -> None:
    assert failed(replace(GOOD, variant=0.97 - 0.01, agreement=0.99), FAST, 3.0 - 1e-9) == []


def test_speed_alone_is_enough_to_fail() -> None:
    assert failed(GOOD, FAST, 3.01) == ["speedup"]
    assert failed(GOOD, [Speed(1, 100.0, 109.0)]) == ["speedup"]


def test_no_batch_size_may_be_slower_than_the_parent() -> None:
    speeds = [Speed(1, 100.0, 94.0), Speed(32, 1000.0, 6000.0)]
    assert failed(GOOD, speeds) == ["speedup at 1 rows"]
    assert failed(GOOD, [Speed(1, 100.0, 96.0), Speed(32, 1000.0, 6000.0)]) == []
    assert failed(GOOD, [Speed(1, 100.0, 60.0)], 0.5) == [], "less was asked for"


def test_twice_and_half_as_fast_cancel() -> None:
    assert overall([Speed(1, 1.0, 2.0), Speed(2, 2.0, 1.0)]) == pytest.approx(1.0)
    assert overall(FAST) == pytest.approx(3.0)


def test_a_measure_without_truth_is_judged_by_agreement_alone() -> None:
    quality = Quality(rows=10, parent=None, variant=None, agreement=0.999, least=0.98)
    assert next(check.name for check in judge(VECTORS, quality, FAST, 1.1)) == "agreement (cosine)"


def test_every_failure_is_named_with_its_figures() -> None:
    text = refusal([Check("speedup", 0.9, 1.1), Check("fine", 1.0, 1.0), Check("agreement (top1)", 0.5, 0.99)])
    assert text == "speedup 0.9000 is below 1.1000; agreement (top1) 0.5000 is below 0.9900"
