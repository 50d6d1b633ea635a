"""The sentences that POST /search goes through, with their vectors: a file of the version, made by its export.

A vector has length 1, so that the cosine of two is their product: a search is one product of a matrix with the query.
"""

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from modelyard.tensors import Array

CORPUS = "corpus.npz"


class Match(NamedTuple):
    sentence: str
    topic: str
    score: float
    """The cosine of its vector and the query's, -1 to 1."""


class Corpus:
    def __init__(self, sentences: Sequence[str], topics: Sequence[str], embeddings: Array) -> None:
        """`embeddings`: FP32 [n, width], unit vectors, one for each sentence. Raises ValueError when counts differ."""
        if embeddings.ndim != 2 or not len(sentences) == len(topics) == len(embeddings):
            raise ValueError(f"{len(sentences)} sentences, {len(topics)} topics, vectors {embeddings.shape}")
        self._sentences, self._topics, self._embeddings = sentences, topics, embeddings

    def __len__(self) -> int:
        return len(self._sentences)

    def search(self, query: Array, k: int) -> list[Match]:
        """The `k` sentences nearest to a unit vector [width], the nearest first; equal ones in their own order."""
        scores = self._embeddings @ query
        nearest = np.argsort(-scores, kind="stable")[:k].tolist()
        return [Match(self._sentences[i], self._topics[i], float(scores[i])) for i in nearest]


def write_corpus(path: Path, sentences: Sequence[str], topics: Sequence[str], embeddings: Array) -> None:
    arrays = {"sentences": np.array(sentences), "topics": np.array(topics), "embeddings": embeddings.astype(np.float32)}
    np.savez(path, allow_pickle=False, **arrays)


def read_corpus(path: Path) -> Corpus:
    """Raises ValueError when the file is no corpus."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return Corpus(arrays["sentences"].tolist(), arrays["topics"].tolist(), arrays["embeddings"])
    except (KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} holds no sentences with vectors: {error}") from error
