"""Bounds of an input: what model.yaml may say, and what a request is refused for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from modelyard.errors import ConfigurationError, InvalidInput
from modelyard.spec import ModelSpec, parse_spec
from modelyard.tensors import Tensor
from modelyard.validate import check_inputs

TEXT = """
name: m
inputs:
  - {{name: ids, datatype: INT64, shape: [-1, -1], values: [0, 9], sizes: [1, 4]}}
  - {{name: mask, datatype: INT64, shape: [-1, -1], like: ids}}
  - {{name: weight, datatype: FP32, shape: {weight}, values: [-1, 1.5]}}
outputs: [{{name: y, datatype: FP32, shape: {output}}}]
batching: {{max_batch_size: {rows}}}
"""


def spec(rows: int = 8) -> ModelSpec:
    return parse_spec(TEXT.format(rows=rows, weight="[-1]", output="[-1]"))


def inputs(ids: Any, mask: Any = None, weight: Any = (0.0,)) -> list[Tensor]:
    return [
        Tensor("ids", "INT64", np.array(ids, np.int64)),
        Tensor("mask", "INT64", np.array(ids if mask is None else mask, np.int64)),
        Tensor("weight", "FP32", np.array(weight, np.float32)),
    ]


@pytest.mark.parametrize("ids", [[[0]], [[9, 0, 9, 0]]])
@pytest.mark.parametrize("weight", [[-1.0], [1.5]])
def test_the_ends_of_the_ranges_are_inside(ids: Any, weight: Any) -> None:
    assert check_inputs(spec(), inputs(ids, weight=weight))[1] == 1


def test_no_rows_are_inside() -> None:
    empty = [
        Tensor("ids", "INT64", np.zeros((0, 2), np.int64)),
        Tensor("mask", "INT64", np.zeros((0, 2), np.int64)),
        Tensor("weight", "FP32", np.zeros(0, np.float32)),
    ]
    assert check_inputs(spec(), empty)[1] == 0


@pytest.mark.parametrize(
    ("given", "reason", "text"),
    [
        (inputs([[10]]), "value", "input 'ids' holds 10; its values go from 0 to 9"),
        (inputs([[-1]]), "value", "input 'ids' holds -1; its values go from 0 to 9"),
        (inputs([[-(2**63), 2**63 - 1]]), "value", "input 'ids' holds -9223372036854775808"),
        (inputs([[1] * 5]), "shape", "input 'ids' has shape [1, 5]: dimension 1 goes from 1 to 4"),
        (inputs([[]]), "shape", "input 'ids' has shape [1, 0]: dimension 1 goes from 1 to 4"),
        (inputs([[1, 2]], [[1]]), "shape", "input 'mask' has shape [1, 1], 'ids' has [1, 2]: they have to be alike"),
        (inputs([[1]], weight=[1.6]), "value", "input 'weight' holds 1.6"),
        (inputs([[1]], weight=[np.nan]), "value", "input 'weight' holds nan"),
        (inputs([[1]], weight=[np.inf]), "value", "input 'weight' holds inf"),
    ],
)
def test_what_is_outside_is_refused_by_name(given: list[Tensor], reason: str, text: str) -> None:
    for order in (given, given[::-1]):
        with pytest.raises(InvalidInput) as caught:
            check_inputs(spec(), order)
        assert caught.value.reason == reason
        assert text in str(caught.value)


def test_without_a_batch_every_free_dimension_is_bounded() -> None:
    given = inputs([[1]] * 5, weight=np.zeros(5))
    assert check_inputs(spec(rows=8), given)[1] == 5
    with pytest.raises(InvalidInput, match="dimension 0 goes from 1 to 4"):
        check_inputs(spec(rows=0), given)


@pytest.mark.parametrize(
    ("wrong", "right", "text"),
    [
        ("values: [9, 0]", "values: [0, 9]", "values: 9 is above 0"),
        ("sizes: [4, 1]", "sizes: [1, 4]", "sizes: 4 is above 1"),
        ("values: [0]", "values: [0, 9]", "values"),
        ("like: nothing", "like: ids", "like: there is no input 'nothing'"),
        ("datatype: BF16, shape: [-1], values", "datatype: FP32, shape: [-1], values", "values: those of BF16"),
        ("value: [0, 9]", "values: [0, 9]", "did you mean 'values'"),
        ("[-1], sizes: [1, 2]}]", "[-1]}]", "output 'y': values, sizes and like are for inputs"),
    ],
)
def test_bounds_that_cannot_be_held_are_refused(wrong: str, right: str, text: str) -> None:
    good = TEXT.format(rows=8, weight="[-1]", output="[-1]")
    assert right in good
    with pytest.raises(ConfigurationError) as caught:
        parse_spec(good.replace(right, wrong, 1))
    assert text in str(caught.value)
