"""Merging, splitting and padding rows: pure functions, tested by property."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from modelyard.batching.batch import bucket, merge, pad, split, without_frames
from tests.unit.strategies import DATATYPES, Array, arrays, same


@st.composite
def requests(draw: st.DrawFn) -> list[list[Array]]:
    """Requests of one signature: per request its inputs, all with the request's number of rows."""
    kinds = draw(
        st.lists(st.tuples(st.sampled_from(DATATYPES), st.lists(st.integers(0, 2), max_size=2)), min_size=1, max_size=3)
    )
    counts = draw(st.lists(st.integers(1, 3), min_size=1, max_size=4))
    return [[draw(arrays(datatype, (rows, *shape))) for datatype, shape in kinds] for rows in counts]


@given(requests())
def test_split_undoes_merge(parts: list[list[Array]]) -> None:
    rows = [part[0].shape[0] for part in parts]
    merged = merge(parts)
    assert all(array.shape[0] == sum(rows) for array in merged)
    apart = split(merged, rows)
    assert len(apart) == len(parts)
    for got, put in zip(apart, parts, strict=True):
        assert all(same(one, other) for one, other in zip(got, put, strict=True))


@given(requests(), st.integers(0, 20))
def test_padding_keeps_the_rows_and_repeats_the_last(parts: list[list[Array]], rows: int) -> None:
    inputs = parts[0]
    count = inputs[0].shape[0]
    for padded, array in zip(pad(inputs, rows), inputs, strict=True):
        assert padded.shape[0] == max(rows, count)
        assert same(padded[:count], array)
        assert all(same(padded[row : row + 1], array[-1:]) for row in range(count, rows))


@given(st.integers(1, 100), st.lists(st.integers(1, 100), max_size=5))
def test_a_bucket_is_the_smallest_that_holds_the_rows(rows: int, buckets: list[int]) -> None:
    chosen = bucket(rows, buckets)
    fitting = sorted(size for size in buckets if size >= rows)
    assert chosen == (fitting[0] if fitting else rows)


def test_one_request_is_not_copied() -> None:
    array = np.ones((2, 2))
    assert merge([[array]])[0] is array
    assert split([array], [2])[0][0] is array
    assert pad([array], 2)[0] is array


def test_an_error_that_is_kept_keeps_no_frames() -> None:
    try:
        try:
            raise KeyError("first")
        except KeyError:
            raise ValueError("second") from None
    except ValueError as error:
        kept = without_frames(error)
    assert (kept.__traceback__, kept.__context__, str(kept)) == (None, None, "second")
