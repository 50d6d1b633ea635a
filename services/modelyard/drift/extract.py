"""Rows of a request to one column per feature, in two steps: a cheap copy at once, the arithmetic later for many rows.

take(array)  -> Piece     in the event loop, for every request: a copy, never a view that keeps a body alive
columns(pieces) -> [n, k]  now and then, for all rows that have come together; no Python per element
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from modelyard.drift.features import Feature, What
from modelyard.drift_spec import elements_of
from modelyard.tensors import DTYPES, Array

MOST_ELEMENTS = 1024
"""Of a row: of a longer one every second, third ... element is looked at, then and now the same."""


class Piece(NamedTuple):
    """The rows of one request, where their size varies or not all of a row is looked at."""

    raw: bytes
    rows: int
    width: int
    """Elements of a row as it came."""


Taken = bytes | Piece
"""The rows of one request; of rows that are copied whole the bytes say all."""


class InputColumns:
    """The features of one input."""

    def __init__(self, datatype: str, row: tuple[int, ...], features: Sequence[Feature]) -> None:
        """`row`: the shape of a row, -1 where it varies."""
        self._text = datatype == "BYTES"
        self._bf16 = datatype == "BF16"
        self._dtype = np.dtype(np.int64) if self._text else DTYPES[datatype]
        self._features = features
        self._padded = any(feature.padded for feature in features)
        self._fixed = int(np.prod([size for size in row if size >= 0], dtype=np.int64)) or 1
        elements = elements_of(row)
        self._whole = elements is not None and elements <= MOST_ELEMENTS and not self._text
        self._width = elements or 0

    def take(self, array: Array) -> Taken:
        """A copy of what is looked at; `array` has the rows as its first dimension."""
        if self._whole:
            return array.tobytes()
        rows = len(array)
        if self._text:
            array = np.fromiter(map(len, array.ravel().tolist()), np.int64, array.size).reshape(array.shape)
        width = array.size // rows if rows else 0
        return Piece(array.reshape(rows, width)[:, :: _stride(width)].tobytes(), rows, width)

    def columns(self, taken: Sequence[Taken]) -> Array:
        """float64 [n, features]; NaN is what is missing: no number, an empty text, anything of an empty row."""
        pieces = [each for each in taken if isinstance(each, Piece)]
        whole = [each for each in taken if isinstance(each, bytes)]
        flat = self._numbers(b"".join(whole or [piece.raw for piece in pieces]))
        if self._features[0].what == "element":
            return flat.reshape(-1, self._width)[:, [feature.index for feature in self._features]]
        if whole:
            widths = looked_at = np.full(len(flat) // self._width, self._width)
            return self._sums(flat, widths, looked_at)
        rows = np.array([piece.rows for piece in pieces])
        widths = np.array([piece.width for piece in pieces])
        widths, looked_at = np.repeat(widths, rows), np.repeat(_looked_at(widths), rows)
        if self._padded:
            flat, widths = _without_padding(flat, looked_at)
            looked_at = widths
        return self._sums(flat, widths, looked_at)

    def _numbers(self, raw: bytes) -> Array:
        if self._bf16:
            wide = np.frombuffer(raw, np.uint16).astype(np.uint32) << 16
            return wide.view(np.float32).astype(np.float64)
        numbers = np.frombuffer(raw, self._dtype).astype(np.float64)
        if self._text:
            numbers[numbers == 0] = np.nan
        return numbers

    def _sums(self, flat: Array, widths: Array, looked_at: Array) -> Array:
        """`flat` holds the rows one after the other, `looked_at` [n] says how many elements each has there."""
        columns = np.full((len(widths), len(self._features)), np.nan)
        filled = np.flatnonzero(looked_at)
        sizes = looked_at[filled]
        starts = np.cumsum(sizes) - sizes
        for place, feature in enumerate(self._features):
            if feature.what == "length":
                columns[:, place] = widths / self._fixed
            elif len(filled):
                columns[filled, place] = _SUMMARIES[feature.what](flat, starts, sizes)
        return columns


def _mean(flat: Array, starts: Array, sizes: Array) -> Array:
    mean: Array = np.add.reduceat(flat, starts) / sizes
    return mean


def _deviation(flat: Array, starts: Array, sizes: Array) -> Array:
    """Of a row's elements from their mean, which is taken off first: sums of squares of large numbers are rough."""
    centred = flat - np.repeat(_mean(flat, starts, sizes), sizes)
    deviation: Array = np.sqrt(np.add.reduceat(centred * centred, starts) / sizes)
    return deviation


def _zeros(flat: Array, starts: Array, sizes: Array) -> Array:
    share: Array = np.add.reduceat((flat == 0).astype(np.float64), starts) / sizes
    return share


_SUMMARIES: dict[What, Callable[[Array, Array, Array], Array]] = {
    "mean": _mean,
    "deviation": _deviation,
    "minimum": lambda flat, starts, _: np.minimum.reduceat(flat, starts),
    "maximum": lambda flat, starts, _: np.maximum.reduceat(flat, starts),
    "zeros": _zeros,
}


def _without_padding(flat: Array, looked_at: Array) -> tuple[Array, Array]:
    """What is not zero, and how many of those each row has."""
    filled = flat != 0
    before = np.concatenate([[0], np.cumsum(filled)])
    ends = np.cumsum(looked_at)
    return flat[filled], before[ends] - before[ends - looked_at]


def _stride(width: int) -> int:
    return max(1, -(-width // MOST_ELEMENTS))


def _looked_at(widths: Array) -> Array:
    """Of rows of so many elements."""
    strides = np.maximum(1, -(-widths // MOST_ELEMENTS))
    looked: Array = -(-widths // strides)
    return looked
