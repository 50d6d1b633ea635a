"""PSI: the formula, by hand and by its properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.drift.psi import FLOOR, psi, shares

COUNTS = st.lists(st.integers(0, 10_000), min_size=2, max_size=11).filter(any)


def test_by_hand() -> None:
    expected = (0.5 - 0.25) * math.log(0.5 / 0.25) + (0.5 - 0.75) * math.log(0.5 / 0.75)
    assert psi([0.25, 0.75], [10, 10]) == pytest.approx(expected, abs=1e-15)


def test_an_empty_bin_has_the_least_share() -> None:
    expected = 2 * (1 - FLOOR) * math.log(1 / FLOOR)
    assert psi([FLOOR, 1.0], [7, 0]) == pytest.approx(expected)
    assert psi([0.0, 1.0], [7, 0]) == pytest.approx(expected), "the reference is held to it, too"


@given(COUNTS)
def test_it_is_zero_for_the_same_and_never_negative(counts: list[int]) -> None:
    assert psi(shares(counts), counts) == 0
    assert psi(np.full(len(counts), 1 / len(counts)), counts) >= 0


@given(st.lists(st.tuples(st.integers(1, 999), st.integers(1, 999)), min_size=2, max_size=11))
def test_it_is_symmetric(pairs: list[tuple[int, int]]) -> None:
    ours, theirs = zip(*pairs, strict=True)
    assert psi(shares(ours), theirs) == pytest.approx(psi(shares(theirs), ours), rel=1e-9, abs=1e-12)


def test_chance_alone_is_as_the_text_says() -> None:
    random = np.random.default_rng(0)
    uniform = np.full(10, 0.1)
    for rows, expected in ((100, 0.21), (1000, 0.022)):
        drawn = [psi(uniform, random.multinomial(rows, uniform)) for _ in range(4000)]
        assert np.quantile(drawn, 0.99) == pytest.approx(expected, rel=0.2)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="no rows"):
        psi([0.5, 0.5], [0, 0])
    with pytest.raises(ValueError, match="3 bins were observed, the reference has 2"):
        psi([0.5, 0.5], [1, 2, 3])
