"""Texts become token ids, and rows of one length: what the model takes.

    texts -> Tokenizer.encode -> [Encoded] -> groups -> [Group] -> tensors -> input_ids, attention_mask [n, bucket]

Rows are padded to the next of a few lengths, the buckets, so that requests of different callers merge into one batch:
only rows of equal length do. The model gives padding no weight; a text's vector is the same in every bucket.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # before the import: the processor's cores belong to the model

import numpy as np
import tokenizers

from modelyard.tensors import Array

TOKENIZER = "tokenizer.json"
"""The file of a version that holds the tokenizer: its vocabulary, its rules and where it cuts."""
BUCKETS = (16, 32, 64, 128, 256)
GROUP_ROWS = 16
"""Rows that are sent to the model together: more are no faster on a CPU, and another executor can take the next."""


class Encoded(NamedTuple):
    """The ids of one text, and whether tokens at its end were left out."""

    ids: Sequence[int]
    truncated: bool


class Group(NamedTuple):
    """Rows of one length: where their texts stand in the request."""

    bucket: int
    positions: list[int]


class Tokenizer:
    """Cuts texts into the tokens of one version of the model."""

    def __init__(self, path: Path) -> None:
        self._tokenizer = tokenizers.Tokenizer.from_file(str(path))

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """About 0.1 ms for a sentence; long texts take tens of milliseconds: call it in a thread."""
        encodings = self._tokenizer.encode_batch(list(texts))
        return [Encoded(encoding.ids, bool(encoding.overflowing)) for encoding in encodings]


def bucket_of(tokens: int) -> int:
    """The least bucket that holds so many tokens. Raises ValueError above the largest."""
    for bucket in BUCKETS:
        if tokens <= bucket:
            return bucket
    raise ValueError(f"{tokens} tokens are above the largest bucket, {BUCKETS[-1]}")


def groups(lengths: Sequence[int], rows: int = GROUP_ROWS) -> Iterator[Group]:
    """Texts of so many tokens each, by bucket from short to long, in groups of `rows` at most."""
    by_bucket: dict[int, list[int]] = {}
    for position, length in enumerate(lengths):
        by_bucket.setdefault(bucket_of(length), []).append(position)
    for bucket, positions in sorted(by_bucket.items()):
        for start in range(0, len(positions), rows):
            yield Group(bucket, positions[start : start + rows])


def tensors(rows: Sequence[Sequence[int]], bucket: int) -> dict[str, Array]:
    """The model's inputs, INT64 [n, bucket]: the ids with zeros behind them, and where the tokens are."""
    ids = np.zeros((len(rows), bucket), np.int64)
    mask = np.zeros((len(rows), bucket), np.int64)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = row
        mask[index, : len(row)] = 1
    return {"input_ids": ids, "attention_mask": mask}
