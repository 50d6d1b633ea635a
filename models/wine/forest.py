"""The forest: 60 trees, and what training leaves for the export.

scikit-learn keeps a trained forest in no form but a pickle, which may run code when it is read. So training leaves its
seed and its figures, and the export grows the same forest again: the same seed and rows give the same trees, in a
tenth of a second.
"""

import json
from pathlib import Path
from typing import Any

import dataset
from sklearn.ensemble import RandomForestClassifier

TREES = 60
LEAST_LEAF = 2
"""Rows in a leaf: with one, a tree repeats single wines, and probabilities come in steps of a whole tree."""

BUILD = Path(__file__).resolve().parent / "build"
"""What training leaves for the export; git ignores it."""
REPORT = BUILD / "report.json"


def grow(rows: dataset.Rows, seed: int) -> RandomForestClassifier:
    forest = RandomForestClassifier(TREES, min_samples_leaf=LEAST_LEAF, random_state=seed)
    return forest.fit(rows.features, rows.labels)


def save(report: dict[str, Any]) -> None:
    BUILD.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def load_report() -> dict[str, Any]:
    """What training found. Raises FileNotFoundError when there was none."""
    report: dict[str, Any] = json.loads(REPORT.read_text(encoding="utf-8"))
    return report
