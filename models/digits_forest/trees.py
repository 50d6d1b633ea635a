"""The forest: how it is grown and what it answers, for its export and for whoever composes it."""

import dataset
import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier

TREES = 100
SEED = 7


def grow(rows: dataset.Rows) -> RandomForestClassifier:
    """The same rows grow the same forest."""
    return RandomForestClassifier(TREES, random_state=SEED, n_jobs=2).fit(_flat(rows.images), rows.labels)


def infer(forest: RandomForestClassifier, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities [n, 10] of images [n, 1, 8, 8]."""
    probabilities: NDArray[np.float32] = forest.predict_proba(_flat(images)).astype(np.float32)
    return probabilities


def _flat(images: NDArray[np.float32]) -> NDArray[np.float32]:
    return images.reshape(len(images), -1)
