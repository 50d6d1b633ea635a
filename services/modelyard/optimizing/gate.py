"""May a variant be published? Only when quality and speed both hold. Pure: figures in, checks out.

quality      of the variant >= of its parent - quality.loss         where the measure knows a truth
agreement    of the variant with its parent >= quality.agreement
speed        geometric mean over the batch sizes of (variant's rows/s / parent's rows/s) >= --speedup
each size    no batch size slower than the parent by more than 5 %  (than --speedup, where less was asked for)
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from modelyard.spec import QualitySpec

SLOWER = 0.95
"""A batch size that gains nothing measures a little below 1 now and then."""


@dataclass(frozen=True, slots=True)
class Quality:
    """What was measured on the evaluation rows."""

    rows: int
    parent: float | None
    """None: the measure knows no truth but the parent."""
    variant: float | None
    agreement: float
    least: float
    """The agreement of the row that agrees least."""


@dataclass(frozen=True, slots=True)
class Speed:
    """Rows a second at a batch size: medians of interleaved rounds."""

    rows: int
    parent: float
    variant: float

    @property
    def factor(self) -> float:
        return self.variant / self.parent


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    value: float
    least: float

    @property
    def passed(self) -> bool:
        return self.value >= self.least  # not so for NaN


def judge(spec: QualitySpec, quality: Quality, speeds: Sequence[Speed], speedup: float) -> list[Check]:
    """Every check, passed or not."""
    checks = []
    if quality.parent is not None and quality.variant is not None:
        checks.append(Check(f"quality ({spec.measure})", quality.variant, quality.parent - spec.loss))
    checks.append(Check(f"agreement ({spec.measure})", quality.agreement, spec.agreement))
    checks.append(Check("speedup", overall(speeds), speedup))
    checks += [Check(f"speedup at {speed.rows} rows", speed.factor, min(speedup, SLOWER)) for speed in speeds]
    return checks


def overall(speeds: Sequence[Speed]) -> float:
    """The factor over all batch sizes: their geometric mean, in which twice and half as fast cancel."""
    return math.exp(math.fsum(math.log(speed.factor) for speed in speeds) / len(speeds))


def refusal(checks: Sequence[Check]) -> str:
    """What failed, in one line; empty: nothing did."""
    return "; ".join(
        f"{check.name} {check.value:.4f} is below {check.least:.4f}" for check in checks if not check.passed
    )
