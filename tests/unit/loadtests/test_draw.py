"""Which rows are asked for: the hit ratio is as asked, new rows are new."""

from __future__ import annotations

from itertools import islice, pairwise

import pytest

from loadtests.bench.draw import draw, scattered
from loadtests.bench.payloads import NUMBERS


@pytest.mark.parametrize("ratio", [0.0, 0.5, 0.9, 0.99, 1.0])
def test_the_asked_part_of_each_block_is_known(ratio: float) -> None:
    known = {scattered(counter) for counter in range(64)}
    numbers = list(islice(draw(ratio, 64, seed=5), 3000))
    for begin in (0, 1000, 2000):
        hits = sum(number in known for number in numbers[begin : begin + 1000])
        assert hits == round(ratio * 1000)


def test_new_rows_never_repeat_and_are_never_known() -> None:
    known = {scattered(counter) for counter in range(64)}
    fresh = [number for number in islice(draw(0.5, 64, seed=5), 10_000) if number not in known]
    assert len(fresh) == len(set(fresh)) == 5000


def test_draws_that_start_later_have_other_new_rows() -> None:
    first = set(islice(draw(0.0, 0), 1000))
    assert first.isdisjoint(islice(draw(0.0, 0, start=1000), 1000))


def test_known_rows_are_spread_over_the_block() -> None:
    known = {scattered(counter) for counter in range(8)}
    hits = [number in known for number in islice(draw(0.5, 8), 1000)]
    assert 400 < sum(hits[:1000:2]) + sum(hits[1:1000:2]) < 600
    assert 150 < sum(hits[:500]) < 350


def test_every_known_row_comes() -> None:
    assert set(islice(draw(1.0, 16), 1000)) == {scattered(counter) for counter in range(16)}


def test_scattered_counters_keep_apart() -> None:
    numbers = [scattered(counter) for counter in range(10_000)]
    assert len(set(numbers)) == len(numbers)
    assert all(0 <= number < NUMBERS for number in numbers)
    assert min(abs(a - b) for a, b in pairwise(numbers)) > NUMBERS // 4


@pytest.mark.parametrize(("ratio", "known"), [(-0.1, 1), (1.1, 1), (0.5, 0)])
def test_what_cannot_be_drawn_is_refused(ratio: float, known: int) -> None:
    with pytest.raises(ValueError, match="cannot be drawn"):
        next(draw(ratio, known))
