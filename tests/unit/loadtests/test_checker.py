"""The client's own computation: right answers are right, everything else is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from loadtests.bench.checker import Checker
from loadtests.bench.draw import scattered
from loadtests.bench.payloads import reference, rows

NUMBERS = [scattered(counter) for counter in range(20)]


@pytest.mark.parametrize("model", ["echo", "mlp", "dial_10us", "dial_100us"])
def test_what_the_model_answers_is_right(model: str) -> None:
    answers = reference(model).infer(rows(model, NUMBERS))
    assert Checker(model).right(NUMBERS, np.split(answers, len(NUMBERS))) == [True] * len(NUMBERS)


@pytest.mark.parametrize("model", ["echo", "mlp", "dial_10us", "dial_100us"])
def test_the_answer_to_another_request_is_wrong(model: str) -> None:
    answers = np.split(reference(model).infer(rows(model, NUMBERS)), len(NUMBERS))
    assert Checker(model).right(NUMBERS, answers[1:] + answers[:1]) == [False] * len(NUMBERS)


def test_the_echo_of_the_next_number_is_wrong() -> None:
    answer = reference("echo").infer(rows("echo", [41]))
    assert Checker("echo").right([42, 41], [answer, answer]) == [False, True]


@pytest.mark.parametrize("shape", [(0, 0), (1, 63), (2, 64), (64,)])
def test_another_shape_is_wrong_and_its_neighbours_are_not(shape: tuple[int, ...]) -> None:
    right = reference("echo").infer(rows("echo", [1, 2]))
    answers = [right[:1], np.zeros(shape, np.float32), right[1:]]
    assert Checker("echo").right([1, 7, 2], answers) == [True, False, True]


def test_nan_is_wrong() -> None:
    assert Checker("echo").right([1], [np.full((1, 64), np.nan, np.float32)]) == [False]


def test_one_wrong_value_is_enough() -> None:
    answer = reference("echo").infer(rows("echo", [1]))
    answer[0, 63] += 1e-4
    assert Checker("echo").right([1], [answer]) == [False]


def test_a_model_that_cannot_be_checked_is_refused() -> None:
    with pytest.raises(ValueError, match="known rows"):
        Checker("encoder")
