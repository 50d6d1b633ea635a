"""Grow the forest and measure it on wines that it has never seen.

    python models/wine/train.py            # some seconds
    python models/wine/export.py           # then: ONNX and a version folder

Writes build/report.json. Exits with 1, and writes nothing, when the accuracy on the held-out rows is below
--minimum-accuracy. 60 held-out rows are few: the interval that they leave open is printed beside the figure, and so
is the accuracy over many other splits of the same data.
"""

import argparse
import math
import sys

import dataset
import forest
import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import RepeatedStratifiedKFold

from modelyard.authoring.script import finish
from modelyard.errors import ConfigurationError

FOLDS, REPEATS = 5, 5
CONFIDENT = 1.96
"""Standard deviations of a normal distribution that hold 95 %."""


def main() -> None:
    options = _options()
    train, held_out = dataset.load()
    print(f"wine: {len(train.labels)} training rows, {len(held_out.labels)} held out, seed {options.seed}")
    labels = forest.grow(train, options.seed).predict(held_out.features)
    right, rows = int(np.sum(labels == held_out.labels)), len(labels)
    low, high = interval(right, rows)
    baseline = float(np.mean(held_out.labels == np.bincount(train.labels).argmax()))
    print(
        f"held-out accuracy {right / rows:.4f} ({rows - right} of {rows} wrong; 95 % interval {low:.2f} to {high:.2f})"
    )
    print(f"always the most frequent cultivar: {baseline:.4f}")
    if right / rows < options.minimum_accuracy:
        raise ConfigurationError(f"the accuracy is below the {options.minimum_accuracy} asked for; nothing is written")
    scores = _cross_validate(options.seed)
    spread = f"from {scores.min():.2f} to {scores.max():.2f}"
    print(f"over {len(scores)} other splits of all rows: {scores.mean():.4f}, {spread}")
    forest.save(
        {
            "accuracy": right / rows,
            "accuracy_interval": [low, high],
            "baseline_accuracy": baseline,
            "cross_validated_accuracy": float(scores.mean()),
            "held_out_rows": rows,
            "recall": _recall(labels, held_out.labels),
            "seed": options.seed,
        }
    )
    print(f"wrote {forest.REPORT}")


def interval(right: int, rows: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share, which holds for small samples and near 1.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    """
    share, square = right / rows, CONFIDENT**2
    centre = (share + square / (2 * rows)) / (1 + square / rows)
    half = CONFIDENT * math.sqrt(share * (1 - share) / rows + square / (4 * rows**2)) / (1 + square / rows)
    return max(0.0, centre - half), min(1.0, centre + half)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=7, help="of the trees (default: 7)")
    parser.add_argument("--minimum-accuracy", type=float, default=0.93, help="below it: exit 1 (default: 0.93)")
    return parser.parse_args()


def _cross_validate(seed: int) -> NDArray[np.float64]:
    """Accuracies of forests grown on other splits: how much the figure depends on which rows were held out."""
    rows = dataset.load_all()
    splits = RepeatedStratifiedKFold(n_splits=FOLDS, n_repeats=REPEATS, random_state=seed)
    scores = []
    for train, test in splits.split(rows.features, rows.labels):
        grown = forest.grow(dataset.Rows(rows.features[train], rows.labels[train]), seed)
        scores.append(float(np.mean(grown.predict(rows.features[test]) == rows.labels[test])))
    return np.asarray(scores)


def _recall(labels: NDArray[np.int64], truth: NDArray[np.int64]) -> dict[str, float]:
    """Share of each cultivar's held-out rows that were recognised."""
    return {str(label): float(np.mean(labels[truth == label] == label)) for label in range(dataset.CLASSES)}


if __name__ == "__main__":
    sys.exit(finish(main))
