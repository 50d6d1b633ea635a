"""Measures of quality and agreement: known answers, and what holds for any scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from modelyard.errors import ConfigurationError
from modelyard.optimizing.quality import Measure, agreement, check_fits, cosine, quality, row_agreement
from modelyard.tensors import Array

MEASURES: list[Measure] = ["top1", "recall_at_10", "cosine"]
SCORES = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 6), st.integers(2, 25)),
    elements=st.floats(-1e6, 1e6, width=32),
)
"""[rows, classes]"""


def ranked(classes: int, first: list[int]) -> Array:
    """One row of scores in which `first` are the highest, in that order."""
    scores = np.zeros(classes, np.float32)
    scores[first] = np.arange(len(first), 0, -1)
    return scores[np.newaxis]


def test_top1_counts_the_rows_whose_highest_score_is_the_truth() -> None:
    scores = np.array([[0.1, 0.9], [0.8, 0.2], [0.4, 0.6], [0.5, 0.5]], np.float32)
    assert quality("top1", scores, np.array([1, 0, 0, 0])) == 0.75


def test_recall_counts_the_rows_whose_truth_is_among_the_ten_highest() -> None:
    scores = np.concatenate([ranked(30, list(range(20))), ranked(30, list(range(20)))])
    assert quality("recall_at_10", scores, np.array([9, 10])) == 0.5
    assert quality("recall_at_10", np.ones((1, 4), np.float32), np.array([3])) == 1.0, "all of four are among the ten"


def test_recall_agrees_by_the_share_of_the_ten_in_common_whatever_their_order() -> None:
    ours, theirs = ranked(30, list(range(10))), ranked(30, list(range(9, -1, -1)))
    assert agreement("recall_at_10", ours, theirs) == 1.0
    assert agreement("recall_at_10", ours, ranked(30, list(range(5, 15)))) == 0.5


def test_top1_agreement_is_the_share_of_rows_with_the_same_class() -> None:
    ours = np.array([[1.0, 2.0], [2.0, 1.0]], np.float32)
    assert agreement("top1", ours, ours[::-1]) == 0.0
    assert agreement("top1", ours, ours * 10) == 1.0
    assert agreement("top1", ours, np.array([[1.0, 2.0], [1.0, 2.0]], np.float32)) == 0.5


def test_an_output_of_whole_numbers_names_its_answers_itself() -> None:
    labels = np.array([2, 0, 1])
    assert quality("top1", labels, np.array([2, 0, 0])) == pytest.approx(2 / 3)
    assert agreement("top1", labels, np.array([2, 1, 1])) == pytest.approx(2 / 3)
    ranked_items = np.array([np.arange(50), np.arange(50)[::-1]])
    assert quality("recall_at_10", ranked_items, np.array([9, 39])) == 0.5
    assert quality("top1", ranked_items, np.array([0, 49])) == 1.0
    assert agreement("recall_at_10", ranked_items, ranked_items[::-1]) == 0.0
    assert agreement("recall_at_10", ranked_items[:1], np.arange(5, 55)[np.newaxis]) == 0.5


def test_cosine_of_known_vectors() -> None:
    ours = np.array([[1, 0], [1, 0], [1, 0], [1, 1], [0, 0], [0, 0]], np.float32)
    theirs = np.array([[2, 0], [0, 3], [-1, 0], [1, 0], [0, 0], [1, 0]], np.float32)
    np.testing.assert_allclose(cosine(ours, theirs), [1, 0, -1, 0.5**0.5, 1, 0], atol=1e-12)


def test_cosine_takes_vectors_of_any_rank_and_numbers_of_any_size() -> None:
    images = np.random.default_rng(0).standard_normal((3, 2, 4, 4)).astype(np.float32)
    np.testing.assert_allclose(cosine(images, images * 2), 1)
    huge = np.full((1, 4), 1e300)
    np.testing.assert_allclose(cosine(huge, huge / 1e290), 1)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_agrees_with_nothing_and_is_never_right(measure: Measure, bad: float) -> None:
    scores = np.array([[0.0, 1.0], [0.0, 1.0]], np.float32)
    broken = scores.copy()
    broken[0, 1] = bad
    np.testing.assert_array_equal(row_agreement(measure, broken, scores), [0, 1])
    np.testing.assert_array_equal(row_agreement(measure, broken, broken), [0, 1])
    if measure != "cosine":
        assert quality(measure, broken, np.array([1, 1])) == 0.5


@given(SCORES)
@pytest.mark.parametrize("measure", MEASURES)
def test_everything_agrees_with_itself(measure: Measure, scores: Array) -> None:
    np.testing.assert_allclose(row_agreement(measure, scores, scores), 1)


@given(SCORES)
@pytest.mark.parametrize("measure", MEASURES)
def test_agreement_is_mutual_and_does_not_depend_on_the_order_of_rows(measure: Measure, scores: Array) -> None:
    order = np.random.default_rng(0).permutation(len(scores))
    others = scores[:, ::-1]
    value = agreement(measure, scores, others)
    assert -1 <= value <= 1
    assert value == pytest.approx(agreement(measure, others, scores))
    assert value == pytest.approx(agreement(measure, scores[order], others[order]))


@given(SCORES)
def test_quality_is_a_share_and_recall_is_never_below_top1(scores: Array) -> None:
    truth = np.arange(len(scores)) % scores.shape[1]
    first, ten = quality("top1", scores, truth), quality("recall_at_10", scores, truth)
    assert first is not None
    assert ten is not None
    assert 0 <= first <= ten <= 1
    assert quality("top1", scores, scores.argmax(axis=1)) == 1


@given(SCORES, st.floats(1e-3, 1e3))
def test_cosine_does_not_depend_on_length(scores: Array, factor: float) -> None:
    np.testing.assert_allclose(cosine(scores, scores.astype(np.float64) * factor), 1)


def test_cosine_knows_no_truth() -> None:
    assert quality("cosine", np.ones((2, 3), np.float32), np.array([0, 1])) is None


@pytest.mark.parametrize(
    ("measure", "output", "truth", "words"),
    [
        ("top1", np.zeros((2, 3), np.bool_), np.zeros(2, np.int64), "bool"),
        ("recall_at_10", np.zeros(2, np.int64), np.zeros(2, np.int64), "shape"),
        ("top1", np.zeros(2, np.float32), np.zeros(2, np.int64), "shape"),
        ("top1", np.zeros((2, 1), np.float32), np.zeros(2, np.int64), "classes"),
        ("top1", np.zeros((2, 3), np.float32), None, "truth"),
        ("recall_at_10", np.zeros((2, 3), np.float32), np.zeros((2, 2), np.int64), "one class"),
        ("recall_at_10", np.zeros((2, 3), np.float32), np.zeros(2, np.float32), "float32"),
        ("cosine", np.zeros((2, 3), np.int8), None, "int8"),
    ],
)
def test_what_cannot_be_measured_is_refused(measure: Measure, output: Array, truth: Array | None, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        check_fits(measure, output, truth)


def test_what_can_be_measured_is_not() -> None:
    check_fits("top1", np.zeros((2, 3), np.float32), np.zeros(2, np.int64))
    check_fits("recall_at_10", np.zeros((2, 30), np.float16), np.zeros(2, np.int32))
    check_fits("cosine", np.zeros((2, 3, 4), np.float32), None)
    check_fits("top1", np.zeros(2, np.int64), np.zeros(2, np.int64))
    check_fits("recall_at_10", np.zeros((2, 50), np.int64), np.zeros(2, np.int64))
