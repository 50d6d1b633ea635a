"""Merging and splitting, apart from waiting: pure functions over rows."""

from collections.abc import Sequence

import numpy as np

from modelyard.tensors import Array


def merge(parts: Sequence[Sequence[Array]]) -> list[Array]:
    """Join requests along the batch dimension: `parts[request][input]` becomes one array per input."""
    if len(parts) == 1:
        return list(parts[0])
    return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]


def split(outputs: Sequence[Array], rows: Sequence[int]) -> list[list[Array]]:
    """Undo `merge` for outputs: `rows[request]` rows each, as views."""
    if len(rows) == 1:
        return [list(outputs)]
    parts, start = [], 0
    for count in rows:
        parts.append([array[start : start + count] for array in outputs])
        start += count
    return parts


def bucket(rows: int, buckets: Sequence[int]) -> int:
    """The smallest bucket that holds `rows`; `rows` itself when there is none."""
    return min((size for size in buckets if size >= rows), default=rows)


def pad(inputs: Sequence[Array], rows: int) -> list[Array]:
    """Repeat the last row until there are `rows`: real values, so that no padding can raise in the model."""
    padded = []
    for array in inputs:
        missing = rows - array.shape[0]
        padded.append(np.concatenate([array, np.repeat(array[-1:], missing, axis=0)]) if missing > 0 else array)
    return padded


def without_frames(error: Exception) -> Exception:
    """An error that is to be kept: its traceback would keep alive all that the failed call had in hand."""
    error.__traceback__ = error.__context__ = error.__cause__ = None
    return error
