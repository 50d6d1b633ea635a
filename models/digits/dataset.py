"""scikit-learn's handwritten digits, split once and for all into rows to train on and rows held out.

The package carries the images itself, so that nothing is downloaded. Training, export and the demonstration
share this split: no held-out row is ever trained on.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

HELD_OUT = 360
SPLIT_SEED = 0

Image = NDArray[np.float32]
"""[1, 8, 8]: one channel, rows of pixels from 0 to 16."""


class Rows(NamedTuple):
    """Images [n, 1, 8, 8] as float32 with pixels from 0 to 16, and their labels [n] as int64."""

    images: NDArray[np.float32]
    labels: NDArray[np.int64]


def load() -> tuple[Rows, Rows]:
    """The rows to train on (1,437) and the rows held out (360), each digit in its share in both."""
    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 1, 8, 8).astype(np.float32)
    train_images, held_images, train_labels, held_labels = train_test_split(
        images, labels.astype(np.int64), test_size=HELD_OUT, random_state=SPLIT_SEED, stratify=labels
    )
    return Rows(train_images, train_labels), Rows(held_images, held_labels)
