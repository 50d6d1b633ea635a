"""Which row a request carries: Zipf's law, golden rows in turn, and rows that no cache has seen."""

from __future__ import annotations

from collections import Counter
from itertools import islice, pairwise
from math import isclose

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.load.draw import EVERY, STEP, STEPS, Draw, weights
from modelyard.tensors import Array

SHARE = st.floats(0, 1)
EXPONENT = st.floats(0, 3)


@given(st.integers(1, 2000), EXPONENT)
def test_weights_fall_and_sum_to_one(rows: int, exponent: float) -> None:
    found = weights(rows, exponent)
    assert isclose(found.sum(), 1.0)
    assert (np.diff(found) <= 1e-15).all()
    if exponent == 0:
        np.testing.assert_allclose(found, 1 / rows)


@given(st.integers(1, 300), SHARE, EXPONENT, st.integers(0, 2**32 - 1))
def test_every_number_is_a_row(rows: int, share: float, exponent: float, seed: int) -> None:
    draw = Draw(rows, share, exponent, seed)
    assert all(0 <= number < rows for number, _ in islice(iter(draw, None), 100))


@pytest.mark.parametrize("exponent", [0.8, 1.2])
def test_the_ranks_come_by_zipfs_law(exponent: float) -> None:
    draw = Draw(50, 1.0, exponent, 5)
    counts = Counter(draw()[0] for _ in range(20_000))
    shares = np.array([count for _, count in counts.most_common(5)]) / 20_000
    np.testing.assert_allclose(shares, weights(50, exponent)[:5], rtol=0.15)


def test_all_users_have_the_same_popular_rows() -> None:
    tops = [Counter(draw()[0] for _ in range(2000)).most_common(1)[0][0] for draw in map(_popular, range(5))]
    assert len(set(tops)) == 1


def _popular(seed: int) -> Draw:
    return Draw(100, 1.0, 1.5, seed)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_rest_is_changed_and_takes_all_rows_in_turn(share: float) -> None:
    draw = Draw(20, share, 1.0, 3)
    drawn = list(islice(iter(draw, None), 4000))
    rest = [number for number, changed in drawn if changed]
    assert abs(len(rest) / 4000 - (1 - share)) < 0.03
    assert all((b - a) % 20 == 1 for a, b in pairwise(rest))


def test_every_tenth_row_is_a_golden_one_in_turn_as_it_is() -> None:
    draw = Draw(100, 0.0, 1.0, 9, golden=[70, 71, 72])
    golden = [number for number, changed in islice(iter(draw, None), 10 * EVERY) if not changed]
    assert len(golden) == 10
    assert set(golden) == {70, 71, 72}


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=20), st.integers(0, 1000))
def test_a_changed_row_differs_in_one_number_by_a_hair_towards_zero(values: list[float], seed: int) -> None:
    row: dict[str, Array] = {"x": np.array([values], np.float32), "n": np.array([1], np.int64)}
    before = row["x"].copy()
    after = Draw(1, 0.5, 1.0, seed).changed(row)
    np.testing.assert_array_equal(row["x"], before)  # what others send stays as it is
    differ = np.flatnonzero(after["x"] != before)
    assert len(differ) <= 1
    if (np.abs(before) > 1e-30).any():
        assert len(differ) == 1
        old, new = float(before.ravel()[differ[0]]), float(after["x"].ravel()[differ[0]])
        assert abs(new) < abs(old)
        assert abs(new - old) <= abs(old) * STEP * (STEPS + 1)


def test_changes_are_many() -> None:
    draw, row = Draw(1, 0.0, 1.0, 1), {"x": np.linspace(1, 2, 64, dtype=np.float32)[None]}
    assert len({draw.changed(row)["x"].tobytes() for _ in range(500)}) > 490


def test_a_row_of_whole_numbers_stays_as_it_is() -> None:
    row: dict[str, Array] = {"x": np.arange(5, dtype=np.int64)[None], "zero": np.zeros((1, 3), np.float32)}
    assert all(Draw(1, 0.0, 1.0, 1).changed(row)[name] is array for name, array in row.items())


@pytest.mark.parametrize(("rows", "share", "exponent"), [(0, 0.5, 1.0), (5, -0.1, 1.0), (5, 1.1, 1.0), (5, 0.5, -1.0)])
def test_what_cannot_be_drawn_is_refused(rows: int, share: float, exponent: float) -> None:
    with pytest.raises(ValueError, match=r"at least one row|is none"):
        Draw(rows, share, exponent, 0)
