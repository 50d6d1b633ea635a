"""`data` of a JSON tensor against NumPy: every value as it was written, or a refusal."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.errors import InvalidInput
from modelyard.protocol.json_data import decode_data, encode_data
from modelyard.tensors import DTYPES, FLOATING
from tests.unit.strategies import Array, arrays, same

IN_JSON = sorted(set(DTYPES) - {"FP16", "BF16"})
INTEGERS = sorted(name for name in DTYPES if "INT" in name)


def decode(datatype: str, shape: list[int], document: Any) -> Array:
    raw = document if isinstance(document, bytes) else orjson.dumps(document)
    return decode_data(datatype, shape, raw, "input 'x'")


@st.composite
def in_json(draw: st.DrawFn) -> tuple[str, Array]:
    datatype = draw(st.sampled_from(IN_JSON))
    shape = tuple(draw(st.lists(st.integers(1, 3), max_size=3)))
    if datatype == "BYTES":
        texts = draw(st.lists(st.text(max_size=4), min_size=int(np.prod(shape)), max_size=int(np.prod(shape))))
        array = np.empty(len(texts), np.object_)
        array[:] = [text.encode() for text in texts]
        return datatype, array.reshape(shape)
    array = draw(arrays(datatype, shape))
    if datatype in FLOATING:
        array = np.where(np.isfinite(array), array, 0).astype(array.dtype)
    return datatype, array


@given(in_json())
def test_what_is_encoded_decodes_to_the_same_flat_and_nested(given: tuple[str, Array]) -> None:
    datatype, array = given
    flat = orjson.dumps(encode_data(datatype, array, "y"), option=orjson.OPT_SERIALIZE_NUMPY)
    assert same(decode(datatype, list(array.shape), flat), array)
    if array.ndim:
        nested = [[x.decode() for x in array.ravel()]] if datatype == "BYTES" else array.tolist()
        shape = [1, array.size] if datatype == "BYTES" else list(array.shape)
        assert same(decode(datatype, shape, nested), array.reshape(shape))


@pytest.mark.parametrize("datatype", INTEGERS)
@given(value=st.integers(-(2**70), 2**70))
def test_an_integer_is_kept_or_refused_never_wrapped(datatype: str, value: int) -> None:
    bounds = np.iinfo(DTYPES[datatype])
    raw = str(value).encode()
    if bounds.min <= value <= bounds.max:
        assert decode(datatype, [1], b"[" + raw + b"]").tolist() == [value]
    else:
        with pytest.raises(InvalidInput):
            decode(datatype, [1], b"[" + raw + b"]")


@pytest.mark.parametrize("datatype", INTEGERS)
def test_the_edges_of_every_integer(datatype: str) -> None:
    bounds = np.iinfo(DTYPES[datatype])
    assert decode(datatype, [2], [int(bounds.min), int(bounds.max)]).tolist() == [bounds.min, bounds.max]
    for beyond in (int(bounds.min) - 1, int(bounds.max) + 1):
        with pytest.raises(InvalidInput):
            decode(datatype, [1], f"[{beyond}]".encode())


@pytest.mark.parametrize("datatype", INTEGERS)
@pytest.mark.parametrize("value", [b"1.0", b'"1"', b"true", b"null", b"1e0", b"[]", b"{}", b"NaN"])
def test_what_is_no_integer_is_not_made_one(datatype: str, value: bytes) -> None:
    with pytest.raises(InvalidInput):
        decode(datatype, [1], b"[" + value + b"]")


@pytest.mark.parametrize(
    ("datatype", "value"),
    [
        *(("FP32", value) for value in (b"1e39", b"-1e39", b"NaN", b"Infinity", b'"1"', b"true", b"null")),
        *(("FP64", value) for value in (b"1e400", b"NaN", b"-Infinity", b"false")),
        *(("BOOL", value) for value in (b"0", b"1", b'"true"', b"null", b"1.0")),
        *(("BYTES", value) for value in (b"1", b"null", b"true", b"[1]", b'"\xff"')),
    ],
)
def test_a_value_of_another_kind_is_refused(datatype: str, value: bytes) -> None:
    with pytest.raises(InvalidInput):
        decode(datatype, [1], b"[" + value + b"]")


@pytest.mark.parametrize(
    ("shape", "document"),
    [
        ([2, 2], [[1, 2], [3]]),
        ([2, 2], [[1, 2], 3]),
        ([2, 2], [1, 2, 3]),
        ([2, 2], [1, 2, 3, 4, 5]),
        ([2, 2], [[1, 2, 3, 4]]),
        ([2, 2], [[1], [2], [3], [4]]),
        ([2, 2], [[[1, 2], [3, 4]]]),
        ([4], [[1, 2], [3, 4]]),
        ([1], []),
        ([0], [1]),
        ([1], 1),
        ([], 1),
        ([1], {}),
        ([-1], [1]),
        ([2**40], [1]),
    ],
)
@pytest.mark.parametrize("datatype", ["INT32", "FP32"])
def test_data_that_does_not_fit_its_shape_is_refused(datatype: str, shape: list[int], document: object) -> None:
    with pytest.raises(InvalidInput):
        decode(datatype, shape, document)


def test_ragged_strings_are_refused() -> None:
    with pytest.raises(InvalidInput):
        decode("BYTES", [2, 2], [["a", "b"], ["c"]])


@pytest.mark.parametrize("shape", [[0], [0, 3], [2, 0]])
def test_a_tensor_without_elements_is_legal(shape: list[int]) -> None:
    assert decode("FP32", shape, []).shape == tuple(shape)
    assert decode("BYTES", shape, []).shape == tuple(shape)


def test_whole_numbers_are_floats_too_and_a_scalar_is_a_list_of_one() -> None:
    assert decode("FP32", [2], [1, -2]).tolist() == [1.0, -2.0]
    assert decode("FP32", [], [5]).shape == ()


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_half_precision_says_to_ask_for_binary(datatype: str) -> None:
    with pytest.raises(InvalidInput, match="ask for binary"):
        decode(datatype, [1], [1])
    with pytest.raises(InvalidInput, match="ask for binary"):
        encode_data(datatype, np.zeros(1, DTYPES[datatype]), "y")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("datatype", ["FP32", "FP64"])
def test_what_json_cannot_carry_says_to_ask_for_binary(datatype: str, bad: float) -> None:
    with pytest.raises(InvalidInput, match="ask for binary"):
        encode_data(datatype, np.array([1.0, bad], DTYPES[datatype]), "y")


def test_bytes_that_are_no_text_say_to_ask_for_binary() -> None:
    array = np.empty(1, np.object_)
    array[0] = b"\xff"
    with pytest.raises(InvalidInput, match="ask for binary"):
        encode_data("BYTES", array, "y")


def test_endless_nesting_is_refused() -> None:
    with pytest.raises(InvalidInput):
        decode("INT32", [1], b"[" * 100_000)


@pytest.mark.parametrize(("shape", "data"), [([2, 0], [[], []]), ([2, 0, 3], [[], []]), ([0, 3], []), ([2, 0, 3], [])])
def test_an_empty_axis_hides_those_inside_it(shape: list[int], data: list[Any]) -> None:
    """What `np.zeros((2, 0, 3)).tolist()` gives says nothing of the 3."""
    assert decode("FP32", shape, data).shape == tuple(shape)
