"""What a tally means: an index with its number of rows for each feature, and for the answers."""

from collections.abc import Sequence
from dataclasses import dataclass

from modelyard.drift.bins import MISSING
from modelyard.drift.psi import LARGE, LEAST_ROWS, SOME, psi, shares
from modelyard.drift.reference import CONFIDENCE_EDGES
from modelyard.drift_report.tally import Tally
from modelyard.tensors import Array


@dataclass(frozen=True, slots=True)
class Compared:
    """One distribution beside its reference."""

    name: str
    labels: list[str]
    """Of the bins, for an axis."""
    reference: Sequence[float]
    observed: Sequence[float]
    """Shares; nothing but zeros where no row was seen."""
    rows: int
    psi: float | None
    """None where no row was seen."""
    missing: float = 0.0
    """Share of the rows without a value."""

    @property
    def verdict(self) -> str:
        if self.psi is None:
            return "no rows"
        if self.rows < LEAST_ROWS:
            return f"too few rows to say: {LEAST_ROWS:,} are needed"
        return "large shift" if self.psi > LARGE else "some shift" if self.psi > SOME else "no shift"


def compared(tally: Tally) -> list[Compared]:
    """Features, the most shifted first; then the answers, then the confidence."""
    found = []
    for feature in tally.reference.features:
        labels = [*_spans(feature.edges), MISSING]
        found.append(_one(feature.name, labels, feature.ratios, tally.features[feature.name], missing=True))
    return sorted(found, key=lambda each: -(each.psi or 0.0)) + answers(tally)


def answers(tally: Tally) -> list[Compared]:
    prediction = tally.reference.prediction
    if prediction is None:
        return []
    labels = [*_spans(prediction.edges), MISSING] if prediction.kind == "value" else prediction.labels
    found = [_one(f"answer: {prediction.output}", labels, prediction.ratios, tally.answers)]
    if prediction.confidence is not None:
        edges = [f"to {edge:g}" for edge in CONFIDENCE_EDGES]
        found.append(_one("confidence", edges, prediction.confidence, tally.confidence))
    return found


def _one(name: str, labels: list[str], reference: Sequence[float], counts: Array, *, missing: bool = False) -> Compared:
    rows = int(counts.sum())
    observed = shares(counts).tolist() if rows else [0.0] * len(labels)
    index = psi(reference, counts) if rows else None
    share = float(counts[-1]) / rows if missing and rows else 0.0
    return Compared(name, labels, reference, observed, rows, index, share)


def _spans(edges: Sequence[float]) -> list[str]:
    return [f"< {edges[0]:.4g}", *(f"{edge:.4g}" for edge in edges)]
