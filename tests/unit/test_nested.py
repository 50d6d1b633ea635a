"""Nested lists become arrays of a datatype and a shape, or a refusal that names the input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.errors import InvalidInput
from modelyard.nested import to_array, to_lists
from modelyard.tensors import DTYPES, Tensor
from tests.unit.strategies import same, tensors


@given(tensors())
def test_lists_are_the_way_back(tensor: Tensor) -> None:
    lists = to_lists(tensor.array, tensor.datatype)
    numbers = tensor.array.dtype.kind == "f" and not np.isfinite(tensor.array).all()
    if tensor.datatype in ("BF16", "BYTES") or numbers or 0 in tensor.shape[:-1]:
        return  # BF16 has no JSON, bytes need not be text, NaN is refused, and [] has lost the lengths inside it
    array = to_array(lists, tensor.datatype, tensor.shape, "x")
    assert array.dtype == DTYPES[tensor.datatype]
    assert same(array, tensor.array)


@given(st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=2, max_size=2), min_size=1))
def test_texts_are_utf_8(texts: list[list[str]]) -> None:
    array = to_array(texts, "BYTES", (-1, 2), "x")
    assert array.tolist() == [[text.encode() for text in row] for row in texts]
    assert to_lists(array, "BYTES") == texts


def test_bare_values_are_tensors_without_dimensions() -> None:
    assert to_array(5, "INT64", (), "x").shape == ()
    assert to_array("a", "BYTES", (), "x")[()] == b"a"
    assert to_lists(np.array(2.5, np.float32), "FP32") == 2.5
    assert to_lists(np.array(b"\xff", object), "BYTES") == "\ufffd"


WRONG: dict[str, tuple[Any, str, tuple[int, ...]]] = {
    "uneven": ([[1.0], [1.0, 2.0]], "FP32", (-1, -1)),
    "uneven texts": ([["a"], ["a", "b"]], "BYTES", (-1, -1)),
    "flat": ([1.0, 2.0], "FP32", (-1, 2)),
    "deep": ([[[1.0, 2.0]]], "FP32", (-1, 2)),
    "narrow": ([[1.0]], "FP32", (-1, 2)),
    "empty": ([], "FP32", (-1, 2)),
    "too large for FP32": ([[1e300, 1.0]], "FP32", (-1, 2)),
    "too large for FP16": ([[1e6, 1.0]], "FP16", (-1, 2)),
    "too large for UINT8": ([[256, 1]], "UINT8", (-1, 2)),
    "negative": ([[-1, 1]], "UINT64", (-1, 2)),
    "too large at all": ([[10**30, 1]], "INT64", (-1, 2)),
    "no text": ([["a", 1]], "BYTES", (-1, 2)),
    "half a character": ([["\ud800", "a"]], "BYTES", (-1, 2)),
    "an object": ([[{}, 1.0]], "FP32", (-1, 2)),
    "nothing": ([[None, 1]], "INT64", (-1, 2)),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_does_not_fit_is_refused_by_name(what: str) -> None:
    values, datatype, shape = WRONG[what]
    with pytest.raises(InvalidInput, match=r"^the_input: "):
        to_array(values, datatype, shape, "the_input")
