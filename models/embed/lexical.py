"""The baseline: sentences as the words that they have in common with others, without any meaning."""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

WORD = re.compile(r"[a-z]+")


def word_vectors(texts: Sequence[str]) -> NDArray[np.float32]:
    """TF-IDF as unit vectors [n, words]: words that few sentences share count more (Sparck Jones, 1972)."""
    split = [WORD.findall(text.lower()) for text in texts]
    places = {word: place for place, word in enumerate(sorted({word for words in split for word in words}))}
    counts = np.zeros((len(texts), len(places)), np.float32)
    for row, words in zip(counts, split, strict=True):
        for word in words:
            row[places[word]] += 1
    weights = counts * np.log(len(texts) / (counts > 0).sum(axis=0))
    vectors: NDArray[np.float32] = weights / np.linalg.norm(weights, axis=1, keepdims=True)
    return vectors
