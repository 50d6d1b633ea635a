"""Which answers are wrong: another row's, another version's, one of another shape, and golden ones that moved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from loadtests.load.checks import Checker
from loadtests.load.rows import Known, known
from loadtests.load.wire import Answer, WrongAnswer
from modelyard.tensors import Array
from tests.unit.loadtests.load.made import GOLDEN, answers, make, rows


@pytest.fixture
def model(tmp_path: Path) -> Known:
    make(tmp_path)
    return known(tmp_path, "pair")


def answer(output: Array, version: str = "1", name: str = "y") -> Answer:
    return Answer({name: output}, version)


def of(number: int) -> Array:
    return answers(rows())[number : number + 1]


def test_right_answers_pass_each_time(model: Known) -> None:
    checker = Checker(model)
    for number, row in enumerate([*model.rows, *model.rows]):
        checker.check(number % len(model.rows), row, answer(of(number % len(model.rows))), changed=False)


def test_a_golden_row_has_to_be_answered_as_published(model: Known) -> None:
    checker = Checker(model)
    checker.check(0, model.rows[0], answer(of(0) + 1e-5), changed=False)
    with pytest.raises(WrongAnswer, match="golden row is not as published"):
        checker.check(0, model.rows[0], answer(of(1)), changed=False)


def test_the_answer_to_another_row_is_found_by_the_row_s_own_earlier_answer(model: Known) -> None:
    checker = Checker(model)
    for number in (GOLDEN, GOLDEN + 1):
        checker.check(number, model.rows[number], answer(of(number)), changed=False)
    with pytest.raises(WrongAnswer, match="another one than before"):
        checker.check(GOLDEN, model.rows[GOLDEN], answer(of(GOLDEN + 1)), changed=False)


def test_a_changed_row_may_be_answered_otherwise(model: Known) -> None:
    checker = Checker(model)
    for number in (0, 0, GOLDEN, GOLDEN + 1):
        checker.check(GOLDEN, model.rows[0], answer(of(number)), changed=True)


def test_another_version_is_wrong_unless_any_may_answer(model: Known) -> None:
    with pytest.raises(WrongAnswer, match="version 2 answered, the rows are of version 1"):
        Checker(model).check(0, model.rows[0], answer(of(0), "2"), changed=False)
    any_version = Checker(model, "any")
    any_version.check(0, model.rows[0], answer(of(1), "2"), changed=False)  # its golden answers are not known here
    with pytest.raises(WrongAnswer, match="golden"):
        any_version.check(0, model.rows[0], answer(of(1)), changed=False)


@pytest.mark.parametrize(
    ("output", "name", "text"),
    [
        (np.zeros((2, 2), np.float32), "y", r"shape \[2, 2\], not \[1, 2\]"),
        (np.zeros((1, 3), np.float32), "y", r"shape \[1, 3\]"),
        (np.zeros(2, np.float32), "y", r"shape \[2\]"),
        (np.full((1, 2), np.nan, np.float32), "y", "NaN"),
        (np.zeros((1, 2), np.float32), "z", "an output 'z' that the model has not"),
    ],
)
def test_what_the_model_cannot_give_is_wrong(model: Known, output: Array, name: str, text: str) -> None:
    with pytest.raises(WrongAnswer, match=text):
        Checker(model).check(GOLDEN, model.rows[GOLDEN], answer(output, name=name), changed=True)


def test_an_answer_without_outputs_is_wrong(model: Known) -> None:
    with pytest.raises(WrongAnswer, match="without outputs"):
        Checker(model).check(0, model.rows[0], Answer({}, "1"), changed=True)


def test_right_is_what_the_truth_says(model: Known, tmp_path: Path) -> None:
    checker = Checker(model)
    assert [checker.right(row, answer(of(number))) for number, row in enumerate(model.rows)] == [True] * len(model.rows)
    assert checker.right(model.rows[0], answer(of(1))) is False
    assert checker.right(model.rows[0], answer(of(0), name="z")) is None
    make(tmp_path, "other", evaluation=False)
    other = known(tmp_path, "other")
    assert Checker(other).right(other.rows[0], answer(of(0))) is None
