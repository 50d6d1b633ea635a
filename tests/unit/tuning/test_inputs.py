"""Requests to measure with."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.errors import ConfigurationError
from modelyard.golden import Golden
from modelyard.spec import BatchingSpec, ModelSpec, TensorSpec
from modelyard.tensors import DTYPES, Tensor
from modelyard.tuning.inputs import build_pool, parse_dims
from modelyard.validate import check_inputs
from tests.unit.strategies import DATATYPES, arrays


def spec_of(*inputs: TensorSpec, most: int = 32) -> ModelSpec:
    return ModelSpec(name="m", inputs=inputs, outputs=inputs[:1], batching=BatchingSpec(max_batch_size=most))


TOKENS = spec_of(
    TensorSpec(name="ids", datatype="INT64", shape=(-1, -1)), TensorSpec(name="a.b", datatype="FP32", shape=(-1, 3, -1))
)
GOLDEN = Golden(
    [
        Tensor("ids", "INT64", np.array([[7, 8], [9, 7]])),
        Tensor("a.b", "FP32", np.ones((2, 3, 4), np.float32)),
    ],
    [],
)


@given(st.sampled_from(DATATYPES), st.data())
def test_requests_are_what_the_model_takes(datatype: str, data: st.DataObject) -> None:
    batched = data.draw(st.booleans())
    rows = data.draw(st.integers(1, 5)) if batched else 1
    spec = spec_of(TensorSpec(name="x", datatype=datatype, shape=(-1, 2, -1)), most=32 if batched else 0)
    golden = None
    if data.draw(st.booleans()):
        shape = (data.draw(st.integers(0, 4)), 2, data.draw(st.integers(0, 3)))
        golden = Golden([Tensor("x", datatype, data.draw(arrays(datatype, shape)))], [])
    dims = {("x", 2): 3} if data.draw(st.booleans()) else {}
    pool = build_pool(spec, golden, dims, rows)
    for request in pool.requests:
        _, counted = check_inputs(spec, request)
        assert counted == rows
        assert request[0].array.dtype == DTYPES[datatype]
        assert not dims or request[0].shape[2] == 3


def test_golden_rows_are_repeated_and_floats_varied() -> None:
    pool = build_pool(TOKENS, GOLDEN, {}, rows=1)
    assert {tuple(request[0].array.ravel()) for request in pool.requests} == {(7, 8), (9, 7)}
    floats = {request[1].array.tobytes() for request in pool.requests}
    assert len(floats) == len(pool.requests)
    assert np.allclose(pool.requests[0][1].array, 1, atol=0.1)
    assert pool.shapes == {"ids": [1, 2], "a.b": [1, 3, 4]}


def test_another_size_is_filled_with_golden_values() -> None:
    pool = build_pool(TOKENS, GOLDEN, {("ids", 1): 100}, rows=2)
    assert pool.shapes["ids"] == [2, 100]
    assert {value for request in pool.requests for value in request[0].array.ravel()} == {7, 8, 9}


def test_sizes_that_nobody_chose_are_said() -> None:
    free = build_pool(TOKENS, None, {}, rows=1)
    assert free.shapes == {"ids": [1, 1], "a.b": [1, 3, 1]}
    assert len(free.warnings) == 2
    assert "ids.1 is 1" in free.warnings[0]
    assert "golden" in build_pool(TOKENS, GOLDEN, {}, rows=1).warnings[0]
    chosen = build_pool(TOKENS, None, {("ids", 1): 2, ("a.b", 2): 2}, rows=1)
    assert not chosen.warnings


def test_large_requests_are_few() -> None:
    pool = build_pool(TOKENS, None, {("ids", 1): 2**20}, rows=1)
    assert len(pool.requests) == 8


def test_dims() -> None:
    assert parse_dims(TOKENS, ["ids=128", "a.b=2"]) == {("ids", 1): 128, ("a.b", 2): 2}
    assert parse_dims(TOKENS, ["ids.1=128", "a.b.2=3"]) == {("ids", 1): 128, ("a.b", 2): 3}
    alone = spec_of(TensorSpec(name="x", datatype="FP32", shape=(-1, -1)), most=0)
    assert parse_dims(alone, ["x=4"]) == {("x", 0): 4, ("x", 1): 4}


@pytest.mark.parametrize("text", ["ids", "ids=", "ids=0", "ids=-1", "ids=x", "ids.0=4", "a.b.1=4", "nobody=4", "=4"])
def test_other_dims_are_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="--dim"):
        parse_dims(TOKENS, [text])
