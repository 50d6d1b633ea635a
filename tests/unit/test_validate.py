"""A request against the spec: order, rows, and every way in which it may not fit."""

from __future__ import annotations

import numpy as np
import pytest

from modelyard.errors import InvalidInput
from modelyard.spec import BatchingSpec, ModelSpec, TensorSpec
from modelyard.tensors import Tensor
from modelyard.validate import check_inputs, check_outputs

SPEC = ModelSpec(
    name="m",
    inputs=(
        TensorSpec(name="a", datatype="FP32", shape=(-1, 2)),
        TensorSpec(name="b", datatype="INT32", shape=(-1, -1)),
    ),
    outputs=(TensorSpec(name="y", datatype="FP32", shape=(-1,)), TensorSpec(name="z", datatype="FP32", shape=(-1,))),
    batching=BatchingSpec(max_batch_size=4),
)


def a(*shape: int, name: str = "a", dtype: str = "FP32") -> Tensor:
    return Tensor(name, dtype, np.zeros(shape or (1, 2), np.float32))


def b(*shape: int) -> Tensor:
    return Tensor("b", "INT32", np.zeros(shape or (1, 5), np.int32))


def test_inputs_come_in_the_order_of_the_spec_with_their_rows() -> None:
    ordered, rows = check_inputs(SPEC, [b(3, 7), a(3, 2)])
    assert ([tensor.name for tensor in ordered], rows) == (["a", "b"], 3)


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ([], "name"),
        ([a()], "name"),
        ([a(), b(), a()], "name"),
        ([a(), b(), a(name="c")], "name"),
        ([a(dtype="FP64"), b()], "datatype"),
        ([a(1, 3), b()], "shape"),
        ([a(2), b()], "shape"),
        ([a(1, 2, 1), b()], "shape"),
        ([a(2, 2), b(3, 1)], "batch"),
        ([a(5, 2), b(5, 1)], "batch"),
    ],
)
def test_what_does_not_fit_is_refused_for_its_reason(inputs: list[Tensor], reason: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_inputs(SPEC, inputs)
    assert caught.value.reason == reason


def test_no_rows_and_the_most_rows_are_legal() -> None:
    assert check_inputs(SPEC, [a(0, 2), b(0, 1)])[1] == 0
    assert check_inputs(SPEC, [a(4, 2), b(4, 0)])[1] == 4


def test_without_a_batch_dimension_a_request_is_one_row() -> None:
    spec = SPEC.model_copy(update={"batching": BatchingSpec(max_batch_size=0)})
    assert check_inputs(spec, [a(9, 2), b(3, 1)])[1] == 1


def test_outputs_are_all_or_those_that_were_asked_for_in_their_order() -> None:
    assert check_outputs(SPEC, ()) == ("y", "z")
    assert check_outputs(SPEC, ("z", "y")) == ("z", "y")
    for wrong in (("w",), ("y", "y")):
        with pytest.raises(InvalidInput):
            check_outputs(SPEC, wrong)


def test_a_long_name_is_not_sent_back_whole() -> None:
    with pytest.raises(InvalidInput) as caught:
        check_inputs(SPEC, [a(), b(), a(name="n" * 10_000)])
    assert len(str(caught.value)) < 300
