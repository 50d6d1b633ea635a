"""The datatype table and the protocol's binary form."""

from __future__ import annotations

import struct
from math import prod

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from modelyard.errors import InvalidInput
from modelyard.tensors import DTYPES, MAX_ELEMENTS, Tensor, element_count, from_bytes, to_bytes
from tests.unit.strategies import FIXED, arrays, bytes_array, same, tensors


@given(tensors())
def test_the_binary_form_comes_back_bit_for_bit(tensor: Tensor) -> None:
    raw = to_bytes(tensor.datatype, tensor.array)
    assert same(from_bytes(tensor.datatype, tensor.shape, raw, "x"), tensor.array)
    assert same(from_bytes(tensor.datatype, tensor.shape, memoryview(raw), "x"), tensor.array)


@given(tensors(), st.binary(min_size=1, max_size=9))
def test_a_byte_too_many_or_too_few_is_refused(tensor: Tensor, more: bytes) -> None:
    raw = to_bytes(tensor.datatype, tensor.array)
    with pytest.raises(InvalidInput):
        from_bytes(tensor.datatype, tensor.shape, raw + more, "x")
    for length in range(len(raw)):
        with pytest.raises(InvalidInput):
            from_bytes(tensor.datatype, tensor.shape, raw[:length], "x")


@pytest.mark.parametrize("datatype", FIXED)
@given(data=st.data())
def test_from_array_finds_the_datatype(datatype: str, data: st.DataObject) -> None:
    array = data.draw(arrays(datatype, (2, 3)))
    tensor = Tensor.from_array("x", array)
    assert tensor.datatype == ("UINT16" if datatype == "BF16" else datatype)
    assert same(tensor.array, array)


@pytest.mark.parametrize("datatype", [name for name in FIXED if DTYPES[name].itemsize > 1])
def test_from_array_turns_big_endian_numbers_round(datatype: str) -> None:
    numbers = np.arange(6).reshape(2, 3)
    tensor = Tensor.from_array("x", numbers.astype(DTYPES[datatype].newbyteorder(">")))
    assert tensor.array.dtype == DTYPES[datatype]
    assert tensor.array.tolist() == numbers.tolist()
    assert to_bytes(tensor.datatype, tensor.array) == numbers.astype(DTYPES[datatype]).tobytes()


def test_from_array_makes_rows_lie_together_and_keeps_scalars_scalars() -> None:
    columns = np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3))
    tensor = Tensor.from_array("x", columns)
    assert tensor.array.flags.c_contiguous
    assert tensor.array.tolist() == columns.tolist()
    assert Tensor.from_array("x", np.array(1.0)).shape == ()


@pytest.mark.parametrize("dtype", ["complex64", "U3", "S3", "datetime64[s]", "longdouble"])
def test_a_dtype_outside_the_table_is_refused(dtype: str) -> None:
    with pytest.raises(InvalidInput, match="no datatype"):
        Tensor.from_array("x", np.zeros(1, dtype))


def test_numbers_are_little_endian_and_bytes_carry_their_length() -> None:
    assert to_bytes("INT32", np.array([1, -2], np.int32)) == struct.pack("<ii", 1, -2)
    assert to_bytes("FP16", np.array([1.5], np.float16)) == struct.pack("<e", 1.5)
    assert to_bytes("BYTES", bytes_array([b"ab", b""], (2,))) == b"\x02\0\0\0ab\0\0\0\0"


@pytest.mark.parametrize("raw", [b"\x02", b"\x00\xff", b"\x01\x80"])
def test_a_bool_byte_is_zero_or_one(raw: bytes) -> None:
    with pytest.raises(InvalidInput, match="BOOL"):
        from_bytes("BOOL", (len(raw),), raw, "x")


@given(st.lists(st.integers(-3, 2**40), max_size=40))
@example([2**63 - 1, 2])
@example([1, 2**40])
@example([2**4, 2**60 + 2])
@example([0, 2**31 - 1, 2**31 - 1, 2**31 - 1])
@example([1] * 33)
def test_an_element_count_is_right_or_refused(shape: list[int]) -> None:
    try:
        count = element_count(shape, "x")
    except InvalidInput:
        assert (
            len(shape) > 32 or min(shape) < 0 or prod(size or 1 for size in shape) > MAX_ELEMENTS or max(shape) >= 2**31
        )
    else:
        assert count == prod(shape)
        assert count <= MAX_ELEMENTS
        np.empty(0).reshape(0, *[size for size in shape if size])  # NumPy can hold such a shape


@pytest.mark.parametrize("datatype", sorted(DTYPES))
@pytest.mark.parametrize("shape", [[2**63 - 1, 2], [1, 2**31], [2**20, 2**20], [-1], [2**16, 2**16]])
def test_an_absurd_shape_is_refused_before_anything_is_allocated(datatype: str, shape: list[int]) -> None:
    with pytest.raises(InvalidInput):
        from_bytes(datatype, shape, b"1234", "x")


@pytest.mark.parametrize("raw", [b"\xff\xff\xff\xff", b"\x05\0\0\0abc", b"\x01\0\0\0a\x01\0\0", b"\0\0\0\0\0\0\0\0"])
def test_a_length_that_lies_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidInput):
        from_bytes("BYTES", (1,), raw, "x")


def test_an_unknown_datatype_is_named_but_not_at_length() -> None:
    with pytest.raises(InvalidInput) as caught:
        from_bytes("F" * 5000, (1,), b"", "x")
    assert len(str(caught.value)) < 200
