"""scikit-learn's wine data, split once and for all into rows to train on and rows held out.

The package carries the measurements itself, so that nothing is downloaded. Training and export share this split: no
held-out row is ever trained on.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split

HELD_OUT = 60
SPLIT_SEED = 0
CLASSES = 3


class Rows(NamedTuple):
    """Measurements [n, 13] as float32 in the order of README.md's table, and their cultivars [n] as int64."""

    features: NDArray[np.float32]
    labels: NDArray[np.int64]


def load_all() -> Rows:
    """All 178 rows. float32 is what callers send, so that training sees no digit that serving does not."""
    features, labels = load_wine(return_X_y=True)
    return Rows(features.astype(np.float32), labels.astype(np.int64))


def load() -> tuple[Rows, Rows]:
    """The rows to train on (118) and the rows held out (60), each cultivar in its share in both."""
    features, labels = load_all()
    train_features, held_features, train_labels, held_labels = train_test_split(
        features, labels, test_size=HELD_OUT, random_state=SPLIT_SEED, stratify=labels
    )
    return Rows(train_features, train_labels), Rows(held_features, held_labels)
