"""Figures that several tests of the gate and its report share."""

from __future__ import annotations

from modelyard.optimizing.gate import Quality, Speed
from modelyard.spec import QualitySpec

SPEC = QualitySpec(output="scores", measure="top1", loss=0.01, agreement=0.99)
VECTORS = QualitySpec(output="vector", measure="cosine")
GOOD = Quality(rows=400, parent=0.97, variant=0.965, agreement=0.995, least=0.0)
FAST = [Speed(1, 100.0, 150.0), Speed(32, 1000.0, 6000.0)]
"""Three times as fast: the geometric mean of 1.5 and 6."""
