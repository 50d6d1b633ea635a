"""Rows to columns: what is computed for many rows together is what is computed for each alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.drift.extract import MOST_ELEMENTS, InputColumns, Piece
from modelyard.drift.features import SUMMARY, Feature, What
from modelyard.tensors import DTYPES
from tests.unit.strategies import Array, bytes_array

ALL: tuple[What, ...] = ("length", *SUMMARY)


def features(kinds: Sequence[What], *, padded: bool = False) -> list[Feature]:
    return [Feature(name=what, input="x", what=what, padded=padded) for what in kinds]


def of_a_row(row: Array) -> list[float]:
    flat = row.ravel().astype(np.float64)
    if not flat.size:
        return [0.0, *[np.nan] * 5]
    return [flat.size, flat.mean(), flat.std(), flat.min(), flat.max(), np.mean(flat == 0)]


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 9)), min_size=1, max_size=8), st.integers(0, 2**32 - 1))
def test_sums_of_many_requests_are_those_of_each_row(shapes: list[tuple[int, int]], seed: int) -> None:
    random = np.random.default_rng(seed)
    arrays = [random.integers(-3, 4, shape).astype(np.float32) for shape in shapes]
    columns = InputColumns("FP32", (-1,), features(ALL))
    found = columns.columns([columns.take(array) for array in arrays])
    expected = [of_a_row(row) for array in arrays for row in array]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_elements_in_their_places() -> None:
    wanted = [Feature(name=f"x{i}", input="x", what="element", index=i) for i in (2, 0)]
    columns = InputColumns("FP32", (3,), wanted)
    rows = np.arange(12, dtype=np.float32).reshape(4, 3)
    found = columns.columns([columns.take(rows[:1]), columns.take(rows[1:])])
    np.testing.assert_array_equal(found, rows[:, [2, 0]])


@pytest.mark.parametrize("datatype", ["BOOL", "INT8", "UINT64", "FP16", "FP64"])
def test_other_datatypes_are_numbers_too(datatype: str) -> None:
    columns = InputColumns(datatype, (2,), [Feature(name="x", input="x", what="element", index=1)])
    found = columns.columns([columns.take(np.array([[0, 1], [1, 0]], DTYPES[datatype]))])
    assert found.tolist() == [[1.0], [0.0]]


def test_bfloat16_bits_are_read_as_numbers() -> None:
    bits = (np.array([[1.5, -2.0]], np.float32).view(np.uint32) >> 16).astype(np.uint16)
    columns = InputColumns("BF16", (2,), features(["minimum", "maximum"]))
    assert columns.columns([columns.take(bits)]).tolist() == [[-2.0, 1.5]]


def test_texts_are_their_lengths_and_an_empty_one_is_missing() -> None:
    columns = InputColumns("BYTES", (1,), [Feature(name="x", input="x", what="element")])
    found = columns.columns([columns.take(bytes_array([b"abc", b"", b"\xc3\xa4"], (3, 1)))])
    np.testing.assert_array_equal(found[:, 0], [3, np.nan, 2])


def test_padding_is_not_looked_at() -> None:
    columns = InputColumns("INT64", (-1,), features(["length", "mean", "minimum"], padded=True))
    narrow, wide = np.array([[4, 2]]), np.array([[4, 2, 0, 0], [0, 0, 0, 0]])
    found = columns.columns([columns.take(narrow), columns.take(wide)])
    np.testing.assert_array_equal(found, [[2, 3, 2], [2, 3, 2], [0, np.nan, np.nan]])


def test_of_a_large_row_a_bounded_part_is_copied() -> None:
    columns = InputColumns("FP32", (3, 64, 64), features(SUMMARY))
    rows = np.random.default_rng(0).random((2, 3, 64, 64)).astype(np.float32)
    piece = columns.take(rows)
    assert isinstance(piece, Piece)
    assert len(piece.raw) <= 2 * MOST_ELEMENTS * 4
    assert columns.columns([piece])[:, 0] == pytest.approx(rows.mean(axis=(1, 2, 3)), abs=0.05)


def test_a_copy_keeps_no_body_alive() -> None:
    body = bytearray(np.arange(4, dtype=np.float32).tobytes())
    columns = InputColumns("FP32", (4,), [Feature(name="x", input="x", what="element", index=3)])
    piece = columns.take(np.frombuffer(body, np.float32).reshape(1, 4))
    body.extend(b"a bytearray with a view on it cannot grow")
    assert columns.columns([piece]).tolist() == [[3.0]]
